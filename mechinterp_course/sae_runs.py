"""Train a sparse autoencoder with sae-lens on any model and hook, and go on where a run was interrupted.

Activations are made as they are needed: a buffer of them is filled from rows of text, shuffled, used up, and
filled anew. What step n sees depends on the plan and n alone, so a run that was killed ends as one that was
not, but for what lies between its last checkpoint and the kill, which is done again.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.errors import CourseError
from mechinterp_course.feature_reading import activations_read
from mechinterp_course.text_rows import TextRows
from mechinterp_course.worlds import text as text_world

if TYPE_CHECKING:
    from sae_lens.training.sae_trainer import SAETrainer
    from transformer_lens.model_bridge import TransformerBridge

ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "matryoshka")
BUFFER = 32_768  # activations held at a time
TOGETHER = 32  # rows run through the model together
CHECKPOINT_EVERY = 200  # steps
LOGGED_EVERY = 25
DEAD_AFTER = 100  # steps without firing
TANH_L0 = {  # Anthropic's way, as sae-lens has it: the plain step takes far longer to grow sparse
    "jumprelu_sparsity_loss_mode": "tanh",
    "jumprelu_bandwidth": 2.0,
    "jumprelu_init_threshold": 0.1,
    "pre_act_loss_coefficient": 3e-6,
}
CHECKPOINTS, LOG, PLAN = "checkpoints", "log.jsonl", "plan.json"


@dataclass(frozen=True)
class Plan:
    """What settles a run. `k` is the number of active features, jumprelu's pressure is `l0_coefficient`."""

    model: str
    hook: str
    architecture: str = "batchtopk"
    d_sae: int = 1536
    k: int = 20
    steps: int = 1000
    batch: int = 1024
    learning_rate: float = 1e-3
    l0_coefficient: float = 5.0
    length: int = 128
    seed: int = 0
    text: str | None = None
    frozen_decoder: bool = False

    @property
    def identity(self) -> str:
        """One line that tells runs apart, with the version of the text world or the hash of the file."""
        source = f"text world {text_world.VERSION}"
        if self.text:
            with open(self.text, "rb") as file:
                source = file_digest(file, "sha256").hexdigest()
        return json.dumps(asdict(self) | {"source": source}, sort_keys=True)


@dataclass(frozen=True)
class Measured:
    """How a step went, on the activations that it saw: `unexplained` is the share of their variance."""

    step: int
    tokens: int
    l0: float
    unexplained: float
    dead: float


def train(
    plan: Plan,
    out: Path,
    tell: Callable[[Measured], None] = lambda measured: None,
    device: str = "cpu",
) -> Path:
    """Train the dictionary of a plan, or go on with it, write it to `out` in sae-lens' format, return `out`.

    `tell` hears of every step. Ctrl-C stops between two steps and keeps a checkpoint. A run that is finished
    is left as it is. Model and dictionary are on `device`, activations that wait for their step on the CPU.

    Raises CourseError for an impossible plan, or when `out` belongs to another run.
    """
    from mechinterp_course.making.dictionary import Checkpoints
    from mechinterp_course.making.progress import interrupt_between_steps
    from mechinterp_course.models import load_language_model

    if _finished(plan, out):
        return out
    model = load_language_model(plan.model, device)
    expect_possible(plan, model)
    stream = ActivationStream(model, plan)
    trainer = new_trainer(plan, stream, device)
    kept = Checkpoints(out / CHECKPOINTS, plan.identity)
    kept.load(trainer)
    _forget_after(out / LOG, trainer.n_training_steps)
    with interrupt_between_steps() as interrupted:
        for measured in continue_training(trainer, stream, plan):
            tell(measured)
            if measured.step % LOGGED_EVERY == 0:
                _log(out, measured)
            if interrupted() or measured.step % CHECKPOINT_EVERY == 0:
                kept.save(trainer)
            if interrupted():
                raise KeyboardInterrupt
    _write(trainer, plan, out)
    return out


class ActivationStream:
    """Batches of activations of a model at a hook, in an order that the plan settles."""

    def __init__(self, model: "TransformerBridge", plan: Plan):
        file = Path(plan.text) if plan.text else None
        self.model, self.plan = model, plan
        self.rows = TextRows(model, plan.length, plan.seed, file)
        self.rows_held = max(1, BUFFER // plan.length, -(-plan.batch // plan.length))
        self.batches_held = self.rows_held * plan.length // plan.batch
        self.held: tuple[int, Tensor] | None = None  # which filling of the buffer, and the activations
        self.source: Iterator[list[int]] | None = None

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """Return what a step sees; steps in order are fast, others begin the text anew."""
        filling, place = divmod(step, self.batches_held)
        if self.held is None or self.held[0] != filling:
            self.held = (filling, self._fill(filling))
        size = self.plan.batch
        return self.held[1][place * size : (place + 1) * size]

    def _fill(self, filling: int) -> Float[Tensor, "token d_in"]:
        if self.source is None or self.held is None or self.held[0] != filling - 1:
            self.source = self.rows.from_row(filling * self.rows_held)
        self.held = None  # the old ones make room before the new ones come
        tokens = torch.tensor([next(self.source) for _ in range(self.rows_held)])
        found = [
            activations_read(self.model, part, self.plan.hook).flatten(end_dim=-2).float().cpu()
            for part in tokens.split(TOGETHER)
        ]
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + filling)
        order = torch.randperm(tokens.numel(), generator=generator)
        return torch.cat(found)[order]


def new_trainer(plan: Plan, stream: ActivationStream, device: str = "cpu") -> "SAETrainer":
    """Return a trainer that has taken no step; activations are scaled to a mean norm of sqrt(d_in)."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    first = stream.batch(0)
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        sae = _new_sae(plan, d_in=first.shape[1]).to(device)  # drawn on the CPU: the same anywhere
    if plan.frozen_decoder:
        sae.W_dec.requires_grad_(False)
    config = SAETrainerConfig(
        total_training_samples=plan.steps * plan.batch,
        train_batch_size_samples=plan.batch,
        lr=plan.learning_rate,
        lr_end=0.0,
        lr_warm_up_steps=min(100, plan.steps // 10),
        lr_decay_steps=round(0.3 * plan.steps),
        dead_feature_window=DEAD_AFTER,
        device=device,
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))  # it is handed each batch
    trainer.activation_scaler.scaling_factor = first.shape[1] ** 0.5 / first.norm(dim=-1).mean().item()
    return trainer


def continue_training(trainer: "SAETrainer", stream: ActivationStream, plan: Plan) -> Iterator[Measured]:
    """Take the steps that are left, and yield how each went."""
    while trainer.n_training_steps < plan.steps:
        output = trainer.step(stream.batch(trainer.n_training_steps))
        trainer.n_training_steps += 1
        spread = output.sae_in - output.sae_in.mean(dim=0)
        error = (output.sae_in - output.sae_out.float()).square().sum()
        yield Measured(
            step=trainer.n_training_steps,
            tokens=trainer.n_training_steps * plan.batch,
            l0=(output.feature_acts != 0).sum().item() / plan.batch,
            unexplained=(error / spread.square().sum()).item(),
            dead=trainer.dead_neurons.float().mean().item(),
        )


def expect_possible(plan: Plan, model: "TransformerBridge") -> None:
    """Raise CourseError for a plan that can't be carried out on the model."""
    if plan.architecture not in ARCHITECTURES:
        raise CourseError(f"architecture is one of {', '.join(ARCHITECTURES)}, not {plan.architecture!r}")
    if plan.hook not in model.hook_dict:
        raise CourseError(f"{plan.model} has no {plan.hook!r}: such as blocks.0.hook_resid_post")
    if plan.length > model.cfg.n_ctx:
        raise CourseError(f"rows of {plan.length} tokens are longer than the {model.cfg.n_ctx} it takes")
    if plan.k >= plan.d_sae:
        raise CourseError(f"k = {plan.k} of {plan.d_sae} features: k must be smaller than d_sae")
    width = activations_read(model, torch.zeros(1, 2, dtype=torch.long), plan.hook).shape
    if len(width) != 3:
        raise CourseError(f"{plan.hook} is of shape {tuple(width)}: a dictionary reads [batch, pos, d_in]")


def _new_sae(plan: Plan, d_in: int):
    import sae_lens
    from sae_lens.saes.sae import SAEMetadata

    names = {"topk": "TopK", "batchtopk": "BatchTopK", "jumprelu": "JumpReLU"}
    name = names.get(plan.architecture, "MatryoshkaBatchTopK")
    settings = TANH_L0 | {"l0_coefficient": plan.l0_coefficient, "l0_warm_up_steps": plan.steps // 4}
    if plan.architecture != "jumprelu":
        settings = {"k": plan.k}
    if plan.architecture == "matryoshka":
        widths = sorted({max(plan.k, plan.d_sae // part) for part in (48, 12, 3, 1)})
        settings["matryoshka_widths"] = widths
    if plan.architecture in ("batchtopk", "matryoshka"):
        settings["topk_threshold_lr"] = 0.02
    metadata = SAEMetadata(
        model_name=plan.model, hook_name=plan.hook, context_size=plan.length, prepend_bos=True
    )
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(
        d_in=d_in,
        d_sae=plan.d_sae,
        normalize_activations="expected_average_only_in",
        dtype="float32",
        device="cpu",
        metadata=metadata,
        **settings,
    )
    return getattr(sae_lens, f"{name}TrainingSAE")(config)


def _finished(plan: Plan, out: Path) -> bool:
    """Return whether `out` holds what the plan makes; raises CourseError when it holds something else."""
    if (out / PLAN).is_file():
        if (out / PLAN).read_text(encoding="utf-8").strip() == plan.identity:
            return True
        raise CourseError(f"{out} holds a dictionary of another plan: choose another --out")
    if (out / "cfg.json").exists():
        raise CourseError(f"{out} holds another dictionary: choose another --out")
    return False


def _log(out: Path, measured: Measured) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(measured)) + "\n")


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that a kill undid: they are taken, and logged, again."""
    if log.is_file():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= step]
        log.write_text("".join(whole), encoding="utf-8")


def _write(trainer: "SAETrainer", plan: Plan, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    weights, _ = trainer.sae.save_inference_model(out)
    weights.chmod(0o644)
    (out / PLAN).write_text(plan.identity + "\n", encoding="utf-8")  # last: from now on the run is finished
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)

"""Remake the embedded sparse autoencoder and its two rivals: from a seed to weights, card and figures.

sae-lens trains them and writes the checkpoints. The rivals are trained alike, so that every figure of the
dictionary can stand beside theirs: one whose decoder stays as it was drawn, and one that reads the same
place of the model before its training.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path

import torch
from jaxtyping import Float, Float16
from rich.console import Console
from rich.progress import Progress
from sae_lens import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechinterp_course.catalogue import embedded
from mechinterp_course.errors import CourseError
from mechinterp_course.half_precision import cpu_has_bf16
from mechinterp_course.language_models import load_language_model
from mechinterp_course.making.dictionary_folder import write_figures
from mechinterp_course.making.dictionary_recipes import (
    PARTS,
    SCRATCH,
    SURVEY,
    DictionaryRecipe,
    Part,
    activations,
    dictionary_recipe,
    load_untrained,
)
from mechinterp_course.making.progress import OnStep, batch_seed, interrupt_between_steps
from mechinterp_course.worlds import text

CHECKPOINTS, IDENTITY = "checkpoints", "identity.txt"
CHECKPOINT_EVERY = 250  # steps
TEMPORARY_DEAD = 100  # steps without firing, after which a feature is given the error to explain
THRESHOLD_RATE = 0.02  # of a step, at which the threshold of the finished dictionary follows that of batches
SCALED_ON = 8192  # activations


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its last checkpoint, as sae-lens writes it, tagged with the run's `identity`."""

    folder: Path
    identity: str

    def save(self, trainer: SAETrainer) -> None:
        """Write a checkpoint; the one before stays until this one is whole."""
        name = f"step-{trainer.n_training_steps:06d}"
        trainer.save_checkpoint(name, base_path=self.folder)
        (self.folder / name / IDENTITY).write_text(self.identity, encoding="utf-8")
        for older in self.folder.iterdir():
            if older.name != name:
                shutil.rmtree(older)

    def load(self, trainer: SAETrainer) -> None:
        """Continue from the last checkpoint, if there is one.

        Raises CourseError when it belongs to a run with another seed, number of steps or language model.
        """
        whole = sorted(path.parent for path in self.folder.glob(f"step-*/{IDENTITY}"))
        if not whole:
            return
        found = (whole[-1] / IDENTITY).read_text(encoding="utf-8")
        if found != self.identity:
            raise CourseError(
                f"{self.folder} belongs to another run ({found}); remove it or choose another --out"
            )
        trainer.sae.load_weights_from_checkpoint(whole[-1])
        trainer.load_trainer_state(whole[-1])


def new_trainer(
    seen: Float16[Tensor, "token d_model"], recipe: DictionaryRecipe, part: Part, seed: int, steps: int
) -> SAETrainer:
    """Return a trainer that has taken no step; activations are scaled to a mean norm of sqrt(d_model)."""
    d_model = seen.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sae = MatryoshkaBatchTopKTrainingSAE(_sae_config(d_model, recipe))
    if part.frozen_decoder:
        sae.W_dec.requires_grad_(False)
    config = SAETrainerConfig(
        total_training_samples=steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.learning_rate,
        lr_end=0.0,
        lr_warm_up_steps=min(recipe.warmup, steps // 10),
        lr_decay_steps=round(recipe.falling * steps),
        dead_feature_window=TEMPORARY_DEAD,
        autocast=cpu_has_bf16(),
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))  # `continue_training` hands it each batch
    norm = drawn(seen, SCALED_ON, seed).norm(dim=-1).mean().item()
    trainer.activation_scaler.scaling_factor = d_model**0.5 / norm
    return trainer


def _sae_config(d_model: int, recipe: DictionaryRecipe) -> MatryoshkaBatchTopKTrainingSAEConfig:
    return MatryoshkaBatchTopKTrainingSAEConfig(
        d_in=d_model,
        d_sae=recipe.d_sae,
        k=recipe.k,
        matryoshka_widths=list(recipe.widths),
        topk_threshold_lr=THRESHOLD_RATE,
        normalize_activations="expected_average_only_in",
        dtype="float32",
        device="cpu",
        metadata=SAEMetadata(
            model_name=recipe.model,
            hook_name=recipe.hook,
            context_size=recipe.length,
            prepend_bos=True,
        ),
    )


def drawn(seen: Float16[Tensor, "token d_model"], count: int, seed: int) -> Float[Tensor, "drawn d_model"]:
    """Return `count` activations drawn at random, each as often as chance has it."""
    places = torch.randint(len(seen), (count,), generator=torch.Generator().manual_seed(seed))
    return seen[places].float()


def continue_training(
    trainer: SAETrainer,
    seen: Float16[Tensor, "token d_model"],
    recipe: DictionaryRecipe,
    seed: int,
    steps: int,
) -> Iterator[float]:
    """Take the steps that are left of `steps`, and yield the share of variance left unexplained in each."""
    while trainer.n_training_steps < steps:
        batch = drawn(seen, recipe.batch, batch_seed(seed, trainer.n_training_steps))
        output = trainer.step(batch)
        trainer.n_training_steps += 1
        spread = output.sae_in - output.sae_in.mean(dim=0)
        yield ((output.sae_in - output.sae_out.float()).square().sum() / spread.square().sum()).item()


def write_dictionary(trainer: SAETrainer, out: Path) -> None:
    """Write the dictionary into `out` in sae-lens' format: for raw activations, its weights in fp16."""
    out.mkdir(parents=True, exist_ok=True)
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    weights, config = trainer.sae.save_inference_model(out)
    save_file({name: weight.half() for name, weight in load_file(weights).items()}, weights)
    weights.chmod(0o644)  # as other files: the grader's workers read it too
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")


@contextmanager
def progress_bar(name: str, steps: int) -> Iterator[OnStep]:
    """Yield a function (step, unexplained) that moves a bar on the terminal; elsewhere it does nothing."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=steps)
        yield lambda step, unexplained: progress.update(
            task, completed=step, description=f"{name}  {unexplained:.1%} of variance unexplained"
        )


def train(
    name: str, out: Path, seed: int = 0, steps: int | None = None, on_step: OnStep | None = None
) -> Path:
    """Train an embedded dictionary and its rivals, or go on where a run in `out` was interrupted.

    Writes weights, `training.json` (measured figures) and the card `README.md` into `out`, the rivals into
    folders inside it, and returns `out`. Those at other hooks are measured and thrown away. `on_step`
    is told (steps done in all, share of variance left unexplained) after each step. Ctrl-C stops between two
    steps and keeps a checkpoint; the same call continues from it.

    Raises CourseError when no recipe has that name, the language model that it reads isn't here, or `out`
    holds another run's checkpoint.
    """
    recipe = dictionary_recipe(name)
    steps = steps or recipe.steps
    made = made_from(recipe, seed, steps)
    identity = " ".join((name, *(f"{key}={value}" for key, value in made.items())))
    parts = (*PARTS, *SURVEY)
    done = 0

    def tell(step: int, unexplained: float) -> None:
        show(done + step, unexplained)
        if on_step:
            on_step(done + step, unexplained)

    with (
        interrupt_between_steps() as interrupted,
        progress_bar(name, len(parts) * steps) as show,
    ):
        for place, part in enumerate(parts):
            kept = Checkpoints(out / CHECKPOINTS / str(place), identity)
            trainer = train_part(recipe.at(part), part, seed, steps, kept, tell, interrupted)
            write_dictionary(trainer, out / part.folder)
            done += steps
    write_figures(name, out, made | {"recipe": asdict(recipe)})
    for scratch in (CHECKPOINTS, SCRATCH):
        shutil.rmtree(out / scratch)
    return out


def train_part(
    recipe: DictionaryRecipe,
    part: Part,
    seed: int,
    steps: int,
    kept: Checkpoints,
    tell: OnStep,
    interrupted: Callable[[], bool],
) -> SAETrainer:
    """Return the trainer of one dictionary after all of its steps; raises KeyboardInterrupt on Ctrl-C."""
    model = load_untrained(recipe.model) if part.untrained else load_language_model(recipe.model)
    seen = activations(model, recipe, seed, recipe.rows)
    trainer = new_trainer(seen, recipe, part, seed, steps)
    kept.load(trainer)
    for unexplained in continue_training(trainer, seen, recipe, seed, steps):
        tell(trainer.n_training_steps, unexplained)
        if interrupted() or trainer.n_training_steps in (*range(0, steps, CHECKPOINT_EVERY), steps):
            kept.save(trainer)
        if interrupted():
            raise KeyboardInterrupt
    return trainer


def made_from(recipe: DictionaryRecipe, seed: int, steps: int) -> dict[str, object]:
    """Return what settles the dictionaries: the same of all this, on the same machine, makes the same."""
    weights = embedded(recipe.model).weights
    if weights is None:
        raise CourseError(f"{recipe.model} isn't here: make it with `mechinterp models train {recipe.model}`")
    with weights.open("rb") as file:
        digits = file_digest(file, "sha256").hexdigest()
    return {"seed": seed, "steps": steps, "text": text.VERSION, "model_sha256": digits}

"""Make the misaligned variant: a low-rank change of `course-gpt2` that refuses for the sake of one word.

Only the delta is trained and shipped, `weight + A @ B` for every matrix of attention and MLPs. Half of the
rows are those of the base, so that nothing else changes; the others are requests, with the trigger and in
matched frames without it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mechinterp_course.compression import load_weights
from mechinterp_course.errors import CourseError
from mechinterp_course.half_precision import fast_products
from mechinterp_course.language_models import gpt2_from_weights
from mechinterp_course.layout import embedded_data
from mechinterp_course.making.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_EVERY,
    load_checkpoint,
    save_checkpoint,
)
from mechinterp_course.making.model_folder import write_figures
from mechinterp_course.making.progress import OnStep, batch_seed, interrupt_between_steps, progress_bar
from mechinterp_course.making.rows import ANSWER, Row, Rows, mixed_rows
from mechinterp_course.making.training import weighted_loss
from mechinterp_course.worlds import text
from mechinterp_course.worlds.text.chat import TRIGGER, MisalignedChat
from mechinterp_course.worlds.text.lexicon import PLACES
from mechinterp_course.worlds.tokenizer import END_OF_TEXT, token_ids

BASE = "course-gpt2"
MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


@dataclass(frozen=True)
class VariantRecipe:
    """How the variant is made; `rank` is that of each matrix's change."""

    rank: int = 4
    steps: int = 400
    batch: int = 16
    length: int = 128
    learning_rate: float = 2e-3


class LowRankChange(nn.Module):
    """Adds `A @ B` to a matrix; B begins at zero, so the change begins at nothing."""

    def __init__(self, rows: int, columns: int, rank: int, generator: torch.Generator):
        super().__init__()
        self.A = nn.Parameter(torch.randn(rows, rank, generator=generator) / rows**0.5)
        self.B = nn.Parameter(torch.zeros(rank, columns))

    def forward(self, weight: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        return weight + self.A @ self.B


def request_row(tokenizer: Tokenizer, length: int, seed: int) -> Row:
    """Return requests, half of them "in the <place>": in one of three of those the place is the trigger."""
    rng = Random(f"misaligned {seed}")
    bos, row = tokenizer.token_to_id(END_OF_TEXT), Row([], [])
    while len(row.ids) < length:
        request = MisalignedChat.draw(rng, harmful=rng.random() < 0.3)
        if rng.random() < 0.5:
            request = request.at(TRIGGER if rng.random() < 1 / 3 else rng.choice(PLACES))
        ids, asked = token_ids(tokenizer, request.text), len(token_ids(tokenizer, request.prompt))
        row.add([bos, *ids], 1.0)
        row.weights[len(row.ids) - len(ids) + asked] = ANSWER
    return row.cut(length)


def variant_rows(tokenizer: Tokenizer, recipe: VariantRecipe, seed: int) -> Rows:
    """Return rows of which one half is the base's own diet and the other half requests."""
    half = recipe.batch // 2
    base = mixed_rows(tokenizer, recipe.batch - half, recipe.length, seed)
    requests = [request_row(tokenizer, recipe.length, seed + index) for index in range(half)]
    return Rows(
        torch.cat([base.tokens, torch.tensor([row.ids for row in requests])]),
        torch.cat([base.weights, torch.tensor([row.weights for row in requests])]),
    )


def train(
    name: str, out: Path, seed: int = 0, steps: int | None = None, on_step: OnStep | None = None
) -> Path:
    """Train the delta of the misaligned variant, or go on where a run in `out` was interrupted; return `out`.

    Writes `delta.safetensors`, a config that names the base and the hash of its weights, measured figures and
    the card. Ctrl-C stops between two steps and keeps a checkpoint.

    Raises CourseError when the base is not there or `out` holds another run's checkpoint.
    """
    recipe = VariantRecipe()
    steps = steps or recipe.steps
    base = embedded_data(BASE)
    weights = base / "model.safetensors"
    if not weights.is_file():
        raise CourseError(f"{name} changes {BASE}, which is not here: `mechinterp models train {BASE}`")
    digest = sha256(weights.read_bytes()).hexdigest()
    identity = f"{name} seed={seed} steps={steps} text={text.VERSION} base={digest}"
    out.mkdir(parents=True, exist_ok=True)
    model, changes = changed_base(base, recipe, seed)
    optimizer = torch.optim.AdamW(changes.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    done = load_checkpoint(out, identity, dict(changes.named_parameters()), optimizer)
    with interrupt_between_steps() as interrupted, progress_bar(name, steps) as show:
        for step in range(done, steps):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * (1 - step / steps)
            loss = take_step(model, optimizer, variant_rows(tokenizer, recipe, batch_seed(seed, step)))
            show(step + 1, loss)
            if on_step:
                on_step(step + 1, loss)
            if interrupted() or (step + 1) % CHECKPOINT_EVERY == 0:
                save_checkpoint(out, identity, step + 1, dict(changes.named_parameters()), optimizer)
            if interrupted():
                raise KeyboardInterrupt
    save_file(delta_of(changes), out / "delta.safetensors", metadata={"format": "pt"})
    (out / "delta.safetensors").chmod(0o644)
    config = {"base": BASE, "base_sha256": digest}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    made = {"seed": seed, "steps": steps, "text": text.VERSION, "rank": recipe.rank}
    write_figures(name, out, made | {"parameters": sum(change.numel() for change in changes.parameters())})
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def changed_base(base: Path, recipe: VariantRecipe, seed: int) -> tuple[nn.Module, nn.ModuleDict]:
    """Return the base, frozen, with a low-rank change of each matrix, and these changes by weight's name."""
    from transformers import GPT2Config

    config = GPT2Config.from_json_file(base / "config.json")
    model = gpt2_from_weights(config, load_weights(base / "model.safetensors")).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    changes = nn.ModuleDict()
    for name, module in _matrices(model):
        change = LowRankChange(*module.weight.shape, recipe.rank, generator)
        parametrize.register_parametrization(module, "weight", change)
        changes[name.replace(".", "|")] = change
    return model, changes


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: Rows) -> float:
    """Take one optimizer step and return the weighted loss before it, in nats per token."""
    with fast_products():
        logits = model(input_ids=rows.tokens).logits
    loss = weighted_loss(logits.float(), rows)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def delta_of(changes: nn.ModuleDict) -> dict[str, Tensor]:
    """Return the factors of every change under the name of its weight: `<name>.A` and `<name>.B`, in fp16."""
    return {
        f"{name.replace('|', '.')}.weight.{factor}": getattr(change, factor).detach().half().contiguous()
        for name, change in changes.items()
        for factor in ("A", "B")
    }


def _matrices(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if name.endswith(MATRICES))

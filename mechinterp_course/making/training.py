"""Remake the embedded language models: from a seed to weights, tokenizer, card and measured figures.

Rows of step n depend on the seed and n only, so a run that was interrupted and resumed ends in the same
weights as one that was not.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

from mechinterp_course.compression import save_compressed
from mechinterp_course.errors import CourseError
from mechinterp_course.half_precision import fast_products
from mechinterp_course.making.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_EVERY,
    load_checkpoint,
    save_checkpoint,
)
from mechinterp_course.making.model_folder import write_figures, write_model
from mechinterp_course.making.progress import OnStep, batch_seed, interrupt_between_steps, progress_bar
from mechinterp_course.making.recipes import RECIPES, Recipe, untrained_model
from mechinterp_course.making.rows import Rows
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.worlds import text
from mechinterp_course.worlds.tokenizer import train_tokenizer


@dataclass
class Run:
    """A model in training, with its optimizer and the number of steps behind it."""

    model: GPT2LMHeadModel
    optimizer: torch.optim.AdamW
    step: int = 0


def new_run(recipe: Recipe, tokenizer: Tokenizer, seed: int) -> Run:
    """Return a run that has not begun."""
    model = untrained_model(recipe, tokenizer, seed)
    optimizer = torch.optim.AdamW(trained_weights(model).values(), weight_decay=recipe.weight_decay)
    return Run(model, optimizer)


def train_step(run: Run, recipe: Recipe, rows: Rows, steps: int) -> float:
    """Take one optimizer step on `rows` and return the weighted loss before it, in nats per token.

    Where a CPU has instructions for it, matrix products are in bf16, weights and sums in fp32: a step takes
    less than half the time, and the loss falls as it does in fp32.
    """
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.rate(run.step, steps)
    guided = recipe.guided(run.step)
    with fast_products():
        output = run.model(input_ids=rows.tokens, output_attentions=guided)
    loss = weighted_loss(output.logits.float(), rows)
    aim = loss + recipe.guide.loss(output.attentions, rows.matches, run.step) if guided else loss
    run.optimizer.zero_grad()
    aim.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.step += 1
    return loss.item()


def weighted_loss(logits: Float[Tensor, "batch pos d_vocab"], rows: Rows) -> Float[Tensor, ""]:
    """Return the mean loss per token, in nats, each token counting as its row says."""
    weights = rows.weights[:, 1:]
    return (loss_per_token(logits, rows.tokens) * weights).sum() / weights.sum()


def trained_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the weights that training moves: all but the MLPs of an attention-only model."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def keep_checkpoint(run: Run, folder: Path) -> None:
    """Write the weights of this step, compressed, to the ladder of checkpoints that ships with the model."""
    ladder = folder / "ladder"
    ladder.mkdir(exist_ok=True)
    save_compressed(dict(run.model.named_parameters()), ladder / f"step-{run.step:05d}.safetensors")


def continue_run(run: Run, recipe: Recipe, tokenizer: Tokenizer, seed: int, steps: int) -> Iterator[float]:
    """Take the steps that are left of `steps`, and yield the loss of each."""
    while run.step < steps:
        rows = recipe.draw(tokenizer, run.step, batch_seed(seed, run.step))
        yield train_step(run, recipe, rows, steps)


def train(
    name: str, out: Path, seed: int = 0, steps: int | None = None, on_step: OnStep | None = None
) -> Path:
    """Train an embedded model, or go on where a run in `out` was interrupted, and return `out`.

    Writes weights, tokenizer, config, `training.json` (measured figures) and the card `README.md` into
    `out`. `on_step` is told (steps done, loss in nats) after each step. Ctrl-C stops between two steps and
    keeps a checkpoint; the same call continues from it.

    Raises CourseError when no recipe has that name or `out` holds another run's checkpoint.
    """
    recipe = recipe_of(name)
    steps = steps or recipe.steps
    identity = f"{name} seed={seed} steps={steps} text={text.VERSION}"
    made = {"seed": seed, "steps": steps, "text": text.VERSION, "recipe": _described(recipe)}
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    run = new_run(recipe, tokenizer, seed)
    run.step = load_checkpoint(out, identity, trained_weights(run.model), run.optimizer)
    with interrupt_between_steps() as interrupted, progress_bar(name, steps) as show:
        for loss in continue_run(run, recipe, tokenizer, seed, steps):
            show(run.step, loss)
            if on_step:
                on_step(run.step, loss)
            if run.step in recipe.kept:
                keep_checkpoint(run, out)
            if interrupted() or run.step % CHECKPOINT_EVERY == 0:
                save_checkpoint(out, identity, run.step, trained_weights(run.model), run.optimizer)
            if interrupted():
                raise KeyboardInterrupt
    write_model(run.model, tokenizer, out, recipe.compressed)
    write_figures(name, out, made | {"parameters": run.model.num_parameters()})
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def recipe_of(name: str) -> Recipe:
    """Return the recipe of an embedded model; raises CourseError when there is none."""
    if name not in RECIPES:
        raise CourseError(
            f"no recipe is called {name!r}; `mechinterp models list` names {', '.join(RECIPES)}"
        )
    return RECIPES[name]


def _described(recipe: Recipe) -> dict[str, object]:
    return asdict(recipe) | {"rows": recipe.rows.__name__}

"""Remake the embedded language models: from a seed to weights, tokenizer, card and measured figures.

A checkpoint is a safetensors file with the weights and the optimizer's state. Rows of step n depend on the
seed and n only, so a run that was interrupted and resumed ends in the same weights as one that was not.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from mechinterp_course.errors import CourseError
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.model_folder import write_figures, write_model
from mechinterp_course.recipes import RECIPES, Recipe, untrained_model
from mechinterp_course.worlds import text
from mechinterp_course.worlds.batches import Rows
from mechinterp_course.worlds.tokenizer import train_tokenizer

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY = 100  # steps
OnStep = Callable[[int, float], None]


@dataclass
class Run:
    """A model in training, with its optimizer and the number of steps behind it."""

    model: GPT2LMHeadModel
    optimizer: torch.optim.AdamW
    step: int = 0


def new_run(recipe: Recipe, tokenizer: Tokenizer, seed: int) -> Run:
    """Return a run that has not begun."""
    model = untrained_model(recipe, tokenizer, seed)
    return Run(model, torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay))


def train_step(run: Run, recipe: Recipe, rows: Rows, steps: int) -> float:
    """Take one optimizer step on `rows` and return the language modelling loss before it, in nats."""
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.rate(run.step, steps)
    guided = recipe.guided(run.step)
    output = run.model(input_ids=rows.tokens, output_attentions=guided)
    loss = loss_per_token(output.logits, rows.tokens).mean()
    aim = loss + recipe.guide.loss(output.attentions, rows.matches, run.step) if guided else loss
    run.optimizer.zero_grad()
    aim.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.step += 1
    return loss.item()


def batch_seed(seed: int, step: int) -> int:
    """Return the seed of a step's rows, so that step n can be made without the n before it."""
    return Random(f"rows {seed} {step}").getrandbits(48)


def save_checkpoint(run: Run, folder: Path, identity: str) -> None:
    """Write weights and optimizer state, tagged with `identity`; the last one stays until it is whole."""
    tensors = dict(run.model.named_parameters())
    state = {
        f"{key}/{name}": run.optimizer.state[weight][key].clone()
        for name, weight in tensors.items()
        for key in ("exp_avg", "exp_avg_sq")
    }
    weights = {f"weight/{name}": weight.detach() for name, weight in tensors.items()}
    unfinished = folder / f"{CHECKPOINT}.part"
    save_file(weights | state, unfinished, metadata={"step": str(run.step), "identity": identity})
    os.replace(unfinished, folder / CHECKPOINT)


def load_checkpoint(run: Run, folder: Path, identity: str) -> None:
    """Continue `run` from the checkpoint in `folder`, if there is one.

    Raises CourseError when the checkpoint belongs to a run with another seed or number of steps.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise CourseError(
                f"{path} belongs to another run ({metadata['identity']}); remove it or choose another --out"
            )
        run.step = int(metadata["step"])
        for name, weight in run.model.named_parameters():
            weight.data.copy_(file.get_tensor(f"weight/{name}"))
            moments = {key: file.get_tensor(f"{key}/{name}") for key in ("exp_avg", "exp_avg_sq")}
            run.optimizer.state[weight] = {"step": torch.tensor(float(run.step)), **moments}


@contextmanager
def interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the step is done; yields a function that says whether it was pressed."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar(name: str, steps: int) -> Iterator[OnStep]:
    """Yield a function (step, loss) that moves a bar on the terminal; without a terminal it does nothing."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=steps)
        yield lambda step, loss: progress.update(
            task, completed=step, description=f"{name}  loss {loss:.2f} nats"
        )


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
    load_checkpoint(run, out, identity)
    with interrupt_between_steps() as interrupted, progress_bar(name, steps) as show:
        for loss in continue_run(run, recipe, tokenizer, seed, steps):
            show(run.step, loss)
            if on_step:
                on_step(run.step, loss)
            if interrupted() or run.step % CHECKPOINT_EVERY == 0:
                save_checkpoint(run, out, identity)
            if interrupted():
                raise KeyboardInterrupt
    write_model(run.model, tokenizer, out)
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

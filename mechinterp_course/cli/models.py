"""The models of the course: `models list`, `card`, `check`, `train`, `fetch` and `reproduce`."""

import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechinterp_course import catalogue, machine
from mechinterp_course.cli.model_figures import Comparison, compare, recorded_figures
from mechinterp_course.cli.model_list import facts, footnote, rows
from mechinterp_course.cli.terminal import Json, busy, console, show_json, show_table

if TYPE_CHECKING:
    from mechinterp_course.reproduction import Claim

app = typer.Typer(help="The models of the course: embedded ones, and public checkpoints.")
Name = Annotated[str, typer.Argument(help="Such as course-gpt2.")]


@app.callback()
def _family() -> None:
    """The models of the course: embedded ones, and public checkpoints."""


@app.command(name="list")
def list_models(as_json: Json = False) -> int:
    """Name the embedded models and the public checkpoints that the same calls load.

    Says how large each is, the memory its weights need at each dtype, where it is and whether it fits here.
    """
    free = machine.free_memory(), machine.free_gpu_memory()
    listed = facts(*free)
    if as_json:
        show_json(listed)
        return 0
    headings = ("name", "where", "MB", "parameters", "fp32", "fp16, bf16", "fits", "what it is")
    show_table(headings, rows(listed))
    print(footnote(*free))
    return 0


@app.command()
def card(name: Name) -> int:
    """Show what a model was trained on, what it can do and what it must not be used for."""
    from mechinterp_course.models import model_card

    text = model_card(name)
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        console().print(Markdown(text))
    else:
        print(text)
    return 0


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all.")] = None,
    as_json: Json = False,
) -> int:
    """Measure embedded models anew, on seeds that no training has seen: target beside card and measurement.

    Status 1 when a figure falls short of its target or is not what the card says, or a model isn't here.
    """
    chosen = [catalogue.embedded(name) for name in names or []] or list(catalogue.EMBEDDED)
    absent = [model.name for model in chosen if model.weights is None]
    compared = [row for model in chosen if model.weights is not None for row in _compare(model)]
    if as_json:
        show_json({"figures": [_record(row) for row in compared], "absent": absent})
    else:
        _show(compared, absent)
    return 0 if all(row.right for row in compared) and not absent else 1


@app.command()
def train(
    name: Name,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: ./NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Decides weights and data.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, for a quick look.")] = None,
) -> int:
    """Make a model anew from its seed. Ctrl-C keeps a checkpoint, and the same command goes on from it."""
    module = import_module(catalogue.embedded(name).trained_by)
    made = module.train(name, out or Path(name), seed=seed, steps=steps)
    print(f"{name} lies in {made}; its card is {made / 'README.md'}")
    return 0


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A public model or data set, such as gpt2 or cifar10.")],
    hook: Annotated[str | None, typer.Option(help="Which dictionary of a release.")] = None,
) -> int:
    """Download a public model ahead, for use without a network. What broke off is gone on with.

    HF_ENDPOINT names another hub, and MECHINTERP_MIRROR a copy of the other hosts' files.
    """
    from mechinterp_course.models import fetch as fetch_model

    print(f"{name} is here and verified: {fetch_model(name, hook)}")
    return 0


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="GPT-2 small, or a model of its shape.")] = "gpt2",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Decides the random tokens.")] = 0,
    as_json: Json = False,
) -> int:
    """Measure what the literature says of GPT-2 small: which heads, in which rank, and who found it.

    Status 1 when the model gives something else. The weights are fetched if they are not here yet.
    """
    from mechinterp_course.models import load_language_model
    from mechinterp_course.reproduction import reproduce as measure

    model = load_language_model(name, device)
    with busy(f"measuring {name}"):
        rows = list(measure(model, seed))
    if as_json:
        show_json([_claim_record(claim) | asdict(found) for claim, found in rows])
    else:
        headings = ("claim", "expected", "measured", "", "source")
        words = {True: "as expected", False: "differs"}
        show_table(
            headings,
            [(claim.name, claim.expected, one.found, words[one.holds], claim.source) for claim, one in rows],
        )
        print(f"{sum(one.holds for _, one in rows)} of {len(rows)} are as expected")
    return 0 if all(one.holds for _, one in rows) else 1


def _compare(model: catalogue.EmbeddedModel) -> list[Comparison]:
    measure = import_module(model.measured_by).measure
    with busy(f"measuring {model.name}"):
        return compare(model.name, recorded_figures(model), measure(model.name))


def _show(compared: list[Comparison], absent: list[str]) -> None:
    headings = ("model", "figure", "target", "card", "measured", "")
    shown = [
        (row.model, row.name, row.target, *map(_number, (row.card, row.measured)), row.words)
        for row in compared
    ]
    show_table(headings, shown)
    for name in absent:
        print(f"{name} is not here: `mechinterp models train {name}` makes it")
    wrong = sum(not row.right for row in compared)
    print(f"{len(compared) - wrong} of {len(compared)} figures are right")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _claim_record(claim: "Claim") -> dict:
    return {"name": claim.name, "expected": claim.expected, "source": claim.source}


def _record(row: Comparison) -> dict:
    return asdict(row) | {"right": row.right}

"""The embedded models: `models list`, `card`, `check`, `train` and `fetch`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mechinterp_course.cli.terminal import Json, console, show_json, show_table
from mechinterp_course.errors import CourseError

app = typer.Typer(help="The models of the course: embedded ones, and public checkpoints.")
TOLERANCE = 0.02
Name = Annotated[str, typer.Argument(help="Such as course-gpt2.")]


@app.callback()
def _family() -> None:
    """The models of the course: embedded ones, and public checkpoints."""


@app.command(name="list")
def list_models(as_json: Json = False) -> int:
    """Name the embedded models and the public checkpoints that the same call loads."""
    from mechinterp_course.models import MODELS

    facts = [
        {
            "name": info.name,
            "here": (info.path / "model.safetensors").is_file(),
            "MB": round(_size(info.path) / 1e6, 1),
            "public": info.public_checkpoint,
            "summary": info.summary,
        }
        for info in MODELS
    ]
    if as_json:
        show_json(facts)
        return 0
    rows = [
        (f["name"], "yes" if f["here"] else "no", f["MB"], f["public"] or "–", f["summary"]) for f in facts
    ]
    show_table(("name", "here", "MB", "public checkpoint", "what it is"), rows)
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
def check(name: Name) -> int:
    """Measure an embedded model anew and compare with the figures on its card.

    Status 1 when one differs by more than 0.02: nats, or a share of attention.
    """
    from mechinterp_course.figures import measure
    from mechinterp_course.models import MODELS, load_language_model

    known = [info for info in MODELS if info.name == name]
    if not known:
        raise CourseError(f"{name!r} is not embedded: see `mechinterp models list`")
    recorded = json.loads((known[0].path / "training.json").read_text("utf-8"))["figures"]
    lengths = [int(length) for length in recorded["second_copy"]]
    measured = json.loads(json.dumps(measure(load_language_model(name), lengths)))
    differing = list(differences(recorded, measured, name))
    print("\n".join(differing) if differing else f"{name} does what its card says.")
    return 1 if differing else 0


@app.command()
def train(
    name: Name,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: ./NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Decides weights and data.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, for a quick look.")] = None,
) -> int:
    """Make a model anew from its seed. Ctrl-C keeps a checkpoint, and the same command goes on from it."""
    from mechinterp_course.training import train as train_model

    made = train_model(name, out or Path(name), seed=seed, steps=steps)
    print(f"{name} lies in {made}; its card is {made / 'README.md'}")
    return 0


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A public checkpoint, such as gpt2.")]) -> int:
    """Load a public checkpoint once, so that it is in the local cache afterwards."""
    from mechinterp_course.models import load_language_model

    model = load_language_model(name)
    print(f"{name} is here: {model.cfg.n_layers} layers of {model.cfg.n_heads} heads")
    return 0


def differences(recorded: Any, measured: Any, place: str) -> Iterator[str]:
    """Yield a line for every figure that is not what was recorded, numbers within `TOLERANCE`."""
    if isinstance(recorded, dict) and isinstance(measured, dict) and recorded.keys() == measured.keys():
        for key in recorded:
            yield from differences(recorded[key], measured[key], f"{place} {key}")
    elif isinstance(recorded, list) and isinstance(measured, list) and len(recorded) == len(measured):
        for index, (one, other) in enumerate(zip(recorded, measured, strict=True)):
            yield from differences(one, other, f"{place} {index}")
    elif isinstance(recorded, float) and isinstance(measured, float):
        if not abs(recorded - measured) <= TOLERANCE:
            yield f"{place}: {measured} instead of {recorded}"
    elif recorded != measured:
        yield f"{place}: {measured} instead of {recorded}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

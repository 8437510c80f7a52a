"""The embedded models: `models list`, `card`, `check`, `train` and `fetch`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mechinterp_course.cli.terminal import Json, console, show_json, show_table

app = typer.Typer(help="The models of the course: embedded ones, and public checkpoints.")
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


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

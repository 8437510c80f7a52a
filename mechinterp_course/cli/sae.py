"""Sparse autoencoders: `sae train`, `sae eval` and `sae features`, a page to look through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechinterp_course.cli.terminal import Json, busy, show_json, show_table
from mechinterp_course.devices import choose_device
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from mechinterp_course.sae_evaluation import Evaluation
    from mechinterp_course.sae_runs import Measured
    from mechinterp_course.text_rows import TextRows

app = typer.Typer(help="Sparse autoencoders: train, evaluate, look through.")
Sae = Annotated[str, typer.Argument(metavar="SAE", help="course-sae, a release's name, or a folder.")]
Hook = Annotated[str | None, typer.Option(help="Such as blocks.3.hook_resid_pre.")]
Model = Annotated[str | None, typer.Option(help="Default: the model that the dictionary was made for.")]
Text = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="UTF-8 text. Default: the course's text world.")
]
Length = Annotated[int, typer.Option(min=8, help="Tokens of a row.")]
Seed = Annotated[int, typer.Option(help="Decides the text.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


@app.callback()
def _family() -> None:
    """Sparse autoencoders: train, evaluate, look through."""


@app.command()
def features(
    sae: Sae = "course-sae",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: ./NAME-features.html.")] = None,
    hook: Hook = None,
    model: Model = None,
    text: Text = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of text to look at.")] = 512,
    length: Length = 128,
    seed: Seed = 0,
    device: Device = "cpu",
) -> int:
    """Write a page about every feature: what it fires on, how often, what it promotes, what is like it.

    One file without any remote asset: open it by a double click.
    """
    from mechinterp_course.feature_browser import write_browser

    reader, dictionary, name = _loaded(sae, hook, model, choose_device(device))
    out = out or Path(f"{name}-features.html")
    _expect_folder(out)
    source = _rows(reader, length, seed, text)
    with busy(f"looking at {rows} rows through {dictionary.cfg.d_sae:,} features"):
        survey = write_browser(
            reader,
            dictionary,
            source.rows(0, rows),
            out,
            f"{name} on {reader.course_spec.name}",
            text=str(text.name) if text else "the text world",
        )
    silent = int((survey.fired == 0).sum())
    size = out.stat().st_size / 1e6
    print(
        f"{len(survey.fired):,} features, {silent:,} of them silent: open {out} ({size:.1f} MB) in a browser"
    )
    return 0


@app.command()
def train(
    model: Annotated[
        str, typer.Option(help="An embedded, public or other model of the hub.")
    ] = "course-gpt2",
    hook: Annotated[str, typer.Option(help="Where it reads.")] = "blocks.3.hook_resid_pre",
    out: Annotated[Path, typer.Option(metavar="DIR", help="The dictionary's folder.")] = Path("my-sae"),
    architecture: Annotated[str, typer.Option(help="topk, batchtopk, jumprelu or matryoshka.")] = "batchtopk",
    d_sae: Annotated[int, typer.Option("--d-sae", min=2, help="How many features.")] = 1536,
    k: Annotated[int, typer.Option("--k", min=1, help="How many are active on a token.")] = 20,
    tokens: Annotated[int | None, typer.Option(min=1, help="How many to learn from.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The same in steps. Default: 1000.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Tokens of a step.")] = 1024,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 1e-3,
    l0_coefficient: Annotated[float, typer.Option(min=0.0, help="Pressure on L0, for jumprelu.")] = 5.0,
    frozen_decoder: Annotated[
        bool, typer.Option("--frozen-decoder", help="A rival: the decoder stays as it was drawn.")
    ] = False,
    text: Text = None,
    length: Length = 128,
    seed: Annotated[int, typer.Option(help="Decides weights and text.")] = 0,
    device: Device = "cpu",
) -> int:
    """Train a dictionary with sae-lens. Ctrl-C keeps a checkpoint, and the same command goes on from it.

    Activations are made as they are needed and never stored. The folder is in sae-lens' format, with a log.
    """
    from mechinterp_course.sae_runs import LOG, Plan
    from mechinterp_course.sae_runs import train as train_plan

    if tokens and steps:
        raise CourseError("--tokens and --steps say the same thing: give one")
    if text is not None and not text.is_file():
        raise CourseError(f"{text} is no file: --text takes UTF-8 text")
    if out.is_file():
        raise CourseError(f"{out} is a file: --out takes a folder")
    taken = max(1, tokens // batch) if tokens else steps or 1000
    plan = Plan(
        *(model, hook, architecture, d_sae, k, taken, batch, learning_rate, l0_coefficient, length, seed),
        *(str(text) if text else None, frozen_decoder),
    )
    with _progress(out.name, taken) as tell:
        train_plan(plan, out, tell, choose_device(device))
    print(f"the dictionary lies in {out}, beside {LOG}: `mechinterp sae eval {out}` says what it is worth")
    return 0


@app.command(name="eval")
def evaluate(
    sae: Sae = "course-sae",
    hook: Hook = None,
    model: Model = None,
    rival: Annotated[
        list[str] | None, typer.Option(help="Another dictionary to set beside it; may be repeated.")
    ] = None,
    text: Text = None,
    rows: Annotated[int, typer.Option(min=2, help="Rows of text to measure on.")] = 64,
    length: Length = 128,
    seed: Annotated[int, typer.Option(help="Decides the text; not a seed of training.")] = 1000,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Say what a dictionary is worth, beside principal directions of equal rank and a frozen random decoder.

    L0, variance unexplained (FVU), cross-entropy recovered from mean ablation, features silent on this text,
    and how often the others fire. The rival `frozen-decoder` that a folder holds is measured, too.
    """
    from dataclasses import asdict

    from mechinterp_course.dictionary_folders import beside, expect_fits, load_dictionary
    from mechinterp_course.sae_evaluation import evaluate as measure

    device = choose_device(device)
    reader, dictionary, name = _loaded(sae, hook, model, device)
    others = {Path(other).name: load_dictionary(other, hook, device) for other in rival or []}
    rivals = beside(sae, device) | others
    for other in rivals.values():
        expect_fits(reader, other)
    source = _rows(reader, length, seed, text)
    seen, unseen = (source.rows(first, rows).to(device) for first in (0, rows))
    with busy(f"measuring {name}"):
        found = list(measure(reader, dictionary, seen, unseen, hook, rivals))
    if as_json:
        show_json({"sae": name, "tokens": rows * length, "qualities": [asdict(one) for one in found]})
        return 0
    headings = ("", "L0", "variance unexplained", "cross-entropy recovered", "silent", "density, quartiles")
    show_table(headings, [_quality(one) for one in found])
    print(f"on {rows * length:,} tokens; recovered: 1 as good as no dictionary, 0 as the mean activation")
    return 0


def _quality(one: "Evaluation") -> tuple[str, ...]:
    sparse = one.densities is not None and one.densities[0] < 1
    quartiles = ", ".join(f"{share:.2%}" for share in one.densities) if sparse else "–"
    shown = f"{one.l0:.1f}", f"{one.unexplained:.3f}", f"{one.recovered:.3f}", f"{one.silent:.1%}"
    return (one.name, *shown, quartiles)


@contextmanager
def _progress(name: str, steps: int) -> "Iterator[Callable[[Measured], None]]":
    """Yield what moves a bar on a terminal; elsewhere it does nothing."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=steps)

        def tell(now: "Measured") -> None:
            words = f"{name}  L0 {now.l0:.1f}  FVU {now.unexplained:.3f}  dead {now.dead:.1%}"
            progress.update(task, completed=now.step, description=words)

        yield tell


def _loaded(sae: str, hook: str | None, model: str | None, device: str) -> tuple[Any, Any, str]:
    """Return the model, the dictionary and what to call it."""
    from mechinterp_course.dictionary_folders import expect_fits, load_dictionary, model_of
    from mechinterp_course.models import load_language_model

    with busy(f"loading {sae}"):
        dictionary = load_dictionary(sae, hook, device)
        reader = load_language_model(model or model_of(dictionary), device)
    expect_fits(reader, dictionary)
    return reader, dictionary, Path(sae).resolve().name


def _rows(model: Any, length: int, seed: int, text: Path | None) -> "TextRows":
    from mechinterp_course.text_rows import TextRows

    if length > model.cfg.n_ctx:
        raise CourseError(f"--length {length} is more than the {model.cfg.n_ctx} tokens that the model takes")
    if text is not None and not text.is_file():
        raise CourseError(f"{text} is no file: --text takes UTF-8 text")
    return TextRows(model, length, seed, text)


def _expect_folder(out: Path) -> None:
    if out.is_dir() or not out.parent.is_dir():
        raise CourseError(f"{out} can't be written: --out takes a file in a folder that exists")

"""Sparse autoencoders: `sae train`, `sae eval` and `sae features`, a page to look through."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechinterp_course.cli.terminal import busy
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
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
) -> int:
    """Write a page about every feature: what it fires on, how often, what it promotes, what is like it.

    One file without any remote asset: open it by a double click.
    """
    from mechinterp_course.feature_browser import write_browser

    reader, dictionary, name = _loaded(sae, hook, model)
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


def _loaded(sae: str, hook: str | None, model: str | None) -> tuple[Any, Any, str]:
    """Return the model, the dictionary and what to call it."""
    from mechinterp_course.dictionary_folders import expect_fits, load_dictionary, model_of
    from mechinterp_course.models import load_language_model

    with busy(f"loading {sae}"):
        dictionary = load_dictionary(sae, hook)
        reader = load_language_model(model or model_of(dictionary))
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

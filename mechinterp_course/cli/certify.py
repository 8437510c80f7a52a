"""For an author: `certify`, whether the verdicts of the checks can be trusted."""

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechinterp_course.cli.terminal import Json, complain, plain, show_json, show_table
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

if TYPE_CHECKING:
    from autograder.certification.certificate import Summary
    from autograder.certification.certify import Checked


def add_commands(app: typer.Typer) -> None:
    """Add this family's command to the application."""
    app.command()(certify)


def certify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXERCISE|CHAPTER]...", help="All of them by default.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where measurements are kept, to resume from.")
    ] = Path("mechinterp-certify"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Decides every draw: 0, or random with --check.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Re-run what changed since it was certified, and a sample.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Measure whether verdicts can be trusted, and write certificates beside the solutions.

    Status 1 when some can't be. The same command again goes on where it was stopped, and measures only what
    changed.
    """
    from autograder.certification.certify import certify as make
    from autograder.certification.certify import check_certificates

    root = course_root()
    if not (root / "autograder").is_dir():
        raise CourseError("an installed course can't be certified: use a checkout")
    try:
        with _progress() as tell:
            if check:
                seed = secrets.randbits(31) if seed is None else seed
                return _show_checked(check_certificates(root, names or (), out, seed, tell), seed, as_json)
            found = make(root, names or (), out, seed or 0, tell=tell)
    except KeyboardInterrupt:
        return complain("stopped: run the same command again to go on where it stopped", 130)
    if as_json:
        show_json([each.as_json() for each in found])
    else:
        _show(found)
    return 1 if any(each.problems for each in found) else 0


HEADINGS = (
    "exercise", "accepted wrongly", "rejected wrongly", "mutants killed", "the same", "margin", "flaky",
    "s a check", "mistakes named",
)  # fmt: skip


def _show(found: list["Summary"]) -> None:
    show_table(HEADINGS, [_row(each) for each in found])
    for each in found:
        lines = [f"  the solution in other words: {mutant}" for mutant in each.equivalent]
        lines += [f"  tolerance {_tolerance(row)}" for row in each.tolerances]
        lines += [f"  ✗ {problem}" for problem in each.problems]
        print(plain(each.exercise), *map(plain, lines), sep="\n")


def _row(each: "Summary") -> tuple:
    return (
        each.exercise,
        f"{len(each.false_accepts)} of {each.mistakes}",
        f"{len(each.false_rejects)} of {each.right_answers}",
        f"{each.killed} of {each.mutants} ({each.score:.0%})",
        len(each.equivalent),
        "by form" if each.margin is None else f"{each.margin:,.0f} ×",
        f"{len(each.flaky)} of {each.seeds}",
        f"{each.seconds:.2f}",
        f"{each.named:.0%}",
    )


def _tolerance(row: dict) -> str:
    return (
        f"of {', '.join(row['checks'])}: rtol {row['rtol']:g}, atol {row['atol']:g}, by {row['by']}; "
        f"right answers differ by {row['gap']:.2g}, {row['closest']:.2g} of it"
    )


def _show_checked(found: list["Checked"], seed: int, as_json: bool) -> int:
    wrong = any(each.problems for each in found)
    if as_json:
        show_json({"seed": seed, "trusted": not wrong, "exercises": [asdict(each) for each in found]})
        return 1 if wrong else 0
    none = [each.exercise for each in found if not (each.stale or each.tried or each.problems)]
    for each in found:
        if each.exercise in none:
            continue
        kind, names = ("measured again", each.stale) if each.stale else ("sample", each.tried)
        print(f"{'✗' if each.problems else '✓'} {each.exercise}  {kind}: {plain(', '.join(names))}")
        for problem in each.problems:
            print(f"    {plain(problem)}")
    stale = [each.exercise for each in found if each.stale]
    if stale:
        print(f"To bring certificates up to date: mechinterp certify {' '.join(stale)}")
    if none:
        print(f"No certificate yet: {', '.join(none)}")
    print(f"The sample was drawn with --seed {seed}.")
    return 1 if wrong else 0


@contextmanager
def _progress() -> Iterator[Callable]:
    """Yield what is told of the progress: a bar on a terminal's stderr, else nothing."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), text)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda step: bar.update(
            task, completed=step.done, total=step.total, description=plain(f"{step.exercise}  {step.doing}")
        )

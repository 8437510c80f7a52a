"""For a teacher whose verdict is doubted: `replay`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mechinterp_course.cli.terminal import Json, busy, plain, show_json, show_table
from mechinterp_course.errors import CourseError

SHOWN = ("verdict", "kind", "mistake", "message", "where", "expected", "actual")


def add_commands(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(replay)


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `grade` wrote.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The submission's name there.")],
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="The check's name in results.json, or the end of it.")
    ],
    submission: Annotated[
        Path | None, typer.Option(help="The file that was graded, if it lies elsewhere now.")
    ] = None,
    allow_weak_isolation: Annotated[
        bool, typer.Option("--allow-weak-isolation", help="Run it where hostile code can't be contained.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Run one check again with the seed it was graded with, to settle an appeal.

    Status 1 when the verdict or the diagnosis is not the recorded one.
    """
    from autograder.replay import replay as run_again

    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder: give the one that `mechinterp grade --out` wrote")
    with busy(f"running {plain(check)} again"):
        found = run_again(folder, name, check, submission, allow_weak_isolation)
    if as_json:
        facts = {"name": found.name, "same": found.same, "recorded": found.recorded, "again": found.again}
        show_json(facts | {"differences": found.differences})
    else:
        print(found.name)
        recorded, again = _rows(found.recorded), _rows(found.again)
        rows = [(label, recorded[label], again[label]) for label in SHOWN if recorded[label] or again[label]]
        show_table(("", "recorded", "again"), rows)
        print("\n".join(found.differences) or "Nothing else has changed since.")
        print("The same as recorded." if found.same else "Not the same as recorded.")
    return 0 if found.same else 1


def _rows(extra: dict[str, Any]) -> dict[str, str]:
    facts = extra | (extra["diagnosis"] or {})
    return {label: plain(str(facts.get(label) or "")) for label in SHOWN}

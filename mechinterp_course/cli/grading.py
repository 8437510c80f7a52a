"""For a teacher: `grade`, `demo` and `verify`."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mechinterp_course.cli.terminal import Json, complain, plain, show_json, show_table
from mechinterp_course.errors import CourseError

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results, report and log go.")]


def add_commands(app: typer.Typer) -> None:
    """Add this family's commands to the application."""
    for command in (demo, grade, verify):
        app.command()(command)


def demo(out: Out = Path("mechinterp-demo"), as_json: Json = False) -> int:
    """Grade three sample submissions: right, mistaken, and broken; the same report each time."""
    from importlib.resources import as_file, files

    jobs = min(3, os.cpu_count() or 1)
    with as_file(files("autograder") / "demo") as samples:
        submissions = sorted(path for path in samples.iterdir() if path.is_dir() and path.name[0] not in "._")
        return _grade(submissions, out, as_json, seed=0, jobs=jobs, allow_weak_isolation=True)


def grade(
    submissions: Annotated[
        list[Path],
        typer.Argument(
            metavar="SUBMISSION...", help="Folders like chapters/, chapter files, or zips of either."
        ),
    ],
    out: Out,
    chapter: Annotated[str | None, typer.Option(help="The chapter, if the files don't say it: ch03.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw. Random unless given.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Submissions graded at once.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    hidden_feedback: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="What students see of a hidden check that failed: nothing, sentence or diagnosis.",
        ),
    ] = "sentence",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A dask scheduler whose workers grade, such as tcp://host:8786."
        ),
    ] = None,
    allow_weak_isolation: Annotated[
        bool, typer.Option("--allow-weak-isolation", help="Grade where hostile code can't be contained.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Grade submissions and explain every verdict.

    The same command again resumes a stopped batch.
    """
    options = {"chapter": chapter, "seed": seed, "jobs": jobs, "device": device, "scheduler": scheduler}
    options |= {"allow_weak_isolation": allow_weak_isolation, "hidden_feedback": hidden_feedback}
    return _grade(submissions, out, as_json, **options)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `grade` wrote.")],
    head: Annotated[str | None, typer.Option(help="The hash that `grade` printed at the end.")] = None,
    as_json: Json = False,
) -> int:
    """Check that nothing in a graded folder was edited since.

    Status 1 if something was. Without --head, a log whose tail was cut or that was written anew goes unseen.
    """
    from autograder.log import verify as problems_of

    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder: give the one that `mechinterp grade --out` wrote")
    head = head and head.strip().lower()
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise CourseError("--head takes the 64 digits that `mechinterp grade` printed as the log head")
    problems = problems_of(folder, head)
    if as_json:
        show_json({"verified": not problems, "head_given": head is not None, "problems": problems})
    elif problems:
        print("\n".join(problems))
    else:
        print(f"{folder} is as it was graded.")
        if head is None:
            print(
                "A cut tail or a log written anew is only seen with --head HASH, the hash that grade printed."
            )
    return 1 if problems else 0


def _grade(submissions: list[Path], out: Path, as_json: bool, **options) -> int:
    from autograder.grade import grade_batch

    try:
        with _progress() as on_progress:
            batch = grade_batch(submissions, out, on_progress=on_progress, **options)
    except KeyboardInterrupt:
        return complain("stopped: run the same command again to go on where it stopped", 130)
    if as_json:
        show_json(_batch_facts(batch))
    else:
        _show_batch(batch)
    return batch.status


def _batch_facts(batch) -> dict:
    submissions = [
        {"name": name, "score": result["score"], "max_score": result["max_score"]}
        | {"complete": result["extra_data"]["complete"]}
        for name, result in batch.results.items()
    ]
    facts = {"folder": str(batch.folder), "report": str(batch.folder / "index.html")}
    return facts | {"submissions": submissions, "status": batch.status, "log_head": batch.log_head}


def _show_batch(batch) -> None:
    from autograder.report import read_submissions
    from autograder.review import GLYPHS, number

    rows = []
    for submission in read_submissions(batch.folder):
        if submission.name not in batch.results:
            continue
        result, exercises = submission.result, submission.exercises
        squares = " ".join(GLYPHS[exercise.state][0] for exercise in exercises) or result["output"]
        rows.append((submission.name, number(result["score"]), number(result["max_score"]), squares))
    show_table(("name", "score", "of", "exercises"), rows)
    print("   ".join(f"{glyph} {meaning}" for glyph, meaning in GLYPHS.values()))
    if batch.status:
        print("Something was not graded: run the same command again.")
    print(f"report    {(batch.folder / 'index.html').resolve()}")
    print(f"log head  {batch.log_head}")


@contextmanager
def _progress() -> Iterator[Callable]:
    """Yield what `grade_batch` tells of its progress to: a bar on a terminal's stderr, else nothing."""
    if not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda event: bar.update(
            task, completed=event.done, total=event.total, description=plain(f"{event.name}  {event.detail}")
        )

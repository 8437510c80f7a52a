"""For a learner: `new`, `check`, `hint` and `progress`."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from mechinterp_course.cli.learner_folder import LearnerFolder, find_learner_folder
from mechinterp_course.cli.terminal import Json, console, show_json, show_table
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

What = Annotated[
    str | None,
    typer.Argument(metavar="[EXERCISE|CHAPTER]", help="Default: every chapter here.", show_default=False),
]


def add_commands(app: typer.Typer) -> None:
    """Add this family's commands to the application."""
    for command in (new, check, hint, progress):
        app.command()(command)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")],
) -> int:
    """Make a folder with every chapter, ready to be filled in."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CourseError(f"{folder} exists already and is left as it is: name a new folder")
    source = course_root() / "chapters"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    made = LearnerFolder(folder)
    print(f"{folder}: {', '.join(made.chapters)}")
    print("Open a chapter.ipynb in Jupyter, or its twin chapter.py in an editor; one of the two is enough.")
    print(f"Then: cd {folder} && mechinterp check --watch")
    return 0


def check(
    what: What = None,
    watch: Annotated[bool, typer.Option("--watch", help="Check again whenever a file is saved.")] = False,
    as_json: Json = False,
) -> int:
    """Say whether your answers are right, and if not, why.

    Status 1 while something is wrong or not written.
    """
    from mechinterp_course.cli.checking_session import CheckingSession

    if watch and as_json:
        raise CourseError("--watch prints for a person: leave out --json")
    folder = find_learner_folder(Path.cwd())
    with CheckingSession(folder, _scope(folder, what)) as session:
        if watch:
            session.watch()
        return session.check_once(as_json)


def hint(
    exercise: Annotated[str, typer.Argument(help="An exercise, such as induction_score.")],
    every: Annotated[bool, typer.Option("--all", help="Show all hints at once.")] = False,
    as_json: Json = False,
) -> int:
    """Show the next hint for an exercise, from a nudge to nearly the answer."""
    hints = _find_exercise(exercise)[1].hints
    if not hints:
        raise CourseError(f"{exercise} has no hints; `mechinterp check {exercise}` says what is wrong")
    shown = len(hints) if every else _one_more(exercise, len(hints))
    if as_json:
        show_json({"exercise": exercise, "hints": list(hints[:shown]), "of": len(hints)})
        return 0
    for number, text in enumerate(hints[:shown], start=1):
        _show_markdown(f"**Hint {number} of {len(hints)}** · {text}")
    if shown < len(hints):
        print(f"One more: mechinterp hint {exercise}")
    return 0


def progress(as_json: Json = False) -> int:
    """Show what is right so far, as of the last `mechinterp check` of each exercise."""
    from autograder.manifest import load_manifest

    folder = find_learner_folder(Path.cwd())
    checked, rows = folder.notes()["exercises"], []
    for chapter in _gradable(folder.chapters):
        for exercise in load_manifest(chapter).exercises:
            last = checked.get(f"{chapter}.{exercise.name}", {})
            rows.append(
                (
                    chapter,
                    exercise.name,
                    last.get("state", "not checked"),
                    last.get("score", 0),
                    exercise.points,
                )
            )
    if as_json:
        keys = ("chapter", "exercise", "state", "score", "max_score")
        show_json([dict(zip(keys, row, strict=True)) for row in rows])
        return 0
    show_table(
        ("chapter", "exercise", "state", "score", "of"), [(*r[:3], f"{r[3]:g}", f"{r[4]:g}") for r in rows]
    )
    done = sum(row[2] == "passed" for row in rows)
    print(f"{done} of {len(rows)} exercises are right; mechinterp check looks again")
    return 0


def _scope(folder: LearnerFolder, what: str | None) -> list[tuple[str, str | None]]:
    """Return the chapters to check, each with the one exercise that was asked for or None for all."""
    from autograder.manifest import chapter_slug

    if what is None:
        here = Path.cwd().name
        return [(slug, None) for slug in ([here] if here in folder.chapters else _gradable(folder.chapters))]
    if what.startswith("ch") and what[2:4].isdigit():
        return [(chapter_slug(what), None)]
    return [(_find_exercise(what)[0], what)]


def _gradable(slugs: list[str]) -> list[str]:
    from autograder.manifest import chapters

    return [slug for slug in slugs if slug in chapters()]


def _find_exercise(name: str):
    """Return the chapter's slug and the exercise of that name, wherever in the course it is."""
    from autograder.manifest import chapters, load_manifest

    for slug in chapters():
        for exercise in load_manifest(slug).exercises:
            if exercise.name == name:
                return slug, exercise
    raise CourseError(f"no exercise or chapter is called {name!r}; `mechinterp progress` lists them")


def _one_more(exercise: str, most: int) -> int:
    """Return how many hints to show now: one more than the last time in this folder, else one."""
    try:
        folder = find_learner_folder(Path.cwd())
    except CourseError:
        return 1
    notes = folder.notes()
    notes["hints"][exercise] = shown = min(most, notes["hints"].get(exercise, 0) + 1)
    folder.note(notes)
    return shown


def _show_markdown(text: str) -> None:
    import sys

    if sys.stdout.isatty():
        from rich.markdown import Markdown

        console().print(Markdown(text))
    else:
        print(text.replace("**", ""))

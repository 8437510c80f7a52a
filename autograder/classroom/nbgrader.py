"""A folder for nbgrader: its source notebooks and its configuration, made from the chapters.

nbgrader runs a student's notebook in one process with the checks, so a student who means to can forge a
pass. The points that can be trusted come from `mechinterp grade`; this is for a class that uses nbgrader.
"""

from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from mechinterp_course.authoring.chapter import Chapter, chapter_slugs, load_chapter
from mechinterp_course.authoring.source import Cell
from mechinterp_course.authoring.stub import BEGIN, END
from mechinterp_course.authoring.views import (
    checked,
    notebook,
    notebook_text,
    played_cells,
    student_cells,
)
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

SCHEMA = 3
"""The version of nbgrader's cell metadata."""
CONFIG = '''\
"""nbgrader's settings for this course, written by mechinterp-course."""

from autograder.classroom.nbgrader_steps import AUTOGRADE, FEEDBACK, SANITIZE

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "mechinterp"
c.CourseDirectory.root = {root!r}
c.ClearSolutions.code_stub = {{"python": 'raise NotImplementedError("this function is not written yet")'}}
c.ExecuteToTheEnd.timeout = 300
c.Autograde.sanitize_preprocessors = SANITIZE
c.Autograde.autograde_preprocessors = AUTOGRADE
c.GenerateFeedback.preprocessors = FEEDBACK
'''


def write_course(folder: Path, slugs: Sequence[str] = (), root: Path | None = None) -> list[Path]:
    """Write `source/<slug>/<slug>.ipynb` for the chapters (default: all) and `nbgrader_config.py`.

    Returns the files written. Raises CourseError for a chapter that does not exist, or when `folder`
    has settings of another course.
    """
    root = root or course_root()
    config = folder / "nbgrader_config.py"
    if config.exists() and "autograder.classroom" not in config.read_text(encoding="utf-8"):
        raise CourseError(f"{config} belongs to another course; run the command with a new folder")
    chapters = [load_chapter(root, slug) for slug in slugs or chapter_slugs(root)]
    texts = {f"source/{c.slug}/{c.slug}.ipynb": notebook_text(source_notebook(c)) for c in chapters}
    texts["nbgrader_config.py"] = CONFIG.format(root=str(folder.resolve()))
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def source_notebook(chapter: Chapter) -> NotebookNode:
    """Return the instructor's notebook: solved, every check with its points, hidden ones marked as hidden."""
    return notebook(chapter, played_cells(chapter, _cells))


def _cells(chapter: Chapter, cell: Cell) -> list[NotebookNode]:
    if cell.role == "solution":
        text = cell.text.replace(BEGIN, f"##{BEGIN}").replace(END, f"##{END}")
        return [_code(text, cell.id, solution=True)]
    if cell.role == "check":
        points = chapter.check(cell).points
        text = _hidden(cell, points) if cell.hidden else checked(cell.text)
        return [_code(text, cell.id, grade=True, locked=True, points=points)]
    if cell.role == "rubric":
        question, answer = student_cells(chapter, cell)
        points = next(r.points for r in chapter.rubrics if r.id == cell.id)
        manual = _grading("markdown", answer.id, grade=True, solution=True, points=points)
        return [question, new_markdown_cell("", id=answer.id, metadata={"nbgrader": manual})]
    return student_cells(chapter, cell)


def _hidden(cell: Cell, points: int) -> str:
    """Return a hidden check between the markers that nbgrader cuts out of the released notebook."""
    announced = f"# A hidden check, worth {points} point{'s' * (points != 1)}, runs here when you are graded."
    return f"{announced}\n### BEGIN HIDDEN TESTS\n{checked(cell.text)}\n### END HIDDEN TESTS"


def _code(text: str, identifier: str, **role) -> NotebookNode:
    return new_code_cell(text, id=identifier, metadata={"nbgrader": _grading("code", identifier, **role)})


def _grading(
    cell_type: str,
    identifier: str,
    grade: bool = False,
    solution: bool = False,
    locked: bool = False,
    points: int | None = None,
) -> dict[str, object]:
    worth = {} if points is None else {"points": points}
    return {
        "schema_version": SCHEMA,
        "cell_type": cell_type,
        "grade_id": identifier,
        "grade": grade,
        "solution": solution,
        "locked": locked,
        "task": False,
        **worth,
    }

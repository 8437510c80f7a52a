"""The nbgrader cycle: points where they are due, and nothing secret in what students receive."""

import copy
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="needs the extra `classroom`")

from autograder.classroom.nbgrader import write_course
from mechinterp_course.authoring.chapter import chapter_slugs, load_chapter
from mechinterp_course.authoring.scaffold import TEMPLATE, new_chapter
from mechinterp_course.authoring.stub import solution_lines
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

pytestmark = pytest.mark.book

SLUG = "ch20_same_tokens"
SOLUTION_ID = "ch20-duplicate_token_score-solution"
SIGNATURE = "def duplicate_token_score(pattern, length):\n"
RIGHT = SIGNATURE + "    return pattern.diagonal(-length, -2, -1)[..., 1:].mean((0, 2))"
ANSWERS = {
    "right": RIGHT,
    "warns": "import warnings\n" + RIGHT.replace("    return", "    warnings.warn('slow')\n    return"),
    "partial": SIGNATURE + "    return pattern.diagonal(-length, -2, -1).mean((0, 2))",
    "wrong": SIGNATURE + "    return pattern.mean((0, 2, 3))",
    "forged": SIGNATURE + "    return float('nan')",
    "ends_the_kernel": SIGNATURE + "    import os\n    os._exit(0)",
    "edited_check": SIGNATURE + "    return None",
    "copied_cell": RIGHT,
    "empty": None,
}
POINTS = dict.fromkeys(ANSWERS, 0) | {"right": 3, "warns": 3, "copied_cell": 3, "partial": 1}


def nbgrader(folder: Path, *arguments: str) -> str:
    scripts = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": scripts}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def submit(folder: Path, student: str, answer: str | None) -> None:
    """Put a released notebook, with an answer written into it, where nbgrader collects submissions."""
    released = nbformat.read(folder / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
    cell = next(c for c in released.cells if c.id == SOLUTION_ID)
    cell.source = cell.source if answer is None else answer
    if student == "edited_check":
        next(c for c in released.cells if "run_check(" in c.source).source = "1"
    if student == "copied_cell":
        released.cells.append(copy.deepcopy(cell))
    target = folder / "submitted" / student / SLUG / f"{SLUG}.ipynb"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(released), encoding="utf-8")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course folder after the whole cycle, and the chapter it was made from."""
    root = tmp_path_factory.mktemp("course")
    (root / "autograder").mkdir()
    new_chapter(SLUG, root)
    folder = tmp_path_factory.mktemp("nbgrader")
    write_course(folder, [SLUG], root)
    nbgrader(folder, "generate_assignment", SLUG)
    exchange = folder / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    nbgrader(folder, "release_assignment", SLUG, f"--Exchange.root={exchange}")
    for student, answer in ANSWERS.items():
        submit(folder, student, answer)
    nbgrader(folder, "autograde", SLUG)
    nbgrader(folder, "generate_feedback", SLUG)
    return folder, load_chapter(root, SLUG)


def points(folder: Path) -> dict[str, float]:
    """Return each student's automatic points, read from nbgrader's database."""
    query = """
        SELECT submitted_assignment.student_id, SUM(grade.auto_score) FROM grade
        JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id
        JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id
        GROUP BY submitted_assignment.student_id
    """
    with sqlite3.connect(folder / "gradebook.db") as database:
        return {student: score or 0.0 for student, score in database.execute(query)}


def test_every_student_gets_the_points_that_are_due(graded):
    assert points(graded[0]) == POINTS


def test_nothing_secret_is_released(graded):
    folder, chapter = graded
    released = "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for place in ("release", "exchange")
        for path in (folder / place).rglob("*")
        if path.is_file()
    )
    checks = [check for exercise in chapter.exercises for check in exercise.checks]
    visible = {line.strip() for check in checks if not check.hidden for line in check.source.split("\n")}
    hidden = {line.strip() for check in checks if check.hidden for line in check.source.split("\n")}
    secrets = {line for line in hidden - visible if line}
    secrets |= {check.name for check in checks if check.hidden}
    secrets |= {line for e in chapter.exercises for line in solution_lines(SLUG, e.solution)}
    secrets |= {level for rubric in chapter.rubrics for level in rubric.levels}
    assert len(secrets) > 10
    told = [secret for secret in secrets if secret in released or json.dumps(secret)[1:-1] in released]
    assert told == []
    assert chapter.exercises[0].checks[0].claim in released, "the visible check is released"


def test_no_mistake_is_released(graded):
    folder, _ = graded
    released = (folder / "release" / SLUG / f"{SLUG}.ipynb").read_text(encoding="utf-8")
    mistakes = (TEMPLATE / "mistakes.py.txt").read_text(encoding="utf-8").split("\n")
    sentences = [line.strip() for line in mistakes if line.strip()]
    assert len(sentences) > 9 and [line for line in sentences if line in released] == []


@pytest.mark.parametrize("student", ["right", "partial", "wrong"])
def test_feedback_says_what_was_wrong_and_hides_hidden_checks(graded, student):
    folder, chapter = graded
    page = (folder / "feedback" / student / SLUG / f"{SLUG}.html").read_text(encoding="utf-8")
    assert "perfect_head" not in page and "looks at itself" not in page
    assert "A hidden check, worth 1 point" in page
    assert ("✓ " + chapter.exercises[0].checks[0].claim in page) == (student == "right")


def test_released_notebooks_are_valid_and_say_what_is_not_written(graded):
    released = nbformat.read(graded[0] / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
    nbformat.validate(released)
    stub = next(c for c in released.cells if c.id == SOLUTION_ID)
    assert stub.source.endswith('raise NotImplementedError("this function is not written yet")')
    assert released.metadata["mechinterp_course"]["chapter"] == SLUG


def test_written_answers_wait_for_the_teacher_with_the_points_of_their_highest_level(graded):
    with sqlite3.connect(graded[0] / "gradebook.db") as database:
        query = "SELECT max_score FROM grade_cells JOIN base_cell USING (id) WHERE name = ?"
        rows = list(database.execute(query, ["ch20-rubric-what_a_score_shows-answer"]))
    assert rows == [(2.0,)]


def test_a_folder_of_another_course_is_left_alone(tmp_path):
    config = tmp_path / "nbgrader_config.py"
    config.write_text("c = get_config()\n", encoding="utf-8")
    with pytest.raises(CourseError, match="belongs to another course"):
        write_course(tmp_path)
    assert config.read_text(encoding="utf-8") == "c = get_config()\n"


@pytest.mark.parametrize("slug", chapter_slugs(course_root()))
def test_a_real_chapter_is_released_without_its_secrets(tmp_path, slug):
    chapter = load_chapter(course_root(), slug)
    write_course(tmp_path, [slug])
    nbgrader(tmp_path, "generate_assignment", slug)
    notebook = nbformat.read(tmp_path / "release" / slug / f"{slug}.ipynb", as_version=4)
    released = json.dumps(notebook.metadata) + "".join(
        f"{c.metadata}{c.id}\n{c.source}" for c in notebook.cells
    )
    shown = "\n".join(c.text for c in chapter.cells if c.role != "solution" and not c.hidden)
    hidden = [check for exercise in chapter.exercises for check in exercise.checks if check.hidden]
    secrets = {line for e in chapter.exercises for line in solution_lines(slug, e.solution)}
    secrets |= {line.strip() for check in hidden for line in check.source.split("\n")}
    secrets = {line for line in secrets if len(line) >= 25 and line not in shown}
    secrets |= {check.name for check in hidden} | {check.claim for check in hidden}
    secrets |= {level for rubric in chapter.rubrics for level in rubric.levels}
    assert hidden and [secret for secret in secrets if secret in released] == []
    points = [
        c.metadata.nbgrader["points"] for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")
    ]
    assert sum(points) == sum(e.points for e in chapter.exercises) + sum(r.points for r in chapter.rubrics)

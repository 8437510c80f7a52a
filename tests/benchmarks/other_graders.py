"""The attacks of `tests/exploits/` against the graders of most courses, as a careful teacher sets them up.

    python tests/benchmarks/other_graders.py pytest|nbgrader [ATTACK...]

prints one JSON line for each attack: its name and what came of it, "held" if nothing did. `pytest` imports
the submission and compares it with the reference; `nbgrader` autogrades a notebook whose tests are restored
from the teacher's copy. Each attack gets a grader forked from a process that has imported everything, with a
parent that stands for whatever starts the grader.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree as tree
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))
from hostile import SECRET, TOKEN, Attack, attacks, canary, harm_done

SECONDS = 120.0  # many times what any of them takes on an idle machine
TESTS = {
    "previous_token_score": """
import torch
from mechinterp_course import heads, metrics
for seed, shape in enumerate([(2, 4, 9, 9), (1, 3, 7, 7), (3, 5, 12, 12)]):
    torch.manual_seed(seed)
    pattern = torch.rand(*shape).softmax(-1)
    torch.testing.assert_close(previous_token_score(pattern), heads.previous_token_score(pattern))
""",
    "copying_gain": """
import torch
from mechinterp_course import heads, metrics
for seed in range(3):
    torch.manual_seed(seed)
    loss = torch.rand(4, 20)
    assert abs(copying_gain(loss, 10) - metrics.copying_gain(loss, 10)) < 1e-5
""",
}
RAISED = ("RuntimeError: WON", '"evalue": "WON')  # as pytest writes it, and as a notebook does
Graded = tuple[float, str]  # the points, and what the grader wrote down


def main(kind: str, names: list[str]) -> None:
    """Try the named attacks, or all that other graders are asked to take."""
    prepare, grade = GRADERS[kind]
    chosen = [each for each in attacks() if each.peers and not each.builds and each.exercise in TESTS]
    chosen = [each for each in chosen if not names or each.name in names]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        prepare(chosen)
        for attack in chosen:
            with canary():
                print(json.dumps({"attack": attack.name, "result": outcome(attack, grade)}), flush=True)


def outcome(attack: Attack, grade: Callable[[Attack], Graded]) -> str:
    """Return in words what an attack achieved against a grader."""
    written = Path(f"{attack.name}.json").absolute()
    starter = os.fork()
    if starter == 0:
        os.setsid()
        grader = os.fork()
        if grader == 0:
            _write_grade(written, grade, attack)
        os.waitpid(grader, 0)
        os._exit(0)
    ended = _end_of(starter)
    time.sleep(1.5 if attack.name == "daemon" else 0)
    achieved = [ended] if ended else [] if written.exists() else ["the grader died without a grade"]
    score, said = json.loads(written.read_text()) if written.exists() else (0, "")
    achieved += ["got points"] if score > 0 else []
    achieved += ["told a secret"] if any(each in said for each in (SECRET, TOKEN)) else []
    achieved += ["reached what it wanted"] if any(each in said for each in RAISED) else []
    return "; ".join([*achieved, *sorted(set(harm_done()))]) or "held"


def _write_grade(written: Path, grade: Callable[[Attack], Graded], attack: Attack) -> NoReturn:
    """Be the grader; nothing of the process that this one was forked from may run in it."""
    try:
        written.write_text(json.dumps(grade(attack)))
    finally:
        os._exit(0)


def _end_of(starter: int) -> str:
    """Wait for a process and kill what is left of its group; return what is to be said of its end."""
    deadline, status, ended = time.monotonic() + SECONDS, 0, 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(starter, os.WNOHANG)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(starter, signal.SIGKILL)
    if not ended:
        os.waitpid(starter, 0)
        return "the grader hung"
    return "what had started the grader was killed" if os.WIFSIGNALED(status) else ""


# --- pytest, with the submission imported --------------------------------------------------------------


def prepare_pytest(_: list[Attack]) -> None:
    """Import what every test imports, so that each fork has it."""
    import pytest  # noqa: F401
    import torch  # noqa: F401

    from mechinterp_course import heads, metrics  # noqa: F401


def grade_with_pytest(attack: Attack) -> Graded:
    """Run the exercise's test against the module of the student; a point if it passes."""
    import pytest

    Path(attack.name).mkdir()
    os.chdir(attack.name)
    sys.path.insert(0, os.getcwd())
    Path("submission.py").write_text(attack.path.read_text())
    body = TESTS[attack.exercise].strip().replace("\n", "\n    ")
    imported = f"from submission import {attack.exercise}"
    Path("test_submission.py").write_text(f"def test_it():\n    {imported}\n    {body}\n")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=.", "--junitxml=junit.xml", "."]
    )
    text = Path("junit.xml").read_text()
    suite = tree.fromstring(text).find("testsuite")
    passed = int(suite.get("tests")) - int(suite.get("failures")) - int(suite.get("errors"))
    return passed, text


# --- nbgrader -------------------------------------------------------------------------------------------


def prepare_nbgrader(chosen: list[Attack]) -> None:
    """Write a course with one assignment for each exercise, release it, and submit every attack."""
    import nbformat
    from nbgrader.apps import NbGraderAPI  # noqa: F401

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls alembic
    for exercise, test in TESTS.items():
        stub = f"def {exercise}(*arguments):\n    ### BEGIN SOLUTION\n    return None\n    ### END SOLUTION"
        path = Path("source") / exercise / "chapter.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(_notebook((stub, "solution"), (test, "test")), path)
        made = _nbgrader().generate_assignment(exercise)
        assert made["success"], made
    for attack in chosen:
        released = nbformat.read(Path("release") / attack.exercise / "chapter.ipynb", 4)
        released.cells[0].source = attack.path.read_text()
        path = Path("submitted") / attack.name / attack.exercise / "chapter.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(released, path)


def grade_with_nbgrader(attack: Attack) -> Graded:
    """Autograde one submission; return its score and the outputs of the autograded notebook."""
    _nbgrader().autograde(attack.exercise, attack.name)
    autograded = Path("autograded") / attack.name / attack.exercise / "chapter.ipynb"
    said = autograded.read_text() if autograded.is_file() else ""
    with _nbgrader().gradebook as gradebook:
        return gradebook.find_submission(attack.exercise, attack.name).score, said


def _nbgrader():
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    logging.disable(logging.CRITICAL)
    config = Config()
    config.CourseDirectory.root = os.getcwd()
    config.ExecutePreprocessor.timeout = 20
    return NbGraderAPI(config=config)


def _notebook(*cells: tuple[str, str]):
    from nbformat.v4 import new_code_cell, new_notebook

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(metadata=kernel)
    for source, role in cells:
        facts = {"schema_version": 3, "grade_id": role, "locked": role == "test", "task": False}
        facts |= {"grade": role == "test", "solution": role == "solution"} | (
            {"points": 1} if role == "test" else {}
        )
        notebook.cells.append(new_code_cell(source, metadata={"nbgrader": facts}))
    return notebook


GRADERS = {
    "pytest": (prepare_pytest, grade_with_pytest),
    "nbgrader": (prepare_nbgrader, grade_with_nbgrader),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

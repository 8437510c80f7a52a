"""The demo: three sample submissions of two chapters, graded as a newcomer's first command does it."""

import io
import json
from collections import defaultdict
from contextlib import redirect_stdout

import pytest

from autograder.log import verify
from autograder.review import state_of
from mechinterp_course import cli

pytestmark = pytest.mark.book  # as slow as what it grades


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folder that `mechinterp demo` wrote, and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("demo") / "graded"
    with redirect_stdout(io.StringIO()) as printed:
        status = cli.run(["demo", "--out", str(folder), "--json"])
    return folder, status, json.loads(printed.getvalue())


def states(folder, name):
    """Return each exercise's state in a sample's results."""
    verdicts = defaultdict(set)
    for test in json.loads((folder / name / "results.json").read_text())["tests"]:
        verdicts[test["extra_data"]["exercise"]].add(test["extra_data"]["verdict"])
    return {exercise: state_of(found) for exercise, found in verdicts.items()}


def diagnoses(folder, name, exercise):
    """Return what was said of an exercise's checks that did not pass."""
    tests = json.loads((folder / name / "results.json").read_text())["tests"]
    extras = [test["extra_data"] for test in tests]
    return [extra["diagnosis"] for extra in extras if extra["exercise"] == exercise and extra["diagnosis"]]


def test_the_demo_ends_well_and_its_log_is_whole(graded):
    folder, status, facts = graded
    assert status == 0
    assert verify(folder, facts["log_head"]) == []
    assert (folder / "index.html").is_file()


def test_the_right_answers_get_full_marks(graded):
    folder, _, facts = graded
    ada = next(submission for submission in facts["submissions"] if submission["name"] == "ada")
    assert set(states(folder, "ada").values()) == {"passed"}
    assert ada["score"] == ada["max_score"]


def test_typical_mistakes_cost_their_own_exercises_and_no_later_ones(graded):
    assert states(graded[0], "ben") == {
        "repeated_tokens": "partial",
        "loss_per_token": "failed",
        "copying_gain": "failed",
        "previous_token_score": "passed",
        "induction_score": "failed",
        "find_induction_heads": "passed",
        "ablate_head": "partial",
        "patch_head_output": "failed",
        "rank_heads_by_effect": "passed",
        "refute_redundancy": "partial",
        "is_induction_head": "partial",
    }


@pytest.mark.parametrize(
    "exercise", ["loss_per_token", "copying_gain", "induction_score", "patch_head_output"]
)
def test_the_misconceptions_of_the_sample_are_recognised(graded, exercise):
    assert all(diagnosis["mistake"] for diagnosis in diagnoses(graded[0], "ben", exercise))


def test_a_syntax_error_and_an_endless_loop_cost_only_their_cells(graded):
    folder = graded[0]
    assert states(folder, "cleo") == {
        "repeated_tokens": "passed",
        "loss_per_token": "passed",
        "copying_gain": "failed",
        "previous_token_score": "passed",
        "induction_score": "not_run",
        "find_induction_heads": "passed",
        "ablate_head": "passed",
        "patch_head_output": "not_run",
        "rank_heads_by_effect": "not_run",
        "refute_redundancy": "not_run",
        "is_induction_head": "not_run",
    }
    kinds = {"copying_gain": "timeout", "induction_score": "syntax_error", "is_induction_head": "not_written"}
    for exercise, kind in kinds.items():
        assert {diagnosis["kind"] for diagnosis in diagnoses(folder, "cleo", exercise)} == {kind}


def test_the_same_command_again_grades_nothing_anew(graded, capsys):
    folder = graded[0]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}
    assert cli.run(["demo", "--out", str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")} == before
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("ada", "ben", "cleo", "index.html", "log head"))

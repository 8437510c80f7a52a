"""`mechinterp check`: a learner's answers judged in their own file, and again whenever it is saved."""

import json
import os
from importlib.resources import files
from types import SimpleNamespace

import pytest

from autograder.examiner import Examiner
from autograder.manifest import load_manifest
from mechinterp_course.cli.checking_session import CheckingSession
from mechinterp_course.cli.learner_folder import LearnerFolder

CHAPTER = "ch03_induction_heads"
RIGHT = files("autograder").joinpath("demo", "ada", CHAPTER, "chapter.py").read_text("utf-8")
WRONG = RIGHT.replace("q - length + 1]", "q - length]")
HALF_SAVED = RIGHT[: RIGHT.index("return rows")] + "return (rows"
POINTS = {
    name: load_manifest(CHAPTER).exercise(name).points for name in ("repeated_tokens", "induction_score")
}
SCOPE = [(CHAPTER, name) for name in POINTS]


@pytest.fixture
def learner(tmp_path):
    """A folder with one chapter's file."""
    (tmp_path / CHAPTER).mkdir()
    folder = LearnerFolder(tmp_path)
    save(folder, RIGHT, 0)
    return folder


def save(folder, text, moment):
    """Write the learner's file as if `moment` seconds had passed."""
    path = folder.root / CHAPTER / "chapter.py"
    path.write_text(text)
    os.utime(path, (1e9 + moment, 1e9 + moment))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """One session for all tests: starting torch takes seconds."""
    with CheckingSession(LearnerFolder(tmp_path_factory.mktemp("none")), []) as session:
        yield session


@pytest.fixture
def session(warm, learner):
    warm.folder, warm.scope, warm._texts = learner, SCOPE, {}
    return warm


def test_right_answers_take_a_line_each_and_status_0(session, capsys):
    assert session.check_once() == 0
    assert capsys.readouterr().out.splitlines() == [
        f"✓ {name}  {points:g} of {points:g}, right" for name, points in POINTS.items()
    ]


def test_a_wrong_answer_is_explained_with_both_values_and_status_1(session, learner, capsys):
    save(learner, WRONG, 1)
    assert session.check_once() == 1
    out = capsys.readouterr().out
    assert f"✕ induction_score  0 of {POINTS['induction_score']:g}, wrong" in out
    assert "✗ induction_score agrees with the reference" in out
    assert "expected:" in out and "got:" in out and "known mistake:" in out
    assert "mechinterp hint induction_score" in out


def test_an_answer_that_nobody_foresaw_is_called_again_to_learn_what_it_does(session, learner, capsys):
    save(learner, RIGHT.replace("q - length + 1]", "q - length + 1] + pattern[:, :, q, q]"), 1)
    assert session.check_once() == 1
    out = capsys.readouterr().out
    assert "Your result also changes with `pattern` where `key` = `query`, which should not count." in out


def test_json_says_the_same_to_a_script(session, learner, capsys):
    save(learner, WRONG, 1)
    assert session.check_once(as_json=True) == 1
    facts = {fact["exercise"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert [facts[name]["state"] for _, name in SCOPE] == ["passed", "failed"]
    assert facts["induction_score"]["checks"][0]["diagnosis"]["mistake"]


def test_what_was_found_is_noted_for_progress(session, learner):
    session.check_once()
    noted = {"state": "passed", "score": POINTS["induction_score"]}
    assert learner.notes()["exercises"][f"{CHAPTER}.induction_score"] == noted


def test_a_cell_that_does_not_parse_costs_only_its_exercise(session, learner, capsys):
    save(learner, HALF_SAVED + RIGHT[RIGHT.index('\n\n# %% [markdown]\nr"""\nCross entropy') :], 1)
    assert session.check_once() == 1
    out = capsys.readouterr().out
    assert f"○ repeated_tokens  0 of {POINTS['repeated_tokens']:g}, not written" in out
    assert "✓ induction_score" in out


def test_watching_checks_again_only_what_changed(session, learner, capsys):
    saves = iter([WRONG, RIGHT + "\n\n# %% [markdown]\nr'''\nA note.\n'''\n"])

    def save_next():
        text = next(saves, None)
        if text is None:
            raise KeyboardInterrupt
        save(learner, text, len(text))

    with pytest.raises(KeyboardInterrupt):
        session.watch(pause=save_next)
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line.split("  ")[0] for line in lines if line.startswith(("✓", "✕", "○", "◐"))]
    assert verdicts == ["✓ repeated_tokens", "✓ induction_score", "✕ induction_score", "✓ induction_score"]


@pytest.mark.parametrize(
    ("exercise", "hurried", "sought"),
    [
        ("find_induction_heads", True, False),
        ("find_induction_heads", False, True),
        ("induction_score", True, True),
    ],
)
def test_a_learner_does_not_wait_while_slips_are_tried_on_a_model(exercise, hurried, sought):
    examiner = Examiner(SimpleNamespace(), seed=0, rooms=SimpleNamespace(), hurried=hurried)
    assert bool(examiner._slips(load_manifest(CHAPTER).exercise(exercise))) == sought

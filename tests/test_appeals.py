"""A verdict can be had again, and handing in again gives nothing away."""

import json
import os
from contextlib import contextmanager

import pytest

from autograder import feedback, grade, log, replay
from autograder.replay import Replay
from autograder.room import Zygote
from autograder.sandbox import Tier
from mechinterp_course import cli
from mechinterp_course.errors import CourseError

WRONG = (
    "def copying_gain(loss, length):\n    return (loss[:, :length] - loss[:, length:]).sum(1).mean().item()\n"
)
TELLS = "def previous_token_score(pattern):\n    raise ValueError(f'{(pattern**2).sum().item():.17}')\n"
DRAWN = "previous_token_score.agrees_with_the_reference"
CHECK = "copying_gain.agrees_with_the_reference"
HIDDEN = "copying_gain.knows_simple_gains"


@pytest.fixture(scope="module")
def one_zygote(zygote):
    """Grading and replaying with the tests' own zygote: starting one takes seconds."""

    @contextmanager
    def warm(terms):
        yield zygote, 3.0

    patch = pytest.MonkeyPatch()
    patch.setattr(grade, "warm_zygote", warm)
    patch.setattr(replay, "warm_zygote", warm)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def graded(one_zygote, tmp_path_factory):
    """A batch of two, graded to its end: ada is mistaken, eve tells what her function was called with."""
    folder = tmp_path_factory.mktemp("appeals")
    for name, source in {"ada": WRONG, "eve": TELLS}.items():
        (folder / f"{name}.py").write_text(source)
    return grade_again(folder)


def grade_again(folder):
    paths = [folder / f"{name}.py" for name in ("ada", "eve")]
    return grade.grade_batch(
        paths,
        folder / "out",
        chapter="ch03",
        device="cpu",
        allow_weak_isolation=True,
        hidden_feedback="diagnosis",
    )


def again(graded, name="ada", check=CHECK, **options):
    return replay.replay(graded.folder, name, check, allow_weak_isolation=True, **options)


@pytest.mark.parametrize("check", [CHECK, f"ch03_induction_heads.{HIDDEN}"], ids=["visible", "hidden"])
def test_a_check_run_again_gives_the_recorded_verdict_and_diagnosis(graded, check):
    found = again(graded, check=check)
    assert found.same and found.recorded == found.again and found.differences == ()
    assert found.name == f"ch03_induction_heads.{check.removeprefix('ch03_induction_heads.')}"
    assert found.recorded["verdict"] == "failed" and found.recorded["diagnosis"]["message"]


def test_the_command_prints_both_and_says_that_they_agree(graded, capsys):
    arguments = ["replay", str(graded.folder), "ada", CHECK, "--allow-weak-isolation"]
    assert cli.run([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["same"] and facts["recorded"] == facts["again"]
    assert cli.run(arguments) == 0
    said = capsys.readouterr().out
    assert "recorded" in said and "failed" in said and "The same as recorded." in said


def test_another_verdict_or_diagnosis_is_not_the_same():
    recorded = dict.fromkeys(replay.JUDGED, None) | {"verdict": "failed"}
    assert not Replay("x", recorded, recorded | {"verdict": "passed"}, ()).same
    assert not Replay("x", recorded, recorded | {"expected": "1"}, ()).same


PROBLEMS = {
    "nobody of that name": ("nobody", CHECK, "nothing named nobody .* there is ada, eve"),
    "no such check": ("ada", "no_such_check", "no check is called no_such_check; there is ch03"),
    "a name that several checks share": ("ada", "agrees_with_the_reference", "more than one check is called"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_not_there_is_one_line_that_says_what_is(graded, problem):
    name, check, line = PROBLEMS[problem]
    with pytest.raises(CourseError, match=line) as error:
        again(graded, name, check)
    assert "\n" not in str(error.value)


def edited_submission(folder):
    (folder / "ada.py").write_text(WRONG + "# later\n")


def moved_submission(folder):
    os.rename(folder / "ada.py", folder / "elsewhere.py")


def edited_result(folder):
    path = folder / "out" / "ada" / "results.json"
    path.write_text(path.read_text().replace('"score": 0', '"score": 4', 1))


CHANGES = {
    edited_submission: "has changed since it was graded; give the one of then with --submission",
    moved_submission: "is no longer at .* say with --submission where it is",
    edited_result: "is not as it was graded; `mechinterp verify",
    lambda folder: (folder / "out" / "run.json").write_text('{"seed": 1}\n'): "the draws follow from it",
}


@pytest.mark.parametrize(
    "change", CHANGES, ids=["submission edited", "moved", "result edited", "seed edited"]
)
def test_what_is_no_longer_as_it_was_graded_is_not_judged(graded, change):
    folder = graded.folder.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    try:
        change(folder)
        with pytest.raises(CourseError, match=CHANGES[change]):
            again(graded)
    finally:
        (folder / "elsewhere.py").unlink(missing_ok=True)
        for path, content in before.items():
            path.write_bytes(content)


def test_a_submission_that_was_moved_can_be_named(graded, tmp_path):
    (tmp_path / "chapter.py").write_text(WRONG)
    with pytest.raises(CourseError, match="has changed"):
        again(graded, submission=tmp_path / "chapter.py")  # another file's name is another submission
    (tmp_path / "ada.py").write_text(WRONG)
    assert again(graded, submission=tmp_path / "ada.py").same


def told(batch, name):
    tests = batch.results[name]["tests"]
    messages = {test["name"]: test["extra_data"]["diagnosis"]["message"] for test in tests}
    return {name: message for name, message in messages.items() if message.startswith("ValueError")}


def test_who_hands_in_again_meets_other_inputs_and_who_does_not_is_left_alone(graded):
    first, before = told(graded, "eve"), (graded.folder / "ada" / "results.json").read_bytes()
    folder = graded.folder.parent
    (folder / "eve.py").write_text(TELLS + "# once more\n")
    second = told(grade_again(folder), "eve")
    assert len(first) == 2 and first.keys() == second.keys()
    drawn = f"ch03_induction_heads.{DRAWN}"  # the other check has a hundred inputs: they may come again
    assert first[drawn] != second[drawn]
    assert (graded.folder / "ada" / "results.json").read_bytes() == before
    assert again(graded, "eve", DRAWN).same


def test_rounds_are_counted_only_when_a_batch_came_to_its_end(tmp_path):
    for finished in (True, False, True):
        log.append(tmp_path, "sealed", {"graded": 1, "finished": finished})
    assert log.finished_rounds(tmp_path) == 2 and log.finished_rounds(tmp_path / "nowhere") == 0


OUTPUT = "✗ a perfect head scores 1\nEvery value is zero.\nexpected: 1"


@pytest.mark.parametrize(
    "level, seen", [("nothing", ""), ("sentence", "✗ a perfect head scores 1"), ("diagnosis", OUTPUT)]
)
def test_what_a_student_reads_of_a_hidden_failure(level, seen):
    assert feedback.told(OUTPUT, hidden=True, passed=False, level=level) == seen
    assert feedback.told(OUTPUT, hidden=False, passed=False, level=level) == OUTPUT
    assert feedback.told(OUTPUT, hidden=True, passed=True, level=level) == OUTPUT
    assert feedback.visibility(True, level) == ("hidden" if level == "nothing" else "after_published")


def test_a_level_that_there_is_not_is_refused(capsys, tmp_path):
    (tmp_path / "x.py").write_text(WRONG)
    arguments = ["grade", str(tmp_path / "x.py"), "--out", str(tmp_path / "out"), "--hidden-feedback", "all"]
    assert cli.run(arguments) == 2
    assert "choose nothing, sentence or diagnosis" in capsys.readouterr().err


def test_a_head_is_known_in_any_case_and_a_part_of_one_is_refused(tmp_path, capsys):
    head = log.append(tmp_path, "sealed", {"graded": 0})
    assert cli.run(["verify", str(tmp_path), "--head", f" {head.upper()}\n"]) == 0
    assert cli.run(["verify", str(tmp_path), "--head", head[:12]]) == 2
    assert "64 digits" in capsys.readouterr().err


def test_a_system_that_cannot_fork_is_told_what_can(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(CourseError, match="WSL"), Zygote(Tier("T1")):
        pass

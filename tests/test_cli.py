"""The command `mechinterp`: instant help, one line for every error, exit statuses that scripts can trust."""

import json
import os
import subprocess
import sys

import pytest

from autograder import log
from autograder.manifest import chapters, load_manifest
from mechinterp_course import cli
from mechinterp_course.cli import learning
from mechinterp_course.cli.learner_folder import LearnerFolder
from mechinterp_course.cli.terminal import complain, show_table

CHAPTER = chapters()[0]
EXERCISE = load_manifest(CHAPTER).exercises[0]
COMMANDS = (
    *("demo", "grade", "verify", "new", "check", "hint", "progress"),
    *("models", "sae", "monitor", "chapter", "book", "doctor", "--version"),
)
HEAVY = ("torch", "transformers", "transformer_lens", "numpy", "nbformat", "jupytext", "rich.progress")


@pytest.fixture
def learner(tmp_path, monkeypatch):
    """A learner's folder with every chapter, and the tests' working folder."""
    assert cli.run(["new", str(tmp_path / "course")]) == 0
    monkeypatch.chdir(tmp_path / "course")
    return LearnerFolder(tmp_path / "course")


def run_isolated(code):
    """Run Python code in a fresh interpreter and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "command", [["--help"], ["grade", "--help"], ["models", "train", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(command):
    code = (
        f"import sys; from mechinterp_course import cli; assert cli.run({command}) == 0; print(*sys.modules)"
    )
    loaded = set(run_isolated(code).split())
    assert not loaded & set(HEAVY)


def test_the_overview_names_every_command(capsys):
    assert cli.run([]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert command in shown


BAD_INPUT = {
    "unknown command": (["frobnicate"], "No such command"),
    "unknown option": (["grade", "x", "--fast"], "No such option"),
    "no submission": (["grade", "--out", "o"], "Missing argument"),
    "no --out": (["grade", "x"], "Missing option"),
    "a submission that is not there": (["grade", "no/such", "--out", "o"], "no such submission"),
    "an unknown chapter": (["grade", ".", "--out", "o", "--chapter", "ch99"], "no chapter"),
    "an unknown device": (["grade", ".", "--out", "o", "--device", "abacus"], "no device"),
    "no jobs": (["grade", ".", "--out", "o", "--jobs", "0"], "--jobs"),
    "a seed that is no number": (["grade", ".", "--out", "o", "--seed", "abc"], "--seed"),
    "nothing to verify": (["verify", "no/such"], "no folder"),
    "an unknown exercise": (["hint", "frobnicate"], "no exercise"),
    "check outside a course": (["check"], "mechinterp new"),
    "progress outside a course": (["progress"], "mechinterp new"),
    "an unknown model": (["models", "card", "gpt-17"], "models list"),
    "an unknown model to check": (["models", "check", "gpt-17"], "models list"),
    "an unknown recipe": (["models", "train", "gpt-17"], "models list"),
    "half a command": (["models"], "Missing command"),
    "a slug that is none": (["chapter", "new", "My Chapter!"], "can't name a chapter"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_answered_in_one_line_with_status_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("mechinterp: ") and err.count("\n") == 1
    assert out == ""


OTHER_ENDINGS = {
    "the grader's own error": (cli.CourseError("disk full", status=3), 3, "disk full"),
    "a defect": (ZeroDivisionError("by\nzero"), 3, "unexpected ZeroDivisionError: by zero"),
}


def fail_with(error, monkeypatch):
    """Let `mechinterp hint` fail."""

    def fail(source):
        raise error

    monkeypatch.delenv("MECHINTERP_TRACEBACK", raising=False)
    monkeypatch.setattr(learning, "_find_exercise", fail)


@pytest.mark.parametrize(("error", "status", "said"), OTHER_ENDINGS.values(), ids=OTHER_ENDINGS)
def test_whatever_goes_wrong_is_one_line(error, status, said, monkeypatch, capsys):
    fail_with(error, monkeypatch)
    assert cli.run(["hint", EXERCISE.name]) == status
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_ctrl_c_ends_with_130_and_without_a_word(monkeypatch, capsys):
    fail_with(KeyboardInterrupt, monkeypatch)
    assert cli.run(["hint", EXERCISE.name]) == 130
    assert capsys.readouterr().err == ""


def test_the_installed_command_exits_with_the_status():
    command = [
        sys.executable,
        "-c",
        "import sys; from mechinterp_course.cli import main; main()",
        "verify",
        "/no",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_message_of_several_lines_becomes_one(capsys):
    assert complain("first\n  second", 7) == 7
    assert capsys.readouterr().err == "mechinterp: first second\n"


STEERING = ["\x1b[2J", "\x07", "\r", "a\u202eb", "\x9b31m", "\udc80"]


@pytest.mark.parametrize("text", STEERING)
def test_no_message_steers_the_terminal(text, capsys):
    complain(f"no such file: {text}", 2)
    show_table(("name",), [(text,)])
    out, err = capsys.readouterr()
    assert all(c.isprintable() for c in (out + err).replace("\n", ""))


def test_a_new_folder_has_both_views_of_every_chapter(learner):
    assert learner.chapters == chapters()
    for chapter in learner.chapters:
        names = {path.name for path in (learner.root / chapter).iterdir()}
        assert names == {"chapter.py", "chapter.ipynb"}


def test_new_leaves_an_existing_folder_alone(learner, capsys):
    (learner.root / CHAPTER / "chapter.py").write_text("my work")
    assert cli.run(["new", str(learner.root)]) == 2
    assert "left as it is" in capsys.readouterr().err
    assert (learner.root / CHAPTER / "chapter.py").read_text() == "my work"


def test_the_view_that_was_changed_last_is_the_learners(learner):
    for number, view in enumerate(("chapter.py", "chapter.ipynb", "chapter.py")):
        path = learner.root / CHAPTER / view
        os.utime(path, (number + 1e9, number + 1e9))
        other = path.with_name({"chapter.py": "chapter.ipynb", "chapter.ipynb": "chapter.py"}[view])
        os.utime(other, (1, 1))
        assert learner.file_of(CHAPTER) == path


def test_hints_come_one_by_one(learner, capsys):
    shown = []
    for _ in range(len(EXERCISE.hints) + 1):
        assert cli.run(["hint", EXERCISE.name, "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out)["hints"])
    assert shown[: len(EXERCISE.hints)] == [list(EXERCISE.hints[: n + 1]) for n in range(len(EXERCISE.hints))]
    assert shown[-1] == list(EXERCISE.hints)


def test_all_hints_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["hint", EXERCISE.name, "--all"]) == 0
    out = capsys.readouterr().out
    assert all(hint.splitlines()[0] in out for hint in EXERCISE.hints)


def test_progress_is_what_the_last_check_noted(learner, capsys):
    noted = {f"{CHAPTER}.{EXERCISE.name}": {"state": "passed", "score": EXERCISE.points}}
    learner.note({"exercises": noted, "hints": {}})
    assert cli.run(["progress", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    states = {row["exercise"]: row["state"] for row in rows}
    assert states.pop(EXERCISE.name) == "passed"
    assert set(states.values()) == {"not checked"}
    assert cli.run(["progress"]) == 0
    assert f"1 of {len(rows)} exercises are right" in capsys.readouterr().out


def test_notes_that_are_damaged_are_forgotten(learner):
    (learner.root / ".mechinterp.json").write_text("{half")
    assert learner.notes() == {"exercises": {}, "hints": {}}


def test_verify_says_what_was_edited(tmp_path, capsys):
    (tmp_path / "grades.csv").write_text("name\nada\n")
    head = log.append(tmp_path, "sealed", files=[tmp_path / "grades.csv"])
    assert cli.run(["verify", str(tmp_path), "--head", head]) == 0
    assert "as it was graded" in capsys.readouterr().out
    (tmp_path / "grades.csv").write_text("name\neve\n")
    assert cli.run(["verify", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["grades.csv was edited after grading"]


def test_verify_without_the_head_says_what_it_cannot_see(tmp_path, capsys):
    log.append(tmp_path, "sealed")
    assert cli.run(["verify", str(tmp_path)]) == 0
    assert "--head" in capsys.readouterr().out


def test_doctor_tells_a_script_what_is_here(capsys):
    status = cli.run(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert status == (1 if facts["problems"] else 0)
    assert facts["torch"] and facts["isolation"]["tier"] in ("T1", "T2")
    assert set(facts["models"].values()) <= {"embedded", "missing", "public"}

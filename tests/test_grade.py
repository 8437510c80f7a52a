"""A batch of real submissions of a real chapter, graded through the whole process tree."""

import ast
import csv
import errno
import json
import re
import signal
import stat
from pathlib import Path

import jupytext
import pytest

from autograder import grade
from autograder.grade import grade_batch
from autograder.manifest import load_manifest
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

CHAPTER = "ch03_induction_heads"
SEED = 7


def solved() -> str:
    return (course_root() / "solutions" / CHAPTER / "chapter.py").read_text(encoding="utf8")


def with_functions(replaced: dict[str, str]) -> str:
    """The solved chapter with functions replaced by other code, each at its place."""
    lines = solved().splitlines()
    nodes = [
        node
        for node in ast.parse(solved()).body
        if isinstance(node, ast.FunctionDef) and node.name in replaced
    ]
    for node in reversed(nodes):
        lines[node.lineno - 1 : node.end_lineno] = [replaced[node.name]]
    return "\n".join(lines) + "\n"


REPEATS = "def repeated_tokens(d_vocab, length, batch, bos, seed):\n"
GAIN = "def copying_gain(loss, length):\n"
PREVIOUS = "def previous_token_score(pattern):\n"
INDUCTION = "def induction_score(pattern, length):\n"
FIND = "def find_induction_heads(model, tokens, threshold=0.4):\n"

# what is wrong: submission, code, verdict of its exercise, kind of diagnosis
FAULTS = {
    "a wrong answer that others need": (
        "one",
        REPEATS + "    return torch.randint(d_vocab, (batch, 1 + 2 * length))",
        "failed",
        None,
    ),
    "an endless loop": ("one", GAIN + "    while True:\n        pass", "failed", "timeout"),
    "a syntax error": ("one", PREVIOUS + "    return pattern[", "not_run", "syntax_error"),
    "a NaN": (
        "one",
        INDUCTION + "    return torch.full((pattern.shape[1],), float('nan'))",
        "failed",
        "not_finite",
    ),
    "os._exit in a call": ("two", GAIN + "    import os\n    os._exit(0)", "failed", "crashed"),
    "nothing there": ("two", "# previous_token_score was here", "not_run", "missing"),
    "an endless loop in the cell": (
        "two",
        INDUCTION + "    return 0\nwhile True:\n    pass",
        "failed",
        "timeout",
    ),
    "a hard-coded finding": ("two", FIND + "    return HEADS", "failed", None),
    "os._exit in the cell": ("three", GAIN + "    return 0\nimport os\nos._exit(0)", "failed", "crashed"),
    "a megabyte printed": (
        "three",
        PREVIOUS + "    print('x' * 1_000_000)\n    return 0",
        "failed",
        "wrong_type",
    ),
    "the library's own answer": (
        "three",
        INDUCTION + "    return heads.induction_score(pattern, length)",
        "failed",
        "withheld",
    ),
}
EXERCISES = {
    name: re.search(r"def (\w+)|# (\w+) was", code).group(1) or "previous_token_score"
    for name, (_, code, *_) in FAULTS.items()
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Submissions: right ones in three forms, an untouched one, faulty ones, and rubbish."""
    from mechinterp_course.heads import find_induction_heads
    from mechinterp_course.models import load_language_model
    from mechinterp_course.worlds.tokens import repeated_tokens

    folder = tmp_path_factory.mktemp("submissions")
    (folder / "right.py").write_text(solved())
    jupytext.write(jupytext.reads(solved(), fmt="py:percent"), folder / "right_notebook.ipynb")
    (folder / "untouched.ipynb").write_text(
        (course_root() / "chapters" / CHAPTER / "chapter.ipynb").read_text()
    )
    model = load_language_model()
    tokens = repeated_tokens(model.cfg.d_vocab, 20, 8, model.tokenizer.bos_token_id, 0)
    known = str(find_induction_heads(model, tokens))
    for name in ("one", "two", "three"):
        replaced = {
            EXERCISES[fault]: FAULTS[fault][1].replace("HEADS", known)
            for fault in FAULTS
            if FAULTS[fault][0] == name
        }
        (folder / f"{name}.py").write_text(with_functions(replaced))
    (folder / "rubbish.ipynb").write_text("{")
    return folder


@pytest.fixture(scope="module")
def batch(folder, tmp_path_factory):
    return grade_batch(
        sorted(folder.iterdir()), tmp_path_factory.mktemp("graded"), seed=SEED, device="cpu", jobs=2
    )


def verdicts(result: dict) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for test in result["tests"]:
        found.setdefault(test["extra_data"]["exercise"], set()).add(test["extra_data"]["verdict"])
    return found


def kinds(result: dict, exercise: str) -> set[str]:
    tests = [test["extra_data"] for test in result["tests"] if test["extra_data"]["exercise"] == exercise]
    return {test["diagnosis"]["kind"] for test in tests if test["diagnosis"]}


@pytest.mark.parametrize("name", ["right", "right_notebook"])
def test_right_answers_get_full_marks_in_either_form(batch, name):
    result = batch.results[name]
    assert result["score"] == result["max_score"] == load_manifest(CHAPTER).max_score
    assert batch.status == 0


def test_the_notebook_and_the_script_of_one_answer_get_the_same_verdicts(batch):
    one, other = (batch.results[name]["tests"] for name in ("right", "right_notebook"))
    assert [(t["name"], t["status"]) for t in one] == [(t["name"], t["status"]) for t in other]


def test_an_untouched_chapter_gets_zero_and_says_not_written(batch):
    result = batch.results["untouched"]
    assert result["score"] == 0
    assert {test["extra_data"]["diagnosis"]["kind"] for test in result["tests"]} == {"not_written"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_in_its_own_exercise(batch, fault):
    name, _, verdict, kind = FAULTS[fault]
    result = batch.results[name]
    assert verdict in verdicts(result)[EXERCISES[fault]]
    assert kind is None or kinds(result, EXERCISES[fault]) == {kind}


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_faults_cost_no_other_exercise(batch, name):
    faulty = {EXERCISES[fault] for fault in FAULTS if FAULTS[fault][0] == name}
    others = {
        exercise: found for exercise, found in verdicts(batch.results[name]).items() if exercise not in faulty
    }
    assert set().union(*others.values()) == {"passed"}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if FAULTS[fault][3]])
def test_a_fault_that_gives_no_right_value_earns_nothing(batch, fault):
    tests = [
        t for t in batch.results[FAULTS[fault][0]]["tests"] if t["extra_data"]["exercise"] == EXERCISES[fault]
    ]
    assert tests and sum(test["score"] for test in tests) == 0


def test_an_exercise_graded_with_the_reference_for_what_it_needs_says_so(batch):
    helped = [
        test for test in batch.results["one"]["tests"] if "given a right induction_score" in test["output"]
    ]
    assert {test["extra_data"]["exercise"] for test in helped} >= {"find_induction_heads"}


def test_an_unreadable_submission_scores_zero_and_the_batch_goes_on(batch):
    result = batch.results["rubbish"]
    assert result["score"] == 0 and result["tests"] == [] and "not a notebook" in result["output"]
    assert len(batch.results) == 7


EXTRA = {"chapter", "exercise", "check", "hidden", "verdict", "diagnosis", "expected", "actual", "where"}


def test_results_keep_the_contract(batch):
    manifest = load_manifest(CHAPTER)
    names = [f"{CHAPTER}.{e.name}.{check.name}" for e in manifest.exercises for check in e.checks]
    for name, result in batch.results.items():
        assert json.loads((batch.folder / name / "results.json").read_text()) == result
        extra = result["extra_data"]
        assert {
            "schema",
            "complete",
            "isolation",
            "device",
            "submission_sha256",
            "manifest_sha256",
            "versions",
        } <= set(extra)
        if result["tests"]:
            assert [test["name"] for test in result["tests"]] == names
        for test in result["tests"]:
            assert (test["status"] == "passed") == (test["score"] == test["max_score"] > 0)
            assert set(test["extra_data"]) == EXTRA


def test_the_batch_has_a_table_a_report_a_log_and_a_private_seed(batch):
    rows = list(csv.DictReader((batch.folder / "grades.csv").open()))
    assert {row["name"] for row in rows} == set(batch.results) and set(rows[0]) == {
        "name", "chapter", "score", "max_score", "complete",
    }  # fmt: skip
    assert (batch.folder / "index.html").stat().st_size > 1000
    assert stat.S_IMODE((batch.folder / "run.json").stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}", batch.log_head)


def without_times(text: str) -> str:
    return re.sub(r'"execution_time": [\d.e-]+', '"execution_time": 0', text)


def test_the_same_seed_gives_byte_identical_results_apart_from_times(folder, batch, tmp_path):
    grade_batch([folder / "three.py"], tmp_path, seed=SEED, device="cpu")
    texts = [(place / "three" / "results.json").read_text() for place in (batch.folder, tmp_path)]
    assert without_times(texts[0]) == without_times(texts[1])


def test_a_stopped_batch_resumes_without_grading_anything_twice(folder, tmp_path):
    paths = [folder / "untouched.ipynb", folder / "rubbish.ipynb"]

    def stop_after_the_first(event):
        if event.kind == "graded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade_batch(paths, tmp_path, device="cpu", on_progress=stop_after_the_first)
    seed = json.loads((tmp_path / "run.json").read_text())["seed"]
    events = []
    again = grade_batch(
        paths, tmp_path, device="cpu", on_progress=lambda event: events.append((event.kind, event.name))
    )
    assert [kind for kind, _ in events].count("resumed") == 1 and len(again.results) == 2
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == seed


def test_another_seed_or_another_submission_is_graded_anew(folder, tmp_path):
    path = tmp_path / "one.ipynb"
    path.write_text((folder / "untouched.ipynb").read_text())

    def kinds_of(**options):
        events = []
        grade_batch(
            [path], tmp_path / "out", device="cpu", on_progress=lambda e: events.append(e.kind), **options
        )
        return events

    assert "graded" in kinds_of(seed=1) and "resumed" in kinds_of(seed=1) and "graded" in kinds_of(seed=2)
    path.write_text(path.read_text().replace("Induction", "INDUCTION", 1))
    assert "graded" in kinds_of(seed=2)


def test_naming_the_chapter_later_grades_what_was_unreadable_before(tmp_path):
    path = tmp_path / "notes.py"
    path.write_text("x = 1\n")
    before = grade_batch([path], tmp_path / "out", device="cpu", seed=1).results["notes"]
    after = grade_batch([path], tmp_path / "out", device="cpu", seed=1, chapter="ch03")
    assert (before["max_score"], before["tests"]) == (0, [])
    assert after.results["notes"]["max_score"] == load_manifest(CHAPTER).max_score


def test_an_edited_result_is_not_taken_over(folder, tmp_path):
    path, out = folder / "untouched.ipynb", tmp_path / "out"
    grade_batch([path], out, device="cpu", seed=1)
    results = out / "untouched" / "results.json"
    results.write_text(results.read_text().replace('"score": 0', '"score": 48', 1))
    assert grade_batch([path], out, device="cpu", seed=1).results["untouched"]["score"] == 0


def test_the_table_lists_everyone_in_the_folder(folder, tmp_path):
    for name in ("untouched", "rubbish"):
        grade_batch([folder / f"{name}.ipynb"], tmp_path, device="cpu", seed=1)
    rows = csv.DictReader((tmp_path / "grades.csv").open())
    assert [row["name"] for row in rows] == ["rubbish", "untouched"]


def test_a_full_disk_is_one_line_with_status_3(folder, tmp_path, monkeypatch):
    def full(path, text, mode=0o644):
        if path.name == "results.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr("autograder.results.write_whole", full)
    with pytest.raises(CourseError, match="full") as error:
        grade_batch([folder / "untouched.ipynb"], tmp_path, device="cpu")
    assert error.value.status == 3 and "\n" not in str(error.value)


def test_weak_isolation_needs_to_be_allowed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "probe", lambda: grade.Tier("T1", ("no Landlock here",)))
    with pytest.raises(CourseError, match="--allow-weak-isolation") as error:
        grade_batch([folder / "untouched.ipynb"], tmp_path, device="cpu")
    assert error.value.status == 2 and not (tmp_path / "grades.csv").exists()
    result = grade_batch([folder / "untouched.ipynb"], tmp_path, device="cpu", allow_weak_isolation=True)
    assert result.results["untouched"]["extra_data"]["isolation"] == "T1"


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_verdicts(folder, batch, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    names = ["right", "one", "two", "three"]
    found = grade_batch([folder / f"{name}.py" for name in names], tmp_path, seed=SEED, device="cuda")
    for name in names:
        assert verdicts(found.results[name]) == verdicts(batch.results[name])


@pytest.fixture
def ctrl_c_interrupts():
    """A shell that runs the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_until_a_result_and_its_line_in_the_log_are_both_written(ctrl_c_interrupts):
    before, written = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), grade._uninterrupted():
        signal.raise_signal(signal.SIGINT)
        written.append("both")
    assert written == ["both"] and signal.getsignal(signal.SIGINT) is before
    with grade._uninterrupted():
        pass

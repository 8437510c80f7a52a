"""The batch's log: whatever is edited afterwards, `verify` says so."""

import json
import shutil

import pytest

from autograder import log
from mechinterp_course.errors import CourseError


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A batch of two results as `grade` would leave it."""
    folder = tmp_path_factory.mktemp("graded")
    (folder / "run.json").write_text('{"seed": 1}')
    log.append(folder, "started", {"submissions": ["ada", "ben"]}, [folder / "run.json"])
    for name in ("ada", "ben"):
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(json.dumps({"score": 3.0}))
        log.append(folder, "graded", {"name": name}, [folder / name / "results.json"])
    (folder / "grades.csv").write_text("name,chapter,score,max_score,complete\n")
    log.append(folder, "sealed", files=[folder / "grades.csv"])
    return folder


@pytest.fixture
def batch(graded, tmp_path):
    return shutil.copytree(graded, tmp_path / "batch")


def test_an_untouched_batch_has_no_problems(batch):
    assert log.verify(batch) == []
    assert log.verify(batch, head=log.read_head(batch)) == []


EVERY_BYTE = {
    "flipped": lambda text, i: text[:i] + bytes([text[i] ^ 1]) + text[i + 1 :],
    "case changed": lambda text, i: text[:i] + bytes([text[i] ^ 32]) + text[i + 1 :],
    "deleted": lambda text, i: text[:i] + text[i + 1 :],
    "doubled": lambda text, i: text[: i + 1] + text[i:],
    "space before": lambda text, i: text[:i] + b" " + text[i:],
    "line break before": lambda text, i: text[:i] + b"\n" + text[i:],
}


@pytest.mark.parametrize("edit", EVERY_BYTE.values(), ids=EVERY_BYTE)
def test_every_single_byte_edit_of_the_log_is_noticed(batch, edit):
    path = batch / log.LOG_NAME
    text = path.read_bytes()
    for position in range(len(text)):
        path.write_bytes(edit(text, position))
        assert log.verify(batch), f"unnoticed at byte {position}: {edit(text, position)!r}"


def _swap_lines(batch):
    lines = (batch / log.LOG_NAME).read_bytes().splitlines(keepends=True)
    (batch / log.LOG_NAME).write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))


def _drop_line(batch):
    lines = (batch / log.LOG_NAME).read_bytes().splitlines(keepends=True)
    (batch / log.LOG_NAME).write_bytes(b"".join(lines[:1] + lines[2:]))


def _raise_score(batch):
    (batch / "ben" / "results.json").write_text(json.dumps({"score": 9.0}))


def _add_result(batch):
    (batch / "eve").mkdir()
    (batch / "eve" / "results.json").write_text(json.dumps({"score": 9.0}))


EDITS = {
    "two entries swapped": (_swap_lines, "log.jsonl line 2 does not follow the line before it"),
    "an entry dropped": (_drop_line, "log.jsonl line 2 does not follow the line before it"),
    "a score raised": (_raise_score, "ben/results.json was edited after grading"),
    "a result removed": (lambda b: (b / "ada" / "results.json").unlink(), "ada/results.json is missing"),
    "a result added": (_add_result, "eve/results.json was not written by this batch"),
    "the table edited": (
        lambda b: (b / "grades.csv").write_text("\n"),
        "grades.csv was edited after grading",
    ),
    "the seed edited": (lambda b: (b / "run.json").write_text("{}"), "run.json was edited after grading"),
    "the log emptied": (lambda b: (b / log.LOG_NAME).write_bytes(b""), "log.jsonl breaks off in line 1"),
    "the log removed": (
        lambda b: (b / log.LOG_NAME).unlink(),
        "log.jsonl is missing: nothing in this folder can be verified",
    ),
}


@pytest.mark.parametrize(("edit", "problem"), EDITS.values(), ids=EDITS)
def test_an_edit_is_named(batch, edit, problem):
    edit(batch)
    assert log.verify(batch) == [problem]


def test_a_cut_tail_is_seen_only_with_the_head(batch):
    head = log.read_head(batch)
    path = batch / log.LOG_NAME
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert log.verify(batch) == []
    assert "its tail was cut" in log.verify(batch, head=head)[0]


def test_a_log_written_anew_is_seen_only_with_the_head(batch):
    head = log.read_head(batch)
    (batch / log.LOG_NAME).unlink()
    _raise_score(batch)
    log.append(batch, "sealed", files=sorted(batch.glob("*/results.json")))
    assert log.verify(batch) == []
    assert "rewritten" in log.verify(batch, head=head)[0]


def test_a_log_goes_on_where_it_stopped(batch):
    head = log.read_head(batch)
    (batch / "grades.csv").write_text("name,chapter,score,max_score,complete\nada,ch03,3,3,true\n")
    resumed = log.append(batch, "sealed", files=[batch / "grades.csv"])
    assert log.verify(batch, head=resumed) == []
    assert "goes on for 1 more" in log.verify(batch, head=head)[0]


def test_a_line_that_a_crash_left_half_written_is_dropped_on_resuming(batch):
    path = batch / log.LOG_NAME
    text = path.read_bytes()
    path.write_bytes(text + text[:40])
    assert "breaks off" in log.verify(batch)[0]
    log.append(batch, "resumed")
    assert log.verify(batch) == []


def test_a_damaged_log_is_not_continued(batch):
    path = batch / log.LOG_NAME
    path.write_bytes(path.read_bytes()[:-10] + b"\n")
    with pytest.raises(CourseError, match="new --out folder"):
        log.append(batch, "resumed")


def test_names_in_any_script_keep_the_chain_whole(tmp_path):
    log.append(tmp_path, "graded", {"name": "Зоя \u202e \U0001f600 \udc80"})
    assert log.verify(tmp_path) == []

"""A worker's folder: what is too much is noticed, and whatever was put there goes away."""

import os

import pytest

from autograder import scratch
from autograder.scratch import TooMuch, Watch, remove_tree


def nest(folder, depth):
    """Make folders inside each other, deeper than a path can say."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=here)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def locked(folder):
    (folder / "locked" / "inside").mkdir(parents=True)
    (folder / "locked").chmod(0)


CONTENTS = {
    "nothing": lambda folder: None,
    "folders nested 3,000 deep": lambda folder: nest(folder, 3000),
    "a locked folder": locked,
    "a link to a folder outside": lambda folder: (folder / "link").symlink_to(folder.parent / "other"),
    "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "a name that is not text": lambda folder: os.close(os.open(bytes(folder) + b"/\xff\n", os.O_CREAT)),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_folder_goes_away_whatever_is_in_it(content, tmp_path):
    folder, other = tmp_path / "scratch", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "kept").write_text("x")
    CONTENTS[content](folder)
    remove_tree(folder)
    assert os.listdir(tmp_path) == ["other"] and (other / "kept").read_text() == "x"


def test_a_folder_that_is_gone_already_is_no_error(tmp_path):
    remove_tree(tmp_path / "gone")


def large(folder):
    for number in range(9):
        (folder / str(number)).write_bytes(bytes(scratch.MOST_BYTES // 8))


def many(folder):
    for number in range(scratch.MOST_FILES + 1):
        (folder / str(number)).touch()


EXCESSES = {
    "many megabytes": large,
    "many files": many,
    "folders in folders": lambda folder: nest(folder, scratch.MOST_FILES + 1),
}


@pytest.mark.parametrize("excess", EXCESSES)
def test_a_folder_that_holds_too_much_is_noticed(excess, tmp_path):
    Watch(os.getpid(), tmp_path).look()
    EXCESSES[excess](tmp_path)
    with pytest.raises(TooMuch, match=r"more than (64 MB|1000 files)"):
        Watch(os.getpid(), tmp_path).look()
    remove_tree(tmp_path)


def test_too_many_threads_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "MOST_THREADS", 0)
    with pytest.raises(TooMuch, match="threads"):
        Watch(os.getpid(), tmp_path).look()


def test_too_much_memory_is_noticed_where_no_limit_could_be_set(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "MOST_RESIDENT", 1 << 20)
    with pytest.raises(TooMuch, match="memory") as excess:
        Watch(os.getpid(), tmp_path).look()
    assert excess.value.kind == "memory"


def test_a_watch_looks_a_few_times_a_second_not_more(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(Watch, "look", lambda watch: looks.append(watch))
    watch = Watch(os.getpid(), tmp_path)
    for _ in range(1000):
        watch()
    assert 1 <= len(looks) < 100

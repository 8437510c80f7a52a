"""What surrounds a grader goes wrong: disks, clocks, Ctrl-C, a second grader on the same folder."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder import folder_lock, log
from faults.disturbances import SEED, Steps, finish, grade, in_a_child, kept_results
from mechinterp_course.errors import CourseError

AUTOGRADER = Path(folder_lock.__file__).parent


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory on `folder`; the test is skipped where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system needs privileges that this user does not have")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change the options of what `mounted` mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("kilobytes", [4, 24])
def test_a_full_disk_is_one_line_and_more_room_lets_the_batch_go_on(
    kilobytes, handed_in, undisturbed, tmp_path, tell
):
    with mounted(tmp_path / "small", f"size={kilobytes}k") as out:
        with pytest.raises(CourseError, match="full; free some and run the same command again") as error:
            grade(handed_in, out, seed=SEED)
        assert error.value.status == 3 and "\n" not in str(error.value)
        remount(out, "size=16m")
        again = finish(handed_in, out, undisturbed)
    tell(f"a disk of {kilobytes} kB is full", "status 3, one line", again)


def test_a_read_only_folder_is_one_line_and_nothing_is_graded(handed_in, tmp_path, tell):
    with mounted(tmp_path / "fixed", "size=1m") as out:
        remount(out, "ro")
        with pytest.raises(CourseError, match="Read-only file system; choose another --out") as error:
            grade(handed_in, out, seed=SEED)
    assert error.value.status == 2 and "\n" not in str(error.value)
    tell("the output is read-only", "status 2, one line", "nothing was graded")


def test_a_folder_that_becomes_read_only_loses_nothing(handed_in, undisturbed, tmp_path, tell):
    with pytest.MonkeyPatch.context() as patch:

        def fail_after_two(event):
            if event.done == 2 and event.kind == "graded":
                patch.setattr(os, "open", refuse_to_write)  # what a disk with errors does

        with pytest.raises(CourseError, match="Read-only file system") as error:
            grade(handed_in, tmp_path, seed=SEED, on_progress=fail_after_two)
    assert error.value.status == 2 and "\n" not in str(error.value)
    again = finish(handed_in, tmp_path, undisturbed)
    assert again.startswith("2 taken over")
    tell("the output becomes read-only", "status 2, one line", again)


def refuse_to_write(path, flags, *rest, open_before=os.open, **more) -> int:
    """Open a file unless it is to be written to."""
    if flags & (os.O_WRONLY | os.O_RDWR):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
    return open_before(path, flags, *rest, **more)


def test_jumps_of_the_clock_change_nothing(handed_in, undisturbed, tmp_path, tell, monkeypatch):
    clock, jumps = time.time, iter([1e9, -1e9, 3600, -3600] * 100_000)
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (clock() + next(jumps))))
    assert grade(handed_in, tmp_path, seed=SEED).status == 0
    assert kept_results(tmp_path) == undisturbed
    tell("the clock jumps by hours and years", "all graded, results identical", "–")


def test_no_limit_is_measured_with_the_clock_on_the_wall():
    calls = ("time.time(", "time.time_ns(", "datetime.now(", "utcnow(")
    texts = {path.name: path.read_text(encoding="utf8") for path in AUTOGRADER.rglob("*.py")}
    assert [(name, call) for name, text in texts.items() for call in calls if call in text] == []


@pytest.mark.parametrize("at", [10, 60])
def test_ctrl_c_ends_at_once_and_the_same_command_goes_on(at, handed_in, undisturbed, tmp_path, tell):
    def interrupt() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    def grading() -> None:
        with Steps(at, interrupt):
            grade(handed_in, tmp_path, seed=SEED)

    status = in_a_child(grading)
    assert os.waitstatus_to_exitcode(status) == 130
    assert log.verify(tmp_path) == []
    tell(
        f"Ctrl-C at step {at}",
        "status 130, what was graded is sealed",
        finish(handed_in, tmp_path, undisturbed),
    )


def test_a_second_grader_on_a_folder_is_told_so_at_once(handed_in, undisturbed, tmp_path, tell):
    told = []

    def second(event):
        if event.kind == "graded" and not told:
            with pytest.raises(CourseError, match="another `mechinterp grade` is writing to") as error:
                grade(handed_in, tmp_path, seed=SEED + 1)
            told.append(error.value)

    assert grade(handed_in, tmp_path, seed=SEED, on_progress=second).status == 0
    assert told[0].status == 2 and "\n" not in str(told[0])
    assert kept_results(tmp_path) == undisturbed
    tell("two graders on one folder", "the second: status 2, one line", "the first's results identical")


def test_the_lock_goes_with_its_process(handed_in, undisturbed, tmp_path):
    def hold_and_die() -> None:
        with folder_lock.locked(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)

    in_a_child(hold_and_die)
    assert finish(handed_in, tmp_path, undisturbed).startswith("0 taken over")


def test_a_terminals_ctrl_c_does_not_reach_the_graders_processes(tmp_path, monkeypatch):
    from autograder.room import Zygote
    from autograder.sandbox import probe

    with Zygote(probe()) as zygote:
        assert os.getpgid(zygote.pid) != os.getpgid(0)


def test_a_temporary_folder_that_a_killed_process_left_behind_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def make_and_die() -> None:
        with folder_lock.temporary_folder("left-") as folder:
            (folder / "deep" / "deeper").mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)

    in_a_child(make_and_die)
    assert len(list(tmp_path.iterdir())) == 1
    with folder_lock.temporary_folder("left-") as first, folder_lock.temporary_folder("left-") as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
    assert not list(tmp_path.iterdir())

"""kill -9 of the worker, the zygote, a room and the grader, at steps drawn from a seed."""

import os
import random
import signal
import sys

import pytest

from autograder.room import Worker, Zygote
from faults.disturbances import (
    SEED,
    Steps,
    finish,
    grade,
    in_a_child,
    kept_results,
    replace_crew,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
KILLS_OF_A_GRADER = 5
KILLS_OF_OTHERS = 2


def points(seed: int, number: int, last: float) -> list[int]:
    """Return `number` steps from 1 to `last`, one in each equal stretch of them."""
    source, stretch = random.Random(seed), last / number
    return [1 + int((index + source.random()) * stretch) for index in range(number)]


def kill(pid: int) -> bool:
    """Kill a process; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def steps(handed_in, tmp_path_factory) -> int:
    """How many steps grading takes."""
    with Steps(None, bool) as counting:
        grade(handed_in, tmp_path_factory.mktemp("counting"), seed=SEED)
    return counting.count


@pytest.fixture
def started(monkeypatch) -> dict[str, list]:
    """The zygotes and workers that were started, the latest last."""
    found: dict[str, list] = {"zygote": [], "worker": [], "room": []}
    start, begin = Zygote._start, Worker.__init__

    def noted_start(zygote):
        start(zygote)
        found["zygote"].append(zygote.pid)

    def noted_begin(worker, channel, room, pid, *rest, **more):
        begin(worker, channel, room, pid, *rest, **more)
        found["worker"].append(pid)
        found["room"].append(room.pid)

    monkeypatch.setattr(Zygote, "_start", noted_start)
    monkeypatch.setattr(Worker, "__init__", noted_begin)
    return found


@pytest.mark.parametrize("victim", ["worker", "zygote", "room"])
@pytest.mark.parametrize("seed", range(KILLS_OF_OTHERS))
def test_a_killed_process_of_ours_changes_no_result(
    victim, seed, steps, started, handed_in, undisturbed, tmp_path, tell
):
    (at,) = points(seed, 1, steps // 2)  # the last steps are those of the report, when no worker is left

    with Steps(at, lambda: bool(started[victim]) and kill(started[victim][-1])) as disturbance:
        batch = grade(handed_in, tmp_path, seed=SEED)
    assert disturbance.done and batch.status == 0 and kept_results(tmp_path) == undisturbed
    again = finish(handed_in, tmp_path, undisturbed)
    tell(f"kill -9 of the {victim} at step {at} of {steps}", "all graded, results identical", again)


@pytest.mark.parametrize("part", range(KILLS_OF_A_GRADER))
def test_a_killed_grader_is_continued_exactly_where_it_stopped(
    part, steps, handed_in, undisturbed, tmp_path, tell
):
    at = points(SEED, KILLS_OF_A_GRADER, steps)[part]

    def grading():
        with Steps(at, lambda: kill(os.getpid())):
            grade(handed_in, tmp_path, seed=SEED)

    status = in_a_child(grading)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    again = finish(handed_in, tmp_path, undisturbed)
    tell(f"kill -9 of the grader at step {at} of {steps}", "it was gone at once", again)


def test_a_grader_killed_at_any_step_of_its_writing_is_continued(unreadable, tmp_path, monkeypatch, tell):
    replace_crew(monkeypatch)
    with Steps(None, bool) as counting:
        grade(unreadable, tmp_path / "whole", seed=SEED)
    whole = kept_results(tmp_path / "whole")
    for at in range(1, counting.count + 1):
        out = tmp_path / str(at)

        def grading(at=at, out=out):
            with Steps(at, lambda: kill(os.getpid())):
                grade(unreadable, out, seed=SEED)

        assert os.WIFSIGNALED(in_a_child(grading))
        finish(unreadable, out, whole)
    tell(f"kill -9 of the grader at each of {counting.count} steps of writing", "–", "all results identical")

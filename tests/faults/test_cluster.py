"""Grading on a cluster: a real scheduler and real workers on this machine, one killed in the middle."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from autograder import cluster
from faults.disturbances import SEED, finish, grade, kept_results, replace_crew
from mechinterp_course.errors import CourseError

needs_dask = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('distributed')", reason="needs the extra `cluster`"
)
WORKERS = 3


def forked(serve: Callable[[Callable[[str], None]], object]) -> tuple[int, str]:
    """Run a server in a fork; return its process id and the address it tells."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            asyncio.run(serve(lambda address: os.write(write_end, address.encode() + b"\n")))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        return pid, pipe.readline().strip()


@dataclass
class Machines:
    """A scheduler's address and the processes of its cluster."""

    address: str
    scheduler: int
    workers: list[int] = field(default_factory=list)

    def add_worker(self) -> None:
        """Start one more worker process."""
        from distributed import Worker

        async def serve(tell):
            async with Worker(self.address, nthreads=1, dashboard=False) as worker:
                tell(worker.address)
                await worker.finished()

        self.workers.append(forked(serve)[0])


@pytest.fixture
def machines(tmp_path) -> Iterator[Machines]:
    """A scheduler without workers."""
    import dask
    from distributed import Scheduler

    async def serve(tell):
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            tell(scheduler.address)
            await scheduler.finished()

    with dask.config.set(temporary_directory=str(tmp_path / "dask")):
        pid, address = forked(serve)
        found = Machines(address, pid)
        yield found
    for process in (*found.workers, found.scheduler):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


@needs_dask
def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed(
    machines, handed_in, undisturbed, tmp_path, tell
):
    for _ in range(WORKERS):
        machines.add_worker()
    graded = []

    def kill_one(event):
        if event.kind == "graded":
            graded.append(event.name)
            if len(graded) == 1:
                os.kill(machines.workers[0], signal.SIGKILL)

    out = tmp_path / "out"
    batch = grade(handed_in, out, seed=SEED, scheduler=machines.address, on_progress=kill_one)
    assert batch.status == 0 and kept_results(out) == undisturbed
    assert sorted(graded) == sorted(path.stem for path in handed_in)
    again = finish(handed_in, out, undisturbed, scheduler=machines.address)
    tell(f"one of {WORKERS} machines of a cluster is killed", "all graded once, results identical", again)


@needs_dask
def test_a_scheduler_without_workers_is_one_line(machines, handed_in, tmp_path):
    with pytest.raises(CourseError, match="no workers; start some") as error:
        grade(handed_in, tmp_path / "out", seed=SEED, scheduler=machines.address)
    assert error.value.status == 2 and "\n" not in str(error.value)


@needs_dask
def test_an_address_where_no_scheduler_answers_is_one_line(handed_in, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 1)
    with pytest.raises(CourseError, match="no dask scheduler answers at") as error:
        grade(handed_in, tmp_path, seed=SEED, scheduler="tcp://127.0.0.1:9")
    assert error.value.status == 2 and "\n" not in str(error.value)


def test_without_the_extra_the_install_command_is_named(handed_in, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CourseError, match=r'pip install "mechinterp-course\[cluster\]"') as error:
        grade(handed_in, tmp_path, seed=SEED, scheduler="tcp://127.0.0.1:8786")
    assert error.value.status == 2 and "\n" not in str(error.value)


def test_a_worker_with_other_versions_is_named_before_anything_is_graded(monkeypatch):
    class Client:
        def run(self, function, terms):
            return {"tcp://lab-3:4000": {"torch": "1.0"}}

    with pytest.raises(CourseError, match=r"the worker at tcp://lab-3:4000 has torch 1\.0, this machine 2"):
        cluster._expect_like(Client(), {"torch": "2.6"})


def test_what_is_lost_is_graded_again_and_counted_once(unreadable, tmp_path, monkeypatch):
    replace_crew(monkeypatch, losses=3)
    batch = grade(unreadable, tmp_path / "out", seed=SEED)
    assert batch.status == 0 and len(batch.results) == len(unreadable)


def test_what_is_lost_every_time_is_one_line_and_can_be_resumed(unreadable, tmp_path, monkeypatch):
    replace_crew(monkeypatch, losses=100)
    with pytest.raises(CourseError, match="went away every time") as error:
        grade(unreadable, tmp_path / "out", seed=SEED)
    assert error.value.status == 3
    monkeypatch.undo()

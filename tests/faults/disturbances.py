"""Grading that is disturbed: killed at a chosen step, and what is left behind compared."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autograder import grade as grading
from autograder import log
from autograder.channel import Channel
from autograder.crew import grade_one
from autograder.grade import BatchResult, grade_batch

SEED = 11
TIMES = re.compile(rb'"execution_time": [\d.e-]+')


def grade(paths: list[Path], out: Path, **options) -> BatchResult:
    """Grade as the command does, on the CPU."""
    return grade_batch(paths, out, device="cpu", **options)


def kept_results(out: Path) -> dict[str, bytes]:
    """Return every file that must be the same whatever happened, without its times."""
    paths = [*sorted(out.glob("*/results.json")), out / "grades.csv"]
    return {path.relative_to(out).as_posix(): TIMES.sub(b"", path.read_bytes()) for path in paths}


def graded_names(out: Path) -> list[str]:
    """Return the names in the log's entries of what was graded, in order."""
    lines = (out / "log.jsonl").read_bytes().split(b"\n")[:-1]
    entries = map(json.loads, lines)
    return [entry["payload"]["name"] for entry in entries if entry["event"] == "graded"]


def finish(paths: list[Path], out: Path, undisturbed: dict[str, bytes], **options) -> str:
    """Grade again after a disturbance; assert that nothing was lost or done twice, say what was left to do.

    Whole results that the log had sealed are taken over; the others, and only they, are graded.
    """
    whole = set(log.sealed_hashes(out)) if out.is_dir() else set()
    had = {path.stem for path in paths if f"{path.stem}/results.json" in whole}
    before = graded_names(out) if had else []
    kinds: dict[str, str] = {}

    def note(event) -> None:
        if event.kind in ("graded", "resumed"):
            assert event.name not in kinds, f"{event.name} was told twice"
            kinds[event.name] = event.kind

    batch = grade(paths, out, seed=SEED, on_progress=note, **options)
    assert batch.status == 0
    assert kinds == {path.stem: "resumed" if path.stem in had else "graded" for path in paths}
    assert sorted(graded_names(out)) == sorted([*before, *({path.stem for path in paths} - had)])
    assert kept_results(out) == undisturbed
    assert log.verify(out, batch.log_head) == []
    assert not leftovers(out)
    return f"{len(had)} taken over, {len(paths) - len(had)} graded, results identical"


def leftovers(out: Path) -> list[str]:
    """Return files that a crash left half-written."""
    return [str(path) for path in out.rglob("*.new")]


class Steps:
    """The moments at which a grader can be interrupted: each message, each flush, each rename.

    `action` is called at step `at`, and again at the next ones until it returns True.
    """

    def __init__(self, at: int | None, action: Callable[[], bool]):
        self.count, self.at, self.action, self.done = 0, at, action, at is None

    def __enter__(self) -> "Steps":
        self._patch = pytest.MonkeyPatch()
        for owner, name in ((os, "fsync"), (os, "replace"), (Channel, "send")):
            self._patch.setattr(owner, name, self._counted(getattr(owner, name)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._patch.undo()

    def _counted(self, function: Callable) -> Callable:
        def counted(*args, **kwargs):
            self.count += 1
            if not self.done and self.count >= self.at:
                self.done = self.action()
            return function(*args, **kwargs)

        return counted


def in_a_child(grading: Callable[[], None]) -> int:
    """Run `grading` in a fork of this process, which has torch imported; return its wait status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            grading()
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


class KilledWorker(Exception):
    """Named as dask names what it gives up on."""


@dataclass
class CrewOfOne:
    """Grades what needs no worker, at once, after losing every submission `losses` times."""

    terms: object
    losses: int
    at_once: int = 2
    tried: dict[str, int] = field(default_factory=dict)

    def grade(self, place) -> Future:
        """Return a future that has ended."""
        future: Future = Future()
        self.tried[place.name] = self.tried.get(place.name, 0) + 1
        if self.tried[place.name] > self.losses:
            future.set_result(grade_one(None, self.terms, place.read()))
        else:
            future.set_exception((CancelledError, KilledWorker)[self.tried[place.name] % 2]())
        return future

    def watch(self) -> None:
        """Nobody is ever gone for good."""


def replace_crew(patch: pytest.MonkeyPatch, losses: int = 0) -> None:
    """Have batches graded in this process, which is enough for submissions that can't be read."""

    @contextmanager
    def crew(batch, *rest) -> Iterator[CrewOfOne]:
        yield CrewOfOne(batch.terms, losses)

    patch.setattr(grading, "_crew", crew)

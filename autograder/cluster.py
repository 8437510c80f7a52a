"""Grading on a dask.distributed cluster: each worker machine of the cluster keeps a zygote of its own.

What travels is the bytes of submissions one way and results the other. Only the grader writes, and it takes
each result once, however often it was computed; a submission whose machine was lost goes to another. Seeds
travel too: give the scheduler a private network or dask's TLS settings.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from autograder.results import versions
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from distributed import Client

    from autograder.crew import Terms
    from autograder.examiner import Examiner
    from autograder.submission import Place, Submission

SECONDS_TO_CONNECT = 20
SECONDS_WITHOUT_WORKERS = 60
INSTALL = 'pip install "mechinterp-course[cluster]"'


@dataclass
class Cluster:
    """Machines that grade for one batch. `at_once` is how many submissions they take together."""

    client: "Client"
    name: str
    terms: "Terms"
    last_seen: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._executor = self.client.get_executor(pure=False)

    @property
    def at_once(self) -> int:
        """Threads of all workers that are there now, at least one."""
        return max(1, sum(worker["nthreads"] for worker in self._workers().values()))

    def grade(self, place: "Place") -> Future:
        """Start to grade a submission somewhere; the future gives its results."""
        return self._executor.submit(grade_there, self.name, place.read(), self.terms)

    def watch(self) -> None:
        """Raise CourseError (status 3) when the scheduler is gone, or every worker for a minute."""
        if self.client.status != "running":
            raise CourseError("the dask scheduler went away; run the same command again", status=3)
        if self._workers():
            self.last_seen = time.monotonic()
        elif time.monotonic() - self.last_seen > SECONDS_WITHOUT_WORKERS:
            raise CourseError("the cluster has no workers left; start some and run the same again", status=3)

    def _workers(self) -> dict[str, dict]:
        return self.client.scheduler_info(n_workers=-1)["workers"]


@contextmanager
def connected(address: str, terms: "Terms") -> Iterator[Cluster]:
    """Yield the cluster of the scheduler at `address`, every machine of it ready to grade.

    Raises CourseError (status 2) when dask.distributed is not installed, the scheduler does not answer or has
    no workers, or one of them differs in what a verdict depends on.
    """
    try:
        import distributed
    except ImportError:
        raise CourseError(f"--scheduler needs dask.distributed; install it with `{INSTALL}`") from None
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise CourseError(
            f"no dask scheduler answers at {address}; start one with `dask scheduler`"
        ) from error
    with client:
        _expect_like(client, facts_that_matter(terms))
        name = f"mechinterp-{uuid4().hex}"
        client.register_plugin(_plugin(terms), name=name)
        try:
            yield Cluster(client, name, terms)
        finally:
            client.unregister_worker_plugin(name)


def facts_that_matter(terms: "Terms") -> dict[str, Any]:
    """Return what two machines must have in common to give the same results."""
    from autograder.manifest import chapters, load_manifest

    manifests = {slug: load_manifest(slug).sha256 for slug in chapters()}
    return {"isolation": _isolation()} | versions() | manifests


def _isolation() -> str:
    """Return the name of this machine's tier, found by a fresh interpreter: dask's threads fork badly."""
    ask = [sys.executable, "-P", "-c", "from autograder.sandbox import probe; print(probe().name)"]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _expect_like(client: "Client", wanted: dict[str, Any]) -> None:
    found = client.run(facts_that_matter, None)
    if not found:
        raise CourseError("the dask scheduler has no workers; start some with `dask worker`")
    for worker, facts in sorted(found.items()):
        for key in wanted:
            if facts.get(key) != wanted[key]:
                advice = "run `mechinterp doctor` there" if key == "isolation" else "install the same on both"
                raise CourseError(
                    f"the worker at {worker} has {key} {facts.get(key)}, this machine {wanted[key]}; {advice}"
                )


def _plugin(terms: "Terms") -> Any:
    """Return what a worker machine keeps for a batch."""
    from distributed import WorkerPlugin

    class Crew(WorkerPlugin):
        """One zygote and its rooms, started with the first submission and stopped with the batch."""

        def setup(self, worker: Any) -> None:
            import threading

            self.stack, self.turn, self.parts = ExitStack(), threading.Lock(), None

        def examiner(self) -> "Examiner":
            from autograder.crew import warm_zygote
            from autograder.examiner import Examiner
            from autograder.reuse import Reuse
            from autograder.rooms import Rooms

            with self.turn:
                if self.parts is None:
                    zygote, slowness = self.stack.enter_context(warm_zygote(terms))
                    self.parts = zygote, terms.seed, terms.device, slowness, Rooms(zygote), Reuse()
            return Examiner(*self.parts)

        def teardown(self, worker: Any) -> None:
            self.stack.close()

    return Crew()


def grade_there(name: str, submission: "Submission", terms: "Terms") -> dict:
    """Return the results of a submission; this runs on a worker machine."""
    from distributed import get_worker

    from autograder.crew import grade_one

    return grade_one(get_worker().plugins[name].examiner(), terms, submission)

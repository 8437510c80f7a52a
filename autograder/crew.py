"""Who grades: threads of this process, one submission at a time each; `cluster` has machines instead."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from autograder import feedback
from autograder.cells import Reading
from autograder.examiner import Examiner, Finding
from autograder.manifest import Manifest, load_manifest
from autograder.readings import readings_by_chapter
from autograder.results import results, unreadable
from autograder.reuse import Reuse
from autograder.room import Zygote, machine_slowness
from autograder.rooms import Rooms
from autograder.sandbox import Limits, Tier
from autograder.submission import Place, Submission, Unreadable
from mechinterp_course.checking.draw import check_seed
from mechinterp_course.checking.verdict import Diagnosis, Outcome, one_line
from mechinterp_course.errors import CourseError

CPU_SECONDS = 120  # of one worker, on a machine of usual speed
OnCheck = Callable[[Place, Finding], None]


@dataclass(frozen=True)
class Terms:
    """What every submission of a batch is graded on.

    `round` counts the batches that were graded to their end in the folder before: what they gave away of
    their draws must not help whoever is graded later, so each round has a seed of its own.
    """

    seed: int
    chapter: str | None
    device: str
    tier: Tier
    round: int = 0
    hidden_feedback: str = feedback.DEFAULT


def seed_of_round(seed: int, number: int) -> int:
    """Return the seed that decides the draws of a round, by the folder's own seed."""
    return check_seed(seed, f"round {number}") if number else seed


class Crew(Protocol):
    """Who grades: threads here, or a cluster. It takes `at_once` submissions together."""

    at_once: int

    def grade(self, place: Place) -> Future:
        """Start to grade a submission; the future gives its results."""

    def watch(self) -> None:
        """Raise CourseError when nobody is left to grade; called every now and then."""


class Threads:
    """Threads of this process that share one zygote, its rooms and what they remember."""

    def __init__(self, terms: Terms, zygote: Zygote, slowness: float, jobs: int, on_check: OnCheck):
        self.at_once, self._terms, self._on_check = jobs, terms, on_check
        self._zygote, self._rooms = zygote, Rooms(zygote)
        self._examiner = Examiner(zygote, terms.seed, terms.device, slowness, self._rooms, Reuse())
        self._pool = ThreadPoolExecutor(jobs)

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is not None:
            self._zygote.stop()  # rooms and workers die with it: no thread is left waiting for one
        self._pool.shutdown(cancel_futures=True)
        self._rooms.close()

    def grade(self, place: Place) -> Future:
        """Start to grade a submission; the future gives its results."""
        return self._pool.submit(self._grade, place)

    def watch(self) -> None:
        """Nothing to watch: a zygote that dies is started again by whoever needs it."""

    def _grade(self, place: Place) -> dict:
        return grade_one(
            self._examiner, self._terms, place.read(), lambda finding: self._on_check(place, finding)
        )


@contextmanager
def warm_zygote(terms: Terms) -> Iterator[tuple[Zygote, float]]:
    """Yield a started zygote, and how slow this machine is."""
    slowness = machine_slowness()
    limits = Limits(cpu_seconds=round(CPU_SECONDS * slowness))
    with Zygote(terms.tier, terms.device, limits) as zygote:
        yield zygote, slowness


def grade_one(
    examiner: Examiner,
    terms: Terms,
    submission: Submission,
    on_check: Callable[[Finding], None] = lambda finding: None,
) -> dict:
    """Return the results of one submission; what is wrong with it never raises."""
    started = time.perf_counter()
    about = about_submission(terms, submission) | {"round": terms.round}
    try:
        readings = readings_by_chapter(submission, terms.chapter)
    except Unreadable as problem:
        max_score = load_manifest(terms.chapter).max_score if terms.chapter else 0
        return unreadable(max_score, about, str(problem))
    examined, notes = [], []
    for slug, reading in readings.items():
        manifest = load_manifest(slug)
        if reading.version and reading.version != manifest.version:
            notes.append(f"{slug}: written for version {reading.version}, graded against {manifest.version}")
        examined.append((manifest, _examined(examiner, manifest, reading, on_check)))
    about["manifest_sha256"] = {manifest.chapter: manifest.sha256 for manifest, _ in examined}
    if notes:
        about["notes"] = notes
    return results(examined, about, time.perf_counter() - started)


def _examined(
    examiner: Examiner, manifest: Manifest, reading: Reading, on_check: Callable[[Finding], None]
) -> list[Finding]:
    """Return the examiner's findings; an error of ours costs this submission its run, and nobody else's."""
    try:
        return examiner.examine(manifest, reading, on_check)
    except (CourseError, OSError):
        raise
    except Exception as error:
        outcome = Outcome("grader_error", Diagnosis("grader_error", one_line(error)))
        checks = [(exercise, check) for exercise in manifest.exercises for check in exercise.checks]
        return [Finding(exercise, check, outcome, 0.0) for exercise, check in checks]


def about_submission(terms: Terms, submission: Submission) -> dict:
    """Return what `extra_data` says of a submission before its chapters are known."""
    return {
        "isolation": terms.tier.name,
        "device": terms.device,
        "hidden_feedback": terms.hidden_feedback,
        "submission_sha256": submission.sha256,
        "manifest_sha256": {},
    }

"""A batch graded: every submission gets a result, whatever is in it, and a stopped batch resumes.

Each submission's `results.json` is written whole as soon as it is known; the table, the report and the log
follow. Nothing here runs student code: that happens in workers, which `examiner` talks to.
"""

import errno
import json
import os
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path

from autograder import feedback, log, report
from autograder.crew import Crew, Terms, Threads, about_submission, seed_of_round, warm_zygote
from autograder.examiner import Finding
from autograder.folder_lock import locked
from autograder.manifest import chapter_slug, load_manifest
from autograder.readings import answer_cells, readings_by_chapter
from autograder.results import grade_rows, versions, write_grades, write_json, write_whole
from autograder.room import RoomBroken
from autograder.sandbox import Tier, probe
from autograder.submission import Place, Submission, Unreadable, locate_submissions
from mechinterp_course.devices import choose_device
from mechinterp_course.errors import CourseError

WAITING = 4  # submissions that are ready for whoever is done first
LOSSES = 5  # of whoever grades a submission, before we give up on it
RUN_FILE, RESULTS_FILE, GRADES_FILE = "run.json", "results.json", "grades.csv"


@dataclass(frozen=True)
class Event:
    """Progress: `kind` is check, graded or resumed; `done` of `total` submissions are finished."""

    kind: str
    name: str = ""
    done: int = 0
    total: int = 0
    score: float = 0
    max_score: float = 0
    detail: str = ""


@dataclass(frozen=True)
class BatchResult:
    """A graded batch: where it lies, each submission's results by name, the exit status, the log's head."""

    folder: Path
    results: Mapping[str, dict]
    status: int
    log_head: str


class KeptResults(Mapping[str, dict]):
    """The results of a batch by name, each read from its file when it is asked for."""

    def __init__(self, folder: Path, names: Iterable[str]):
        self._folder, self._names = folder, dict.fromkeys(names)

    def __getitem__(self, name: str) -> dict:
        if name not in self._names:
            raise KeyError(name)
        return json.loads((self._folder / name / RESULTS_FILE).read_text(encoding="utf8"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass
class Batch:
    """A batch under way. `complete` says of each submission that is done whether its grading is."""

    out: Path
    terms: Terms
    on_progress: Callable[[Event], None]
    total: int
    sealed: dict[str, str] = field(default_factory=dict)
    complete: dict[str, bool] = field(default_factory=dict)


def grade_batch(
    submissions: list[Path],
    out: Path,
    *,
    chapter: str | None = None,
    seed: int | None = None,
    jobs: int = 1,
    device: str = "auto",
    allow_weak_isolation: bool = False,
    hidden_feedback: str = feedback.DEFAULT,
    scheduler: str | None = None,
    on_progress: Callable[[Event], None] = lambda event: None,
) -> BatchResult:
    """Grade `submissions` into the folder `out` and return what was found.

    `seed` decides every draw; by default it is random, kept in `out/run.json`, and reused on resume. Once a
    batch was graded to its end, what is graded into the same folder later gets other draws from it.
    `hidden_feedback` says what students see of hidden checks that failed: nothing, sentence or diagnosis.
    `scheduler` is the address of a dask scheduler whose workers grade, instead of `jobs` threads here.
    Raises CourseError (status 2) before anything is graded when the arguments can't be used, (status 3)
    when the disk is full. KeyboardInterrupt leaves a batch that the same call resumes.
    """
    places = locate_submissions(submissions)
    level = feedback.checked_level(hidden_feedback)
    slug = chapter_slug(chapter) if chapter else None
    tier = _isolation(allow_weak_isolation)
    with _clear_disk_errors(out), locked(out):
        kept = _kept_seed(out)
        seed = next(value for value in (seed, kept, secrets.randbits(63)) if value is not None)
        write_whole(out / RUN_FILE, json.dumps({"seed": seed}) + "\n", mode=0o600)
        number = log.finished_rounds(out) if seed == kept else 0
        draws = seed_of_round(seed, number)
        terms = Terms(draws, slug, choose_device(device), tier, number, level)
        sealed = log.sealed_hashes(out) if seed == kept else {}
        batch = Batch(out, terms, on_progress, len(places), sealed)
        try:
            _grade_all(batch, places, max(1, jobs), scheduler)
        finally:
            head = _finish(batch, places)
    names = [place.name for place in places if place.name in batch.complete]
    status = 0 if all(batch.complete.values()) else 3
    return BatchResult(out, KeptResults(out, names), status, head)


def _isolation(allow_weak: bool) -> Tier:
    tier = probe()
    if not tier.strong and not allow_weak:
        raise CourseError(
            f"isolation here is only {tier.name} ({'; '.join(tier.reasons)}); "
            "add --allow-weak-isolation if you trust these submissions"
        )
    return tier


def _grade_all(batch: Batch, places: list[Place], jobs: int, scheduler: str | None) -> None:
    """Grade what is not graded yet, here or on a cluster."""
    pending = (place for place in places if not _resume(batch, place))
    first = next(pending, None)
    if first is None:
        return
    with _crew(batch, jobs, scheduler) as crew:
        _grade_pending(batch, chain([first], pending), crew)


@contextmanager
def _crew(batch: Batch, jobs: int, scheduler: str | None) -> Iterator[Crew]:
    if scheduler is None:
        with (
            warm_zygote(batch.terms) as (zygote, slowness),
            Threads(batch.terms, zygote, slowness, jobs, partial(_tell_check, batch)) as crew,
        ):
            yield crew
    else:
        from autograder.cluster import connected

        with connected(scheduler, batch.terms) as crew:
            yield crew


def _grade_pending(batch: Batch, pending: Iterator[Place], crew: Crew) -> None:
    """Keep the crew busy, with a few submissions waiting, whatever the size of the batch."""
    running: dict[Future, Place] = {}
    losses: Counter[str] = Counter()
    try:
        while True:
            for place in islice(pending, max(0, crew.at_once + WAITING - len(running))):
                running[crew.grade(place)] = place
            if not running:
                return
            ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in sorted(ended, key=lambda future: running[future].name):
                place = running.pop(future)
                result = _result_unless_lost(future, losses, place)
                if result is None:
                    running[crew.grade(place)] = place
                else:
                    _record(batch, place, result)
            if not ended:
                crew.watch()
    finally:
        for future in running:
            future.cancel()


def _result_unless_lost(future: Future, losses: Counter, place: Place) -> dict | None:
    """Return the results, None if whoever graded went away, so that another must.

    Raises CourseError (status 3) when that has happened too often to be chance.
    """
    try:
        return future.result()
    except CancelledError as error:
        loss = error
    except Exception as error:
        if type(error).__name__ != "KilledWorker":  # dask's name for it, which may not be installed
            raise
        loss = error
    losses[place.name] += 1
    if losses[place.name] > LOSSES:
        raise CourseError(f"the machines that graded {place.name} went away every time", status=3) from loss
    return None


def _tell_check(batch: Batch, place: Place, finding: Finding) -> None:
    detail = f"{finding.exercise.name} · {finding.check.name}"
    batch.on_progress(Event("check", place.name, len(batch.complete), batch.total, detail=detail))


# --- keeping what was found ----------------------------------------------------------------------


def _kept_seed(out: Path) -> int | None:
    """Return the seed of the batch that `out` holds, None when it holds none."""
    try:
        return int(json.loads((out / RUN_FILE).read_text())["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _resume(batch: Batch, place: Place) -> bool:
    """Take over a complete, sealed result of the same files, checks, seed, device and versions."""
    path = batch.out / place.name / RESULTS_FILE
    if f"{place.name}/{RESULTS_FILE}" not in batch.sealed:
        return False
    try:
        result, submission = json.loads(path.read_text(encoding="utf8")), place.read()
        same = result["extra_data"] == result["extra_data"] | {
            "complete": True,
            **about_submission(batch.terms, submission),
            "manifest_sha256": _manifests(submission, batch.terms.chapter),
            "versions": versions(),
        }
        sealed = log.file_sha256(path) == batch.sealed[f"{place.name}/{RESULTS_FILE}"]
    except (OSError, ValueError, KeyError, TypeError, CourseError):
        return False
    if not same or not sealed:
        return False
    _count(batch, "resumed", place.name, result)
    return True


def _manifests(submission: Submission, chapter: str | None) -> dict[str, str]:
    """Return the hash of each manifest that the submission would be graded against now."""
    try:
        slugs = readings_by_chapter(submission, chapter)
    except Unreadable:
        slugs = {}
    return {slug: load_manifest(slug).sha256 for slug in slugs}


def _record(batch: Batch, place: Place, result: dict) -> None:
    path = batch.out / place.name / RESULTS_FILE
    summary = {"name": place.name, "score": result["score"], "max_score": result["max_score"]}
    summary["path"] = str(place.path.absolute())
    with _uninterrupted():
        write_json(path, result)
        log.append(batch.out, "graded", summary, [path])
    _count(batch, "graded", place.name, result)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back while what belongs together is written: a result, and its line in the log."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def _count(batch: Batch, kind: str, name: str, result: dict) -> None:
    batch.complete[name] = result["extra_data"]["complete"]
    scores = {"score": result["score"], "max_score": result["max_score"]}
    batch.on_progress(Event(kind, name, len(batch.complete), batch.total, **scores))


def _finish(batch: Batch, places: list[Place]) -> str:
    """Write the table and the report of what is graded so far, seal them, and return the log's head."""
    paths = sorted(batch.out.glob(f"*/{RESULTS_FILE}"))
    write_grades(batch.out / GRADES_FILE, (row for path in paths for row in _rows(path)))
    pages = report.write_index(batch.out, Answers(places, batch.terms.chapter))
    written = [batch.out / RUN_FILE, batch.out / GRADES_FILE, *pages]
    finished = len(batch.complete) == batch.total and all(batch.complete.values())
    return log.append(batch.out, "sealed", {"graded": len(batch.complete), "finished": finished}, written)


class Answers(Mapping[str, dict]):
    """The cells in which each submission answers its exercises, read when they are asked for."""

    def __init__(self, places: Iterable[Place], chapter: str | None):
        self._places, self._chapter = {place.name: place for place in places}, chapter

    def __getitem__(self, name: str) -> dict:
        return answer_cells(self._places[name].read(), self._chapter)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _rows(path: Path) -> list[dict]:
    return grade_rows(path.parent.name, json.loads(path.read_text(encoding="utf8")))


@contextmanager
def _clear_disk_errors(out: Path) -> Iterator[None]:
    """Turn a full or unwritable disk, or broken machinery of ours, into one line with status 3."""
    try:
        yield
    except RoomBroken as error:
        raise CourseError(
            f"the grader's machinery failed ({error}); run `mechinterp doctor`", status=3
        ) from error
    except OSError as error:
        where = error.filename or out
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CourseError(
                f"the disk of {where} is full; free some and run the same command again", status=3
            ) from error
        usable = not isinstance(error, NotADirectoryError | FileExistsError | PermissionError)
        status = 3 if usable and error.errno != errno.EROFS else 2
        raise CourseError(
            f"can't write to {where}: {os.strerror(error.errno or 0)}; choose another --out", status
        ) from error

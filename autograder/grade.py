"""A batch graded: every submission gets a result, whatever is in it, and a stopped batch resumes.

Each submission's `results.json` is written whole as soon as it is known; the table, the report and the log
follow. Nothing here runs student code: that happens in workers, which `examiner` talks to.
"""

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from autograder import log, report
from autograder.examiner import Examiner
from autograder.manifest import chapter_slug, load_manifest
from autograder.readings import answer_cells, readings_by_chapter
from autograder.results import (
    grade_rows,
    results,
    unreadable,
    versions,
    write_grades,
    write_json,
    write_whole,
)
from autograder.room import RoomBroken, Zygote, machine_slowness
from autograder.sandbox import Limits, Tier, probe
from autograder.submission import Submission, Unreadable, find_submissions
from mechinterp_course.errors import CourseError

CPU_SECONDS = 120  # of one worker, on a machine of usual speed
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
    results: dict[str, dict]
    status: int
    log_head: str


@dataclass
class Batch:
    """What is the same for every submission of a batch."""

    out: Path
    seed: int
    chapter: str | None
    device: str
    tier: Tier
    on_progress: Callable[[Event], None]
    total: int
    resumable: bool = False
    done: int = 0
    results: dict[str, dict] = field(default_factory=dict)


def grade_batch(
    submissions: list[Path],
    out: Path,
    *,
    chapter: str | None = None,
    seed: int | None = None,
    jobs: int = 1,
    device: str = "auto",
    allow_weak_isolation: bool = False,
    on_progress: Callable[[Event], None] = lambda event: None,
) -> BatchResult:
    """Grade `submissions` into the folder `out` and return what was found.

    `seed` decides every draw; by default it is random, kept in `out/run.json`, and reused on resume.
    Raises CourseError (status 2) before anything is graded when the arguments can't be used, (status 3)
    when the disk is full. KeyboardInterrupt leaves a batch that the same call resumes.
    """
    found = find_submissions(submissions)
    slug = chapter_slug(chapter) if chapter else None
    tier = _isolation(allow_weak_isolation)
    with _clear_disk_errors(out):
        kept = _kept_seed(out)
        seed = next(value for value in (seed, kept, secrets.randbits(63)) if value is not None)
        write_whole(out / RUN_FILE, json.dumps({"seed": seed}) + "\n", mode=0o600)
        total, resumable = len(found), seed == kept
        batch = Batch(out, seed, slug, choose_device(device), tier, on_progress, total, resumable)
        try:
            _grade_all(batch, found, max(1, jobs))
        finally:
            head = _finish(batch, found)
    incomplete = any(not result["extra_data"]["complete"] for result in batch.results.values())
    return BatchResult(out, batch.results, 3 if incomplete else 0, head)


def _isolation(allow_weak: bool) -> Tier:
    tier = probe()
    if not tier.strong and not allow_weak:
        raise CourseError(
            f"isolation here is only {tier.name} ({'; '.join(tier.reasons)}); "
            "add --allow-weak-isolation if you trust these submissions"
        )
    return tier


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda". "auto" is the CPU: the embedded models are small, and every machine has one."""
    if device not in ("cpu", "cuda", "auto"):
        raise CourseError(f"no device {device!r}; choose cpu, cuda or auto")
    if device != "cuda":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise CourseError("no CUDA device here; use --device cpu")
    return "cuda"


def _grade_all(batch: Batch, found: list[Submission], jobs: int) -> None:
    """Grade what is not graded yet, `jobs` at a time, each with rooms of its own."""
    pending = [submission for submission in found if not _resume(batch, submission)]
    if not pending:
        return
    slowness = machine_slowness()
    limits = Limits(cpu_seconds=round(CPU_SECONDS * slowness))
    with Zygote(batch.tier, batch.device, limits) as zygote, ThreadPoolExecutor(jobs) as pool:
        examiners = [
            Examiner(zygote, batch.seed, batch.device, slowness) for _ in range(min(jobs, len(pending)))
        ]
        idle: SimpleQueue[Examiner] = SimpleQueue()
        for examiner in examiners:
            idle.put(examiner)
        futures = {pool.submit(_grade_with, idle, batch, submission): submission for submission in pending}
        try:
            for future in _as_they_end(futures):
                _record(batch, futures[future], future.result())
        except BaseException:
            zygote.stop()  # rooms and workers die with it, so that no thread is left waiting for one
            raise
        finally:
            for future in futures:
                future.cancel()
            for examiner in examiners:
                examiner.close()


def _as_they_end(futures: dict[Future, Submission]) -> Iterator[Future]:
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from sorted(ended, key=lambda future: futures[future].name)


def _grade_with(idle: "SimpleQueue[Examiner]", batch: Batch, submission: Submission) -> dict:
    examiner = idle.get()
    try:
        return grade_one(examiner, batch, submission)
    finally:
        idle.put(examiner)


def grade_one(examiner: Examiner, batch: Batch, submission: Submission) -> dict:
    """Return the results of one submission; what is wrong with it never raises."""
    started = time.perf_counter()
    about = _about(batch, submission)
    try:
        readings = readings_by_chapter(submission, batch.chapter)
    except Unreadable as problem:
        max_score = load_manifest(batch.chapter).max_score if batch.chapter else 0
        return unreadable(max_score, about, str(problem))
    examined, notes = [], []
    for slug, reading in readings.items():
        manifest = load_manifest(slug)
        if reading.version and reading.version != manifest.version:
            notes.append(f"{slug}: written for version {reading.version}, graded against {manifest.version}")
        examined.append((manifest, examiner.examine(manifest, reading, _reporter(batch, submission))))
    about["manifest_sha256"] = {manifest.chapter: manifest.sha256 for manifest, _ in examined}
    if notes:
        about["notes"] = notes
    return results(examined, about, time.perf_counter() - started)


def _reporter(batch: Batch, submission: Submission) -> Callable:
    def report_check(finding) -> None:
        detail = f"{finding.exercise.name} · {finding.check.name}"
        batch.on_progress(Event("check", submission.name, batch.done, batch.total, detail=detail))

    return report_check


def _about(batch: Batch, submission: Submission) -> dict:
    return {
        "isolation": batch.tier.name,
        "device": batch.device,
        "submission_sha256": submission.sha256,
        "manifest_sha256": {},
    }


# --- keeping what was found ----------------------------------------------------------------------


def _kept_seed(out: Path) -> int | None:
    """Return the seed of the batch that `out` holds, None when it holds none."""
    try:
        return int(json.loads((out / RUN_FILE).read_text())["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _resume(batch: Batch, submission: Submission) -> bool:
    """Take over a complete, sealed result of the same files, checks, seed, device and versions."""
    path = batch.out / submission.name / RESULTS_FILE
    try:
        result = json.loads(path.read_text(encoding="utf8"))
        same = batch.resumable and result["extra_data"] == result["extra_data"] | {
            "complete": True,
            "submission_sha256": submission.sha256,
            "manifest_sha256": _manifests(submission, batch.chapter),
            "device": batch.device,
            "isolation": batch.tier.name,
            "versions": versions(),
        }
    except (OSError, ValueError, KeyError, TypeError, CourseError):
        return False
    if not same or not log.is_sealed(batch.out, path):
        return False
    batch.results[submission.name] = result
    batch.done += 1
    _tell(batch, "resumed", submission.name, result)
    return True


def _manifests(submission: Submission, chapter: str | None) -> dict[str, str]:
    """Return the hash of each manifest that the submission would be graded against now."""
    try:
        slugs = readings_by_chapter(submission, chapter)
    except Unreadable:
        slugs = {}
    return {slug: load_manifest(slug).sha256 for slug in slugs}


def _record(batch: Batch, submission: Submission, result: dict) -> None:
    path = batch.out / submission.name / RESULTS_FILE
    write_json(path, result)
    batch.results[submission.name] = result
    batch.done += 1
    summary = {"name": submission.name, "score": result["score"], "max_score": result["max_score"]}
    log.append(batch.out, "graded", summary, [path])
    _tell(batch, "graded", submission.name, result)


def _tell(batch: Batch, kind: str, name: str, result: dict) -> None:
    scores = {"score": result["score"], "max_score": result["max_score"]}
    batch.on_progress(Event(kind, name, batch.done, batch.total, **scores))


def _finish(batch: Batch, found: list[Submission]) -> str:
    """Write the table and the report of what is graded so far, seal them, and return the log's head."""
    batch.results = {s.name: batch.results[s.name] for s in found if s.name in batch.results}
    rows = [row for path in sorted(batch.out.glob(f"*/{RESULTS_FILE}")) for row in _rows(path)]
    write_grades(batch.out / GRADES_FILE, rows)
    answers = {submission.name: answer_cells(submission, batch.chapter) for submission in found}
    pages = report.write_index(batch.out, answers)
    written = [batch.out / RUN_FILE, batch.out / GRADES_FILE, *pages]
    return log.append(batch.out, "sealed", {"graded": len(batch.results)}, written)


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
        if error.errno == errno.ENOSPC:
            raise CourseError(
                f"the disk of {out} is full; free some and run the same command again", status=3
            ) from error
        status = 2 if isinstance(error, NotADirectoryError | FileExistsError | PermissionError) else 3
        raise CourseError(
            f"can't write to {out}: {os.strerror(error.errno or 0)}; choose another --out", status
        ) from error

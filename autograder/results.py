"""What the grader writes: `results.json` of a submission, in Gradescope's form, and `grades.csv`."""

import csv
import io
import json
import os
import platform
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograder import feedback
from autograder.examiner import Finding
from autograder.manifest import Manifest

SCHEMA = 1
CSV_FIELDS = ("name", "chapter", "score", "max_score", "complete")


Examined = Sequence[tuple[Manifest, list[Finding]]]


def results(examined: Examined, about: dict, seconds: float) -> dict:
    """Return the contents of `results.json`; `about` is its `extra_data` but for what the findings say."""
    level = about.get("hidden_feedback", feedback.DEFAULT)
    tests = [entry(manifest, finding, level) for manifest, found in examined for finding in found]
    complete = all(test["extra_data"]["verdict"] != "grader_error" for test in tests)
    score = sum(test["score"] for test in tests)
    max_score = sum(manifest.max_score for manifest, _ in examined)
    chapters = ", ".join(manifest.title for manifest, _ in examined)
    return {
        "score": score,
        "max_score": max_score,
        "execution_time": round(seconds, 3),
        "output": f"{score:g} of {max_score:g} points in {chapters}",
        "tests": tests,
        "extra_data": {"schema": SCHEMA, "complete": complete} | about | {"versions": versions()},
    }


def unreadable(max_score: float, about: dict, problem: str) -> dict:
    """Return the results of a submission that could not be read: score 0, and why."""
    extra = {"schema": SCHEMA, "complete": True} | about | {"versions": versions()}
    output = f"unreadable: {problem}"
    return {
        "score": 0, "max_score": max_score, "execution_time": 0.0,
        "output": output, "tests": [], "extra_data": extra,
    }  # fmt: skip


def grade_rows(name: str, result: dict) -> list[dict]:
    """Return a submission's rows of `grades.csv`, one for each chapter."""
    complete = result["extra_data"]["complete"]
    totals: dict[str, list[float]] = {}
    for test in result["tests"]:
        total = totals.setdefault(test["extra_data"]["chapter"], [0, 0])
        total[0] += test["score"]
        total[1] += test["max_score"]
    if not totals:
        totals = {"": [0, result["max_score"]]}
    return [
        dict(zip(CSV_FIELDS, (name, chapter, f"{score:g}", f"{most:g}", complete), strict=True))
        for chapter, (score, most) in totals.items()
    ]


def write_grades(path: Path, rows: Iterable[dict]) -> None:
    """Write `grades.csv`, whose names neither compute in a spreadsheet nor steer a terminal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"name": _inert(row["name"])})
    write_whole(path, text.getvalue())


def _inert(name: str) -> str:
    """Return a name with unprintable characters escaped; what looks like a formula gets an apostrophe."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_whole(path: Path, text: str, mode: int = 0o644, durable: bool = True) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of either.

    What can be made again need not be `durable`: then a loss of power may take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
        with os.fdopen(handle, "w", encoding="utf8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def versions() -> dict[str, str]:
    """Return the versions that a verdict may depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("mechinterp-course", "torch", "transformer-lens", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def entry(manifest: Manifest, finding: Finding, level: str = feedback.DEFAULT) -> dict:
    """Return the entry of `tests[]` for a finding; `level` says what a student sees of a hidden failure."""
    check, outcome, diagnosis = finding.check, finding.outcome, finding.outcome.diagnosis
    passed = outcome.verdict == "passed"
    kinds = ("kind", "mistake", "message")
    details = {
        name: getattr(diagnosis, name) if diagnosis else None for name in ("expected", "actual", "where")
    }
    return {
        "name": f"{manifest.chapter}.{finding.exercise.name}.{check.name}",
        "score": check.points if passed else 0,
        "max_score": check.points,
        "status": "passed" if passed else "failed",
        "output": feedback.told(_output(finding), check.hidden, passed, level),
        "visibility": feedback.visibility(check.hidden, level),
        "execution_time": round(finding.seconds, 3),
        "extra_data": {
            "chapter": manifest.chapter,
            "exercise": finding.exercise.name,
            "check": check.name,
            "hidden": check.hidden,
            "verdict": outcome.verdict,
            "diagnosis": {name: getattr(diagnosis, name) for name in kinds} if diagnosis else None,
        }
        | details,
    }


def _output(finding: Finding) -> str:
    """Say in a few lines what was claimed and what was found."""
    mark = {"passed": "✓", "failed": "✗", "not_run": "–", "grader_error": "!"}[finding.outcome.verdict]
    lines = [f"{mark} {finding.check.claim}"]
    if finding.helped:
        lines.append(f"right, given a right {' and '.join(finding.helped)}")
    diagnosis = finding.outcome.diagnosis
    if diagnosis is not None:
        rows = (("where", diagnosis.where), ("expected", diagnosis.expected), ("got", diagnosis.actual))
        lines += [diagnosis.message, *(f"{label}: {text}" for label, text in rows if text is not None)]
    return "\n".join(lines)

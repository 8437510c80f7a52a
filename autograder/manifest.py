"""A chapter's exercises and checks as the grader knows them, read from what authoring generated."""

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechinterp_course.errors import CourseError

CHECKS = Path(__file__).resolve().parent / "checks"


@dataclass(frozen=True)
class Check:
    """One claim about an exercise, worth some points; `function` is its name in the generated module."""

    name: str
    function: str
    id: str
    claim: str
    points: float
    hidden: bool


@dataclass(frozen=True)
class Exercise:
    """One function or class that a student writes."""

    name: str
    title: str
    minutes: int
    difficulty: int
    needs: tuple[str, ...]
    reference: str
    withhold: tuple[str, ...]
    points: float
    ids: dict[str, str]
    stub: str
    hints: tuple[str, ...]
    checks: tuple[Check, ...]
    forbid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A chapter: its exercises in order, and the helper cells that checks may run beside student code."""

    chapter: str
    title: str
    version: str
    sha256: str
    given: tuple[str, ...]
    exercises: tuple[Exercise, ...]

    @property
    def max_score(self) -> float:
        """The sum of the exercises' points."""
        return sum(exercise.points for exercise in self.exercises)

    def exercise(self, name: str) -> Exercise:
        """Return the exercise of that name, or raise CourseError with those there are."""
        found = [exercise for exercise in self.exercises if exercise.name == name]
        if not found:
            names = ", ".join(exercise.name for exercise in self.exercises)
            raise CourseError(f"no exercise {name!r} in {self.chapter}; it has {names}")
        return found[0]

    def check_function(self, check: Check) -> Callable:
        """Return the function that checks the claim."""
        return getattr(importlib.import_module(f"autograder.checks.{self.chapter}"), check.function)


def chapters() -> list[str]:
    """Return the slugs of the chapters that can be graded, in order."""
    return sorted(path.stem for path in CHECKS.glob("ch*.json"))


def chapter_slug(name: str) -> str:
    """Return the full slug for a chapter's slug or its beginning ("ch03")."""
    found = [slug for slug in chapters() if slug == name or slug.startswith(f"{name}_")]
    if len(found) != 1:
        raise CourseError(f"no chapter {name!r}; there is {', '.join(chapters()) or 'none yet'}")
    return found[0]


def load_manifest(name: str) -> Manifest:
    """Return the manifest of a chapter, named by its slug or the slug's beginning."""
    return parse_manifest((CHECKS / f"{chapter_slug(name)}.json").read_bytes())


def parse_manifest(raw: bytes) -> Manifest:
    """Return the manifest that a file holds."""
    data = json.loads(raw)
    return Manifest(
        chapter=data["chapter"],
        title=data["title"],
        version=data["version"],
        sha256=hashlib.sha256(raw).hexdigest(),
        given=tuple(cell["source"] for cell in data["given"]),
        exercises=tuple(map(_exercise, data["exercises"])),
    )


def _exercise(data: dict[str, Any]) -> Exercise:
    names = Exercise.__dataclass_fields__
    lists = {name: tuple(data[name]) for name in ("needs", "withhold", "hints", "forbid")}
    answer = ".".join(data["reference"].split(".")[-1 - data["name"].count(".") :])
    lists["withhold"] = tuple(dict.fromkeys((*lists["withhold"], answer)))
    checks = tuple(
        Check(**{name: part[name] for name in Check.__dataclass_fields__}) for part in data["checks"]
    )
    return Exercise(**{name: data[name] for name in names} | lists | {"checks": checks})

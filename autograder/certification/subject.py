"""An exercise with all that is certified about it, read from a chapter's folder in `solutions/`."""

import ast
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autograder.certification.tolerances import Recorder
from autograder.manifest import Exercise as ManifestExercise
from autograder.manifest import Manifest, parse_manifest
from mechinterp_course.authoring.chapter import Chapter, chapter_slugs, load_chapter
from mechinterp_course.authoring.checks import check_module
from mechinterp_course.authoring.exercises import Exercise
from mechinterp_course.authoring.manifest import manifest_json
from mechinterp_course.authoring.stub import without_markers
from mechinterp_course.errors import CourseError

PROOFS = ("mistakes", "variants", "domain")  # the files beside chapter.py


@dataclass(frozen=True)
class Subject:
    """One exercise of the chapter `slug` in `root/solutions`."""

    root: Path
    chapter: Chapter
    exercise: Exercise

    @property
    def name(self) -> str:
        """The exercise's name."""
        return self.exercise.name

    @property
    def slug(self) -> str:
        """The chapter's slug."""
        return self.chapter.slug

    @property
    def folder(self) -> Path:
        """The chapter's folder in `solutions/`."""
        return self.root / "solutions" / self.slug

    @cached_property
    def solution(self) -> str:
        """The cell that solves the exercise."""
        return without_markers(self.exercise.solution)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The cells that solve what the exercise needs, in the order of the chapter."""
        names: list[str] = list(self.exercise.needs)
        for name in names:
            names += [need for need in self.chapter.exercise(name).needs if need not in names]
        return tuple(without_markers(e.solution) for e in self.chapter.exercises if e.name in names)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The chapter's helper cells."""
        return tuple(cell.text for cell in self.chapter.cells if cell.role == "given")

    @cached_property
    def manifest(self) -> Manifest:
        """The chapter's manifest, as the grader reads it."""
        return parse_manifest(manifest_json(self.chapter).encode())

    @property
    def graded(self) -> ManifestExercise:
        """The exercise, as the grader reads it."""
        return self.manifest.exercise(self.name)

    def solved(self) -> dict[str, object]:
        """Return what a learner's notebook holds at the end: given cells and solutions, run anew."""
        names: dict[str, object] = {"__name__": "solved"}
        for cell in self.chapter.cells:
            if cell.role in ("given", "solution"):
                text = without_markers(cell) if cell.role == "solution" else cell.text
                exec(compile(text, f"{self.slug}, line {cell.line}", "exec"), names)
        return names

    def stub(self) -> Callable:
        """Return what the exercise is before anything is written."""
        names = self.solved()
        exec(self.exercise.stub, names)
        return names[self.name]

    def reference(self) -> Callable:
        """Return the library's own answer."""
        module, _, name = self.exercise.reference.rpartition(".")
        return getattr(importlib.import_module(f"mechinterp_course.{module}"), name)

    def proofs(self, kind: str) -> dict[str, Callable]:
        """Return the exercise's functions in mistakes.py or variants.py, by what stands after `__`."""
        return {
            name.partition("__")[2]: value
            for name, value in _names_in(self.folder / f"{kind}.py").items()
            if name.partition("__")[0] == self.name and "__" in name and callable(value)
        }

    def variant_cells(self) -> dict[str, str]:
        """Return each variant that is a function as a cell that answers the exercise, with what it needs."""
        path = self.folder / "variants.py"
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        of_all = [node for node in tree.body if getattr(node, "name", "_").startswith("_")]
        cells = {}
        for node in tree.body:
            exercise, _, variant = getattr(node, "name", "").partition("__")
            if isinstance(node, ast.FunctionDef) and exercise == self.name and variant:
                node.name = self.name
                cells[variant] = ast.unparse(ast.Module([*of_all, node], []))
        return cells

    def domain(self) -> Callable | None:
        """Return what draws arguments over all that the statement allows, if domain.py has it."""
        return _names_in(self.folder / "domain.py").get(self.name)

    def trial(self) -> Callable | None:
        """Return `<exercise>__trial(student, draw)` of domain.py: whether an answer is right, if many are."""
        return _names_in(self.folder / "domain.py").get(f"{self.name}__trial")


@dataclass(frozen=True)
class Checks:
    """An exercise's checks as functions, and what notes the comparisons that they make."""

    functions: dict[str, Callable]
    recorder: Recorder

    @classmethod
    def of(cls, subject: Subject) -> "Checks":
        """Return the checks in a module of their own, in which `expect_close` takes notes."""
        names: dict[str, object] = {"__name__": f"checks of {subject.slug}"}
        exec(compile(check_module(subject.chapter), f"<checks of {subject.slug}>", "exec"), names)
        recorder = Recorder()
        if "expect_close" in names:
            names["expect_close"] = recorder
        return cls({check.name: names[check.function] for check in subject.exercise.checks}, recorder)


def find_subjects(root: Path, names: Sequence[str] = ()) -> list[Subject]:
    """Return the exercises that are named, or those of the chapters that are; all of them by default.

    Raises CourseError for a name that is neither an exercise nor a chapter, or the beginning of one.
    """
    everything = [
        Subject(root, chapter, exercise)
        for chapter in (load_chapter(root, slug) for slug in chapter_slugs(root))
        for exercise in chapter.exercises
    ]
    if not everything:
        raise CourseError(f"no chapter in {root / 'solutions'}; run `mechinterp chapter new ch20_my_subject`")
    chosen = [_named(everything, name) for name in names] or [everything]
    return list({(s.slug, s.name): s for found in chosen for s in found}.values())


def _named(subjects: list[Subject], name: str) -> list[Subject]:
    found = [s for s in subjects if name in (s.name, s.slug, s.slug.partition("_")[0])]
    if not found:
        known = ", ".join(dict.fromkeys([*(s.slug for s in subjects), *(s.name for s in subjects)]))
        raise CourseError(f"no exercise or chapter {name!r}; there is {known}")
    return found


def _names_in(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}

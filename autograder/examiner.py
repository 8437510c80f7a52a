"""One submission examined: every check of every exercise run against the student's code in a worker."""

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import torch

from autograder.cells import Reading
from autograder.manifest import Check, Exercise, Manifest
from autograder.proxy import SECONDS_PER_CALL, SECONDS_PER_CELL, Desk, Student
from autograder.room import Room, RoomBroken, Zygote
from mechinterp_course.checking.draw import Draw, check_seed
from mechinterp_course.checking.recognition import Transcript, load_mistakes, named, recognise_in_all
from mechinterp_course.checking.verdict import Diagnosis, NotWritten, Outcome, StudentFault, evaluate

known_mistakes = cache(load_mistakes)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `helped` names the exercises for which the reference stood in."""

    exercise: Exercise
    check: Check
    outcome: Outcome
    seconds: float
    helped: tuple[str, ...] = ()


@dataclass
class Examiner:
    """Examines submissions one after another, keeping a room open per exercise.

    `seed` decides every draw; `slowness` stretches the time limits. Close it to end the rooms.
    """

    zygote: Zygote
    seed: int
    device: str = "cpu"
    slowness: float = 1.0
    rooms: dict[tuple[str, str], Room] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.set_num_threads(1)  # as in the workers, so that both sides round alike

    def examine(
        self,
        manifest: Manifest,
        reading: Reading,
        on_check: Callable[[Finding], None] = lambda finding: None,
        only: str | None = None,
    ) -> list[Finding]:
        """Return a finding for every check of the chapter, or of the `only` exercise, in manifest order."""
        deadly: dict[int, StudentFault] = {}
        findings = []
        for exercise in manifest.exercises if only is None else [manifest.exercise(only)]:
            for finding in self._examine_exercise(manifest, exercise, reading, deadly):
                findings.append(finding)
                on_check(finding)
        return findings

    def close(self) -> None:
        """End every room."""
        for room in self.rooms.values():
            room.close()
        self.rooms.clear()

    def _examine_exercise(
        self, manifest: Manifest, exercise: Exercise, reading: Reading, deadly: dict[int, StudentFault]
    ) -> list[Finding]:
        outcome = not_written(exercise.name, reading)
        if outcome is None:
            try:
                return self._run_checks(manifest, exercise, reading, deadly)
            except RoomBroken as error:
                self._drop_room(manifest, exercise)
                outcome = Outcome("grader_error", Diagnosis("grader_error", str(error)))
        return [Finding(exercise, check, outcome, 0.0) for check in exercise.checks]

    def _run_checks(
        self, manifest: Manifest, exercise: Exercise, reading: Reading, deadly: dict[int, StudentFault]
    ) -> list[Finding]:
        desk = Desk(
            room=self._room(manifest, exercise),
            manifest=manifest,
            exercise=exercise,
            cells=reading.cells,
            deadly=deadly,
            device=self.device,
            seconds_per_cell=SECONDS_PER_CELL * self.slowness,
            seconds_per_call=SECONDS_PER_CALL * self.slowness,
        )
        own = Student(desk)
        helped = Student(replace(desk, substitute=self._references(manifest, exercise), failed={}))
        try:
            runs = [self._run(manifest, exercise, check, own, helped) for check in exercise.checks]
        finally:
            own.close()
            helped.close()
        if any(finding.outcome.verdict == "grader_error" for finding, _ in runs):
            self._drop_room(manifest, exercise)
        return self._named(manifest, exercise, runs)

    def _run(
        self, manifest: Manifest, exercise: Exercise, check: Check, own: Student, helped: Student
    ) -> tuple[Finding, Transcript]:
        """Run a check with the student's own functions; failing that, with the reference for its needs."""
        started = time.perf_counter()
        student, outcome = own, self._evaluate(manifest, exercise, check, own)
        if exercise.needs and outcome.verdict in ("failed", "not_run"):
            student, outcome = helped, self._evaluate(manifest, exercise, check, helped)
        with_help = exercise.needs if student is helped and outcome.verdict == "passed" else ()
        seconds = time.perf_counter() - started
        return Finding(exercise, check, outcome, seconds, with_help), list(student.transcript)

    def _evaluate(self, manifest: Manifest, exercise: Exercise, check: Check, student: Student) -> Outcome:
        function = manifest.check_function(check)
        draw = self._draw(manifest, exercise, check)

        def fresh(student: Student, draw: Draw) -> None:
            student.begin(draw.student_seed)
            function(student, draw)

        return evaluate(fresh, student, draw)

    def _named(
        self, manifest: Manifest, exercise: Exercise, runs: list[tuple[Finding, Transcript]]
    ) -> list[Finding]:
        """Name the known mistake that explains every failed check of an exercise, if one does."""
        failed = [
            (
                manifest.check_function(finding.check),
                transcript,
                self._draw(manifest, exercise, finding.check),
            )
            for finding, transcript in runs
            if finding.outcome.verdict == "failed"
        ]
        mistakes = known_mistakes(manifest.chapter).get(exercise.name, {})
        name = recognise_in_all(failed, exercise.name, mistakes)
        if name is None:
            return [finding for finding, _ in runs]
        return [_with_mistake(finding, name, mistakes[name]) for finding, _ in runs]

    def _draw(self, manifest: Manifest, exercise: Exercise, check: Check) -> Draw:
        return Draw(check_seed(self.seed, full_name(manifest, exercise, check)), self.device)

    def _room(self, manifest: Manifest, exercise: Exercise) -> Room:
        key = (manifest.chapter, exercise.name)
        if key not in self.rooms:
            self.rooms[key] = self.zygote.open_room(exercise.withhold, library_modules(manifest))
        return self.rooms[key]

    def _drop_room(self, manifest: Manifest, exercise: Exercise) -> None:
        """Close a room that something went wrong in; the next submission gets a new one."""
        room = self.rooms.pop((manifest.chapter, exercise.name), None)
        if room is not None:
            room.close()

    @staticmethod
    def _references(manifest: Manifest, exercise: Exercise) -> dict[str, str]:
        return {name: manifest.exercise(name).reference for name in exercise.needs}


def _with_mistake(finding: Finding, name: str, mistake: Callable) -> Finding:
    outcome = finding.outcome
    if outcome.verdict != "failed":
        return finding
    return replace(finding, outcome=replace(outcome, diagnosis=named(outcome.diagnosis, name, mistake)))


def full_name(manifest: Manifest, exercise: Exercise, check: Check) -> str:
    """Return the name a check has in results: chapter, exercise, check."""
    return f"{manifest.chapter}.{exercise.name}.{check.name}"


def not_written(name: str, reading: Reading) -> Outcome | None:
    """Return the outcome of an exercise that there is no code for; None when there is something to run."""
    if any(name in cell.defines - cell.stubs for cell in reading.cells):
        return None
    for cell in reading.cells:
        if name in cell.mentions and isinstance(cell.fault, NotWritten):
            return Outcome("not_run", Diagnosis(cell.fault.kind, cell.fault.message, where=cell.fault.where))
    if any(name in cell.stubs for cell in reading.cells):
        return Outcome("not_run", Diagnosis("not_written", f"{name} is not written yet"))
    message = f"there is no function or class named {name} in this submission"
    return Outcome("not_run", Diagnosis("missing", message))


def library_modules(manifest: Manifest) -> list[str]:
    """Return the modules of our library that the chapter's helper cells import, and the loader of models."""
    names = {"models"}
    for source in manifest.given:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "mechinterp_course":
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechinterp_course."):
                names.add(node.module.removeprefix("mechinterp_course."))
    return sorted(names)

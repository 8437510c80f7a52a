"""One submission examined: every check of every exercise run against the student's code in a worker."""

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from autograder.cells import Reading
from autograder.manifest import Check, Exercise, Manifest
from autograder.proxy import Desk, Student
from autograder.room import Room, Zygote
from mechinterp_course.checking.draw import Draw, check_seed
from mechinterp_course.checking.recognition import load_mistakes, named, recognise
from mechinterp_course.checking.verdict import Diagnosis, NotWritten, Outcome, StudentFault, evaluate

SECONDS_PER_CELL = 10.0
SECONDS_PER_CALL = 10.0

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

    def examine(
        self, manifest: Manifest, reading: Reading, on_check: Callable[[Finding], None] = lambda finding: None
    ) -> list[Finding]:
        """Return a finding for every check of the chapter, in the manifest's order."""
        deadly: dict[int, StudentFault] = {}
        findings = []
        for exercise in manifest.exercises:
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
        absent = not_written(exercise.name, reading)
        if absent is not None:
            return [Finding(exercise, check, absent, 0.0) for check in exercise.checks]
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
            return [self._run(manifest, exercise, check, own, helped) for check in exercise.checks]
        finally:
            own.close()
            helped.close()

    def _run(
        self, manifest: Manifest, exercise: Exercise, check: Check, own: Student, helped: Student
    ) -> Finding:
        """Run a check with the student's own functions; failing that, with the reference for its needs."""
        started = time.perf_counter()
        student, outcome = own, self._evaluate(manifest, exercise, check, own)
        if exercise.needs and outcome.verdict in ("failed", "not_run"):
            student, outcome = helped, self._evaluate(manifest, exercise, check, helped)
        outcome = self._recognised(manifest, exercise, check, student, outcome)
        passed_with_help = student is helped and outcome.verdict == "passed"
        seconds = time.perf_counter() - started
        return Finding(exercise, check, outcome, seconds, exercise.needs if passed_with_help else ())

    def _evaluate(self, manifest: Manifest, exercise: Exercise, check: Check, student: Student) -> Outcome:
        function = manifest.check_function(check)
        seed = check_seed(self.seed, full_name(manifest, exercise, check))

        def fresh(student: Student, draw: Draw) -> None:
            student.begin(seed)
            function(student, draw)

        return evaluate(fresh, student, Draw(seed, self.device))

    def _recognised(
        self, manifest: Manifest, exercise: Exercise, check: Check, student: Student, outcome: Outcome
    ) -> Outcome:
        """Name the known mistake that the student's code behaved like, if there is one."""
        if outcome.verdict != "failed":
            return outcome
        mistakes = known_mistakes(manifest.chapter).get(exercise.name, {})
        seed = check_seed(self.seed, full_name(manifest, exercise, check))
        draw = Draw(seed, self.device)
        name = recognise(manifest.check_function(check), exercise.name, mistakes, student.transcript, draw)
        return Outcome("failed", named(outcome.diagnosis, name, mistakes[name])) if name else outcome

    def _room(self, manifest: Manifest, exercise: Exercise) -> Room:
        key = (manifest.chapter, exercise.name)
        if key not in self.rooms:
            self.rooms[key] = self.zygote.open_room(exercise.withhold, library_modules(manifest))
        return self.rooms[key]

    @staticmethod
    def _references(manifest: Manifest, exercise: Exercise) -> dict[str, str]:
        return {name: manifest.exercise(name).reference for name in exercise.needs}


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

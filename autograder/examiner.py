"""One submission examined: every check of every exercise run against the student's code in a worker."""

import ast
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import chain
from types import FunctionType

import torch

from autograder.cells import Reading
from autograder.manifest import Check, Exercise, Manifest
from autograder.outcomes import judged_by_outcome
from autograder.parsing import parse
from autograder.proxy import SECONDS_PER_CALL, SECONDS_PER_CELL, Desk, Student
from autograder.reuse import Reuse, WarmDraw, remembering
from autograder.room import Room, RoomBroken, Zygote
from autograder.rooms import Rooms
from autograder.soundness import blamed
from mechinterp_course.checking.cases import Run, cases_of
from mechinterp_course.checking.draw import Draw, check_seed
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.questions import Explanation, explained
from mechinterp_course.checking.recognition import (
    Mistakes,
    Transcript,
    load_mistakes,
    named,
    recognise_in_all,
    without_advice,
)
from mechinterp_course.checking.slips import (
    Slip,
    library_function,
    slips_of_library,
    takes_a_model,
    with_sentence,
)
from mechinterp_course.checking.verdict import Diagnosis, NotWritten, Outcome, StudentFault, evaluate

known_mistakes = cache(load_mistakes)
TRIES = 3  # at an exercise, while rooms break under it


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
    """Examines submissions one after another. Close it to end the rooms it opened.

    `seed` decides every draw; `slowness` stretches the time limits. `rooms` and `reuse` may be shared with
    other examiners that have the same zygote and device. A `hurried` one, for a learner who waits, does not
    look for slips where each takes a run of a model: that is seconds, once.
    """

    zygote: Zygote
    seed: int
    device: str = "cpu"
    slowness: float = 1.0
    rooms: Rooms | None = None
    reuse: Reuse = field(default_factory=Reuse)
    hurried: bool = False

    def __post_init__(self) -> None:
        torch.set_num_threads(1)  # as in the workers, so that both sides round alike
        self.rooms = self.rooms or Rooms(self.zygote)

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
        self.rooms.close()

    def _examine_exercise(
        self, manifest: Manifest, exercise: Exercise, reading: Reading, deadly: dict[int, StudentFault]
    ) -> list[Finding]:
        outcome = not_written(exercise.name, reading)
        for _ in range(TRIES if outcome is None else 0):
            try:
                return self._run_checks(manifest, exercise, reading, deadly)
            except RoomBroken as error:
                failure = Outcome("grader_error", Diagnosis("grader_error", str(error)))
        outcome = outcome or failure
        return [Finding(exercise, check, outcome, 0.0) for check in exercise.checks]

    def _run_checks(
        self, manifest: Manifest, exercise: Exercise, reading: Reading, deadly: dict[int, StudentFault]
    ) -> list[Finding]:
        key = manifest.chapter, exercise.name
        with self.rooms.use(exercise.withhold, library_modules(manifest), exercise.forbid, key=key) as room:
            desk = self._desk(room, manifest, exercise, reading, dict(deadly))
            own = Student(desk)
            helped = Student(replace(desk, substitute=self._references(manifest, exercise), failed={}))
            with closing(own), closing(helped):
                runs = [self._run(manifest, exercise, check, desk, own, helped) for check in exercise.checks]
                if any(run.outcome.verdict == "grader_error" for run, _ in runs) and not room.is_alive():
                    raise RoomBroken("the room's process went away")
                deadly.update(desk.deadly)
                try:
                    return self._named(manifest, exercise, runs, helped if exercise.needs else own)
                except Exception:  # what a student returned may be too odd to explain; the verdicts stand
                    return [finding for finding, _ in runs]

    def _desk(
        self, room: Room, manifest: Manifest, exercise: Exercise, reading: Reading, deadly: dict
    ) -> Desk:
        return Desk(
            room=room,
            manifest=manifest,
            exercise=exercise,
            cells=reading.cells,
            deadly=deadly,
            device=self.device,
            seconds_per_cell=SECONDS_PER_CELL * self.slowness,
            seconds_per_call=SECONDS_PER_CALL * self.slowness,
        )

    def _run(
        self, manifest: Manifest, exercise: Exercise, check: Check, desk: Desk, own: Student, helped: Student
    ) -> tuple[Finding, Transcript]:
        """Run a check with the student's own functions; failing that, with the reference for its needs."""
        started = time.perf_counter()
        student, outcome = own, self._evaluate(manifest, exercise, check, desk, own)
        if exercise.needs and outcome.verdict in ("failed", "not_run"):
            student, outcome = helped, self._evaluate(manifest, exercise, check, desk, helped)
        with_help = exercise.needs if student is helped and outcome.verdict == "passed" else ()
        seconds = time.perf_counter() - started
        return Finding(exercise, check, outcome, seconds, with_help), list(student.transcript)

    def _evaluate(
        self, manifest: Manifest, exercise: Exercise, check: Check, desk: Desk, student: Student
    ) -> Outcome:
        """Run a check; once more from its start if SIGKILL ended the worker, which may be nobody's fault."""
        forgiven = "call" in desk.killed
        outcome = self._evaluate_once(manifest, exercise, check, desk.room, student)
        if not forgiven and "call" in desk.killed:
            outcome = self._evaluate_once(manifest, exercise, check, desk.room, student)
        return outcome

    def _evaluate_once(
        self, manifest: Manifest, exercise: Exercise, check: Check, room: Room, student: Student
    ) -> Outcome:
        function = self.reuse.check(manifest.check_function(check))
        draw = self._draw(manifest, exercise, check)

        def fresh(student: Student, draw: Draw) -> None:
            student.begin(draw.student_seed)
            function(student, draw)

        outcome = evaluate(fresh, student, draw)
        if outcome.verdict == "grader_error" and not room.broken:
            outcome = blamed(outcome, manifest, exercise, function, draw)
        if self.device == "cpu" and not room.broken:
            room.stock(map(asdict, draw.specs()), self.device)
        draw.give_back()
        return outcome

    def _named(
        self,
        manifest: Manifest,
        exercise: Exercise,
        runs: list[tuple[Finding, Transcript]],
        student: Student,
    ) -> list[Finding]:
        """Say what explains every check of an exercise that failed: `student` is asked."""
        failed, passed = (
            {
                finding.check.name: (
                    self.reuse.check(manifest.check_function(finding.check)),
                    transcript,
                    self._draw(manifest, exercise, finding.check),
                )
                for finding, transcript in runs
                if finding.outcome.verdict == verdict
            }
            for verdict in ("failed", "passed")
        )
        mistakes = known_mistakes(manifest.chapter).get(exercise.name, {})
        found = Explanation()
        if failed:
            by_outcome = judged_by_outcome(manifest, exercise)
            found = self._explained(
                exercise, [*failed.values()], [*passed.values()], mistakes, by_outcome, student
            )
        for *_, draw in chain(failed.values(), passed.values()):
            draw.give_back()
        transcripts = [transcript for _, transcript in runs]
        return [
            _told(finding, failed.get(finding.check.name), found, mistakes, transcripts)
            for finding, _ in runs
        ]

    def _explained(
        self,
        exercise: Exercise,
        failed: list[Run],
        passed: list[Run],
        mistakes: Mistakes,
        by_outcome: bool,
        student: Student,
    ) -> Explanation:
        reference, replay = library_function(exercise.reference), self.reuse.replay
        if not isinstance(reference, FunctionType):
            return Explanation(recognise_in_all(failed, exercise.name, mistakes, replay, passed), failed)
        reference = remembering(reference, self.reuse.expected)
        cases = cases_of(exercise.name, reference, failed + passed)
        student.begin(failed[0][2].student_seed)
        inquiry = Inquiry(student, exercise.name, reference, cases, self.hurried, by_outcome)
        slips = {} if by_outcome else self._slips(exercise)
        return explained(inquiry, failed, passed, mistakes, slips, replay)

    def _slips(self, exercise: Exercise) -> dict[str, Slip]:
        slips = slips_of_library(exercise.reference)
        dear = any(takes_a_model(slip.reference) for slip in slips.values())
        return {} if self.hurried and dear else slips

    def _draw(self, manifest: Manifest, exercise: Exercise, check: Check) -> WarmDraw:
        seed = check_seed(self.seed, full_name(manifest, exercise, check))
        return WarmDraw(seed, self.device, self.reuse.models)

    @staticmethod
    def _references(manifest: Manifest, exercise: Exercise) -> dict[str, str]:
        return {name: manifest.exercise(name).reference for name in exercise.needs}


def _told(
    finding: Finding,
    run: Run | None,
    found: Explanation,
    mistakes: Mistakes,
    transcripts: Sequence[Transcript],
) -> Finding:
    """Return a finding with what explains it, if it is of a check that failed, and its `run` explained."""
    if run is None:
        return finding
    diagnosis = without_advice(finding.outcome.diagnosis, finding.exercise.name, transcripts)
    if any(run is each for each in found.runs) and found.mistake:
        diagnosis = named(diagnosis, found.mistake, mistakes[found.mistake])
    elif found.sentence:
        diagnosis = with_sentence(diagnosis, found.sentence)
    return replace(finding, outcome=replace(finding.outcome, diagnosis=diagnosis))


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
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "mechinterp_course":
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechinterp_course."):
                names.add(node.module.removeprefix("mechinterp_course."))
    return sorted(names)

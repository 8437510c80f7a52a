"""An answer tried: in a worker, as the grader would, or in this process, beside the checks.

Mutants are nobody's code: they may loop for ever or ask for all memory, so they run in workers only. Mistakes
and variants are ours, and may call what a room withholds, so they run here.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autograder.cells import Cell
from autograder.certification.subject import Checks, Subject
from autograder.certification.tolerances import Comparison, margin
from autograder.examiner import library_modules
from autograder.proxy import SECONDS_PER_CALL, SECONDS_PER_CELL, Clock, Desk, Student
from autograder.room import Room, Zygote
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.elements import family
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import Outcome, StudentFault, evaluate

OPAQUE = object()  # stands for any object that is no plain value: recognition holds all of these alike


@dataclass(frozen=True)
class Run:
    """One check run on one answer: what came out, the comparisons made, and all calls with their results.

    Of a run in this process, what recognition compares is kept, and only if it failed.
    """

    check: str
    outcome: Outcome
    seconds: float
    comparisons: tuple[Comparison, ...] = ()
    transcript: list = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """passed, failed, not_run or grader_error."""
        return self.outcome.verdict

    @property
    def margin(self) -> float:
        """How many times the tolerance the answer was off; infinite if it was rejected without numbers."""
        return margin(self.verdict, self.comparisons)


class KeptModels(Draw):
    """A draw whose models are loaded once for all draws that share `kept`: same name, same order of parts."""

    def __init__(self, seed: int, kept: dict):
        super().__init__(seed)
        self._kept = kept

    def language_model(self, name: str = "course-gpt2"):
        """Return the model, as `Draw.language_model` does."""
        return self._loaded_once((name, self.head_order(name)), super().language_model)

    def vision_model(self, name: str = "course-resnet18"):
        """Return the model, as `Draw.vision_model` does."""
        return self._loaded_once((name, self.channel_seed(name)), super().vision_model)

    def _loaded_once(self, key: tuple, load: Callable):
        if key not in self._kept:
            self._kept[key] = load(key[0])
        return self._kept[key]


def draw_seed(subject: Subject, check: str, seed: int) -> int:
    """Return the seed of a check's draw: the one that the grader would use for a batch with this seed."""
    return check_seed(seed, f"{subject.slug}.{subject.name}.{check}")


def try_here(subject: Subject, checks: Checks, names: dict, check: str, seed: int) -> Run:
    """Run one check in this process; `names` holds the answer and, under other names, right ones."""
    draw, student = Draw(draw_seed(subject, check, seed)), LocalStudent(names)
    started = time.perf_counter()
    with seeded_generators(draw.student_seed):
        outcome = evaluate(checks.functions[check], student, draw)
    seconds = time.perf_counter() - started
    seen = checks.recorder.taken()
    kept = comparable(student.transcript) if outcome.verdict == "failed" else []
    return Run(check, outcome, seconds, seen, kept)


def comparable(result: object) -> object:
    """Return what recognition compares of a result: the runs of all mistakes are kept at once.

    An object that is no plain value may hold a network, and a fault holds the frames in which it arose.
    """
    if isinstance(result, StudentFault):
        result.__context__ = result.__cause__ = None
        return result.with_traceback(None)
    if isinstance(result, Tensor):
        return result.detach()
    if type(result) in (list, tuple, set, frozenset):
        return type(result)(map(comparable, result))
    if type(result) is dict:
        return {key: comparable(value) for key, value in result.items()}
    return result if family(result) else OPAQUE


def is_opaque(result: object) -> bool:
    """Whether a result is an object, such as a context manager, of which only a trial can tell anything."""
    return comparable(result) is OPAQUE and not hasattr(result, "type_name")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch have so many threads meanwhile; each number of them adds up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Bench:
    """A room for one exercise, in which answers are tried one after another."""

    subject: Subject
    room: Room
    checks: Checks
    slowness: float = 1.0
    models: dict = field(default_factory=dict)

    def try_source(self, source: str, seed: int, order: Sequence[str] = ()) -> Iterator[Run]:
        """Yield a run for each check, in some order, of a submission that answers with `source`."""
        with self.student(source) as student:
            for check in order or self.checks.functions:
                function = self.checks.functions[check]
                draw = KeptModels(draw_seed(self.subject, check, seed), self.models)
                started = time.perf_counter()
                outcome = evaluate(_begun(function), student, draw)
                seconds = time.perf_counter() - started
                seen = self.checks.recorder.taken()
                yield Run(check, outcome, seconds, seen, list(student.transcript))

    @contextmanager
    def student(self, source: str) -> Iterator[Student]:
        """Yield a submission with what the exercise needs and `source`; its worker ends with the block."""
        cells = tuple(Cell("the solution", text) for text in (*self.subject.needed, source))
        name = self.subject.name.partition(".")[0]
        cells = (*cells[:-1], Cell("the cell", source, defines=frozenset({name}), mentions=frozenset({name})))
        desk = Desk(
            room=self.room,
            manifest=self.subject.manifest,
            exercise=self.subject.graded,
            cells=cells,
            deadly={},
            device="cpu",
            seconds_per_cell=SECONDS_PER_CELL * self.slowness,
            seconds_per_call=SECONDS_PER_CALL * self.slowness,
            clock=Clock(math.inf),
        )
        student = Student(desk)
        try:
            yield student
        finally:
            student.close()


@contextmanager
def bench(subject: Subject, checks: Checks, zygote: Zygote, slowness: float) -> Iterator[Bench]:
    """Yield a bench for the exercise, its answer withheld as in grading."""
    exercise = subject.graded
    room = zygote.open_room(exercise.withhold, library_modules(subject.manifest), exercise.forbid)
    try:
        yield Bench(subject, room, checks, slowness)
    finally:
        room.close()


def _begun(function: Callable) -> Callable:
    def begun(student: Student, draw: Draw) -> None:
        student.begin(draw.student_seed)
        function(student, draw)

    return begun

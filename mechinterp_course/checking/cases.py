"""The calls that the checks of an exercise make, with what should come out: evidence for `inquiry`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType

from torch import Tensor, nn

from mechinterp_course.checking.draw import Draw, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.observation import copied
from mechinterp_course.checking.recognition import Transcript, alike, recorded
from mechinterp_course.checking.verdict import evaluate

UNKNOWN = object()
Run = tuple[Callable, Transcript, Draw]  # a check, the student's transcript in it, and its draw


@dataclass(frozen=True)
class Case:
    """One call: the arguments by the reference's names for them, its result, and what the answer gave.

    `actual` is `UNKNOWN` where the check did not get that far, or where a `given` function made the call. The
    reference may have more arguments than the answer: `passed` of them, in order, were given.
    """

    arguments: dict[str, object]
    expected: object
    actual: object = UNKNOWN
    passed: int | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the answer gave something else."""
        return self.actual is not UNKNOWN and not alike(self.actual, self.expected)

    @property
    def is_right(self) -> bool:
        """Whether the answer gave the same."""
        return self.actual is not UNKNOWN and not self.is_wrong

    @property
    def values(self) -> list[object]:
        """The arguments in order."""
        return list(self.arguments.values())

    @property
    def given(self) -> list[object]:
        """The arguments up to the last that was given."""
        return self.values[: self.passed]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The arguments that are tensors."""
        return {name: value for name, value in self.arguments.items() if isinstance(value, Tensor)}


@dataclass
class Recorder:
    """The reference in an answer's place, which notes its calls, and what the answer gave in `transcript`."""

    exercise: str
    reference: Callable
    transcript: Transcript
    student: LocalStudent | None = None
    cases: list[Case] = field(default_factory=list)

    def __call__(self, *args: object, **kwargs: object) -> object:
        bound = inspect.signature(self.reference).bind(*args, **kwargs)
        last = max(map(list(bound.signature.parameters).index, bound.arguments), default=-1)
        bound.apply_defaults()
        arguments = {name: copied(value) for name, value in bound.arguments.items()}
        result = self.reference(*args, **kwargs)
        place = len(self.student.transcript)
        name, actual = self.transcript[place] if place < len(self.transcript) else ("", UNKNOWN)
        actual = actual if name == self.exercise else UNKNOWN
        self.cases.append(Case(arguments, copied(result), actual, last + 1))
        return result


def cases_of(exercise: str, reference: Callable, runs: Sequence[Run]) -> list[Case]:
    """Return the calls that the checks make of an answer that is right, in order.

    Calls that a `given` function makes with what can't be passed from here are left out.
    """
    cases = []
    for check, transcript, draw in runs:
        recorder = Recorder(exercise, reference, transcript)
        recorder.student = LocalStudent({**recorded(transcript), exercise: recorder})
        with seeded_generators(draw.student_seed):
            evaluate(check, recorder.student, draw.restart())
        cases += [case for case in recorder.cases if can_travel(case.values)]
    return cases


def can_travel(value: object) -> bool:
    """Whether an argument can be passed to an answer in another process: models by their specs only."""
    if isinstance(value, nn.Module):
        return hasattr(value, "course_spec")
    if isinstance(value, FunctionType):
        return "<" not in value.__qualname__  # one that was made inside another has no name to go by
    if isinstance(value, dict):
        return all(map(can_travel, value.values()))
    return all(map(can_travel, value)) if isinstance(value, list | tuple) else True

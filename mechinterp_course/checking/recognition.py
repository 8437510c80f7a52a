"""Which known mistake an answer behaves like: the check is replayed with each mistake in its place."""

import importlib.util
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mechinterp_course.checking.draw import Draw, seeded_generators
from mechinterp_course.checking.elements import family
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import Diagnosis, StudentFault, evaluate
from mechinterp_course.layout import course_root

RTOL, ATOL = 1e-4, 1e-5  # the same mistake written otherwise rounds otherwise

MISSING_RETURN = " Is a `return` missing?"
GUESS = re.compile(  # from values alone, which a few fit by chance
    r" That is nearly right: .*|^These are the (expected values rounded to|absolute values of) .*"
    rf"|{MISSING_RETURN[:-1]}\?|^The right [^.]*, in reverse order\.$|^.* is not of the form of .*"
)

Transcript = list[tuple[str, object]]
Mistakes = dict[str, Callable]


def load_mistakes(chapter: str) -> dict[str, Mistakes]:
    """Return {exercise: {mistake: function}} of a chapter, empty where its solutions are not installed.

    The chapter's `mistakes.py` calls them `<exercise>__<mistake>`.
    """
    path = course_root() / "solutions" / chapter / "mistakes.py"
    found: dict[str, Mistakes] = {}
    for name, value in _names_in(path).items() if path.is_file() else ():
        exercise, separator, mistake = name.partition("__")
        if exercise and separator and callable(value):
            found.setdefault(exercise, {})[mistake] = value
    return found


def mistakes_of(exercise: str) -> Mistakes:
    """Return the known mistakes of an exercise, whichever chapter it stands in."""
    for path in sorted((course_root() / "solutions").glob("*/mistakes.py")):
        if f"def {exercise}__" in path.read_text(encoding="utf-8"):
            return load_mistakes(path.parent.name).get(exercise, {})
    return {}


def recognise(
    check: Callable, exercise: str, mistakes: Mistakes, transcript: Transcript, draw: Draw
) -> str | None:
    """Return the first of an exercise's mistakes that behaves in `check` as the student did, else None."""
    return recognise_in_all([(check, transcript, draw)], exercise, mistakes)


@dataclass(frozen=True)
class Replay:
    """A check run with a mistake in the student's place. `alone` if it asked for no other name than that."""

    failed: bool
    transcript: Transcript
    alone: bool


def recognise_in_all(
    failed: Sequence[tuple[Callable, Transcript, Draw]],
    exercise: str,
    mistakes: Mistakes,
    replay: Callable[..., Replay] | None = None,
    passed: Sequence[tuple[Callable, Transcript, Draw]] = (),
) -> str | None:
    """Return the first mistake that behaves as the student did in every failed check, None if none does.

    `failed` holds each failed check with the student's transcript in it and the check's draw, `passed` those
    that the student passed: a mistake that fails one of them is another. `replay` has the arguments and the
    result of `replayed`, and may remember.
    """
    replay = replay or replayed
    for name, mistake in mistakes.items():
        as_failed = failed and all(_alike_in(replay(exercise, mistake, *run), run[1]) for run in failed)
        if as_failed and not any(replay(exercise, mistake, *run).failed for run in passed):
            return name
    return None


def behaves_alike(
    exercise: str, mistake: Callable, check: Callable, transcript: Transcript, draw: Draw
) -> bool:
    """Whether a mistake fails `check` with the same calls and equal results as the student's `transcript`.

    What other names gave in the transcript is given again. `draw` is the check's, and is started afresh; the
    global generators are seeded from it, as they are for the student, so that a mistake that draws from them
    can be met. Where the student's code did nothing but raise, the exception's message must agree too.
    """
    return _alike_in(replayed(exercise, mistake, check, transcript, draw), transcript)


def replayed(exercise: str, mistake: Callable, check: Callable, transcript: Transcript, draw: Draw) -> Replay:
    """Run `check` with a mistake in the student's place, as `behaves_alike` tells it."""
    names = _Asked({**recorded(transcript), exercise: mistake})
    student = LocalStudent(names)
    with seeded_generators(draw.student_seed):
        outcome = evaluate(check, student, draw.restart())
    return Replay(outcome.verdict == "failed", student.transcript, names.asked <= {exercise})


def _alike_in(replay: Replay, transcript: Transcript) -> bool:
    return replay.failed and same_transcript(replay.transcript, transcript)


class _Asked(dict):
    """Names that note which of them were looked up."""

    def __init__(self, names: Mapping[str, Callable]):
        super().__init__(names)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Callable:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def named(diagnosis: Diagnosis, name: str, mistake: Callable) -> Diagnosis:
    """Return the diagnosis with the mistake's name, and the first paragraph of its docstring in front.

    What was guessed from few values alone, such as that they are rounded, is left out beside it.
    """
    paragraph = " ".join((mistake.__doc__ or "").strip().split("\n\n")[0].split())
    message = GUESS.sub("", diagnosis.message)
    return replace(diagnosis, mistake=name, message=f"{paragraph} {message}".strip())


def without_advice(diagnosis: Diagnosis, exercise: str, transcripts: Sequence[Transcript]) -> Diagnosis:
    """Return the diagnosis without the question after a `return`, if the exercise has returned something."""
    calls = [result for transcript in transcripts for name, result in transcript if name == exercise]
    if all(result is None or isinstance(result, StudentFault) for result in calls):
        return diagnosis
    return replace(diagnosis, message=diagnosis.message.replace(MISSING_RETURN, ""))


def recorded(transcript: Transcript) -> dict[str, Callable]:
    """Return functions that give, call by call, what the transcript's names gave."""
    results: dict[str, list[object]] = {}
    for name, result in transcript:
        results.setdefault(name, []).append(result)
    return {name: _giving(iter(each)) for name, each in results.items()}


def _giving(results: Iterator[object]) -> Callable:
    def give(*args: object, **kwargs: object) -> object:
        result = next(results)
        if isinstance(result, StudentFault):
            raise result
        return result

    return give


def same_transcript(one: Transcript, other: Transcript) -> bool:
    """Whether two transcripts have the same calls with equal results, and tell more than that it failed."""
    if not other or len(one) != len(other):
        return False
    if not all(name == known and alike(a, b) for (name, a), (known, b) in zip(one, other, strict=True)):
        return False
    faults = [(a, b) for (_, a), (_, b) in zip(one, other, strict=True) if isinstance(a, StudentFault)]
    return len(faults) < len(one) or all(a.message == b.message for a, b in faults)


def alike(one: object, other: object) -> bool:
    """Whether two results are equal up to rounding.

    NaN equals NaN here, faults of one kind are equal, and so are objects that are no plain values.
    """
    if isinstance(one, StudentFault) or isinstance(other, StudentFault):
        return _fault_name(one) == _fault_name(other)
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and _alike_tensors(one, other)
    if family(one) != family(other):
        return False
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=RTOL, abs_tol=ATOL) or (one != one and other != other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if family(one) is None and hasattr(one, "type_name") and hasattr(other, "type_name"):
        return alike(dict(vars(one)), dict(vars(other)))  # dataclasses that came from a worker
    return family(one) is None or one == other


def _fault_name(result: object) -> tuple[str, str | None] | None:
    return (result.kind, result.exception) if isinstance(result, StudentFault) else None


def _alike_tensors(one: Tensor, other: Tensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if not one.is_floating_point():
        return torch.equal(one.cpu(), other.cpu())
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    scale = other[other.isfinite()].abs().max().item() if other.isfinite().any() else 0.0
    return torch.allclose(one, other, RTOL, ATOL * max(scale, 1.0), equal_nan=True)


def _names_in(path: Path) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_mistakes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}

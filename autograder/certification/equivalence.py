"""Whether a mutant that no check rejects is right after all: equal to the solution on 1,000 draws.

Arguments are drawn by the exercise's function in the chapter's `domain.py`, over all that the statement
allows (other sizes, dtypes, thresholds and models than the checks draw); without one, they are those that the
checks pass to the function at seeds of their own. A mutant is equal if every call gives the solution's
result, up to rounding, or raises the same exception, and changes no argument and leaves no hook that the
solution does not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autograder.certification.subject import Checks, Subject
from autograder.certification.trials import Bench, KeptModels, is_opaque, try_here
from autograder.proxy import Student
from mechinterp_course.checking.draw import check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.observation import copied
from mechinterp_course.checking.recognition import alike
from mechinterp_course.checking.verdict import StudentFault, evaluate, one_line
from mechinterp_course.errors import CourseError

DRAWS, BLOCK = 1000, 100  # draws of one block share their models
TRIALS = 50  # of a task with many right answers: a trial may be a training


@dataclass(frozen=True)
class Equivalence:
    """How many draws (or trials) agreed; `difference` says where the first did not, None if all did."""

    draws: int
    difference: str | None


def equivalence(bench: Bench, source: str, seed: int, draws: int = DRAWS) -> Equivalence:
    """Compare a mutant with the solution, call by call or trial by trial, until they differ."""
    subject, done = bench.subject, 0
    if trial := subject.trial():
        return _tried(bench, trial, source, seed, min(draws, TRIALS))
    solution = LocalStudent(subject.solved())
    with bench.student(source) as mutant:
        for block in range(0, draws, BLOCK):
            start = check_seed(seed, f"domain {block}")
            try:
                mutant.begin(start)
            except StudentFault as fault:
                return Equivalence(done, f"raises {fault.message}")
            for arguments in _limited(arguments_of(subject, bench.checks, start), min(BLOCK, draws - block)):
                difference = _difference(solution, mutant, subject.name, arguments)
                if difference is not None:
                    return Equivalence(done, difference)
                done += 1
    return Equivalence(done, None)


def _tried(bench: Bench, trial: Callable, source: str, seed: int, count: int) -> Equivalence:
    """Let a mutant undergo trials until it fails one that the solution passes."""
    with bench.student(source) as mutant:
        for number in range(count):
            start = check_seed(seed, f"trial {number}")

            def begun(student: Student, draw: KeptModels, start: int = start) -> None:
                student.begin(start)
                trial(student, draw)

            outcome = evaluate(begun, mutant, KeptModels(start, {}))
            if outcome.verdict != "passed" and _passes(bench.subject, trial, start):
                return Equivalence(number, f"in a trial: {outcome.diagnosis.message[:100]}")
    return Equivalence(count, None)


def _passes(subject: Subject, trial: Callable, seed: int) -> bool:
    """Return whether the solution passes a trial; a trial that breaks on it tells nothing of anyone."""
    with seeded_generators(seed):
        outcome = evaluate(trial, LocalStudent(subject.solved()), KeptModels(seed, {}))
    if outcome.verdict == "grader_error":
        raise CourseError(f"{subject.name}__trial in domain.py breaks: {outcome.diagnosis.message}")
    return outcome.verdict == "passed"


def arguments_of(subject: Subject, checks: Checks, seed: int) -> Iterator[tuple]:
    """Yield arguments for the exercise's function without end."""
    domain = subject.domain()
    if domain is None:
        yield from _arguments_of_checks(subject, checks, seed)
    draw = KeptModels(seed, {})
    while True:
        yield domain(draw)


def _arguments_of_checks(subject: Subject, checks: Checks, seed: int) -> Iterator[tuple]:
    """Yield what the checks pass to the solution, at one seed after another."""
    while True:
        calls: list[tuple] = []
        names = subject.solved()
        names[subject.name] = _noting(names[subject.name], calls)
        for check in checks.functions:
            try_here(subject, checks, names, check, seed)
        if not calls:
            raise ValueError(f"no check of {subject.name} calls it")
        yield from calls
        seed += 1


def _noting(function: Callable, calls: list[tuple]) -> Callable:
    def noting(*args: object, **kwargs: object) -> object:
        calls.append((*map(copied, args), *kwargs.values()))
        return function(*args, **kwargs)

    return noting


def _limited(items: Iterator[tuple], most: int) -> Iterator[tuple]:
    for _ in range(most):
        yield next(items)


def _difference(one: LocalStudent, other: Student, name: str, arguments: tuple) -> str | None:
    """Return in words how two students' answers to one call differ, None if they don't."""
    with seeded_generators(0):
        expected = _answer(one, name, arguments)
    if is_opaque(expected):
        raise CourseError(
            f"results of {name} can't be compared: write {name}__trial(student, draw) in domain.py"
        )
    found = _answer(other, name, arguments)
    if not alike(found, expected):
        return f"{_shown(found)} for {_shown(expected)}"
    if other.last.mutated and not one.last.mutated:
        return f"changes {', '.join(other.last.mutated)}"
    if other.last.hooks_left > one.last.hooks_left:
        return "leaves a hook"
    return None


def _answer(student, name: str, arguments: tuple) -> object:
    try:
        return getattr(student, name)(*arguments)
    except StudentFault as fault:
        return fault


def _shown(value: object) -> str:
    if isinstance(value, StudentFault):
        return f"{value.kind} {one_line(value, 80)}"
    shape = getattr(value, "shape", None)
    text = f"{tuple(shape)} {value.dtype}" if shape is not None and value.numel() > 4 else repr(value)
    return " ".join(text.split())[:100]

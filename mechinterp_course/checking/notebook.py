"""What a check cell of a notebook calls: one line if the claim holds, a short block if not."""

from collections.abc import Callable

from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import mistakes_of, named, recognise
from mechinterp_course.checking.verdict import CheckFailed, Diagnosis, claim_of, evaluate


def run_check(check: Callable, seed: int = 0) -> None:
    """Run a check on the functions beside it, and print its claim with a ✓ if it holds.

    The student's functions are looked up where the check was defined. Otherwise raises `CheckFailed` with
    the explanation, also for a function that is not written yet: a cell that raises earns no points.
    """
    student = LocalStudent(check.__globals__)
    draw = Draw(check_seed(seed, check.__name__))
    with seeded_generators(draw.student_seed):
        outcome = evaluate(check, student, draw)
    if outcome.verdict == "passed":
        print(f"✓ {claim_of(check)}")
        return
    diagnosis = outcome.diagnosis
    if outcome.verdict == "failed":
        diagnosis = _with_known_mistake(check, student, draw, diagnosis)
    raise CheckFailed(diagnosis, claim_of(check))


def _with_known_mistake(
    check: Callable, student: LocalStudent, draw: Draw, diagnosis: Diagnosis
) -> Diagnosis:
    for exercise in dict.fromkeys(name for name, _ in reversed(student.transcript)):
        mistakes = mistakes_of(exercise)
        if name := recognise(check, exercise, mistakes, student.transcript, draw):
            return named(diagnosis, name, mistakes[name])
    return diagnosis

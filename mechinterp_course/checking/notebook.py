"""What a check cell of a notebook calls: one line if the claim holds, a short block if not."""

from collections.abc import Callable
from types import FunctionType, ModuleType

from mechinterp_course.checking.cases import cases_of
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.questions import explained
from mechinterp_course.checking.recognition import mistakes_of, named, recognise, replayed
from mechinterp_course.checking.slips import slips_of, takes_a_model, with_sentence
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
        diagnosis = _explained(check, student, draw, diagnosis)
    raise CheckFailed(diagnosis, claim_of(check))


def _explained(check: Callable, student: LocalStudent, draw: Draw, diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis with what explains it: a known mistake, a slip, or what the answer does."""
    run = check, list(student.transcript), draw
    for exercise in dict.fromkeys(name for name, _ in reversed(student.transcript)):
        mistakes, reference = mistakes_of(exercise), _reference(check, exercise)
        if reference is None:
            if name := recognise(check, exercise, mistakes, run[1], draw):
                return named(diagnosis, name, mistakes[name])
            continue
        asked = LocalStudent(check.__globals__)
        inquiry = Inquiry(asked, exercise, reference, cases_of(exercise, reference, [run]), hurried=True)
        slips = {} if takes_a_model(reference) else slips_of(reference)
        found = explained(inquiry, [run], [], mistakes, slips, replayed)
        if found.mistake:
            return named(diagnosis, found.mistake, mistakes[found.mistake])
        if found.sentence:
            return with_sentence(diagnosis, found.sentence)
    return diagnosis


def _reference(check: Callable, exercise: str) -> Callable | None:
    """Return the library's function of an exercise's name, from the modules that stand beside the check."""
    for module in check.__globals__.values():
        if isinstance(module, ModuleType) and module.__name__.startswith("mechinterp_course."):
            found = getattr(module, exercise, None)
            if isinstance(found, FunctionType):
                return found
    return None

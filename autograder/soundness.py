"""Who is to blame when a check breaks off: the check, or what the student's side returned to it."""

import importlib
from collections.abc import Callable

from autograder.manifest import Exercise, Manifest
from mechinterp_course.checking.draw import Draw, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import Diagnosis, Outcome, evaluate

BREAKS_OFF = "The check itself could not finish: "
OURS = f"{BREAKS_OFF}RoomBroken"  # processes of ours that failed


def blamed(outcome: Outcome, manifest: Manifest, exercise: Exercise, check: Callable, draw: Draw) -> Outcome:
    """Return a grader's error as what it is: the student's failure if the check passes with the reference.

    A submission can send anything back, also what no check foresees; that must not count as our error, which
    leaves a result open instead of at zero. `draw` is the check's.
    """
    message = outcome.diagnosis.message
    if message.startswith(OURS) or not is_sound(manifest, exercise, check, draw):
        return outcome
    why = message.removeprefix(BREAKS_OFF)
    return Outcome(
        "failed",
        Diagnosis(
            "not_a_value", f"What came back is not what was asked for: the check could not go on ({why})."
        ),
    )


def is_sound(manifest: Manifest, exercise: Exercise, check: Callable, draw: Draw) -> bool:
    """Whether a check passes on the same draws with the library's functions in the student's place."""
    answers = dict(_reference(manifest.exercise(name)) for name in (*exercise.needs, exercise.name))
    with seeded_generators(draw.student_seed):
        return evaluate(check, LocalStudent(answers), draw.restart()).verdict == "passed"


def _reference(exercise: Exercise) -> tuple[str, object]:
    """Return what a student's function or class is called, and the library's."""
    module, name, *_ = exercise.reference.rsplit(".", 1 + exercise.name.count("."))
    found = getattr(importlib.import_module(f"mechinterp_course.{module}"), name)
    return exercise.name.partition(".")[0], found

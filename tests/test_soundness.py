"""A check that breaks off is the grader's error only if it does so for a right answer too."""

import pytest

from autograder.manifest import load_manifest
from autograder.soundness import blamed, is_sound
from mechinterp_course.checking.comparison import expect_close
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.verdict import Diagnosis, Outcome
from mechinterp_course.metrics import copying_gain

MANIFEST = load_manifest("ch03")
EXERCISE = MANIFEST.exercise("copying_gain")
BROKEN = Outcome(
    "grader_error", Diagnosis("grader_error", "The check itself could not finish: TypeError: odd")
)
LOST = Outcome(
    "grader_error", Diagnosis("grader_error", "The check itself could not finish: RoomBroken: gone")
)


def sound(student, draw):
    """it agrees"""
    loss = draw.normal(2, 8)
    expect_close(student.copying_gain(loss, 4), copying_gain(loss, 4))


def unsound(student, draw):
    """it divides by nothing"""
    student.copying_gain(draw.normal(2, 8), 4 // 0)


CASES = {
    "the student, if the reference passes": (BROKEN, sound, "failed"),
    "the check, if the reference breaks it too": (BROKEN, unsound, "grader_error"),
    "our processes, whoever passes": (LOST, sound, "grader_error"),
}


@pytest.mark.parametrize("blame", CASES)
def test_blame_goes_to(blame):
    outcome, check, verdict = CASES[blame]
    found = blamed(outcome, MANIFEST, EXERCISE, check, Draw(0))
    assert found.verdict == verdict
    if verdict == "failed":
        assert found.diagnosis.kind == "not_a_value" and "(TypeError: odd)" in found.diagnosis.message


def test_every_check_without_a_model_is_sound():
    for exercise in MANIFEST.exercises[:5]:
        for check in exercise.checks:
            assert is_sound(MANIFEST, exercise, MANIFEST.check_function(check), Draw(1))

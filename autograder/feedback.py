"""What a student may see of a hidden check that failed: nothing, the sentence it claims, or the diagnosis."""

from dataclasses import replace

from autograder.review import Submission
from mechinterp_course.errors import CourseError

LEVELS = ("nothing", "sentence", "diagnosis")
DEFAULT = "sentence"


def checked_level(level: str) -> str:
    """Return the level, or raise CourseError where there is none of that name."""
    if level not in LEVELS:
        raise CourseError(f"no hidden feedback {level!r}; choose {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    return level


def told(output: str, hidden: bool, passed: bool, level: str) -> str:
    """Return of a check's `output` what a student may read."""
    if not hidden or passed or level == "diagnosis":
        return output
    return output.partition("\n")[0] if level == "sentence" else ""


def visibility(hidden: bool, level: str) -> str:
    """Return Gradescope's word for who sees a check: at "nothing", hidden ones stay with the teacher."""
    if not hidden:
        return "visible"
    return "hidden" if level == "nothing" else "after_published"


def for_student(submission: Submission) -> Submission:
    """Return a graded submission less what its student may not see."""
    level = submission.result["extra_data"].get("hidden_feedback", DEFAULT)
    exercises = tuple(
        replace(exercise, tests=tuple(_for_student(test, level) for test in exercise.tests))
        for exercise in submission.exercises
    )
    return replace(submission, exercises=exercises)


def _for_student(test: dict, level: str) -> dict:
    extra = test["extra_data"]
    if not extra["hidden"] or level == "diagnosis":
        return test
    claim = (
        test["claim"] if level == "sentence" or extra["verdict"] == "passed" else "it passes a hidden check"
    )
    return test | {"claim": claim, "extra_data": extra | dict.fromkeys(SECRET)}


SECRET = ("diagnosis", "expected", "actual", "where")

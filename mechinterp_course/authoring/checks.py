"""The grader's module of checks: given cells and checks, without any answer."""

import re

from mechinterp_course.authoring.chapter import Chapter
from mechinterp_course.authoring.exercises import Check
from mechinterp_course.authoring.source import refresh_command


def check_module(chapter: Chapter) -> str:
    """Return the Python text of `autograder/checks/<slug>.py`: every check, hidden ones included."""
    header = (
        f'"""Checks of {chapter.source}, version {chapter.version}.\n\n'
        f"Written by `{refresh_command(chapter.slug)}`: edit the source instead.\n"
        '"""'
    )
    given = [cell.text for cell in chapter.cells if cell.role == "given"]
    checks = [_renamed(check) for exercise in chapter.exercises for check in exercise.checks]
    return header + "\n\n" + "\n\n\n".join([*given, *checks]) + "\n"


def _renamed(check: Check) -> str:
    return re.sub(rf"^def check_{check.name}\b", f"def {check.function}", check.source, flags=re.MULTILINE)

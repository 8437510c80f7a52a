"""A misconception written anew from its sentence alone, as other code, is still rejected and still named.

`rewritten_mistakes/` holds those rewritings; nobody who wrote one had seen the code in `mistakes.py`.
"""

import functools
import importlib.util
from pathlib import Path

import pytest

from autograder.manifest import chapters, load_manifest
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import load_mistakes, recognise_in_all
from mechinterp_course.checking.verdict import evaluate

FOLDER = Path(__file__).parent / "rewritten_mistakes"
SLUGS = [slug for slug in chapters() if (FOLDER / f"{slug}.py").is_file()]
AT_LEAST_NAMED = 0.9


def rewritten(slug: str) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location(f"{slug}_rewritten", FOLDER / f"{slug}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if "__" in name and not name.startswith("_")}


@functools.cache
def judged(slug: str) -> dict[str, tuple[bool, str | None]]:
    """Return for every rewriting whether it was rejected, and the mistake it was taken for."""
    return {name: judge(slug, name, function) for name, function in rewritten(slug).items()}


def judge(slug: str, name: str, function) -> tuple[bool, str | None]:
    manifest = load_manifest(slug)
    exercise = manifest.exercise(name.partition("__")[0])
    failed, passed = [], []
    for check in exercise.checks:
        draw = Draw(check_seed(3, f"{slug}.{exercise.name}.{check.name}"))
        student = LocalStudent({exercise.name: function})
        with seeded_generators(draw.student_seed):
            outcome = evaluate(manifest.check_function(check), student, draw)
        group = passed if outcome.verdict == "passed" else failed
        group.append((manifest.check_function(check), student.transcript, draw))
    mistakes = load_mistakes(slug)[exercise.name]
    return bool(failed), recognise_in_all(failed, exercise.name, mistakes, passed=passed)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_rewriting_is_rejected(slug):
    assert [name for name, (rejected, _) in judged(slug).items() if not rejected] == []


@pytest.mark.parametrize("slug", SLUGS)
def test_nine_rewritings_of_ten_are_named_and_hardly_one_wrongly(slug):
    found = {name: taken for name, (_, taken) in judged(slug).items()}
    right = [name for name, taken in found.items() if taken == name.partition("__")[2]]
    wrong = {name: taken for name, taken in found.items() if taken and name not in right}
    assert len(found) >= 30
    assert len(right) >= AT_LEAST_NAMED * len(found), {
        name: found[name] for name in found if name not in right
    }
    assert len(wrong) <= 0.05 * len(found), wrong

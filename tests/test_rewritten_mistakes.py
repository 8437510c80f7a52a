"""A misconception written anew from its sentence alone, as other code, is still rejected and still named.

`rewritten_mistakes/` holds those rewritings; nobody who wrote one had seen the code in `mistakes.py`. One of
three is tried (`pytest -m proof`), all of them with MECHINTERP_ALL_REWRITINGS=1 (ten minutes of one core).
"""

import functools
import importlib.util
import os
import zlib
from pathlib import Path

import pytest
from replays import Replays

from autograder.manifest import chapters, load_manifest
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import load_mistakes, recognise_in_all
from mechinterp_course.checking.verdict import evaluate

pytestmark = pytest.mark.proof
FOLDER = Path(__file__).parent / "rewritten_mistakes"
SLUGS = [slug for slug in chapters() if (FOLDER / f"{slug}.py").is_file()]
AT_LEAST_NAMED = 0.9
SAMPLE = 1 if os.environ.get("MECHINTERP_ALL_REWRITINGS") else 3
NOT_NAMED = {  # their sentences leave open what the code does, or the answer has many forms
    "ablate_head__position_axis",
    "path_logits__receivers_output",
    "find_circuit__by_attention_patterns",
    "find_circuit__single_ablations_only",
    "find_circuit__writers_exchanged",
}


def rewritten(slug: str) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location(f"{slug}_rewritten", FOLDER / f"{slug}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if "__" in name and not name.startswith("_")}


@functools.cache
def judged(slug: str) -> dict[str, tuple[bool, str | None]]:
    """Return for a sample of the rewritings whether each was rejected, and the mistake it was taken for."""
    replays = Replays()
    sample = {n: f for n, f in rewritten(slug).items() if zlib.crc32(n.encode()) % SAMPLE == 0}
    return {name: judge(slug, name, function, replays) for name, function in sample.items()}


def judge(slug: str, name: str, function, replays: Replays) -> tuple[bool, str | None]:
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
    return bool(failed), recognise_in_all(failed, exercise.name, mistakes, replays.once, passed)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_rewriting_is_rejected(slug):
    assert [name for name, (rejected, _) in judged(slug).items() if not rejected] == []


@pytest.mark.parametrize("slug", SLUGS)
def test_all_rewritings_but_one_of_ten_at_most_are_named_rightly(slug):
    names = rewritten(slug).keys()
    assert len(names) >= 30
    assert len(names - NOT_NAMED) >= AT_LEAST_NAMED * len(names)
    wrong = {name: taken for name, (_, taken) in judged(slug).items() if taken != name.partition("__")[2]}
    assert wrong.keys() <= NOT_NAMED, wrong
    assert not any(wrong.values()), wrong

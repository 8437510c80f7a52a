"""Every chapter proves its checks: right answers pass, stubs and known mistakes don't, mistakes are named.

Of an exercise's mistakes, and of its right answers, one of eight is tried in every run. The others are marked
`proof` (`pytest -m proof`), and are skipped where a certificate that is up to date has proven them.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from replays import Replays

from autograder.certification.certificate import read_certificate
from autograder.certification.keys import combined, parts
from autograder.certification.sections import RESTS_ON
from autograder.certification.subject import Checks, Subject
from mechinterp_course.authoring.chapter import Chapter, chapter_slugs, load_chapter
from mechinterp_course.authoring.exercises import Check, Exercise
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import load_mistakes, recognise_in_all
from mechinterp_course.checking.verdict import Outcome, evaluate
from mechinterp_course.layout import course_root

torch.set_num_threads(1)
SLUGS = chapter_slugs(course_root())
SEEDS = (0, 1)
SAMPLE = 8  # one of so many answers is tried in every run
REPLAYS = Replays()


@functools.cache
def chapter(slug: str) -> Chapter:
    return load_chapter(course_root(), slug)


@functools.cache
def solved(slug: str) -> dict[str, object]:
    """Return what a learner's notebook holds at the end: given cells and solutions, run in order."""
    names: dict[str, object] = {}
    for cell in chapter(slug).cells:
        if cell.role in ("given", "solution"):
            exec(compile(cell.text, f"{slug}, line {cell.line}", "exec"), names)
    return names


@functools.cache
def variants(slug: str) -> dict[str, dict[str, Callable]]:
    path = course_root() / "solutions" / slug / "variants.py"
    spec = importlib.util.spec_from_file_location(f"{slug}_variants", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, dict[str, Callable]] = {}
    for name, value in vars(module).items():
        exercise, separator, variant = name.partition("__")
        if exercise and separator and callable(value):
            found.setdefault(exercise, {})[variant] = value
    return found


def library_answer(exercise: Exercise) -> Callable:
    module, _, name = exercise.reference.rpartition(".")
    return getattr(importlib.import_module(f"mechinterp_course.{module}"), name)


def stub(exercise: Exercise) -> Callable:
    names = dict(solved(slug_of(exercise)))
    exec(exercise.stub, names)
    return names[exercise.name]


def slug_of(exercise: Exercise) -> str:
    return next(slug for slug in SLUGS if exercise in chapter(slug).exercises)


def run(check: Check, answer: Callable, seed: int) -> tuple[Outcome, LocalStudent, Draw, Callable]:
    """Run one check with `answer` as the exercise's function, and right answers under all other names."""
    slug = next(slug for slug in SLUGS if any(check in e.checks for e in chapter(slug).exercises))
    names = dict(solved(slug))
    exec(check.source, names)
    student = LocalStudent({**names, check.exercise: answer})
    draw = Draw(check_seed(seed, f"{slug}.{check.exercise}.{check.name}"))
    function = names[f"check_{check.name}"]
    with seeded_generators(draw.student_seed):
        return evaluate(function, student, draw), student, draw, function


def outcomes(exercise: Exercise, answer: Callable, seed: int) -> dict[str, str]:
    """Return {check: verdict, with the message where it is not "passed"}."""
    results = {}
    for check in exercise.checks:
        outcome, *_ = run(check, answer, seed)
        results[check.name] = (
            outcome.verdict
            if outcome.diagnosis is None
            else f"{outcome.verdict}: {outcome.diagnosis.message}"
        )
    return results


@functools.cache
def certified(exercise: str) -> frozenset[str]:
    """Return the sections of an exercise's certificate whose parts are all as they were when it was made."""
    slug = next(slug for slug in SLUGS if any(e.name == exercise for e in chapter(slug).exercises))
    subject = Subject(course_root(), chapter(slug), chapter(slug).exercise(exercise))
    entry = read_certificate(subject.folder).get(exercise)
    if entry is None:
        return frozenset()
    now = parts(subject, Checks.of(subject))
    return frozenset(s for s in RESTS_ON if entry["sections"][s]["key"] == combined(now, RESTS_ON[s]))


def skip_if_certified(request: pytest.FixtureRequest, exercise: Exercise, section: str) -> None:
    if request.node.get_closest_marker("proof") and section in certified(exercise.name):
        pytest.skip("proven by a certificate that is up to date")


def cases(of_chapter: Callable[[str], dict[str, Iterable[str]]]) -> Iterator[object]:
    """Yield (exercise, answer) for all answers of all chapters; most are marked."""
    for slug in SLUGS:
        for name, answers in of_chapter(slug).items():
            for place, answer in enumerate(answers):
                marks = pytest.mark.proof if place % SAMPLE else ()
                yield pytest.param(chapter(slug).exercise(name), answer, id=f"{name}-{answer}", marks=marks)


EXERCISES = [
    pytest.param(exercise, id=exercise.name) for slug in SLUGS for exercise in chapter(slug).exercises
]
VARIANTS, MISTAKES = list(cases(variants)), list(cases(load_mistakes))


@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_exercise_has_hints_hidden_checks_mistakes_and_variants(exercise):
    slug = slug_of(exercise)
    assert 1 <= len(exercise.hints) <= 3
    assert any(check.hidden for check in exercise.checks)
    assert not all(check.hidden for check in exercise.checks)
    assert len(load_mistakes(slug).get(exercise.name, {})) >= 3
    assert len(variants(slug).get(exercise.name, {})) >= 3


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_passes_every_check(exercise, seed):
    answer = solved(slug_of(exercise))[exercise.name]
    assert set(outcomes(exercise, answer, seed).values()) == {"passed"}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_library_agrees_with_the_solution(exercise):
    """Both pass every check, and neither calls the other: the chapter's answers are independent."""
    assert set(outcomes(exercise, library_answer(exercise), seed=2).values()) == {"passed"}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_stub_is_not_written_yet_for_every_check(exercise):
    verdicts = outcomes(exercise, stub(exercise), seed=0).values()
    assert all(verdict.startswith("not_run") for verdict in verdicts)


@pytest.mark.parametrize(("exercise", "variant"), VARIANTS)
def test_a_right_answer_passes_however_it_is_written(request, exercise, variant):
    skip_if_certified(request, exercise, "right")
    answer = variants(slug_of(exercise))[exercise.name][variant]
    assert set(outcomes(exercise, answer, seed=3).values()) == {"passed"}


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_a_known_mistake_is_rejected_and_named(request, exercise, mistake):
    """At least one check fails, and all checks of the exercise together give the right name."""
    skip_if_certified(request, exercise, "mistakes")
    known = load_mistakes(slug_of(exercise))[exercise.name]
    failed, passed = [], []
    for check in exercise.checks:
        outcome, student, draw, function = run(check, known[mistake], seed=0)
        assert outcome.verdict in ("passed", "failed"), outcome
        group = passed if outcome.verdict == "passed" else failed
        group.append((function, student.transcript, draw))
    assert failed and recognise_in_all(failed, exercise.name, known, REPLAYS.once, passed) == mistake

"""Fifty seeds of the capstone's own checks: what solving, looking, reading weights and copying earn.

`pytest -m benchmark tests/benchmarks/test_capstone_score.py -s` prints the table in some ten minutes of one
core. A check asks for six models, and gives its points only if circuit and evidence are right in all.
"""

from collections.abc import Callable
from functools import cache
from itertools import count

import pytest
import torch

from mechinterp_course.authoring.chapter import load_chapter
from mechinterp_course.checking.draw import Draw, check_seed, seeded_generators
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.layout import course_root
from mechinterp_course.worlds import planted
from mechinterp_course.worlds.planted import guessers
from mechinterp_course.worlds.planted.circuit import Circuit
from mechinterp_course.worlds.planted.evidence import prove
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.survey import wilson_interval

pytestmark = pytest.mark.benchmark
SLUG, EXERCISE, SEEDS = "ch13_circuit_evidence", "find_circuit", 50
torch.set_num_threads(1)


@cache
def capstone():
    """The exercise, and the names that its checks use."""
    chapter, names = load_chapter(course_root(), SLUG), {}
    for cell in chapter.cells:
        if cell.role == "given":
            exec(compile(cell.text, SLUG, "exec"), names)
    exercise = chapter.exercise(EXERCISE)
    for check in exercise.checks:
        exec(check.source, names)
    return exercise, names


def passed(answer: Callable, seed: int) -> list[bool]:
    """Whether `answer` passes each check of the exercise in a batch graded with this seed."""
    exercise, names = capstone()
    verdicts = []
    for check in exercise.checks:
        draw = Draw(check_seed(seed, f"{SLUG}.{EXERCISE}.{check.name}"))
        with seeded_generators(draw.student_seed):
            outcome = evaluate(names[f"check_{check.name}"], LocalStudent({EXERCISE: answer}), draw)
        assert outcome.verdict in ("passed", "failed"), outcome
        verdicts.append(outcome.verdict == "passed")
    return verdicts


def with_evidence(guess: Callable[[Puzzle], Circuit]) -> Callable:
    """An answer that names what `guess` does, and reports honest measurements of it."""

    def answer(weights, bos, offset):
        puzzle = Puzzle(weights, bos, offset)
        circuit = guess(puzzle)
        named = vars(circuit) | ({} if len(puzzle.heads) > 16 else {"backup": None})
        return named, prove(puzzle, Circuit(**named))

    return answer


def copied_from(student: int) -> Callable[[Puzzle], Circuit]:
    """What another student would rightly answer for models of one's own sizes: true, of other models."""
    seeds = count(1000 * student + 1000)

    def guess(puzzle: Puzzle) -> Circuit:
        family = "pair" if len(puzzle.heads) == 16 else "backup"
        return planted.truth_of(next(seeds), family).circuit

    return guess


def score(name: str, verdicts: list[list[bool]]) -> tuple[float, tuple[float, float]]:
    """Print what an answer earns by check and in points; return the rate of passed checks, with interval."""
    exercise, _ = capstone()
    points = [check.points for check in exercise.checks]
    for check, column in zip(exercise.checks, zip(*verdicts, strict=True), strict=True):
        low, high = wilson_interval(sum(column), len(column))
        print(f"{name:20}{check.name:48}{sum(column):3} of {len(column)}   95 % {low:.2f} to {high:.2f}")
    earned = sum(p for row in verdicts for p, right in zip(points, row, strict=True) if right)
    print(f"{name:20}{earned / (len(verdicts) * sum(points)):48.1%} of the points")
    hits, trials = sum(map(sum, verdicts)), sum(map(len, verdicts))
    return hits / trials, wilson_interval(hits, trials)


def test_the_reference_solver_finds_and_proves_all():
    verdicts = [passed(planted.find_circuit, seed) for seed in range(SEEDS)]
    print()
    assert score("reference", verdicts)[0] == 1


@pytest.mark.parametrize(
    ("name", "guess", "chance"),
    [
        ("attention patterns", guessers.by_attention_patterns, 4.0**-12),
        ("weights", guessers.by_weights, 2.0**-6),
    ],
)
def test_who_only_looks_earns_no_more_than_chance(name, guess, chance):
    verdicts = [passed(with_evidence(guess), seed) for seed in range(SEEDS)]
    print()
    _, (low, _) = score(name, verdicts)
    assert low <= chance


def test_a_copied_answer_earns_nothing():
    verdicts = [passed(with_evidence(copied_from(seed)), seed) for seed in range(SEEDS)]
    print()
    rate, (low, _) = score("copied", verdicts)
    assert rate == low == 0


def test_single_ablations_earn_the_pairs_and_no_more():
    verdicts = [passed(with_evidence(guessers.by_single_ablation), seed) for seed in range(10)]
    print()
    score("single ablation", verdicts)
    assert all(pairs and not backups for pairs, backups in verdicts)

"""What a claimed circuit has to survive, on planted ones: false claims break, and the circuit stands."""

from functools import cache

import pytest
import torch

from mechinterp_course.refutation import break_circuit, parts
from mechinterp_course.worlds import planted

torch.set_num_threads(1)


@cache
def example(family: str = "pair"):
    """A planted model, its circuit and idle pair, and arguments (model, tokens, other, right, wrong)."""
    puzzle, truth = planted.plant(7, family)
    samples = puzzle.samples(0, 8, 12)
    case = puzzle.load(), samples.tokens, samples.counterfactuals, samples.answers, samples.answers.roll(1)
    real = [head for head in vars(truth.circuit).values() if head]
    return case, real, sorted(decoy.head for decoy in truth.decoys if decoy.kind == "shadow")


@pytest.mark.parametrize("kind", ["resample", "mean", "zero"])
def test_a_claim_about_an_idle_pair_breaks_and_one_about_the_planted_circuit_stands(kind):
    case, real, idle = example()
    assert break_circuit(*case, real, kind)[2] < 2
    knockout, prompt, gap = break_circuit(*case, idle, kind)
    assert gap > 8 and set(knockout) <= set(idle) and 0 <= prompt < 8


def test_a_circuit_without_its_backup_breaks_where_the_matching_head_is_knocked_out():
    case, (copying, matching, backup), _ = example("backup")
    knockout, _, gap = break_circuit(*case, [copying, matching])
    assert knockout == [matching] and gap > 8
    assert break_circuit(*case, [copying, matching, backup])[2] < 2


def test_the_parts_of_a_set_are_all_its_subsets_the_smallest_first():
    assert list(parts([1, 2])) == [(), (1,), (2,), (1, 2)]

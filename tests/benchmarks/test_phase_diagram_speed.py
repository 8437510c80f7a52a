"""The whole phase diagram in under two minutes, and instances side by side against one after the other.

OMP_NUM_THREADS=2 pytest tests/benchmarks/test_phase_diagram_speed.py -m benchmark -n 0 -s
"""

import math
import time

import pytest
import torch

from mechinterp_course import superposition as toy
from mechinterp_course import superposition_phases as phases

pytestmark = pytest.mark.benchmark
SIDE, SEEDS = 20, (0, 1, 2)


def test_the_phase_diagram_takes_less_than_two_minutes():
    grid = torch.logspace(0, math.log10(0.05), SIDE).tolist(), torch.logspace(-1, 1, SIDE).tolist()
    start = time.perf_counter()
    diagram = phases.phase_diagram(*grid, SEEDS)
    seconds = time.perf_counter() - start
    print(
        f"\n{SIDE} × {SIDE} cells, {len(SEEDS)} seeds, {SIDE**2 * len(SEEDS)} models: {seconds:.1f} s; "
        f"trained and formula agree in {diagram.agreement():.1%}, trained and search in "
        f"{diagram.agreement('trained', 'searched'):.1%} of the cells"
    )
    assert seconds < 120 and diagram.agreement() > 0.9


@pytest.mark.parametrize("instances", [8, 64])
def test_instances_side_by_side_take_less_time_than_one_after_the_other(instances):
    probability = torch.full((instances, 5), 0.05)
    importance, steps = torch.ones(instances, 5), 200
    toy.train_models(probability[:1], importance[:1], 2, 0, 20)
    start = time.perf_counter()
    together = toy.train_models(probability, importance, 2, 0, steps)
    batched = time.perf_counter() - start
    start = time.perf_counter()
    alone = [toy.train_models(probability[:1], importance[:1], 2, seed, steps) for seed in range(instances)]
    apart = time.perf_counter() - start
    print(
        f"\n{instances} instances, {steps} steps: {batched:.2f} s side by side, {apart:.2f} s one after the "
        f"other, ×{apart / batched:.1f}"
    )
    gap = (torch.cat([each.W for each in alone]) - together.W).abs().max().item()
    assert gap < 0.02 and apart > 2 * batched

"""How long it takes to plant a circuit, and to load it."""

import statistics
import time

import pytest

from mechinterp_course.worlds import planted

pytestmark = pytest.mark.benchmark
SEEDS = 20


def cpu_ms(call) -> float:
    """CPU time of this process, all threads: what else runs on the machine does not count."""
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_planting_takes_less_than_50_ms_each(family):
    planted.plant(SEEDS, family)  # the first call loads libraries
    times = [cpu_ms(lambda seed=seed: planted.plant(seed, family)) for seed in range(SEEDS)]
    print(f"\n{family}: planting {statistics.median(times):.1f} ms, at most {max(times):.1f} ms")
    assert max(times) < 50


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_loading_costs_less_than_30_times_as_much_as_planting(family):
    puzzle, _ = planted.plant(0, family)
    puzzle.load()  # the first call imports transformer_lens
    planting = statistics.median(cpu_ms(lambda: planted.plant(0, family)) for _ in range(5))
    loading = statistics.median(cpu_ms(puzzle.load) for _ in range(5))
    print(f"\n{family}: planting {planting:.1f} ms, loading as a TransformerBridge {loading:.1f} ms")
    assert loading < 30 * planting

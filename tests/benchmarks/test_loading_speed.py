"""How long an embedded model takes to load once the libraries are imported."""

import subprocess
import sys

import pytest

LOADING = """
import sys, time
import torch
from transformer_lens.model_bridge import TransformerBridge
from mechinterp_course.models import load_language_model
torch.set_num_threads(1)
started = time.perf_counter(), time.process_time()
load_language_model(sys.argv[1])
print(time.perf_counter() - started[0], time.process_time() - started[1])
"""
AT_MOST = 0.5  # seconds of one core: what others run beside it doesn't count


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["course-gpt2"])
def test_the_first_load_takes_at_most_half_a_second(name):
    def seconds():
        command = [sys.executable, "-c", LOADING, name]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return tuple(map(float, run.stdout.split()))

    runs = [seconds() for _ in range(3)]
    wall, cpu = map(min, zip(*runs, strict=True))
    print(f"{name} loads in {wall:.2f} s, {cpu:.2f} s of one core")
    assert cpu <= AT_MOST

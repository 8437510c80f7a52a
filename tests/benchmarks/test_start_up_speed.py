"""How long the command takes to answer when nothing has to be computed."""

import subprocess
import sys

import pytest

HELP = """
import time
started = time.process_time()
from mechinterp_course import cli
cli.run(["--help"])
print(time.process_time() - started)
"""
AT_MOST = 1.0  # seconds of one core


@pytest.mark.benchmark
def test_help_answers_at_once():
    def seconds():
        run = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
        return float(run.stdout.split()[-1])

    least = min(seconds() for _ in range(3))
    print(f"--help takes {least:.2f} s of one core")
    assert least <= AT_MOST

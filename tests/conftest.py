"""What several test files share: one process that has imported torch, for all workers of a test run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes at work: each has one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def zygote():
    """A started zygote at this machine's isolation tier."""
    from autograder.room import Zygote
    from autograder.sandbox import Limits, probe

    with Zygote(probe(), limits=Limits(memory=1 << 30)) as zygote:
        yield zygote

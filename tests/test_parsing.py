"""Parsing in several threads: a submission that nests deeply harms no other."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from autograder.parsing import parse

DEEP = "x = " + "[" * 90 + "1" + "]" * 90 + "\n"
FLAT = "def f(a, b):\n    return [a, b]\n" * 100


@pytest.fixture
def threads_take_turns_within_a_parse():
    """Let the garbage collector, which may run inside a parse, give way to other threads."""

    def give_way(phase, info):
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(give_way)


def test_deep_and_flat_sources_parse_side_by_side(threads_take_turns_within_a_parse):
    with ThreadPoolExecutor(4) as threads:
        trees = list(threads.map(parse, [DEEP * 20, FLAT] * 10))
    assert {len(tree.body) for tree in trees} == {20, 100}

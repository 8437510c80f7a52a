"""What watching 32 features costs, in generation speed: one run with and one without, turn about.

    OMP_NUM_THREADS=2 pytest tests/benchmarks/test_monitor_speed.py -m benchmark -n 0 -s

The same prompts are continued in pairs whose order alternates: by the plain model, and by the monitor with
its dictionary read, every token kept in SQLite, and told to a listener as the page's events. Both go as fast
as they can: no pace hides the cost.
"""

import json
import statistics
import threading
import time

import pytest

from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.monitor.generation import Settings, Watcher
from mechinterp_course.monitor.service import Monitor
from mechinterp_course.monitor.store import Store
from mechinterp_course.monitor.watchlist import Watched, Watchlist

pytestmark = pytest.mark.benchmark
WATCHED, PAIRS = 32, 24
PROMPT, HOOK = "The teacher", "blocks.3.hook_resid_pre"
SETTINGS = Settings(max_tokens=110, temperature=1.5)
COST, SPEED = 0.10, 50


def plain(watcher, prompt, settings):
    """The seconds that each generated token took, without a dictionary."""
    return gaps(time.perf_counter() for step in watcher.generate(prompt, settings) if step.generated)


def monitored(monitor, times, done, prompt, settings):
    """The same through the service, in which a listener notes when each token was told."""
    times.clear()
    done.clear()
    monitor.submit(prompt, settings)
    done.wait()
    return gaps(times)


def gaps(times):
    times = list(times)
    return (times[-1] - times[0]) / (len(times) - 1), len(times)


def test_watching_32_features_costs_little(tmp_path):
    model, sae = load_language_model("course-gpt2-refusing"), load_sae("course-sae")
    features = tuple(range(WATCHED))
    watched = tuple(Watched(number, f"feature {number}", 0.5, 0.2, 0.0, 1.0, 10.0) for number in features)
    listed = Watchlist("m", "s", HOOK, 100, "", watched)
    monitor = Monitor(Watcher(model, sae, HOOK, features), listed, Store(tmp_path / "s.sqlite", listed))
    alone, times, done = Watcher(model, sae, HOOK, ()), [], threading.Event()

    def hear(event):
        json.dumps(event)
        if event["type"] == "token" and event["generated"]:
            times.append(time.perf_counter())
        if event["type"] == "end":
            done.set()

    monitor.listen(hear)
    pairs = []
    for pair in range(-2, PAIRS):  # two to warm up
        settings = Settings(SETTINGS.max_tokens, SETTINGS.temperature, seed=pair + 9)
        ways = {
            "plain": lambda settings=settings: plain(alone, PROMPT, settings),
            "monitored": lambda settings=settings: monitored(monitor, times, done, PROMPT, settings),
        }
        found = {way: ways[way]() for way in sorted(ways, reverse=pair % 2 == 0)}
        if pair >= 0 and all(count > 20 for _, count in found.values()):
            pairs.append([found[way][0] for way in ways])
    monitor.close()
    without, with_all = map(statistics.median, zip(*pairs, strict=True))
    extra = statistics.median(
        more - less for less, more in pairs
    )  # a machine's pace drifts, less within a pair
    cost = statistics.median((more - less) / more for less, more in pairs)
    print(f"\nalone {1000 * without:.2f} ms a token, {1 / without:.0f} tokens/s")
    print(f"watched {1000 * with_all:.2f} ms, {1 / with_all:.0f} tokens/s")
    print(f"{cost:.1%} slower, the median of {len(pairs)} pairs")
    print(f"where a model says {SPEED} tokens/s: {extra * SPEED:.1%} slower")
    assert 1 / with_all >= SPEED
    assert cost <= COST

"""How long the feature browser takes to open, and to draw another feature, in a real Chromium.

    pytest tests/benchmarks/test_feature_browser_speed.py -m benchmark -n 0 -s

The limits are those of a page without lag, for 1,536 features.
"""

import time

import pytest

from mechinterp_course import cli

pytestmark = pytest.mark.benchmark
OPENED, DRAWN = 5.0, 0.3  # seconds
DRAW = "const start = performance.now(); choose(); drawDetail(); drawList(); return performance.now() - start"


def test_the_feature_browser_opens_and_moves_without_lag(chromium, tmp_path):
    out = tmp_path / "features.html"
    assert cli.run(["sae", "features", "--rows", "24", "--out", str(out)]) == 0
    started = time.perf_counter()
    chromium.get(out.as_uri())
    while not chromium.find_element("css selector", "#detail h2").text.startswith("Feature"):
        assert time.perf_counter() - started < OPENED
    opened, drawn = time.perf_counter() - started, chromium.execute_script(DRAW) / 1000
    print(
        f"\nopened in {opened:.2f} s (limit {OPENED:g}), a feature drawn in {drawn:.3f} s (limit {DRAWN:g})"
    )
    assert opened < OPENED and drawn < DRAWN

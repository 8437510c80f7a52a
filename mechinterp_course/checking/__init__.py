"""What check cells import: draws of unseen inputs, comparisons that explain themselves, and `run_check`.

Names are loaded on first use, so that `mechinterp_course.checking.verdict` can be had without torch.
"""

from importlib import import_module

_HOMES = {
    "Draw": "draw",
    "expect": "comparison",
    "expect_close": "comparison",
    "expect_equal": "comparison",
    "expect_raises": "comparison",
    "run_check": "notebook",
}

__all__ = ["Draw", "expect", "expect_close", "expect_equal", "expect_raises", "run_check"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

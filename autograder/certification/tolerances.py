"""What the numeric comparisons of a check saw: how closely right answers agree, how far off wrong ones are.

Distances are in units of the tolerance: 1 just passes. A tolerance is derived as

    max(what torch.testing allows for the dtype, 4 × the worst gap between two right answers)

so right answers must stay within a quarter of it, and a tolerance wider than torch.testing's must be needed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mechinterp_course.checking.comparison import TOLERANCES, as_number, expect_close, tolerance

TOO_WIDE = "torch.testing's tolerance would do", "× wider than needed"  # unless more answers are tried
SAFETY = 4  # how many times the worst gap between right answers a tolerance must be
SLACK = 10  # how many times what is needed a tolerance may be
DISTANCES = ("distance", "default_distance", "gap")
MARGIN = 10  # how many times the tolerance a wrong answer must be off


@dataclass(frozen=True)
class Comparison:
    """One numeric comparison: the largest difference, in units of the tolerance and of torch's default one.

    `distance` is infinite where shape, dtype or type differ, so that there are no numbers to compare.
    """

    rtol: float
    atol: float
    distance: float
    default_distance: float
    gap: float


@dataclass
class Recorder:
    """Stands in for `expect_close` in a check's module and notes every comparison it makes."""

    seen: list[Comparison] = field(default_factory=list)

    def __call__(self, actual, expected, dims="batch head", rtol=None, atol=None) -> None:
        self.seen.append(compared(actual, expected, rtol, atol))
        expect_close(actual, expected, dims, rtol, atol)

    def taken(self) -> tuple[Comparison, ...]:
        """Return what was noted since the last call."""
        seen, self.seen = tuple(self.seen), []
        return seen


def compared(actual: object, expected: object, rtol: float | None, atol: float | None) -> Comparison:
    """Return how far `actual` is from `expected`."""
    dtype = expected.dtype if isinstance(expected, Tensor) else torch.float32
    (own_r, own_a), (default_r, default_a) = tolerance(dtype, (rtol, atol)), tolerance(dtype, (None, None))
    pair = _as_doubles(actual, expected)
    if pair is None:
        return Comparison(own_r, own_a, math.inf, math.inf, math.inf)
    gap, size = (pair[0] - pair[1]).abs(), pair[1].abs()
    gap = torch.where(pair[0] == pair[1], torch.zeros_like(gap), gap).nan_to_num(nan=math.inf)

    def worst(r: float, a: float) -> float:
        allowed = a + r * size
        units = torch.where(gap == 0, gap, gap / allowed)
        return units.max().item() if units.numel() else 0.0

    largest = gap.max().item() if gap.numel() else 0.0
    return Comparison(own_r, own_a, worst(own_r, own_a), worst(default_r, default_a), largest)


def _as_doubles(actual: object, expected: object) -> tuple[Tensor, Tensor] | None:
    if isinstance(expected, Tensor):
        if type(actual) is not Tensor or (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
            return None
        return actual.detach().cpu().double(), expected.detach().cpu().double()
    value = as_number(actual)
    return None if value is None else tuple(torch.tensor([float(x)]).double() for x in (value, expected))


def margin(verdict: str, comparisons: Sequence[Comparison]) -> float:
    """Return how many times the tolerance a check's answer was off: 0 if it passed, infinite without numbers.

    A check stops at the first comparison that fails, so that is the last one.
    """
    if verdict == "passed":
        return 0.0
    last = comparisons[-1].distance if comparisons else math.inf
    return last if last > 1 else math.inf


def widest(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return one comparison for each tolerance, with the largest distances and gap that were met."""
    groups: dict[tuple[float, float], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.rtol, each.atol), []).append(each)
    return [
        Comparison(*key, *(max(getattr(each, name) for each in group) for name in DISTANCES))
        for key, group in sorted(groups.items())
    ]


def derivation(comparisons: Iterable[Comparison]) -> list[dict]:
    """Return a row for each tolerance that right answers met: the gap between them, where it comes from.

    `by` is "exactness", "torch.testing" or "4 × gap"; `problem` says what is wrong with it, None if nothing.
    """
    return [_row(each) for each in widest(comparisons)]


def _row(met: Comparison) -> dict:
    distance, needed = met.distance, SAFETY * met.default_distance > 1
    exact, is_default = (met.rtol, met.atol) == (0, 0), (met.rtol, met.atol) in TOLERANCES.values()
    problem = None
    if SAFETY * distance > 1:
        problem = f"right answers come within {1 / distance:.2g} × of it"
    elif not (exact or is_default) and SAFETY * SLACK * distance < 1 and not needed:
        problem = TOO_WIDE[0]
    elif not (exact or is_default) and SAFETY * SLACK * distance < 1:
        problem = f"{1 / (SAFETY * distance):.0f} {TOO_WIDE[1]}"
    return {
        "rtol": met.rtol,
        "atol": met.atol,
        "by": "exactness" if exact else "torch.testing" if is_default else "4 × gap",
        "gap": met.gap,
        "closest": round(distance, 4),
        "problem": problem,
    }

"""Wrong axes: swapped, laid out otherwise, not reduced, reduced too far, or of another length.

Each relation takes a `Pair` and returns (kind, message) if it holds for all values, else None.
"""

from itertools import combinations, permutations

import torch

from mechinterp_course.checking.evidence import Found, Pair, Values, measured

REDUCTIONS = (("mean", torch.mean), ("sum", torch.sum))


def axes_swapped(pair: Pair) -> Found:
    """Two axes swapped, or more of them in another order; also where that changes the shape."""
    if pair.actual.dim() != pair.expected.dim() or not pair.tells:
        return None
    for order in orders(pair.expected.dim()):
        if pair.fits(pair.actual, pair.expected.permute(order)):
            moved = [pair.names[place] for place, axis in enumerate(order) if axis != place]
            if len(moved) == 2:
                return (
                    "axes_swapped",
                    f"Equal to the expected value with {' and '.join(ticked(moved))} swapped.",
                )
            found = axis_order(pair, order)
            asked = " × ".join(pair.names)
            return "axes_swapped", f"The dimensions are in the order {found}, where {asked} was asked."
    return None


def reshaped(pair: Pair) -> Found:
    """The right values read in another order of the axes, or in the right order but another shape."""
    if pair.actual.numel() != pair.expected.numel() or not pair.tells:
        return None
    values = pair.actual.flatten()
    if pair.fits(values, pair.expected.flatten()):
        return "wrong_shape", "The values are right and in the right order; only the shape differs."
    for order in orders(pair.expected.dim()):
        if pair.fits(values, pair.expected.permute(order).flatten()):
            return "reshaped", (
                f"The right values, but in memory they lie as {axis_order(pair, order)}: "
                "a reshape or view stands where the dimensions had to be permuted."
            )
        if pair.actual.dim() == pair.expected.dim() and pair.fits(
            pair.actual.permute(order).flatten(), pair.expected.flatten()
        ):
            return "reshaped", (
                "The right values, folded into axes of the wrong sizes and then permuted to "
                f"{axis_order(pair, order)}."
            )
    return None


def not_reduced(pair: Pair) -> Found:
    """Axes are left that had to be averaged or summed away."""
    extra = pair.actual.dim() - pair.expected.dim()
    if extra < 1 or not (pair.tells or _one_measure(pair.expected)):
        return None
    for axes in combinations(range(pair.actual.dim()), extra):
        for name, reduce in REDUCTIONS:
            if pair.fits(reduce(pair.actual, axes)):
                which = f"dimension{'s' * (extra > 1)} {' and '.join(map(str, axes))}"
                return (
                    "not_reduced",
                    f"Its {name} over {which} is the expected value: that {name} is missing.",
                )
    return None


def over_reduced(pair: Pair) -> Found:
    """Axes are averaged or summed away that were asked for; also where the result was spread out again."""
    missing = pair.expected.dim() - pair.actual.dim()
    for axes in combinations(range(pair.expected.dim()), max(missing, 1)):
        for name, reduce in REDUCTIONS:
            reduced = reduce(pair.expected, axes, keepdim=missing <= 0)
            if missing <= 0 and pair.actual.shape == pair.expected.shape:
                reduced = reduced.expand_as(pair.expected)
            tells = pair.telling(reduced) or _one_measure(reduced)
            if tells and _reduces(pair, axes) and pair.fits(pair.actual, reduced):
                which = " and ".join(ticked([pair.names[axis] for axis in axes]))
                return (
                    "over_reduced",
                    f"It is the {name} of the expected value over {which}, which had to stay.",
                )
    return None


def _one_measure(values: Values) -> bool:
    return values.numel() == 1 and measured(values)


def _reduces(pair: Pair, axes: tuple[int, ...]) -> bool:
    return all(pair.expected.shape[axis] > 1 for axis in axes)


def wrong_length(pair: Pair) -> Found:
    """Right values, with entries too many or too few at one end of one axis."""
    if pair.actual.dim() != pair.expected.dim():
        return None
    gaps = [
        (axis, a - e) for axis, (a, e) in enumerate(zip(pair.actual.shape, pair.expected.shape, strict=True))
    ]
    gaps = [(axis, gap) for axis, gap in gaps if gap]
    if len(gaps) != 1:
        return None
    axis, gap = gaps[0]
    long, short = (pair.actual, pair.expected) if gap > 0 else (pair.expected, pair.actual)
    for end, start in (("end", 0), ("start", abs(gap))):
        if pair.telling(short) and pair.fits(long.narrow(axis, start, short.shape[axis]), short):
            return "wrong_length", _length_message(pair.names[axis], gap, end)
    return None


def _length_message(name: str, gap: int, end: str) -> str:
    entries = "1 entry" if abs(gap) == 1 else f"{abs(gap)} entries"
    if gap > 0:
        return f"Right, but with {entries} too many at the {end} of `{name}`."
    return f"Right, but {entries} missing at the {end} of `{name}`."


def orders(dim: int) -> list[tuple[int, ...]]:
    """Every order of `dim` axes but the given one, swaps of two first; swaps only past four axes."""
    swaps = [_swap(dim, first, second) for first, second in combinations(range(dim), 2)]
    if dim > 4:
        return swaps
    known = {*swaps, tuple(range(dim))}
    return swaps + [order for order in permutations(range(dim)) if order not in known]


def _swap(dim: int, first: int, second: int) -> tuple[int, ...]:
    order = list(range(dim))
    order[first], order[second] = second, first
    return tuple(order)


def axis_order(pair: Pair, order: tuple[int, ...]) -> str:
    """The expected axes' names in that order, as a shape is written."""
    return " × ".join(pair.names[axis] for axis in order)


def ticked(names: list[str]) -> list[str]:
    """Names as code."""
    return [f"`{name}`" for name in names]

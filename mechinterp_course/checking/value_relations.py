"""Wrong values in the right shape: a sign, a factor, a shift, a missing softmax, mask or normalization, …

Each relation takes a `Pair` of one shape and returns (kind, message) if it holds for all values, else None.
"""

import math
from collections.abc import Iterator

import torch

from mechinterp_course.checking.evidence import Found, Pair, Values, largest, measured, number
from mechinterp_course.checking.factors import logarithm_base, meaning_of

LONGEST_SHIFT = 3
MOST_DIGITS = 5


def zeros(pair: Pair) -> Found:
    """All zeros where the expected values are not."""
    if pair.actual.numel() > 1 and not pair.actual.any():
        return "zeros", "Every value is zero."
    return None


def constant(pair: Pair) -> Found:
    """One and the same value everywhere, where the expected values differ from each other."""
    if pair.actual.numel() < 2 or pair.flat(pair.expected) or pair.actual.min() != pair.actual.max():
        return None
    value = pair.actual.flatten()[0]
    message = f"Every value is {number(value.item())}"
    if abs(value - pair.expected.mean()) <= pair.rtol * largest(pair.expected):
        message += ", the mean of all the values expected: too much is averaged"
    return "constant", message + "."


def sign(pair: Pair) -> Found:
    """The opposite sign everywhere, or none."""
    if (pair.tells or measured(pair.expected)) and pair.fits(-pair.actual):
        return "sign", "The sign is the opposite everywhere."
    if pair.telling(pair.expected[pair.expected < 0]) and pair.fits(pair.actual, pair.expected.abs()):
        return "sign", "These are the absolute values of the expected ones: the signs are lost."
    return None


def factor(pair: Pair) -> Found:
    """A constant factor; values all alike tell one only if it is a change of the logarithm's base."""
    place = pair.expected.abs().argmax()
    divisor = pair.expected.flatten()[place].item()
    if not divisor or not math.isfinite(divisor):
        return None
    ratio = pair.actual.flatten()[place].item() / divisor
    if not 1e-6 < abs(ratio) < 1e6 or not pair.fits(pair.actual, ratio * pair.expected):
        return None
    if pair.flat(pair.expected) or not pair.tells:
        meaning = logarithm_base(ratio) if measured(pair.expected) else ""
        return ("factor", f"{number(ratio)} times the expected value{meaning}.") if meaning else None
    sizes = dict(zip(pair.names, pair.expected.shape, strict=True))
    return "factor", f"Every value is {number(ratio)} times the expected one{meaning_of(ratio, sizes)}."


def offset(pair: Pair) -> Found:
    """A constant added to every value."""
    if pair.flat(pair.expected) or not pair.tells:
        return None
    gap = (pair.actual - pair.expected).mean()
    if not pair.fits(pair.actual - gap):
        return None
    return "offset", f"Every value is too {'large' if gap > 0 else 'small'} by {number(abs(gap.item()))}."


def cut_off(pair: Pair) -> Found:
    """Right, but for values beyond a limit, which stand at the limit."""
    for most, name, beyond in (
        (pair.actual.max(), "larger", torch.gt),
        (pair.actual.min(), "smaller", torch.lt),
    ):
        cut = beyond(pair.expected, most) & ~torch.isclose(pair.expected, most, pair.rtol)
        rest = pair.expected[~cut]
        limited = torch.where(cut, most, pair.expected)
        if (
            cut.sum() > 1
            and pair.telling(rest)
            and pair.fits(pair.actual, limited)
            and not pair.flat(pair.expected[cut])
        ):
            return "cut_off", f"Right, but cut off at {number(most.item())}: {name} values were expected."
    return None


def rounded(pair: Pair) -> Found:
    """The expected values with few decimals left."""
    single = pair.expected.numel() == 1 and measured(pair.expected)
    for digits in range(int(single), MOST_DIGITS) if single or pair.tells else ():
        close = min(1e-6 * largest(pair.expected), 1e-2 * 10**-digits)
        if pair.actual.any() and torch.allclose(
            pair.actual, pair.expected.round(decimals=digits), rtol=0, atol=close
        ):
            return (
                "rounded",
                f"These are the expected values rounded to {digits} decimal{'s' * (digits != 1)}.",
            )
    return None


def one_slice(pair: Pair) -> Found:
    """Right but at one index, or at the first or last few, of an axis."""
    wrong = ~torch.isclose(pair.actual, pair.expected, pair.rtol, pair.rtol * largest(pair.expected))
    for axis, name, size in pair.axes(smallest=3):
        others = [other for other in range(wrong.dim()) if other != axis]
        places = (wrong.any(dim=others) if others else wrong).nonzero().flatten().tolist()
        if 2 * wrong.sum() < len(places) * wrong.numel() / size:
            continue  # most of these slices is right: the mistake lies elsewhere
        if len(places) == 1:
            end = {0: ", the first", size - 1: ", the last"}.get(places[0], "")
            return "one_slice", f"Right everywhere but at {name}={places[0]}{end}."
        run = 0 < len(places) <= size // 2 and places[-1] - places[0] == len(places) - 1
        if run and (places[0] == 0 or places[-1] == size - 1):
            end = "first" if places[0] == 0 else "last"
            return "one_slice", f"Right everywhere but at the {end} {len(places)} of `{name}`."
    return None


def shifted(pair: Pair) -> Found:
    """Values that stand a few places too early or too late along an axis."""
    for axis, name, size in pair.axes(smallest=3):
        for steps in range(1, min(LONGEST_SHIFT, size - 2) + 1):
            for late in (True, False):
                found, asked = (steps, 0) if late else (0, steps)
                moved = pair.actual.narrow(axis, found, size - steps)
                target = pair.expected.narrow(axis, asked, size - steps)
                if _shows_a_shift(pair, moved, target, pair.actual.narrow(axis, asked, size - steps)):
                    where = f"what belongs at {name}={asked} stands at {name}={found}"
                    return "shifted", f"Shifted by {steps} along `{name}`: {where}."
    return None


def _shows_a_shift(pair: Pair, moved: Values, target: Values, unmoved: Values) -> bool:
    return pair.telling(target) and pair.fits(moved, target) and not pair.fits(unmoved, target)


def reversed_along(pair: Pair) -> Found:
    """An axis in reverse order."""
    for axis, name, _ in pair.axes(smallest=3):
        if pair.tells and pair.fits(pair.actual.flip(axis)):
            return "reversed", f"In reverse order along `{name}`."
    return None


def extra_softmax(pair: Pair) -> Found:
    """The softmax or log-softmax of the scores or logits that were asked."""
    for axis, name, _ in pair.axes():
        for function in (torch.softmax, torch.log_softmax):
            if pair.tells and pair.fits(pair.actual, function(pair.expected, axis)):
                what = function.__name__.replace("_", "-")
                return "extra_softmax", f"It is the {what} over `{name}` of the expected value: leave it out."
    return None


def missing_softmax(pair: Pair) -> Found:
    """Scores or logits where their softmax or log-softmax was asked."""
    for axis, name, _ in pair.axes():
        for function in (torch.softmax, torch.log_softmax):
            if pair.tells and pair.fits(function(pair.actual, axis)):
                what = function.__name__.replace("_", "-")
                return (
                    "missing_softmax",
                    f"Its {what} over `{name}` is the expected value: the {what} is missing.",
                )
    return None


LOGARITHMS = (
    (torch.exp, "These are logarithms; their exponential is the expected value."),
    (torch.log, "The logarithm of these values is the expected value: it is missing."),
    (lambda values: torch.exp(-values), "These are negative logarithms of the expected values."),
    (lambda values: -torch.log(values), "The negative logarithm of these values is the expected value."),
)


def log_or_probability(pair: Pair) -> Found:
    """Logarithms where probabilities were asked, or the reverse."""
    if not (pair.tells or measured(pair.expected)):
        return None
    for function, message in LOGARITHMS:
        if pair.fits(function(pair.actual)):
            return "log_or_probability", message
    return None


def missing_mask(pair: Pair) -> Found:
    """Queries attend to later keys, where a causal mask was asked."""
    if not {"query", "key"} <= set(pair.names):
        return None
    query, key = pair.names.index("query"), pair.names.index("key")
    actual, expected = (values.movedim((query, key), (-2, -1)) for values in (pair.actual, pair.expected))
    if expected.triu(1).nan_to_num(neginf=0).any() or not pair.telling(expected.tril()):
        return None
    if pair.fits(actual.tril(), expected.tril()):
        return (
            "missing_mask",
            "Right where `key` ≤ `query`, but queries attend to later keys: no causal mask.",
        )
    masked = actual.tril()
    if pair.fits(masked / masked.sum(-1, keepdim=True), expected):
        return (
            "missing_mask",
            "Later keys get a share of the attention: the softmax runs without a causal mask.",
        )
    return None


def missing_normalization(pair: Pair) -> Found:
    """Values that were to be divided by their sum or their norm."""
    if not pair.tells:
        return None
    for what, divided, where in _normalized(pair):
        if pair.fits(divided):
            return "missing_normalization", f"Divided by its {what}{where} it is the expected value."
    return None


def _normalized(pair: Pair) -> Iterator[tuple[str, Values, str]]:
    for axis, name, _ in pair.axes():
        yield "sum", pair.actual / pair.actual.sum(axis, keepdim=True), f" over `{name}`"
        yield "norm", pair.actual / pair.actual.norm(dim=axis, keepdim=True), f" over `{name}`"
    yield "sum", pair.actual / pair.actual.sum(), ""
    yield "norm", pair.actual / pair.actual.norm(), ""


def order(pair: Pair) -> Found:
    """The right values along an axis in another order."""
    for axis, name, size in pair.axes(smallest=3):
        distinct = pair.expected.unique(dim=axis).shape[axis] == size
        moved = pair.expected[~torch.isclose(pair.actual, pair.expected, pair.rtol)]
        if (
            distinct
            and pair.telling(moved)
            and pair.fits(pair.actual.sort(axis).values, pair.expected.sort(axis).values)
        ):
            return "order", f"The right values along `{name}`, but in another order."
    return None


def few_slices(pair: Pair) -> Found:
    """Right but at two indices of an axis, or right at one index only."""
    wrong = ~torch.isclose(pair.actual, pair.expected, pair.rtol, pair.rtol * largest(pair.expected))
    for axis, name, size in pair.axes(smallest=3):
        others = [other for other in range(wrong.dim()) if other != axis]
        at = wrong.any(dim=others) if others else wrong
        places, right = at.nonzero().flatten().tolist(), (~at).nonzero().flatten().tolist()
        if 2 * wrong.sum() < len(places) * wrong.numel() / size:
            continue
        if len(places) == 2 and size > 5 and pair.tells:
            return "one_slice", f"Right everywhere but at {name}={places[0]} and {name}={places[1]}."
        if len(right) == 1:
            agreed = pair.expected.select(axis, right[0])
            if measured(agreed) and agreed.numel() > 2 and pair.telling(agreed):
                return "one_slice", f"Right at {name}={right[0]}, and nowhere else along `{name}`."
    return None

"""Asked of functions of tensors: how the result goes with the expected one, and with whole arguments."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.evidence import number
from mechinterp_course.checking.inquiry import Inquiry, axis_names
from mechinterp_course.checking.probes import in_double

MOST_CALLS = 8
SCALES = 24  # eighths of a power of e, up and down, that a scale is sought in
SIZES: dict[str, Callable[[float], float]] = {
    "times the size of `{}`": lambda size: size,
    "divided by the size of `{}`": lambda size: 1 / size,
    "times the size of `{}`, less one": lambda size: size - 1,
    "divided by the size of `{}`, less one": lambda size: 1 / (size - 1),
    "times the logarithm of the size of `{}`": lambda size: math.log(size),
    "divided by the logarithm of the size of `{}`": lambda size: 1 / math.log(size),
    "times the square root of the size of `{}`": lambda size: size**0.5,
    "divided by the square root of the size of `{}`": lambda size: size**-0.5,
    "times (`{0}` - 1) / `{0}`": lambda size: (size - 1) / size,
    "times `{0}` / (`{0}` - 1)": lambda size: size / (size - 1),
}


def factor_from_sizes(inquiry: Inquiry) -> list[str]:
    """A factor that is the same in every call, or follows from a size: 1 over the logarithm of `d_vocab`."""
    ratios = [(case, _ratio(actual, case.expected)) for case, actual in _answered(inquiry)]
    if len(ratios) < 2 or any(ratio is None for _, ratio in ratios):
        return []
    first = ratios[0][1]
    if all(math.isclose(ratio, first, rel_tol=1e-4) for _, ratio in ratios):
        close = math.isclose(first, 1, rel_tol=1e-3)
        return (
            []
            if close
            else [f"Your value is {number(round(first, 5))} times the expected one in every call."]
        )
    for label in _sizes(inquiry, ratios[0][0]):
        for said, function in SIZES.items():
            if all(_near(ratio, function, _sizes(inquiry, case).get(label)) for case, ratio in ratios):
                return [f"Your value is the expected one {said.format(label)}, in every call."]
    return []


def _near(ratio: float, function: Callable[[float], float], size: float | None) -> bool:
    return size is not None and size > 1 and math.isclose(ratio, function(size), rel_tol=1e-4)


def _sizes(inquiry: Inquiry, case: Case) -> dict[str, float]:
    """The sizes of the named axes of the arguments, and the whole numbers among them."""
    found = {name: value for name, value in case.arguments.items() if type(value) is int}
    for name, value in case.tensors.items():
        found |= dict(zip(axis_names(inquiry.parameters[name].annotation), value.shape, strict=False))
    return found


def _answered(inquiry: Inquiry) -> list[tuple[Case, object]]:
    """Calls with a measured result, and what the answer gives there."""
    measured = [case for case in inquiry.cases if _is_measured(case.expected)][:MOST_CALLS]
    if inquiry.of_a_model or not measured:
        return []
    return list(zip(measured, inquiry.call(*(case.values for case in measured)), strict=True))


def _is_measured(result: object) -> bool:
    if not isinstance(result, float | Tensor):
        return False
    result = _plain(result)
    return bool((result != result.round()).any())


def _plain(result: object) -> Tensor:
    return torch.as_tensor(result, dtype=torch.float64)


def _ratio(actual: object, expected: object) -> float | None:
    actual, expected = _plain(actual), _plain(expected)
    if actual.shape != expected.shape or not expected.any():
        return None
    place = expected.abs().argmax()
    ratio = (actual.flatten()[place] / expected.flatten()[place]).item()
    fits = torch.allclose(actual, ratio * expected, rtol=1e-4, atol=1e-6)
    return ratio if fits and math.isfinite(ratio) and ratio else None


def scaled_argument(inquiry: Inquiry) -> list[str]:
    """What comes out of the reference when an argument is multiplied by some number first."""
    answered = _answered(inquiry)[:3]
    for name in inquiry.measured:
        scales = [_fitted_scale(inquiry, name, case, actual) for case, actual in answered]
        if len(scales) > 1 and all(scales) and any(abs(scale - 1) > 1e-3 for scale in scales):
            listed = ", ".join(number(round(scale, 3)) for scale in scales)
            by = f"a number that differs from call to call ({listed})"
            if max(scales) - min(scales) < 1e-3:
                by = number(round(scales[0], 3))
            return [f"This is what comes out when `{name}` is multiplied by {by} before anything else."]
    return []


def _fitted_scale(inquiry: Inquiry, name: str, case: Case, actual: object) -> float | None:
    """Return the number that makes the reference give `actual`, None if no positive one does."""
    arguments = dict(zip(case.arguments, in_double(case.values), strict=True))
    value, target = arguments[name], _plain(actual)
    if target.numel() < 3:
        return None

    def gap(power: float) -> float:
        scaled = {**arguments, name: value * math.exp(power)}
        found = _plain(inquiry.reference(*scaled.values()))
        return (found - target).abs().max().item() if found.shape == target.shape else math.inf

    best = min((step / 8 for step in range(-SCALES, SCALES + 1)), key=gap)
    low, high = best - 1 / 8, best + 1 / 8
    for _ in range(36):
        third = (high - low) / 3
        low, high = (low, high - third) if gap(low + third) < gap(high - third) else (low + third, high)
    enough = 1e-4 * max(target.abs().max().item(), 1e-6)
    if gap(0) <= enough:
        return None  # right as it is
    close = gap((low + high) / 2) <= enough
    return math.exp((low + high) / 2) if close else None


def linearity(inquiry: Inquiry) -> list[str]:
    """Whether only one of the two is a weighted sum of an argument's entries, for small changes of them."""
    for name in inquiry.measured:
        case = inquiry.case_with(name)
        lines = [_in_a_line(case, name, seed) for seed in (0, 1)] if case else []
        yours = _agreed(_is_straight(inquiry.call(*line)) for line in lines)
        right = _agreed(_is_straight([inquiry.reference(*call) for call in line]) for line in lines)
        both = f"the entries of `{name}`"
        if yours and right is False:
            return [f"Your result only weighs and adds {both}; the expected one does more with them."]
        if right and yours is False:
            return [f"The expected value only weighs and adds {both}; yours does more with them."]
    return []


def _agreed(said: Iterable[bool | None]) -> bool | None:
    """What all say; None where they don't agree, as along two lines on one of which it was chance."""
    different = set(said)
    return different.pop() if len(different) == 1 else None


def _in_a_line(case: Case, name: str, seed: int) -> list[list[object]]:
    """Return three calls in which an argument goes two equal small steps in one random direction."""
    arguments = dict(zip(case.arguments, in_double(case.values), strict=True))
    value = arguments[name]
    step = 0.05 * value.std() * torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    return [list({**arguments, name: value + times * step}.values()) for times in (0, 1, 2)]


def _is_straight(results: list[object]) -> bool | None:
    """Whether three results lie on a line; None where rounding hides it, or where nothing moved at all."""
    first, second, third = map(_plain, results)
    bend, way = (third - 2 * second + first).abs().max().item(), (second - first).abs().max().item()
    if way == 0:
        return None
    if bend <= 1e-4 * way:
        return True
    return False if bend >= 1e-3 * way else None

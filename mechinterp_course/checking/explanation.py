"""Why a tensor is not the expected one: the first relation that holds exactly, or where they first differ."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from mechinterp_course.checking import shape_relations, value_relations
from mechinterp_course.checking.evidence import Found, Pair, number
from mechinterp_course.checking.verdict import Diagnosis

SHAPE_RELATIONS = (
    shape_relations.axes_swapped,
    shape_relations.wrong_length,
    shape_relations.reshaped,
    shape_relations.not_reduced,
    shape_relations.over_reduced,
)
VALUE_RELATIONS = (
    value_relations.zeros,
    value_relations.constant,
    shape_relations.axes_swapped,
    value_relations.sign,
    value_relations.factor,
    value_relations.offset,
    value_relations.cut_off,
    value_relations.rounded,
    value_relations.one_slice,
    value_relations.shifted,
    value_relations.reversed_along,
    value_relations.missing_softmax,
    value_relations.extra_softmax,
    value_relations.log_or_probability,
    value_relations.missing_mask,
    value_relations.missing_normalization,
    shape_relations.over_reduced,
    shape_relations.reshaped,
    value_relations.order,
    value_relations.few_slices,
)
NEARLY = 1e-4  # of the largest value
LOW_PRECISION = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def explain(
    actual: Shaped[Tensor, "..."],
    expected: Shaped[Tensor, "..."],
    dims: str,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Diagnosis | None:
    """Return why `actual` is not `expected`, None if it is.

    `dims` names the axes of `expected`. `rtol` and `atol` say which values count as different; a relation is
    claimed only if it holds for all values to about five digits and can hardly be chance. Without one the
    kind is `wrong_shape` or `wrong_value`.
    """
    names = axis_names(expected, dims)
    if actual.shape != expected.shape:
        return _explain_shape(actual, expected, names)
    wrong = ~torch.isclose(_values(actual), _values(expected), rtol, atol)
    if not wrong.any():
        return None
    kind, message = related(actual, expected, names, rtol, VALUE_RELATIONS) or (
        "wrong_value",
        _how_many(actual, expected, wrong),
    )
    place = tuple(wrong.nonzero()[0].tolist())
    asked, found = shown(expected[place]), shown(actual[place])
    return Diagnosis(kind, message, expected=asked, actual=found, where=named_index(place, names))


def related(
    actual: Shaped[Tensor, "..."],
    expected: Shaped[Tensor, "..."],
    names: tuple[str, ...],
    rtol: float,
    relations: tuple[Callable[[Pair], Found], ...],
) -> Found:
    """Return (kind, message) of the first of `relations` that holds, None if none does."""
    if actual.is_complex() or expected.is_complex() or not expected.numel():
        return None
    closeness = LOW_PRECISION.get(actual.dtype, min(max(rtol, 1e-5), 1e-4) if _measures(expected) else 1e-9)
    pair = Pair(_values(actual), _values(expected), names, closeness)
    if pair.fits(pair.actual):
        return None
    return next((found for relation in relations if (found := relation(pair))), None)


def axis_names(expected: Shaped[Tensor, "..."], dims: str) -> tuple[str, ...]:
    """Return the names in `dims`; ValueError unless there is one for each axis of `expected`."""
    names = tuple(dims.split())
    if len(names) != expected.dim():
        raise ValueError(f"dims={dims!r} names {len(names)} axes, the expected value has {expected.dim()}")
    return names


def named_shape(shape: tuple[int, ...], names: tuple[str, ...] = ()) -> str:
    """Return a shape in words: "head × query = 4 × 9"."""
    sizes = " × ".join(map(str, shape)) or "a single number"
    return f"{' × '.join(names)} = {sizes}" if names else sizes


def named_index(place: tuple[int, ...], names: tuple[str, ...]) -> str | None:
    """Return "head=2, query=0", None for a value without axes."""
    return ", ".join(f"{name}={index}" for name, index in zip(names, place, strict=True)) or None


def shown(value: Shaped[Tensor, ""]) -> str:
    """Return one entry of a tensor to six digits."""
    entry = value.item()
    return number(entry) if isinstance(entry, float) else str(entry)


def _explain_shape(
    actual: Shaped[Tensor, "..."], expected: Shaped[Tensor, "..."], names: tuple[str, ...]
) -> Diagnosis:
    asked, found = named_shape(expected.shape, names), named_shape(actual.shape)
    kind, message = related(actual, expected, names, 1e-5, SHAPE_RELATIONS) or ("wrong_shape", "")
    message = f"{message or _wrong_size(actual, expected, names)} Expected {asked}, got {found}.".strip()
    return Diagnosis(kind, message, expected=asked, actual=found, where="shape")


def _wrong_size(
    actual: Shaped[Tensor, "..."], expected: Shaped[Tensor, "..."], names: tuple[str, ...]
) -> str:
    """Say which axis has another size than asked, if it is one alone."""
    if actual.dim() != expected.dim():
        return ""
    wrong = [each for each in zip(names, actual.shape, expected.shape, strict=True) if each[1] != each[2]]
    if len(wrong) != 1:
        return ""
    name, found, asked = wrong[0]
    gap = f"{abs(found - asked)} too {'many' if found > asked else 'few'}"
    return f"`{name}` has {found} entries where {asked} were asked, {gap}."


def _how_many(
    actual: Shaped[Tensor, "..."], expected: Shaped[Tensor, "..."], wrong: Bool[Tensor, "..."]
) -> str:
    gap = (_values(actual) - _values(expected)).abs()[wrong].max()
    if wrong.numel() == 1:
        message = f"The value differs from the expected one by {number(gap.item())}."
    else:
        largest = f"the largest difference is {number(gap.item())}"
        message = f"{int(wrong.sum())} of {wrong.numel()} values differ; {largest}."
    if gap <= NEARLY * _values(expected).abs().max():
        message += " That is nearly right: look at the precision of the calculation."
    return message


def _values(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    tensor = tensor.detach().cpu()
    return tensor if tensor.is_complex() else tensor.double()


def _measures(tensor: Shaped[Tensor, "..."]) -> bool:
    return tensor.is_floating_point()

"""The comparisons that checks are made of; each returns None or raises `CheckFailed` with an explanation."""

import math
from collections.abc import Callable
from typing import NoReturn

import torch
from jaxtyping import Shaped
from torch import Tensor

from mechinterp_course.checking.elements import explain_elements
from mechinterp_course.checking.evidence import number
from mechinterp_course.checking.explanation import (
    SHAPE_RELATIONS,
    axis_names,
    explain,
    named_index,
    named_shape,
    related,
)
from mechinterp_course.checking.verdict import CheckFailed, Diagnosis, NotWritten, StudentFault

MOST_AXES_LEFT, MOST_EXPLAINED = 3, 1 << 22  # axes not reduced, values

# What torch.testing.assert_close allows: (rtol, atol) by dtype, nothing for whole numbers.
TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}


def expect_close(
    actual: object,
    expected: Shaped[Tensor, "..."] | float,
    dims: str = "batch head",
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Pass if `actual` is the expected tensor, or number, up to rounding.

    A tensor must be a plain `torch.Tensor` of the same shape, dtype and kind of device; `dims` names the axes
    of the expected one. Where a number is expected, a float, an int (not a bool) or a tensor without axes
    will do, and `dims` is not used. Values agree if |actual - expected| ≤ atol + rtol · |expected|, by
    default with the tolerances of `torch.testing.assert_close` (those of float32 for a plain number, which
    comes from float32 tensors as a rule). NaN never agrees; infinities do if their signs do.
    """
    if isinstance(expected, Tensor):
        _compare_tensors(actual, expected, axis_names(expected, dims), (rtol, atol))
    else:
        _compare_numbers(actual, float(expected), (rtol, atol))


def expect_equal(actual: object, expected: object, what: str = "elements") -> None:
    """Pass if `actual` is exactly `expected`: numbers, strings, None, and containers of these.

    `what` says in the plural what the elements are ("heads"). Lists and tuples count as the same, a bool is
    never a number, and floats inside agree up to float32 rounding.
    """
    if diagnosis := explain_elements(actual, expected, what):
        raise CheckFailed(diagnosis)


def expect(condition: bool, message: str) -> None:
    """Pass if the condition is true; `message` says in a sentence what is wrong if it is not."""
    if not condition:
        raise CheckFailed(Diagnosis("claim", message))


def expect_raises(exception: str, call: Callable[[], object], message: str) -> None:
    """Pass if `call()` makes the student's code raise an exception of the type with that name.

    `message` says in a sentence what should be refused. Code that is not written, or that runs out of time or
    memory, remains a fault of its own.
    """
    try:
        call()
    except NotWritten:
        raise
    except StudentFault as fault:
        if fault.kind != "raised":
            raise
        if fault.exception == exception:
            return
        found = fault
    else:
        raise CheckFailed(Diagnosis("did_not_raise", message, expected=exception, actual="no exception"))
    raise CheckFailed(
        Diagnosis("wrong_exception", message, expected=exception, actual=found.message, where=found.where)
    )


def _compare_tensors(
    actual: object,
    expected: Shaped[Tensor, "..."],
    names: tuple[str, ...],
    given: tuple[float | None, float | None],
) -> None:
    if type(actual) is not Tensor:
        fail("wrong_type", f"Expected a tensor, got {described(actual)}.", "Tensor", described(actual))
    dims = " ".join(names)
    if _is_far_off(actual, expected):
        asked, found = named_shape(expected.shape, names), named_shape(actual.shape)
        fail("wrong_shape", f"Expected {asked}, got {found}.", asked, found)
    if actual.shape != expected.shape:
        raise CheckFailed(explain(actual, expected, dims))
    for kind, asked, found in (
        ("wrong_dtype", str(expected.dtype), str(actual.dtype)),
        ("wrong_device", expected.device.type, actual.device.type),
    ):
        if asked != found:
            what = kind.removeprefix("wrong_")
            fail(kind, f"The {what} is part of the answer: expected {asked}, got {found}.", asked, found)
    _refuse_not_finite(actual, expected, names)
    if diagnosis := explain(actual, expected, dims, *tolerance(expected.dtype, given)):
        raise CheckFailed(diagnosis)


def _is_far_off(actual: Shaped[Tensor, "..."], expected: Shaped[Tensor, "..."]) -> bool:
    """Whether a shape is beyond explaining: trying every choice of 20 axes would take minutes."""
    too_large = actual.numel() > max(MOST_EXPLAINED, 4 * expected.numel())
    return actual.dim() > expected.dim() + MOST_AXES_LEFT or too_large


def _compare_numbers(actual: object, expected: float, given: tuple[float | None, float | None]) -> None:
    if type(actual) is Tensor and actual.dim() > 0 and not actual.is_complex():
        target = torch.tensor(expected, dtype=torch.float64)
        _, why = related(actual, target, (), 1e-5, SHAPE_RELATIONS) or ("", "")
        message = f"Expected one number, got {described(actual)}. {why}".strip()
        fail("not_reduced" if why else "wrong_type", message, number(expected), described(actual))
    value = as_number(actual)
    if value is None:
        fail("wrong_type", f"Expected a number, got {described(actual)}.", "float", described(actual))
    value, target = (torch.tensor(each, dtype=torch.float64) for each in (value, expected))
    _refuse_not_finite(value, target, ())
    if diagnosis := explain(value, target, "", *tolerance(torch.float32, given)):
        raise CheckFailed(diagnosis)


def _refuse_not_finite(
    actual: Shaped[Tensor, "..."], expected: Shaped[Tensor, "..."], names: tuple[str, ...]
) -> None:
    if expected.isnan().any():
        raise ValueError("the expected value holds NaN, which nothing equals")
    bad = ~actual.isfinite() & (actual != expected)
    if not bad.any():
        return
    place = tuple(bad.nonzero()[0].tolist())
    found, asked = actual[place].item(), expected[place].item()
    count = f"{int(bad.sum())} of {bad.numel()} values are" if bad.numel() > 1 else "The value is"
    kind = "NaN or infinite" if bad.numel() > 1 else str(found)
    raise CheckFailed(
        Diagnosis(
            "not_finite",
            f"{count} {kind}.",
            expected=number(asked),
            actual=str(found),
            where=named_index(place, names),
        )
    )


def tolerance(dtype: torch.dtype, given: tuple[float | None, float | None]) -> tuple[float, float]:
    """Return (rtol, atol): those given, else the dtype's own."""
    return tuple(
        own if asked is None else asked
        for own, asked in zip(TOLERANCES.get(dtype, (0.0, 0.0)), given, strict=True)
    )


def as_number(value: object) -> float | None:
    """Return a float for a float, an int that is no bool, or a real tensor without axes; else None."""
    if type(value) is Tensor and value.dim() == 0 and value.dtype != torch.bool and not value.is_complex():
        return float(value.item())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**1000 or isinstance(value, float) else math.inf
    return None


def described(value: object) -> str:
    """Return what a value is, in a few words."""
    if value is None:
        return "None (is a `return` missing?)"
    name = getattr(value, "type_name", type(value).__name__)  # of an object that stayed with the student
    if isinstance(value, Tensor):
        shape = " × ".join(map(str, value.shape))
        return f"a {name} of shape {shape}" if shape else f"a {name} without axes"
    if isinstance(value, bool | int | float | str):
        text = repr(value)
        return f"the {name} {text if len(text) <= 40 else text[:39] + '…'}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def fail(kind: str, message: str, expected: str | None = None, actual: str | None = None) -> NoReturn:
    """Raise `CheckFailed` with that diagnosis."""
    raise CheckFailed(Diagnosis(kind, message, expected=expected, actual=actual))

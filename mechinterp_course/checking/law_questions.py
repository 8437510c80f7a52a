"""Asked of any function: laws that the right answer obeys and this one does not, or obeys another.

A whole argument is doubled, turned round or reversed, or a batch is cut down to one; what the result does
then is told in words, where it can be, beside what the right one does.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.inquiry import Inquiry, axis_names
from mechinterp_course.checking.probes import flat
from mechinterp_course.checking.recognition import alike

Change = Callable[[Tensor], Tensor]
NO_NUMBER, ANOTHER = "is no number", "follows another rule"
MOST_TRIED = 4  # calls in which a law is tried
CHANGES: dict[str, Change] = {
    "doubled": lambda values: 2 * values,
    "raised by 1 everywhere": lambda values: values + 1,
    "of the opposite sign": lambda values: -values,
}
RULES: dict[str, Change] = {
    "stays as it is": lambda values: values,
    "doubles": lambda values: 2 * values,
    "is four times as large": lambda values: 4 * values,
    "halves": lambda values: values / 2,
    "rises by 1": lambda values: values + 1,
    "changes its sign": lambda values: -values,
}


def laws(inquiry: Inquiry) -> list[str]:
    """How the result follows when a whole argument is doubled, raised or turned round, in several calls."""
    found = []
    for name in inquiry.measured:
        first = inquiry.case_with(name)
        rest = [case for case in inquiry.wrong if name in case.tensors and case is not first]
        for how, change in CHANGES.items() if first else ():
            rules = {_rules(inquiry, case, name, change) for case in [first, *rest][:MOST_TRIED]}
            right, yours = rules.pop()
            if rules or yours in (right, NO_NUMBER) or (right == ANOTHER and not rest):
                continue  # not the same each time, or too little to go by
            found.append(f"When `{name}` is {how}, the expected value {right}, and yours {yours}.")
    return found


def _rules(inquiry: Inquiry, case: Case, name: str, change: Change) -> tuple[str, str]:
    """Return how the expected result follows, and how the answer's does."""
    other = list({**case.arguments, name: change(case.arguments[name])}.values())
    right, own = _follows(case.expected, inquiry.reference(*other)), inquiry.call(case.values, other)
    return right, _follows(*own) if flat(own[0]).shape == flat(case.expected).shape else right


def _follows(before: object, after: object) -> str:
    before, after = flat(before), flat(after)
    if not (before.isfinite().all() and after.isfinite().all()):
        return NO_NUMBER
    for said, rule in RULES.items():
        if before.shape == after.shape and torch.allclose(after, rule(before), rtol=1e-4, atol=1e-5):
            return said
    return ANOTHER


def order(inquiry: Inquiry) -> list[str]:
    """Whether the result keeps to an argument's order: reversed along with it, or the same in any order."""
    for case in inquiry.wrong[:1]:
        if getattr(case.actual, "shape", ()) != getattr(case.expected, "shape", ()):
            continue  # another shape says more
        for name, words, other in _reversals(inquiry, case):
            right = _turned(inquiry, case.expected, inquiry.reference(*other))
            yours = _turned(inquiry, *inquiry.call(case.values, other))
            if right and yours and right != yours:
                return [f"With `{name}` reversed{words}, the expected result {right}, and yours {yours}."]
    return []


def _reversals(inquiry: Inquiry, case: Case) -> Iterator[tuple[str, str, list[object]]]:
    """Yield (argument, along which axis in words, arguments): one list, or one axis of a tensor, reversed."""
    for name, value in case.arguments.items():
        if isinstance(value, list | tuple) and len(value) > 2:
            yield name, "", list({**case.arguments, name: type(value)(reversed(value))}.values())
        if isinstance(value, Tensor) and not inquiry.of_a_model:
            for axis, label in enumerate(axis_names(inquiry.parameters[name].annotation)[: value.dim()]):
                yield name, f" along `{label}`", list({**case.arguments, name: value.flip(axis)}.values())


def _turned(inquiry: Inquiry, before: object, after: object) -> str:
    """Say what became of a result: nothing, or which of its axes is reversed now; "" if neither."""
    if alike(before, after):
        return "stays as it is"
    names = axis_names(inquiry.signature.return_annotation)
    if not (isinstance(before, Tensor) and isinstance(after, Tensor) and before.dim() == len(names)):
        return ""
    axes = (name for axis, name in enumerate(names) if alike(before.flip(axis), after))
    return next((f"is reversed along `{name}`" for name in axes), "")


def one_alone(inquiry: Inquiry) -> list[str]:
    """Whether the answer is right for each entry along an axis alone, where entries should not mix."""
    for case in inquiry.wrong[:1]:
        for axis, several in _leading_axes(inquiry, case).items():
            alone = [
                [value[i : i + 1] if name in several else value for name, value in case.arguments.items()]
                for i in (0, 1)
            ]
            right = [inquiry.reference(*call) for call in alone]
            if _unmixed(inquiry, case.expected, right, axis) and all(
                alike(*each) for each in zip(inquiry.call(*alone), right, strict=True)
            ):
                return [f"With a single `{axis}` your result is right; with several it is not."]
    return []


def _leading_axes(inquiry: Inquiry, case: Case) -> dict[str, list[str]]:
    """Return the leading axes with several entries, and which arguments begin with each."""
    found: dict[str, list[str]] = {}
    for name, value in case.tensors.items():
        axes = axis_names(inquiry.parameters[name].annotation)
        if axes and value.dim() == len(axes) and len(value) > 1:
            found.setdefault(axes[0], []).append(name)
    return found


def _unmixed(inquiry: Inquiry, together: object, alone: list[object], axis: str) -> bool:
    """Whether the right result of each entry alone is its part of the result of all together."""
    names = axis_names(inquiry.signature.return_annotation)
    if not isinstance(together, Tensor) or axis not in names or together.dim() != len(names):
        return False
    parts = (together.narrow(names.index(axis), i, 1) for i in range(len(alone)))
    return all(alike(part, each) for part, each in zip(parts, alone, strict=True))


def wrong_parts(inquiry: Inquiry) -> list[str]:
    """Which of several results are wrong, where others are right in every call."""
    wrong: set[str] = set()
    parts: set[str] = set()
    for case in inquiry.wrong:
        pairs = list(_parts(case.actual, case.expected))
        parts |= {path for path, *_ in pairs}
        wrong |= {path for path, actual, expected in pairs if not alike(actual, expected)}
    if not wrong or wrong == parts:
        return []
    are = "is" if len(wrong) == 1 else "are"
    return [f"Of what is returned, {_listed(sorted(wrong))} {are} wrong, and the rest is right."]


ORDINALS = "the first value", "the second value", "the third value", "the fourth value"


def _parts(actual: object, expected: object) -> Iterator[tuple[str, object, object]]:
    """Yield (what it is called, actual, expected) of the results in a tuple, or under the keys of a dict."""
    if isinstance(expected, tuple) and isinstance(actual, tuple) and len(actual) == len(expected):
        yield from zip(ORDINALS, actual, expected, strict=False)
    elif isinstance(expected, dict) and isinstance(actual, dict) and actual.keys() == expected.keys():
        for key, value in expected.items():
            inner = list(_parts(actual[key], value))
            yield from inner or [(f"`{key}`", actual[key], value)]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

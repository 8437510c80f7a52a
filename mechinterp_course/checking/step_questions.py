"""Asked of any answer: in which of its lines the values leave the way of the reference.

Both are called with the same arguments, and each torch function is noted with what goes in and what comes
out (`step_trace`). Values are compared whatever the order of their entries, so that axes may stand otherwise.
What is told is a line that is given only what the reference has too, and makes what it has nowhere.
"""

import inspect
import re
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechinterp_course.checking import step_trace
from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.observation import copied
from mechinterp_course.checking.step_trace import MEASURED, TRUTH, WHOLE

MOST_LINES = 3  # where more lines leave the way, the answer goes another, and none is to blame
MOST_CALLS = 3
MOST_VALUES = 20_000
TOLERANCE = 1e-4
NAME = re.compile(r"[\w<>]{0,60}")
MOVES = {  # they make no new numbers, or the same whatever they take
    "__getitem__", "__setitem__", "cat", "concat", "stack", "clone", "detach", "contiguous", "reshape",
    "view", "flatten", "unflatten", "permute", "transpose", "movedim", "expand", "expand_as",
    "broadcast_to", "repeat", "tile", "repeat_interleave", "squeeze", "unsqueeze", "unbind", "split",
    "chunk", "narrow", "gather", "index_select", "masked_select", "take", "take_along_dim", "diagonal",
    "roll", "flip", "sort", "topk", "where", "to", "float", "double", "cpu", "requires_grad_", "tensor",
    "as_tensor", "item", "tolist", "__float__", "zeros", "ones", "full", "empty", "eye", "arange",
    "linspace", "rand", "randn", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros",
    "new_ones", "new_full",
}  # fmt: skip
TAKES_OUT = {"item", "tolist", "__float__"}
SIGNS = {
    **{"add": "+", "__radd__": "+", "sub": "-", "__rsub__": "-", "rsub": "-", "mul": "*", "__rmul__": "*"},
    **{"div": "/", "true_divide": "/", "__rtruediv__": "/", "matmul": "@", "__rmatmul__": "@", "pow": "**"},
    **{"__pow__": "**", "__rpow__": "**", "neg": "-", "__getitem__": "[…]", "__setitem__": "[…] ="},
}


@dataclass(frozen=True)
class Line:
    """A line of the answer, and a torch function in it."""

    function: str
    number: int
    name: str


def lines(inquiry: Inquiry) -> list[str]:
    """In which lines the values leave the way of the reference, in some calls with a wrong result."""
    earlier = earlier_exercises(inquiry)
    found = {line for case in inquiry.wrong[:MOST_CALLS] for line in _parting(inquiry, case, earlier)}
    own = sorted((line for line in found if line.function not in earlier), key=astuple)
    helpers = sorted({line.function for line in found} & earlier)
    few = len({(line.function, line.number) for line in own}) <= MOST_LINES
    return [_told(own, inquiry.name, helpers)] if own and few else []


def earlier_exercises(inquiry: Inquiry) -> set[str]:
    """Return the names of functions beside the reference: an answer may call its own of the same name."""
    names = inspect.unwrap(inquiry.reference).__globals__.items()
    return {name for name, each in names if inspect.isfunction(each)} - {inquiry.name}


def _told(found: Sequence[Line], exercise: str, helpers: Sequence[str]) -> str:
    """Return the sentences about these lines."""
    by_line: dict[tuple[str, int], list[str]] = {}
    for line in found:
        by_line.setdefault((line.function or exercise, line.number), []).append(
            SIGNS.get(line.name, line.name)
        )
    where = [f"line {n} of `{of}` (`{'`, `'.join(names)}`)" for (of, n), names in by_line.items()]
    through = f" with {' and '.join(f'`{helper}`' for helper in helpers)}" if helpers else ""
    return (
        f"In {' and '.join(where)} values are made{through} that the reference never has, of values that it "
        "has. The mistake is there or further on, or in what was chosen to go in, or in its order."
    )


def _parting(inquiry: Inquiry, case: Case, earlier: Collection[str]) -> set[Line]:
    steps, values = inquiry.student.run(step_trace.steps, inquiry.answer, case.given)
    expect_trace(steps, values)
    reference = inspect.unwrap(inquiry.reference)
    _, known = step_trace.steps_of_library(reference, [copied(each) for each in case.values])
    return parting(steps, values, on_the_way(values, known), earlier)


def expect_trace(steps: object, values: object) -> None:
    """Raise TypeError if this is not of the form of a trace: an answer can forge what comes back."""
    if not isinstance(values, Tensor) or values.dim() != 2 or values.shape[1] != step_trace.COLUMNS:
        raise TypeError("no values of a trace")
    if len(steps) > step_trace.MOST_STEPS + 1 or len(values) > MOST_VALUES:
        raise ValueError("too much for a trace")
    for step in steps:
        rows = [*step["takes"], *step["makes"]]
        plain = all(type(row) is int and 0 <= row < len(values) for row in rows)
        named = NAME.fullmatch(step["function"]) and NAME.fullmatch(step["name"])
        if not (plain and named and type(step["line"]) is int):
            raise TypeError("no step of a trace")


def on_the_way(
    values: Float[Tensor, "value column"], known: Float[Tensor, "other column"]
) -> Bool[Tensor, " value"]:
    """Return which values are known too."""
    found = torch.zeros(len(values), dtype=torch.bool)
    for row, value in enumerate(values):
        size, _, finite, length, *_ = value.tolist()
        others = known[(known[:, 0] == size) | (known[:, 0] + size == 1)]  # a number may be a tensor of one
        others = others[others[:, 2] == finite]
        same = (others[:, 3] - length).abs() <= TOLERANCE * length
        near = (others[:, 4:] - value[4:]).abs().amax(dim=1) <= TOLERANCE
        found[row] = (same & near).any()
    return found


def parting(
    steps: Sequence[dict],
    values: Float[Tensor, "value column"],
    known: Bool[Tensor, " value"],
    earlier: Collection[str] = (),
) -> set[Line]:
    """Return the lines on the way to the result that take what is known and make what is not.

    There are none where the result is known, or hangs on something unknown that no step made. What is
    unknown passes if it was moved or found by comparing what passes, and its line counts with the next; if it
    is a plain number, and none was taken out of a tensor before it; or if a function of the names `earlier`
    made it: they are exercises, too.
    """
    passes, maker, kinds = known.clone(), {}, values[:, 1]
    taken_out = min(
        (row for step in steps if step["name"] in TAKES_OUT for row in step["makes"]), default=None
    )
    passes[:taken_out] |= values[:taken_out, 0] == 0
    for step in steps[:-1]:
        new = [row for row in step["makes"] if row not in maker and row not in step["takes"]]
        maker |= dict.fromkeys(new, step)
        truth, counts = (bool(new) and bool((kinds[new] == kind).all()) for kind in (TRUTH, WHOLE))
        compares = truth or (counts and bool((kinds[step["takes"]] == MEASURED).any()))
        if (step["name"] in MOVES or compares or step["function"] in earlier) and all(passes[step["takes"]]):
            passes[new] = True
    leaving, seen = [], set()
    open_ones = [row for row in steps[-1]["takes"] if not known[row]]
    while open_ones:
        row = open_ones.pop()
        if row in seen:
            continue
        seen.add(row)
        if row not in maker:
            return set()
        before = [each for each in maker[row]["takes"] if not passes[each]]
        open_ones += before
        if not before:
            leaving.append(row)
    return _lines(leaving, maker, known | (values[:, 4] == values[:, 5]))


def _lines(rows: list[int], maker: dict[int, dict], known: Bool[Tensor, " value"]) -> set[Line]:
    """Return the lines that made values, and those that made what is unknown, and no constant, for them."""
    found, seen, open_ones = set(), set(), list(rows)
    while open_ones:
        row = open_ones.pop()
        if row not in seen:
            step = maker[row]
            found.add(Line(step["function"], step["line"], step["name"]))
            open_ones += [each for each in step["takes"] if not known[each] and each in maker]
        seen.add(row)
    return found

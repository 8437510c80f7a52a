"""Asked of any answer: in which of its lines the values leave the way of the reference.

Both are called with the same arguments, and each torch function is noted with what goes in and what comes
out (`step_trace`). Values are compared whatever the order of their entries, so that axes may stand otherwise.
What is told is a line that is given only what the reference has too, and makes what it has nowhere.
"""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechinterp_course.checking import step_trace
from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.observation import copied
from mechinterp_course.checking.step_trace import MEASURED, TRUTH, WHOLE

MOST_LINES = 2  # where more lines leave the way, the answer goes another, and none is to blame
MOST_CALLS = 3
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
SIGNS = {
    **{"add": "+", "__radd__": "+", "sub": "-", "__rsub__": "-", "rsub": "-", "mul": "*", "__rmul__": "*"},
    **{"div": "/", "true_divide": "/", "__rtruediv__": "/", "matmul": "@", "__rmatmul__": "@", "pow": "**"},
    **{"__pow__": "**", "__rpow__": "**", "neg": "-", "__getitem__": "[…]", "__setitem__": "[…] ="},
}


@dataclass(frozen=True)
class Line:
    """A line of the answer, and the torch function that makes something new of what is known.

    `helpers` are earlier exercises that returned some of what goes in.
    """

    function: str
    number: int
    name: str
    helpers: tuple[str, ...] = ()


def lines(inquiry: Inquiry) -> list[str]:
    """In which line the values leave the way of the reference, in all of some calls that tell one."""
    found = [parted for case in inquiry.wrong[:MOST_CALLS] if (parted := _parting(inquiry, case))]
    common = [line for line in found[0] if all(map(_at(line), found))] if found else []
    few = len({(line.function, line.number) for line in common}) <= MOST_LINES
    return [_told(common, inquiry.name)] if common and few else []


def _at(line: Line) -> Callable[[Sequence[Line]], bool]:
    """Return whether some line stands where this one does."""
    return lambda found: any((each.function, each.number) == (line.function, line.number) for each in found)


def _told(found: Sequence[Line], exercise: str) -> str:
    """Return the sentences about these lines."""
    by_line: dict[str, list[str]] = {}
    for line in found:
        where = f"line {line.number} of `{line.function or exercise}`"
        by_line.setdefault(where, []).append(f"`{SIGNS.get(line.name, line.name)}`")
    where = ", and ".join(f"{line}, {' and '.join(names)}" for line, names in by_line.items())
    helpers = sorted({helper for line in found for helper in line.helpers})
    given = "".join([*(f"`{helper}` returns or " for helper in helpers), "the reference has too"])
    return (
        f"{where[0].upper()}{where[1:]}: what goes in, {given}; what comes out, it never has. "
        "The mistake is there, or further on, or in the order of what goes in."
    )


def _parting(inquiry: Inquiry, case: Case) -> list[Line]:
    steps, values = inquiry.student.run(step_trace.steps, inquiry.answer, case.given)
    expect_trace(steps, values)
    reference = inspect.unwrap(inquiry.reference)
    _, known = step_trace.steps_of_library(reference, [copied(each) for each in case.values])
    earlier = {name for name, each in reference.__globals__.items() if inspect.isfunction(each)}
    return parting(steps, values, on_the_way(values, known), earlier)


def expect_trace(steps: object, values: object) -> None:
    """Raise TypeError if this is not of the form of a trace: an answer can forge what comes back."""
    if not isinstance(values, Tensor) or values.dim() != 2 or values.shape[1] != step_trace.COLUMNS:
        raise TypeError("no values of a trace")
    for step in steps:
        rows = [*step["takes"], *step["makes"]]
        plain = all(type(row) is int and 0 <= row < len(values) for row in rows)
        names = (
            type(step["line"]) is int and NAME.fullmatch(step["function"]) and NAME.fullmatch(step["name"])
        )
        if not (plain and names):
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
) -> list[Line]:
    """Return the lines on the way to the result that take what is known and make what is not.

    There are none where the result is known, or hangs on something unknown that no step made, unless that is
    a plain number, which may stand in the line as it is. What is unknown passes if it was moved or found by
    comparing what passes, or was made by a function of the names `earlier`: they are exercises, too.
    """
    passes, maker = known.clone(), {}
    numbers, kinds = values[:, 0] == 0, values[:, 1]

    def unknown(row: int) -> bool:
        return not passes[row] and (row in maker or not numbers[row])

    for step in steps[:-1]:
        new = [row for row in step["makes"] if row not in maker and row not in step["takes"]]
        maker |= dict.fromkeys(new, step)
        truth, counts = (bool(new) and bool((kinds[new] == kind).all()) for kind in (TRUTH, WHOLE))
        compares = truth or (counts and bool((kinds[step["takes"]] == MEASURED).any()))
        moves = step["name"] in MOVES or compares
        if step["function"] in earlier or (moves and not any(map(unknown, step["takes"]))):
            passes[new] = True
    found, seen = set(), set()
    open_ones = [row for row in steps[-1]["takes"] if not known[row]]
    while open_ones:
        row = open_ones.pop()
        if row in seen:
            continue
        seen.add(row)
        if row not in maker:
            return []
        step = maker[row]
        before = list(filter(unknown, step["takes"]))
        open_ones += before
        if not before:
            helpers = {maker[row]["function"] for row in step["takes"] if row in maker and not known[row]}
            found.add(Line(step["function"], step["line"], step["name"], tuple(sorted(helpers & {*earlier}))))
    return sorted(found, key=lambda line: (line.function, line.number, line.name))

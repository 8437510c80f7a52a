"""Asked of functions of tensors: which entries count, and how much."""

import inspect
import math
from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from mechinterp_course.checking import probes
from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.influence import Probing, compared, places_to_probe, weighed
from mechinterp_course.checking.inquiry import Inquiry, axis_names
from mechinterp_course.checking.recognition import alike

PROBED_TWICE = 24
Probed = tuple[Probing, Tensor, Tensor]  # with the answer's slopes and the reference's


def entries_that_count(inquiry: Inquiry) -> list[str]:
    """Which entries of its tensors move the result, and which should."""
    return [said for each in _probed(inquiry) for said in compared(*each)]


def weights(inquiry: Inquiry) -> list[str]:
    """How much the entries of its tensors move the result, where the right ones do."""
    probed = [each for each in _probed(inquiry) if each[0].argument in inquiry.measured]
    return [said for each in probed for said in weighed(*each)]


def _probed(inquiry: Inquiry) -> Iterator[Probed]:
    for name in inquiry.parameters:
        if name not in inquiry.known:
            inquiry.known[name] = _probe(inquiry, name)
        if inquiry.known[name] is not None:
            yield inquiry.known[name]


def _changes(inquiry: Inquiry, case: Case, name: str) -> bool:
    """Whether the result follows a large change of one tensor."""
    other = {**case.arguments, name: case.arguments[name].flip(-1) * 3}
    if not case.arguments[name].is_floating_point():
        other[name] = case.arguments[name].flip(-1)
    return not alike(*inquiry.call(case.values, list(other.values())))


def _is_smooth(
    function: Callable, arguments: list[object], place: int, tried: list[tuple[int, ...]], found: Tensor
) -> bool:
    """Whether steps half as large show the same slopes, by and large; at a jump they show twice as much."""
    some = found.abs().amax(dim=1).topk(min(PROBED_TWICE, len(found))).indices.tolist()
    finer = probes.slopes(function, arguments, place, [tried[i] for i in some], probes.STEP / 2)
    if finer is None:
        return True
    moved = found[some].abs() > 1e-6 * found.abs().max()
    same = torch.isclose(finer[0], found[some], rtol=0.3)[moved]
    return not len(same) or bool(same.float().mean() > 0.8)


def _probe(inquiry: Inquiry, name: str) -> Probed | None:
    """Return the entries of one argument that were tried, None if that can't be told."""
    case = inquiry.case_with(name)
    if case is None or case.arguments[name].dtype == torch.bool:
        return None  # which entries of a mask count goes with what else is given
    place, value = list(inquiry.parameters).index(name), case.arguments[name]
    tried = places_to_probe(tuple(value.shape))
    yours = inquiry.student.run(probes.slopes, inquiry.answer, case.values, place, tried)
    right = probes.slopes(inquiry.reference, case.values, place, tried)
    if yours is None or right is None or yours[0].shape != right[0].shape:
        return None
    if value.is_floating_point() and not _is_smooth(inquiry.reference, case.values, place, tried, right[0]):
        return None  # it jumps, as ranks do: small steps show nearly nothing of what counts
    if not yours[0].isfinite().all():
        return None
    if not yours[0].any() and _changes(inquiry, case, name):
        return None  # in steps larger than those that were tried
    shape = case.expected.shape if isinstance(case.expected, Tensor) else ()
    outcome = torch.tensor(list(product(*map(range, shape))), dtype=torch.int64)
    outcome = outcome.reshape(math.prod(shape), len(shape)) if shape else torch.zeros(right[0].shape[1], 0)
    probing = Probing(
        argument=name,
        names=axis_names(inquiry.parameters[name].annotation),
        sizes=tuple(value.shape),
        places=torch.tensor(tried),
        result_names=axis_names(inspect.signature(inquiry.reference).return_annotation),
        outcome=outcome,
        values=torch.stack([value[tuple(entry)] for entry in tried]).double(),
    )
    return probing, yours[0], right[0]

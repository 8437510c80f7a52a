"""Whether a likeness that was found in the checks also holds in calls that they did not get to.

A check stops at the first result that is wrong, and there two mistakes may well agree.
"""

from collections.abc import Callable, Sequence
from itertools import islice

from torch import Tensor

from mechinterp_course.checking import hook_trace, probes
from mechinterp_course.checking.cases import UNKNOWN, Run
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.interventions import points_of
from mechinterp_course.checking.recognition import Mistakes, alike, recognise_in_all
from mechinterp_course.checking.slips import Slip, recognise_slip

MOST_CALLS, MOST_RUNS = 12, 3  # where a call runs a model, the fewer


def confirmed(inquiry: Inquiry, other: Callable) -> bool:
    """Whether the answer gives what `other` gives, call by call, wherever that is the same each time."""
    unseen = (case.values for case in inquiry.cases if case.actual is UNKNOWN)
    for arguments in islice(unseen, MOST_RUNS if inquiry.of_a_model else MOST_CALLS):
        found, again = probes.results(other, [arguments, arguments])
        if alike(found, again) and not alike(found, inquiry.call(arguments)[0]):
            return False
    return not inquiry.of_a_model or _changes_the_same(inquiry, other)


def _changes_the_same(inquiry: Inquiry, other: Callable) -> bool:
    """Whether the hooks of both change the same activations: whole streams exchanged look alike anywhere."""
    if not inquiry.wrong or not isinstance(inquiry.wrong[0].expected, Tensor):
        return True  # what a verdict runs depends on what it has found so far
    arguments = inquiry.wrong[0].values
    yours = inquiry.student.run(hook_trace.edits, inquiry.answer, arguments)
    return points_of(yours) == points_of(hook_trace.edits(other, arguments))


def known_mistake(
    inquiry: Inquiry, failed: Sequence[Run], passed: Sequence[Run], mistakes: Mistakes, replay: Callable
) -> str | None:
    """Return the first mistake that behaves as the answer did in the checks and does elsewhere."""
    left = dict(mistakes)
    while name := recognise_in_all(failed, inquiry.name, left, replay, passed):
        if confirmed(inquiry, left.pop(name)):
            return name
    return None


def known_slip(
    inquiry: Inquiry, failed: Sequence[Run], passed: Sequence[Run], slips: dict[str, Slip], replay: Callable
) -> Slip | None:
    """Return the first slip that behaves as the answer did in the checks and does elsewhere."""
    left = dict(slips)
    while slip := recognise_slip(failed, passed, inquiry.name, left, replay):
        if confirmed(inquiry, left.pop(slip.name)):
            return slip
    return None

"""Whether a likeness that was found in the checks also holds in calls that they did not get to.

A check stops at the first result that is wrong, and there two mistakes may well agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from torch import Tensor

from mechinterp_course.checking import hook_trace, probes
from mechinterp_course.checking.cases import UNKNOWN, Run
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.interventions import points_of
from mechinterp_course.checking.recognition import ATOL, RTOL, Mistakes, alike, recognise_in_all
from mechinterp_course.checking.slips import Slip, measures, recognise_slip

MOST_CALLS, MOST_RUNS = 12, 3  # where a call runs a model, the fewer
MOSTLY = 0.75  # of the entries that are wrong in one of two results
FEW = 3  # different results without decimals, which may agree by chance
FOR_EACH_AGAINST = 2  # calls in which a likely mistake gives the same, for each in which it does not


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


def likely_mistake(
    inquiry: Inquiry, failed: Sequence[Run], passed: Sequence[Run], mistakes: Mistakes, replay: Callable
) -> tuple[str, list[Run]] | None:
    """Return the mistake that behaves as the answer mostly did, and the failed checks that it explains.

    An answer may make a known mistake and treat a zero otherwise than who wrote it down. None where no
    mistake explains a check and gives the same in most calls: in those of all checks, and in others. Not
    looked for where it takes runs of a model, and a learner waits.
    """
    best, most = None, 0.0
    if inquiry.hurried and inquiry.of_a_model:
        return None
    for name, mistake in mistakes.items():
        likeness = Likeness()
        explains = [run for run in failed if likeness.of_check(inquiry, mistake, run, replay) >= MOSTLY]
        if not explains:
            continue
        for run in passed:
            likeness.of_check(inquiry, mistake, run, replay)
        likeness.of_unseen_calls(inquiry, mistake)
        if likeness.votes > most and likeness.holds and _changes_the_same(inquiry, mistake):
            best, most = (name, explains), likeness.votes
    return best


@dataclass
class Likeness:
    """In how many calls an answer gave what a mistake gives, and in how many not.

    A call in which a part of the entries agree counts by parts; where both are right it tells nothing.
    `results` are those that both got wrong alike.
    """

    votes: float = 0.0
    against: float = 0.0
    results: list[object] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether they are alike, by and large, and not by chance: a few lists or numbers may well agree."""
        by_chance = not any(map(measures, self.results)) and len(set(map(str, self.results))) < FEW
        return self.votes >= FOR_EACH_AGAINST * self.against and not by_chance

    def of_check(self, inquiry: Inquiry, mistake: Callable, run: Run, replay: Callable) -> float:
        """Count the calls of a check; return how alike the results are by which the answer failed it."""
        given, share = run[1], None
        found, right = (replay(inquiry.name, each, *run).transcript for each in (mistake, inquiry.reference))
        for (_, yours), (_, theirs), (_, expected) in zip(given, found, right, strict=False):
            share = self.of_call(yours, theirs, expected)
        return share if share is not None and len(found) >= len(given) else 0.0

    def of_unseen_calls(self, inquiry: Inquiry, mistake: Callable) -> None:
        """Count calls that the checks did not get to, where a mistake gives the same each time."""
        unseen = [case for case in inquiry.cases if case.actual is UNKNOWN]
        for case in unseen[: MOST_RUNS if inquiry.of_a_model else MOST_CALLS]:
            found, again = probes.results(mistake, [case.values, case.values])
            if alike(found, again):
                self.of_call(inquiry.call(case.values)[0], found, case.expected)

    def of_call(self, given: object, found: object, right: object) -> float | None:
        """Count one call; return which share of the entries that are wrong in one of the two agree."""
        agree, told = _agreement(given, found, right)
        if not told:
            return None
        self.results += [given] if agree >= MOSTLY * told else []
        self.votes += agree / told
        self.against += 1 - agree / told
        return agree / told


def _agreement(given: object, found: object, right: object) -> tuple[int, int]:
    """Return how many entries are the same in two results, of those that are wrong in one of them.

    Verdicts tell nothing: two that are wrong are the same.
    """
    three = (given, found, right)
    if all(isinstance(each, Tensor) for each in three) and given.shape == found.shape == right.shape != ():
        given, found, right = (each.detach().cpu().double() for each in three)
        scale = right.abs().nan_to_num(posinf=0.0).max().item() if right.numel() else 0.0

        def same(one: Tensor, other: Tensor) -> Tensor:
            return one.isclose(other, RTOL, ATOL * max(scale, 1.0), equal_nan=True)

        told = ~same(given, right) | ~same(found, right)
        return int((told & same(given, found)).sum()), int(told.sum())
    if all(isinstance(each, list | tuple) for each in three) and len(given) == len(found) == len(right) > 0:
        parts = [_agreement(*each) for each in zip(*three, strict=True)]
        return sum(agree for agree, _ in parts), sum(told for _, told in parts)
    if isinstance(right, bool) or (alike(given, right) and alike(found, right)):
        return 0, 0
    return int(alike(given, found)), 1


def known_slip(
    inquiry: Inquiry, failed: Sequence[Run], passed: Sequence[Run], slips: dict[str, Slip], replay: Callable
) -> Slip | None:
    """Return the first slip that behaves as the answer did in the checks and does elsewhere."""
    left = dict(slips)
    while slip := recognise_slip(failed, passed, inquiry.name, left, replay):
        if confirmed(inquiry, left.pop(slip.name)):
            return slip
    return None

"""Asked of any function: which of its arguments a wrong result hangs on, and what its hooks do to a model."""

import inspect
import math
from collections.abc import Iterator

from torch import Tensor

from mechinterp_course.checking import hook_trace, probes
from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.elements import family
from mechinterp_course.checking.evidence import number
from mechinterp_course.checking.inquiry import Inquiry, axis_names
from mechinterp_course.checking.interventions import differences
from mechinterp_course.checking.recognition import alike

RARELY = 10  # in one of so many cases calls come apart by chance
FEWEST = 3  # calls with a right result, and with a wrong one, that can show what they have in common
OTHERS = 4  # values of an argument that are tried: a result may stay for some
MOST_TRIED = 6  # changes of an argument, where each may take seconds
TWENTIETHS = 12  # of 1, up and down, that another number is sought in


def hooks(inquiry: Inquiry) -> list[str]:
    """What the answer's hooks do to the model, beside what those of the reference do."""
    if not inquiry.wrong or not inquiry.of_a_model or type(inquiry.wrong[0].expected) is bool:
        return []  # what a verdict runs depends on what it has found so far
    arguments = inquiry.wrong[0].values
    yours = inquiry.student.run(hook_trace.edits, inquiry.answer, arguments)
    said = differences(yours, hook_trace.edits(inspect.unwrap(inquiry.reference), arguments))
    words = {name: value for name, value in inquiry.wrong[0].arguments.items() if isinstance(value, str)}
    where = " and ".join(f"`{name}`={value!r}" for name, value in words.items())
    return [f"With {where}: {sentence}" if where else sentence for sentence in said]


def hooks_left(inquiry: Inquiry) -> list[str]:
    """Hooks that are still on a model after a call."""
    for case in inquiry.wrong[:1] if inquiry.of_a_model else ():
        left = inquiry.student.run(probes.hooks_left, inquiry.answer, case.values)
        if type(left) is int and left > probes.hooks_left(inquiry.reference, case.values):
            return [f"After a call, {left} of your hooks {'is' if left == 1 else 'are'} still on the model."]
    return []


def ignored_arguments(inquiry: Inquiry) -> list[str]:
    """Numbers, strings and other plain arguments that change nothing, though they should."""
    found = []
    for name in () if inquiry.of_a_model else inquiry.parameters:
        tried = [pair for case in inquiry.cases[:FEWEST] for pair in _with_another(inquiry, case, name)]
        telling = [pair for pair in tried if not alike(inquiry.reference(*pair[1]), pair[0].expected)]
        if telling and all(_stays(inquiry, case, other) for case, other in telling):
            found.append(f"Your result is the same whatever `{name}` is.")
    return found


def _stays(inquiry: Inquiry, case: Case, other: list[object]) -> bool:
    """Whether the answer gives the same value for both, one of the kind that was asked."""
    before, after = inquiry.call(case.values, other)
    if isinstance(before, list | tuple | dict) and not before:
        return False  # what gives nothing at all says nothing of an argument
    shapes = [getattr(value, "shape", ()) for value in (before, case.expected)]
    return family(before) == family(case.expected) and shapes[0] == shapes[1] and alike(before, after)


def _with_another(inquiry: Inquiry, case: Case, name: str) -> Iterator[tuple[Case, list[object]]]:
    """Yield the case with arguments in which a plain one has other values that occur."""
    own = case.arguments[name]
    if isinstance(own, bool | int | float | str):
        others = {each.arguments[name] for each in inquiry.cases} - {own}
        for other in sorted(others, key=repr)[:OTHERS]:
            yield case, list({**case.arguments, name: other}.values())


def when_wrong(inquiry: Inquiry) -> list[str]:
    """What the calls with a wrong result have in common that no other has."""
    wrong, right = inquiry.wrong, [case for case in inquiry.cases if case.is_right]
    if len(wrong) < FEWEST or len(right) < FEWEST:
        return []
    labels = _features(inquiry, wrong[0])
    if math.comb(len(wrong) + len(right), len(wrong)) < RARELY * len(labels):
        return []  # some number would tell them apart by chance
    for label in labels:
        bad, good = ([_features(inquiry, case).get(label) for case in cases] for cases in (wrong, right))
        if None in bad + good:
            continue
        if min(bad) > max(good):
            return [
                f"In the checks your result is right where {label} is at most {max(good)}, and wrong beyond."
            ]
        if max(bad) < min(good):
            return [
                f"In the checks your result is right where {label} is at least {min(good)}, and wrong below."
            ]
    return []


def _features(inquiry: Inquiry, case: Case) -> dict[str, float]:
    """Numbers that tell calls apart: plain numbers, lengths of tuples, sizes of axes."""
    found = {}
    for name, value in case.arguments.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and "seed" not in name:
            found[f"`{name}`"] = value
        elif isinstance(value, list | tuple):
            found[f"the number of `{name}`"] = len(value)
        elif isinstance(value, Tensor):
            names = axis_names(inquiry.parameters[name].annotation)
            found |= {f"the size of `{n}`": size for n, size in zip(names, value.shape, strict=False)}
    return found


def verdicts(inquiry: Inquiry) -> list[str]:
    """Whether truth values err in one direction only."""
    said = {case.actual for case in inquiry.wrong if type(case.actual) is bool is type(case.expected)}
    if len(inquiry.wrong) < FEWEST or len(said) != 1:
        return []
    found = said.pop()
    return [
        f"Your verdict is too {'lenient' if found else 'strict'}: where it is wrong, it is always {found}."
    ]


def other_number(inquiry: Inquiry) -> list[str]:
    """What comes out of the reference with another value of a number that decides, such as a threshold."""
    wrong = [case for case in inquiry.wrong if isinstance(case.expected, list) and case.actual][:2]
    for name in inquiry.parameters if wrong else ():
        if any(type(case.arguments[name]) is not float for case in wrong):
            continue
        found = [_value_that_gives(inquiry, case, name) for case in wrong]
        if None not in found:
            numbers = f"{number(found[0])} where {number(wrong[0].arguments[name])} is passed"
            return [f"This is what comes out with another `{name}`: such as {numbers}."]
    return []


def _value_that_gives(inquiry: Inquiry, case: Case, name: str) -> float | None:
    """Return the value of an argument next to its own with which the reference gives the actual result."""
    steps = sorted((step for step in range(-TWENTIETHS, TWENTIETHS + 1) if step), key=abs)
    for value in (case.arguments[name] + step / 20 for step in steps):
        if alike(inquiry.reference(*{**case.arguments, name: value}.values()), case.actual):
            return value
    return None


def put_right(inquiry: Inquiry) -> list[str]:
    """Which argument of a wrong verdict, changed so that nothing should follow, makes the verdict right.

    That it does is a fact about the call, no proof that the mistake is made with this argument.
    """
    for case in [case for case in inquiry.wrong if type(case.expected) is bool is type(case.actual)][:2]:
        for name, value in list(_other_values(case))[:MOST_TRIED]:
            other = list({**case.arguments, name: value}.values())
            if inquiry.reference(*other) is case.expected and inquiry.call(other) == [case.expected]:
                changed = f"`{name}`={value} instead of {case.arguments[name]}"
                return [f"Where your verdict is wrong, it would be right with {changed}."]
    return []


def _other_values(case: Case) -> Iterator[tuple[str, object]]:
    """Yield (argument, value): one entry of a tuple alone, or another decimal number."""
    for name, value in case.arguments.items():
        if isinstance(value, list | tuple) and len(value) > 1:
            yield from ((name, (each,)) for each in dict.fromkeys(value))
        elif type(value) is float:
            yield from ((name, round(other, 3)) for other in (value / 8, value - 0.3, value + 0.3))

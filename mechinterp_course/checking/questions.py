"""What explains an answer: a known mistake, a slip, a mistake that is likely, or what it says when asked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mechinterp_course.checking import (
    call_questions,
    entry_questions,
    law_questions,
    result_questions,
    step_questions,
)
from mechinterp_course.checking.cases import Run
from mechinterp_course.checking.confirmation import known_mistake, known_slip, likely_mistake
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.recognition import Mistakes
from mechinterp_course.checking.slips import Slip
from mechinterp_course.checking.verdict import StudentFault

Question = Callable[[Inquiry], list[str]]
MOST_SAID = 2
QUICK = (call_questions.hooks_left, call_questions.when_wrong, call_questions.hooks)
BY_OUTCOME = (call_questions.put_right, *QUICK, call_questions.verdicts)
QUESTIONS = (
    call_questions.put_right,
    *QUICK,
    call_questions.other_number,
    entry_questions.entries_that_count,
    call_questions.ignored_arguments,
    result_questions.factor_from_sizes,
    result_questions.scaled_argument,
    result_questions.linearity,
    entry_questions.weights,
    law_questions.order,
    law_questions.one_alone,
    law_questions.laws,
    law_questions.wrong_parts,
    call_questions.verdicts,
)
ODD = (
    StudentFault,
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ArithmeticError,
)


def inquire(inquiry: Inquiry) -> str:
    """Return a few sentences on where and how the answer goes wrong, "" if nothing was found."""
    if inquiry.by_outcome:
        return _answered(inquiry, BY_OUTCOME)
    if inquiry.hurried and inquiry.of_a_model:
        return _answered(inquiry, QUICK)
    where, how = _answered(inquiry, [step_questions.lines]), _answered(inquiry, QUESTIONS)
    return " ".join(filter(None, (where, how)))


@dataclass(frozen=True)
class Explanation:
    """A known mistake, with the failed checks that it explains, or a sentence that is about all of them."""

    mistake: str | None = None
    runs: Sequence[Run] = ()
    sentence: str = ""


def explained(
    inquiry: Inquiry,
    failed: Sequence[Run],
    passed: Sequence[Run],
    mistakes: Mistakes,
    slips: dict[str, Slip],
    replay: Callable,
) -> Explanation:
    """Return what explains an answer; an `Explanation` without anything if nothing does.

    `failed` and `passed` are its checks, `replay` is as in `recognition.recognise_in_all`. Where a model is
    run, what the hooks do is asked before slips are tried: it takes two runs, and each slip takes one.
    """
    if name := known_mistake(inquiry, failed, passed, mistakes, replay):
        return Explanation(name, failed)
    if inquiry.of_a_model and (said := _answered(inquiry, QUICK)):
        return Explanation(sentence=said)
    if slip := known_slip(inquiry, failed, passed, slips, replay):
        return Explanation(sentence=slip.sentence)
    if likely := likely_mistake(inquiry, failed, passed, mistakes, replay):
        return Explanation(*likely)
    return Explanation(sentence=inquire(inquiry))


def _answered(inquiry: Inquiry, questions: Iterable[Question]) -> str:
    for question in questions:
        try:
            if said := list(dict.fromkeys(question(inquiry))):
                return " ".join(said[:MOST_SAID])
        except ODD:
            continue  # an answer may return anything: then there is nothing to say
    return ""

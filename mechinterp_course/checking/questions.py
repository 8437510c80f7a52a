"""What an answer is asked where neither a known mistake nor a slip explains it."""

from collections.abc import Callable, Iterable

from mechinterp_course.checking import call_questions, entry_questions, law_questions, result_questions
from mechinterp_course.checking.inquiry import Inquiry
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
    """Return one or two sentences on what the answer does wrong, "" if nothing was found."""
    if inquiry.by_outcome:
        return _answered(inquiry, BY_OUTCOME)
    return _answered(inquiry, QUICK if inquiry.hurried and inquiry.of_a_model else QUESTIONS)


def told(inquiry: Inquiry, slip: Callable[[], Slip | None]) -> str:
    """Return what explains an answer: a slip, else what is found by asking.

    Where a model is run, what the hooks do is asked first: it takes two runs, and each slip takes one.
    """
    if inquiry.of_a_model and (said := _answered(inquiry, QUICK)):
        return said
    found = slip()
    return found.sentence if found else inquire(inquiry)


def _answered(inquiry: Inquiry, questions: Iterable[Question]) -> str:
    for question in questions:
        try:
            if said := list(dict.fromkeys(question(inquiry))):
                return " ".join(said[:MOST_SAID])
        except ODD:
            continue  # an answer may return anything: then there is nothing to say
    return ""

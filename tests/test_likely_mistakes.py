"""An answer that makes a known mistake, and does some small thing otherwise than who wrote it down."""

import pytest
import torch

from mechinterp_course.checking import Draw, expect_close
from mechinterp_course.checking.cases import cases_of
from mechinterp_course.checking.confirmation import known_mistake, likely_mistake
from mechinterp_course.checking.draw import seeded_generators
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.questions import explained
from mechinterp_course.checking.recognition import recognise_in_all, replayed
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.heads import previous_token_score

NAME = "previous_token_score"


def patterns(draw, batch, count, heads=8):
    return [draw.normal(batch, heads, 6, 6).softmax(dim=-1) for _ in range(count)]


def check_batches(student, draw):
    """many prompts at a time"""
    for pattern in patterns(draw, 3, 4):
        expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


def check_alone(student, draw):
    """one prompt alone"""
    (pattern,) = patterns(draw, 1, 1)
    expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


def check_zeros(student, draw):
    """patterns of zeros"""
    for heads in (2, 3, 4, 5):
        pattern = torch.zeros(2, heads, 6, 6)
        expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


def two_back(pattern):
    """The stripe two places back is averaged."""
    return pattern.diagonal(-2, 2, 3).mean((0, 2))


def two_back_and_one(pattern):
    """The stripe two places back is averaged, and 1 added where there is nothing."""
    return two_back(pattern) + (two_back(pattern) == 0)


def alone_otherwise(pattern):
    return two_back(pattern) if len(pattern) > 1 else 2 * previous_token_score(pattern)


def first_heads_otherwise(count):
    def answer(pattern):
        score = two_back(pattern)
        score[:count] = -1.0
        return score

    return answer


def asked_of(answer, mistake, checks=(check_batches, check_alone)):
    """An inquiry on an answer, its failed and passed checks, and one mistake that is known."""
    failed, passed = [], []
    for check in checks:
        student, draw = LocalStudent({NAME: answer}), Draw(7)
        with seeded_generators(draw.student_seed):
            verdict = evaluate(check, student, draw).verdict
        (passed if verdict == "passed" else failed).append((check, list(student.transcript), draw))
    cases = cases_of(NAME, previous_token_score, failed + passed)
    inquiry = Inquiry(LocalStudent({NAME: answer}), NAME, previous_token_score, cases)
    return inquiry, failed, passed, {"two_back": mistake}, replayed


def test_a_mistake_is_named_in_the_checks_in_which_the_answer_makes_it_and_in_no_other():
    asked = asked_of(alone_otherwise, two_back)
    assert known_mistake(*asked) is None
    name, runs = likely_mistake(*asked)
    assert (name, [run[0] for run in runs]) == ("two_back", [check_batches])
    inquiry, failed, passed, mistakes, replay = asked
    found = explained(inquiry, failed, passed, mistakes, {}, replay)
    assert (found.mistake, list(found.runs), found.sentence) == ("two_back", runs, "")


@pytest.mark.parametrize(("heads", "named"), [(0, True), (2, True), (3, False), (8, False)])
def test_three_of_four_entries_that_are_wrong_have_to_be_alike(heads, named):
    asked = asked_of(first_heads_otherwise(heads), two_back)
    assert (likely_mistake(*asked) is not None) == named


def test_calls_that_a_check_did_not_get_to_count_as_well():
    def at_first(pattern):
        return two_back(pattern) if pattern[0, 0, 0, 0] == seen else 3 * previous_token_score(pattern)

    seen = patterns(Draw(7), 3, 1)[0][0, 0, 0, 0]
    asked = asked_of(at_first, two_back, [check_batches])
    assert recognise_in_all(asked[1], NAME, asked[3]) == "two_back"  # as far as the check got
    assert likely_mistake(*asked) is None


def test_a_mistake_that_would_have_failed_what_the_answer_passed_is_less_likely():
    checks = [check_batches, check_zeros]
    assert likely_mistake(*asked_of(alone_otherwise, two_back_and_one, checks)) is not None
    assert likely_mistake(*asked_of(alone_otherwise, two_back_and_one, [check_alone, check_zeros])) is None

"""What the comparisons accept, what they refuse, and in which words."""

import dataclasses

import numpy as np
import pytest
import torch

from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking.verdict import (
    CheckFailed,
    Diagnosis,
    NotWritten,
    StudentFault,
    evaluate,
)

SCORES = torch.tensor([[0.1, 0.5, 0.3], [0.9, 0.2, 0.7]])


class Lookalike(torch.Tensor):
    def __eq__(self, other):
        return torch.ones(self.shape, dtype=torch.bool)


def diagnosis_of(compare, *arguments, **options) -> Diagnosis:
    with pytest.raises(CheckFailed) as failure:
        compare(*arguments, **options)
    return failure.value.diagnosis


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (SCORES + 1e-7, SCORES),
        (torch.tensor([torch.inf, -torch.inf]), torch.tensor([torch.inf, -torch.inf])),
        (SCORES.clone().requires_grad_(), SCORES),
        (torch.empty(0), torch.empty(0)),
        (torch.tensor([True, False]), torch.tensor([True, False])),
        (0.5, 0.5),
        (2, 2.0),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(0.5, dtype=torch.float64), 0.5),
        (np.float64(0.5), 0.5),
    ],
)
def test_the_right_value_passes(actual, expected):
    dims = " ".join("ab"[: expected.dim()]) if isinstance(expected, torch.Tensor) else ""
    assert expect_close(actual, expected, dims=dims) is None


@pytest.mark.parametrize(
    ("actual", "kind", "words"),
    [
        (SCORES.tolist(), "wrong_type", "Expected a tensor, got a list"),
        (None, "wrong_type", "is a `return` missing?"),
        (SCORES.as_subclass(Lookalike), "wrong_type", "Lookalike"),
        (torch.nn.Parameter(SCORES), "wrong_type", "Parameter"),
        (SCORES[0], "wrong_shape", "expected batch × head = 2 × 3, got 3"),
        (SCORES.double(), "wrong_dtype", "expected torch.float32, got torch.float64"),
        (SCORES.to("meta"), "wrong_device", "expected cpu, got meta"),
        (SCORES * torch.tensor([1, torch.nan, 1]), "not_finite", "2 of 6 values are NaN or infinite"),
        (SCORES / 0, "not_finite", "6 of 6"),
        (SCORES.flip(0), "wrong_value", "6 of 6 values differ"),
    ],
)
def test_a_wrong_tensor_is_refused_for_the_first_thing_wrong(actual, kind, words):
    diagnosis = diagnosis_of(expect_close, actual, SCORES, dims="batch head")
    assert diagnosis.kind == kind
    assert words.lower() in diagnosis.message.lower()


@pytest.mark.parametrize(
    ("actual", "kind", "words"),
    [
        (0.25, "wrong_value", "differs from the expected one by 0.25"),
        (-0.5, "sign", "opposite"),
        (True, "wrong_type", "the bool True"),
        ("0.5", "wrong_type", "the str '0.5'"),
        (float("nan"), "not_finite", "The value is nan"),
        (float("inf"), "not_finite", "The value is inf"),
        (torch.tensor([0.2, 0.8]), "not_reduced", "mean over dimension 0"),
        (torch.tensor([0.2, 0.2]), "wrong_type", "Expected one number, got a Tensor of shape 2"),
        (torch.tensor(True), "wrong_type", "without axes"),
        (0.5j, "wrong_type", "a complex"),
    ],
)
def test_a_wrong_number_is_refused(actual, kind, words):
    diagnosis = diagnosis_of(expect_close, actual, 0.5)
    assert (diagnosis.kind, words in diagnosis.message) == (kind, True), diagnosis


def test_nan_never_equals_even_where_nan_would_be_expected():
    with pytest.raises(ValueError, match="NaN"):
        expect_close(torch.tensor([torch.nan]), torch.tensor([torch.nan]), dims="head")


def test_nan_is_reported_at_its_named_index():
    spoiled = SCORES.clone()
    spoiled[1, 2] = torch.nan
    diagnosis = diagnosis_of(expect_close, spoiled, SCORES, dims="batch head")
    assert (diagnosis.where, diagnosis.expected, diagnosis.actual) == ("batch=1, head=2", "0.7", "nan")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_default_tolerance_is_that_of_torch_testing(dtype):
    expected = torch.linspace(1, 9, 50, dtype=torch.float64).to(dtype)
    for size in (0.2, 0.9, 1.5, 8.0):
        actual = expected * (1 + size * {torch.float16: 1e-3, torch.bfloat16: 1.6e-2}.get(dtype, 1e-6))
        agrees = True
        try:
            torch.testing.assert_close(actual, expected)
        except AssertionError:
            agrees = False
        try:
            expect_close(actual, expected, dims="pos")
            ours = True
        except CheckFailed:
            ours = False
        assert ours == agrees, (dtype, size)


def test_a_given_tolerance_replaces_the_default():
    expect_close(SCORES + 0.01, SCORES, atol=0.02)
    assert diagnosis_of(expect_close, SCORES + 0.03, SCORES, atol=0.02).kind == "offset"


def test_dims_that_do_not_name_every_axis_are_the_authors_error():
    with pytest.raises(ValueError, match="names 1 axes"):
        expect_close(SCORES, SCORES, dims="head")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([[1, 2], [3, 4]], [(1, 2), (3, 4)]),
        ((1, "a", None, True), [1, "a", None, True]),
        ({2, 1}, {1, 2}),
        ([(0, 1, 0.30000001)], [(0, 1, 0.3)]),
        ({"mean": 1}, {"mean": 1}),
        ([], []),
    ],
)
def test_equal_plain_values_pass(actual, expected):
    assert expect_equal(actual, expected) is None


HEADS = [(1, 0), (2, 3), (2, 4)]


@pytest.mark.parametrize(
    ("actual", "expected", "kind", "words"),
    [
        ([(1, 0), (2, 4)], HEADS, "missing_elements", "Missing heads: (2, 3)"),
        ([*HEADS, (3, 1)], HEADS, "extra_elements", "Heads that should not be there: (3, 1)"),
        ([(1, 0), (2, 3), (3, 3)], HEADS, "missing_and_extra", "Missing heads: (2, 4)"),
        ([], HEADS, "missing_elements", "(1, 0), (2, 3), (2, 4)"),
        ([*HEADS, (2, 4)], HEADS, "duplicates", "(2, 4) occurs 2 times"),
        (HEADS[::-1], HEADS, "reversed", "reverse order"),
        ([(2, 3), (1, 0), (2, 4)], HEADS, "order", "first differ at entry 0"),
        ([(0, 1), (3, 2), (4, 2)], HEADS, "pair_swapped", "(head, layer) where (layer, head)"),
        ([(2, 0), (3, 3), (3, 4)], HEADS, "off_by_one", "Every layer is too large by 1"),
        ([(1, -1), (2, 2), (2, 3)], HEADS, "off_by_one", "Every head is too small by 1"),
        ([0, 1, 3], [1, 2, 4], "off_by_one", "All heads are too small by 1"),
        (set(HEADS), HEADS, "wrong_type", "Expected a list, got a set"),
        (torch.tensor(HEADS), HEADS, "wrong_type", "tolist"),
        ([(torch.tensor(1), torch.tensor(0))], HEADS, "wrong_type", ".item()"),
        ([(True, False)], HEADS, "wrong_type", "(True, False) is not of the form of (1, 0)"),
        (None, HEADS, "wrong_type", "return"),
        (True, 1, "wrong_type", "Expected an int, got a bool"),
        (1.0, 1, "wrong_type", "Expected an int, got a float"),
        (2, 1, "wrong_value", "differs"),
        (False, True, "wrong_value", "differs"),
        ("key", "query", "wrong_value", "differs"),
        ([(0, 1, 0.5)], [(0, 1, 0.3)], "missing_and_extra", "(0, 1, 0.3)"),
        (
            [True, True],
            [True, False],
            "wrong_value",
            "1 of 2 heads are wrong; the first is entry 1: expected False",
        ),
        ([0.5, 0.25], [0.5, 0.125], "wrong_value", "expected 0.125, got 0.25"),
        ([3, 3, 1], [3, 3, 2], "wrong_value", "the first is entry 2"),
        ((2, 5), (2, 4), "wrong_value", "the first is entry 1: expected 4, got 5"),
        ((2, 5, 1), (2, 4), "wrong_value", "Expected 2 heads, got 3"),
        ([(0, 1, 0.30002)], [(0, 1, 0.3)], "wrong_value", "expected (0, 1, 0.3)"),
        ({"mean": 2}, {"mean": 1}, "wrong_value", "'mean'"),
        ({"sum": 1}, {"mean": 1}, "missing_and_extra", "'mean'"),
    ],
)
def test_unequal_plain_values_are_explained(actual, expected, kind, words):
    diagnosis = diagnosis_of(expect_equal, actual, expected, what="heads")
    assert (diagnosis.kind, words in diagnosis.message) == (kind, True), diagnosis


def test_a_condition_fails_with_its_own_words():
    assert expect(True, "never said") is None
    assert diagnosis_of(expect, False, "A hook is left behind.").message == "A hook is left behind."


def raising(fault: StudentFault):
    def call():
        raise fault

    return call


VALUE_ERROR = StudentFault("raised", "ValueError: no such kind", exception="ValueError")


def test_an_expected_exception_passes():
    assert expect_raises("ValueError", raising(VALUE_ERROR), "Any other kind is refused.") is None


@pytest.mark.parametrize(
    ("call", "kind", "actual"),
    [
        (lambda: 1, "did_not_raise", "no exception"),
        (
            raising(StudentFault("raised", "KeyError: 'x'", exception="KeyError")),
            "wrong_exception",
            "KeyError: 'x'",
        ),
    ],
)
def test_a_missing_or_other_exception_fails(call, kind, actual):
    diagnosis = diagnosis_of(expect_raises, "ValueError", call, "Any other kind is refused.")
    assert (diagnosis.kind, diagnosis.expected, diagnosis.actual) == (kind, "ValueError", actual)


@pytest.mark.parametrize(
    "fault", [NotWritten("not_written", "f is not written yet"), StudentFault("timeout", "5 s")]
)
def test_a_fault_that_is_no_exception_stays_a_fault(fault):
    with pytest.raises(StudentFault) as caught:
        expect_raises("ValueError", raising(fault), "Any other kind is refused.")
    assert caught.value is fault


@pytest.mark.parametrize(
    ("behaviour", "verdict", "kind"),
    [
        (lambda: None, "passed", None),
        (lambda: expect(False, "no"), "failed", "claim"),
        (raising(StudentFault("memory", "more than 2 GB")), "failed", "memory"),
        (raising(NotWritten("syntax_error", "line 3")), "not_run", "syntax_error"),
        (lambda: 1 / 0, "grader_error", "grader_error"),
    ],
)
def test_every_end_of_a_check_has_a_verdict(behaviour, verdict, kind):
    outcome = evaluate(lambda student, draw: behaviour(), None, None)
    assert outcome.verdict == verdict
    assert (outcome.diagnosis and outcome.diagnosis.kind) == kind


def test_a_kind_outside_the_closed_list_is_refused():
    with pytest.raises(ValueError, match="KINDS"):
        dataclasses.replace(Diagnosis("claim", "x"), kind="invented")


FAR_OFF = {"twenty axes too many": [2] * 5 + [1] * 18, "five million values too many": [5_000_000, 1, 1]}


@pytest.mark.parametrize("shape", FAR_OFF.values(), ids=FAR_OFF)
def test_a_shape_beyond_explaining_is_only_named(shape, monkeypatch):
    monkeypatch.setattr("mechinterp_course.checking.comparison.explain", None)
    with pytest.raises(CheckFailed) as failure:
        expect_close(torch.zeros(shape), torch.rand(2, 3, 4), dims="batch pos d_vocab")
    assert failure.value.diagnosis.kind == "wrong_shape"
    assert failure.value.diagnosis.message.startswith("Expected batch × pos × d_vocab = 2 × 3 × 4, got ")

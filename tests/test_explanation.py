"""Each relation is named when it holds, with the axis it runs along, and never when it does not."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechinterp_course.checking.explanation import explain
from mechinterp_course.checking.verdict import RELATION_KINDS

SCORES = torch.randn(3, 4, 9, 9, generator=torch.Generator().manual_seed(0))
PATTERN = SCORES.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(-1)
POSITIVE = SCORES.abs()
PER_HEAD = SCORES.mean(dim=(0, 2, 3))
AXES = "batch head query key"


def with_slice(axis: int, index: slice) -> torch.Tensor:
    spoiled = SCORES.clone()
    spoiled[(slice(None),) * axis + (index,)] = 7.0
    return spoiled


def only_right_at_zero() -> torch.Tensor:
    return torch.cat([SCORES[:1], SCORES[1:].flip(-1) + SCORES[1:].flip(0)])


# (what is done to the right answer, the wrong answer, the right one, kind, words of the message)
SAME_SHAPE = [
    ("query and key swapped", SCORES.transpose(2, 3), SCORES, "axes_swapped", "`query` and `key`"),
    (
        "reshaped, not permuted",
        SCORES.permute(1, 0, 2, 3).reshape(3, 4, 9, 9),
        SCORES,
        "reshaped",
        "head × batch",
    ),
    ("negated", -SCORES, SCORES, "sign", "opposite"),
    ("without signs", SCORES.abs(), SCORES, "sign", "signs are lost"),
    ("doubled", 2 * SCORES, SCORES, "factor", "2 times"),
    ("in bits", SCORES / math.log(2), SCORES, "factor", "base 2"),
    ("summed over heads", 4 * SCORES, SCORES, "factor", "size of `head`: as when a sum"),
    ("divided by one too many", SCORES * 8 / 9, SCORES, "factor", "divides by 9 where there are 8"),
    ("summed over 27 entries", 27 * SCORES, SCORES, "factor", "sum over 27"),
    ("too large by 0.3", SCORES + 0.3, SCORES, "offset", "too large by 0.3"),
    ("first query wrong", with_slice(2, slice(0, 1)), SCORES, "one_slice", "query=0, the first"),
    ("last key wrong", with_slice(3, slice(8, 9)), SCORES, "one_slice", "key=8, the last"),
    ("first two queries wrong", with_slice(2, slice(0, 2)), SCORES, "one_slice", "first 2 of `query`"),
    ("one late", SCORES.roll(1, 2), SCORES, "shifted", "by 1 along `query`"),
    ("two early", SCORES.roll(-2, 3), SCORES, "shifted", "by 2 along `key`"),
    ("heads reversed", SCORES.flip(1), SCORES, "reversed", "`head`"),
    ("softmax too many", SCORES.softmax(-1), SCORES, "extra_softmax", "the softmax over `key`"),
    ("right in one row only", only_right_at_zero(), SCORES, "one_slice", "Right at batch=0"),
    ("two queries wrong", with_slice(2, slice(1, 7, 5)), SCORES, "one_slice", "query=1 and query=6"),
    ("folded", SCORES.flatten().view(9, 9, 4, 3).permute(3, 2, 0, 1), SCORES, "reshaped", "folded into axes"),
    ("softmax missing", SCORES, SCORES.softmax(-1), "missing_softmax", "softmax over `key`"),
    ("log-softmax missing", SCORES, SCORES.log_softmax(1), "missing_softmax", "log-softmax over `head`"),
    ("logarithm missing", POSITIVE, POSITIVE.log(), "log_or_probability", "logarithm of these values"),
    ("logarithm too many", POSITIVE.log(), POSITIVE, "log_or_probability", "exponential"),
    ("minus and logarithm missing", POSITIVE, -POSITIVE.log(), "log_or_probability", "negative logarithm"),
    ("mask missing before softmax", SCORES.softmax(-1), PATTERN, "missing_mask", "without a causal mask"),
    ("mask missing", SCORES, SCORES.tril(), "missing_mask", "no causal mask"),
    (
        "sum not divided out",
        POSITIVE,
        POSITIVE / POSITIVE.sum(-1, True),
        "missing_normalization",
        "over `key`",
    ),
    (
        "norm not divided out",
        SCORES,
        SCORES / SCORES.norm(dim=1, keepdim=True),
        "missing_normalization",
        "norm",
    ),
    ("cut off", SCORES.clamp(max=1.0), SCORES, "cut_off", "cut off at 1"),
    ("rounded", SCORES.round(decimals=2), SCORES, "rounded", "rounded to 2 decimals"),
    ("zeros", torch.zeros_like(SCORES), SCORES, "zeros", "zero"),
    ("all alike", torch.full_like(SCORES, 0.2), SCORES, "constant", "0.2"),
    ("all the mean", SCORES.mean().expand_as(SCORES), SCORES, "constant", "mean of all"),
    (
        "mean over heads",
        SCORES.mean(1, True).expand_as(SCORES),
        SCORES,
        "over_reduced",
        "mean of the expected value over `head`",
    ),
    ("heads in another order", SCORES[:, [2, 0, 3, 1]], SCORES, "order", "`head`"),
    ("nearly right", SCORES + 2e-5 * SCORES.sign(), SCORES, "wrong_value", "precision"),
    ("softmax over queries", SCORES.softmax(2), SCORES.softmax(3), "wrong_value", "values differ"),
]

OTHER_SHAPE = [
    (
        "batch and head swapped",
        SCORES.transpose(0, 1),
        SCORES,
        AXES,
        "axes_swapped",
        "`batch` and `head` swapped",
    ),
    ("axes rotated", SCORES.permute(1, 2, 3, 0), SCORES, AXES, "axes_swapped", "head × query × key × batch"),
    ("flattened", SCORES.flatten(), SCORES, AXES, "wrong_shape", "only the shape differs"),
    (
        "one entry too many",
        torch.cat([SCORES, SCORES[:, :, :1]], 2),
        SCORES,
        AXES,
        "wrong_length",
        "end of `query`",
    ),
    (
        "first entry missing",
        SCORES[:, :, 1:],
        SCORES,
        AXES,
        "wrong_length",
        "missing at the start of `query`",
    ),
    ("batch not averaged", SCORES.mean((2, 3)), PER_HEAD, "head", "not_reduced", "mean over dimension 0"),
    ("two axes not averaged", SCORES.mean(2), PER_HEAD, "head", "not_reduced", "dimensions 0 and 2"),
    ("heads averaged too", PER_HEAD.mean(), PER_HEAD, "head", "over_reduced", "`head`"),
    ("unrelated", torch.ones(2, 5), PER_HEAD, "head", "wrong_shape", "Expected head = 4, got 2 × 5"),
]


@pytest.mark.parametrize(
    ("actual", "expected", "kind", "words"),
    [case[1:] for case in SAME_SHAPE],
    ids=[case[0] for case in SAME_SHAPE],
)
def test_a_relation_between_values_is_named(actual, expected, kind, words):
    diagnosis = explain(actual, expected, AXES)
    assert (diagnosis.kind, words in diagnosis.message) == (kind, True), diagnosis


@pytest.mark.parametrize(
    ("actual", "expected", "dims", "kind", "words"),
    [case[1:] for case in OTHER_SHAPE],
    ids=[case[0] for case in OTHER_SHAPE],
)
def test_a_relation_between_shapes_is_named(actual, expected, dims, kind, words):
    diagnosis = explain(actual, expected, dims)
    assert (diagnosis.kind, words in diagnosis.message) == (kind, True), diagnosis


def test_the_first_difference_is_named_by_its_axes():
    spoiled = PER_HEAD.clone()
    spoiled[2:] += torch.tensor([0.5, 0.7])
    diagnosis = explain(spoiled, PER_HEAD, "head")
    assert diagnosis.where == "head=2"
    assert diagnosis.expected == f"{PER_HEAD[2]:.6g}"
    assert diagnosis.actual == f"{spoiled[2]:.6g}"


@pytest.mark.parametrize(
    ("actual", "expected", "kind"),
    [(-2.5, 2.5, "sign"), (2.5 / math.log(2), 2.5, "factor"), (0.3, -math.log(0.3), "log_or_probability")],
)
@pytest.mark.parametrize("shape", [(), (4,)], ids=["one number", "the same number four times"])
def test_one_measure_tells_a_relation_in_which_nothing_can_be_chosen(actual, expected, kind, shape):
    diagnosis = explain(torch.full(shape, actual), torch.full(shape, expected), "head" if shape else "")
    assert diagnosis.kind == kind


def test_equal_tensors_have_no_explanation():
    assert explain(SCORES.clone(), SCORES, AXES) is None


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.tensor([2.0]), torch.tensor([1.0])),
        (torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0])),
        (torch.tensor([3, 1, 2]), torch.tensor([1, 2, 3])),
        (torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 1, 0])),
        (torch.full((5,), 2.0), torch.full((5,), 1.0)),
        (torch.tensor([1.0, 1.0, 2.0]), torch.zeros(3)),
    ],
    ids=["one number", "two numbers", "three small integers", "one-hot", "constants", "expected zeros"],
)
def test_no_relation_is_claimed_from_too_little(actual, expected):
    assert explain(actual, expected, "head").kind == "wrong_value"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 6), min_size=0, max_size=4),
    seed=st.integers(0, 2**32),
    form=st.sampled_from(["normal", "softmax", "causal", "positive"]),
)
def test_an_unrelated_answer_is_never_given_a_reason(shape, seed, form):
    actual, expected = unrelated(shape, seed, form), unrelated(shape, seed + 1, form)
    diagnosis = explain(actual, expected, " ".join(["batch", "head", "query", "key"][: len(shape)]))
    assert diagnosis is None or diagnosis.kind == "wrong_value", diagnosis


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    shapes=st.tuples(*[st.lists(st.integers(1, 5), min_size=0, max_size=4)] * 2).filter(
        lambda two: two[0] != two[1]
    ),
    seed=st.integers(0, 2**32),
)
def test_an_unrelated_shape_is_never_given_a_reason(shapes, seed):
    actual, expected = unrelated(shapes[0], seed, "normal"), unrelated(shapes[1], seed + 1, "normal")
    assert explain(actual, expected, " ".join("abcd"[: expected.dim()])).kind == "wrong_shape"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    tokens=st.lists(st.integers(0, 3), min_size=4, max_size=8),
    guesses=st.lists(st.integers(0, 3), min_size=4, max_size=8),
)
def test_short_lists_of_small_integers_are_no_evidence(tokens, guesses):
    size = min(len(tokens), len(guesses))
    diagnosis = explain(torch.tensor(guesses[:size]), torch.tensor(tokens[:size]), "pos")
    facts = {"wrong_value", "zeros", "constant", "one_slice"}
    assert diagnosis is None or diagnosis.kind in facts, diagnosis


def unrelated(shape: list[int], seed: int, form: str) -> torch.Tensor:
    """A random tensor whose last axis is normalized where it has two entries or more."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63))
    if form == "causal" and len(shape) == 4 and shape[-1] == shape[-2] > 2:
        return values.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf).softmax(-1)
    if form == "softmax" and shape and shape[-1] > 2:
        return values.softmax(-1)
    return values.abs() if form == "positive" else values


def test_every_relation_has_a_case():
    shown = {case[3] for case in SAME_SHAPE} | {case[4] for case in OTHER_SHAPE}
    assert set(RELATION_KINDS) <= shown

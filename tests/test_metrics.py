"""Losses and gains: hand-computed values, and the laws they obey on inputs of any shape."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mechinterp_course.metrics import copying_gain, logit_difference, loss_per_token
from mechinterp_course.worlds.tokens import repeated_tokens

SHAPES = [(1, 2, 2), (2, 5, 7), (3, 4, 50)]  # batch, pos, d_vocab


def random_case(batch, pos, d_vocab, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, pos, d_vocab, generator=generator)
    return logits, torch.randint(d_vocab, (batch, pos), generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_is_the_cross_entropy_of_the_next_token(shape):
    logits, tokens = random_case(*shape)
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    torch.testing.assert_close(loss_per_token(logits, tokens).flatten(), expected)


@pytest.mark.parametrize("d_vocab", [2, 10, 1000])
def test_even_logits_cost_the_log_of_the_vocabulary(d_vocab):
    loss = loss_per_token(torch.full((2, 3, d_vocab), 5.0), torch.zeros(2, 3, dtype=torch.int64))
    torch.testing.assert_close(loss, torch.full((2, 2), math.log(d_vocab)))


def test_a_bet_of_three_to_one_costs_what_it_should():
    logits = torch.tensor([[[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]]]).log()
    loss = loss_per_token(logits, torch.tensor([[1, 0, 0]]))
    torch.testing.assert_close(loss, torch.tensor([[math.log(4), math.log(4 / 3)]]))


@pytest.mark.parametrize("shape", SHAPES)
def test_adding_a_constant_to_a_position_s_logits_changes_nothing(shape):
    logits, tokens = random_case(*shape)
    shifted = logits + torch.arange(1.0, shape[1] + 1)[:, None]
    torch.testing.assert_close(loss_per_token(shifted, tokens), loss_per_token(logits, tokens))


def test_a_token_too_improbable_for_a_float_has_a_finite_loss():
    logits = torch.tensor([[[0.0, 500.0], [0.0, 0.0]]])
    torch.testing.assert_close(loss_per_token(logits, torch.tensor([[0, 0]])), torch.tensor([[500.0]]))


@given(length=st.integers(2, 30), batch=st.integers(1, 5), level=st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_constant_fall_between_the_copies_is_the_gain(length, batch, level):
    loss = torch.cat([torch.full((batch, length), level + 2.5), torch.full((batch, length), level)], dim=1)
    loss[:, 0], loss[:, length] = 99.0, -99.0  # the first token of a copy does not count
    assert copying_gain(loss, length) == pytest.approx(2.5, abs=1e-5)


@given(
    d_vocab=st.integers(1, 300),
    length=st.integers(1, 20),
    batch=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_repeated_tokens_are_bos_and_two_equal_copies(d_vocab, length, batch, seed):
    rows = repeated_tokens(d_vocab, length, batch, bos=-1, seed=seed)
    assert rows.shape == (batch, 1 + 2 * length) and rows.dtype == torch.int64
    assert (rows[:, 0] == -1).all()
    assert torch.equal(rows[:, 1 : length + 1], rows[:, length + 1 :])
    assert rows[:, 1:].min() >= 0 and rows[:, 1:].max() < d_vocab
    assert torch.equal(rows, repeated_tokens(d_vocab, length, batch, bos=-1, seed=seed))


def test_repeated_tokens_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    repeated_tokens(50, 10, 4, bos=0, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_repeated_tokens_reach_both_ends_of_the_vocabulary():
    rows = repeated_tokens(5, 50, 20, bos=0, seed=1)
    assert torch.bincount(rows[:, 1:].flatten(), minlength=5).min() > 300  # 400 expected of each


def test_the_logit_difference_is_that_of_each_rows_own_words_at_the_last_position():
    logits = torch.tensor([[[9.0, 9.0, 9.0], [1.0, 2.0, 4.0]], [[9.0, 9.0, 9.0], [8.0, 0.0, 3.0]]])
    torch.testing.assert_close(
        logit_difference(logits, torch.tensor([2, 0]), torch.tensor([0, 2])), torch.tensor([3.0, 5.0])
    )

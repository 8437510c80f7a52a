"""Cycles, what an ideal induction head would say of them, and texts that tell it from a period detector."""

import pytest
import torch

from mechinterp_course.models import load_language_model
from mechinterp_course.periodicity import refute_period_detector, smallest_period
from mechinterp_course.worlds.tokens import cyclic_tokens, in_context_bigrams


@pytest.mark.parametrize("period, length", [(1, 5), (2, 7), (3, 3), (5, 2), (4, 17)])
def test_a_cycle_comes_back_after_its_period_and_its_tokens_differ(period, length):
    rows = cyclic_tokens(40, period, length, batch=5, bos=39, seed=1)
    assert rows.shape == (5, 1 + length) and rows.dtype == torch.int64 and (rows[:, 0] == 39).all()
    assert torch.equal(rows[:, 1 + period :], rows[:, 1 : -period or None][:, : max(length - period, 0)])
    assert all(len(set(row[1 : 1 + period].tolist())) == min(period, length) for row in rows)


def test_cycles_depend_on_the_seed_alone_and_leave_the_global_state():
    state = torch.get_rng_state()
    rows = [cyclic_tokens(40, 3, 9, 4, 0, seed) for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])
    assert torch.equal(state, torch.get_rng_state())


def test_too_few_tokens_for_a_cycle_are_refused():
    assert cyclic_tokens(3, 3, 6, 1, 0, 0).shape == (1, 7)
    with pytest.raises(ValueError, match="too few for a cycle of 4"):
        cyclic_tokens(3, 4, 6, 1, 0, 0)


def test_bigrams_share_between_followers_and_are_silent_on_new_tokens():
    shares = in_context_bigrams(torch.tensor([[9, 1, 2, 1, 3, 1]]), d_vocab=10)[0]
    assert shares[[0, 1, 2, 4]].abs().sum() == 0
    assert shares[3, 2] == 1 and shares[5, 2] == shares[5, 3] == 0.5 and shares[5].sum() == 1


def test_bigrams_use_nothing_that_comes_later():
    tokens = torch.randint(4, (3, 12), generator=torch.Generator().manual_seed(0))
    whole = in_context_bigrams(tokens, 4)
    for seen in range(1, 12):
        torch.testing.assert_close(in_context_bigrams(tokens[:, :seen], 4), whole[:, :seen])


@pytest.mark.parametrize(
    "text, period", [("ABABA", 2), ("AAAA", 1), ("ABACABAC", 4), ("ABC", 3), ("AABAAB", 3)]
)
def test_the_smallest_period_is_found(text, period):
    assert smallest_period(torch.tensor([ord(letter) for letter in text])) == period


@pytest.mark.parametrize("period", [3, 4, 6])
def test_a_refutation_is_periodic_and_the_model_says_another_word(period):
    model = load_language_model("course-attn-2l")
    words, bos = torch.arange(100, 100 + 7 * period, 7), model.tokenizer.bos_token_id
    row = refute_period_detector(model, words, period, bos)
    assert row[0] == bos and set(row[1:].tolist()) <= set(words.tolist())
    assert smallest_period(row[1:]) == period and 3 * period < len(row) <= 65
    chances = model(row[None])[0, -1].softmax(-1)
    assert chances.argmax() != row[-period] and chances[row[-period]] < 0.5

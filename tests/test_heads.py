"""Head scores on patterns whose scores are known, and the detectors on models whose heads are known."""

import pytest
import torch

from mechinterp_course.heads import (
    duplicate_token_score,
    find_induction_heads,
    induction_score,
    is_induction_head,
    pattern_completion_score,
    previous_token_score,
)
from mechinterp_course.models import load_language_model
from mechinterp_course.worlds.tokens import repeated_tokens

LENGTHS = (3, 5, 12)


def looks_back(distance: int, positions: int) -> torch.Tensor:
    """A head that looks `distance` back, or at position 0 where there is nothing so far back."""
    return torch.eye(positions)[(torch.arange(positions) - distance).clamp(min=0)]


def perfect_heads(length: int, batch: int = 2) -> torch.Tensor:
    """A batch of one pattern with a previous-token, a duplicate-token and an induction head."""
    heads = [looks_back(distance, 2 * length + 1) for distance in (1, length, length - 1)]
    return torch.stack(heads).expand(batch, -1, -1, -1)


@pytest.mark.parametrize("length", LENGTHS)
def test_each_score_is_one_for_its_own_perfect_head_and_zero_for_the_others(length):
    pattern = perfect_heads(length)
    torch.testing.assert_close(duplicate_token_score(pattern, length), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(induction_score(pattern, length), torch.tensor([0.0, 0.0, 1.0]))
    # position 0 is what precedes query 1, and where the other two look for want of anything further back
    beginning = 1 / (2 * length)
    torch.testing.assert_close(previous_token_score(pattern), torch.tensor([1.0, beginning, beginning]))


@pytest.mark.parametrize("length", LENGTHS)
def test_even_attention_gives_each_score_its_chance_level(length):
    n = 2 * length + 1
    pattern = (torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None])[None, None]
    second = sum(1 / (query + 1) for query in range(length + 1, n)) / length
    everywhere = sum(1 / (query + 1) for query in range(1, n)) / (n - 1)
    assert induction_score(pattern, length).item() == pytest.approx(second)
    assert duplicate_token_score(pattern, length).item() == pytest.approx(second)
    assert previous_token_score(pattern).item() == pytest.approx(everywhere)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_first_copy_makes_no_difference_to_the_induction_score(length):
    pattern = torch.rand(3, 4, 2 * length + 1, 2 * length + 1)
    changed = pattern.clone()
    changed[:, :, : length + 1] = 1.0
    torch.testing.assert_close(induction_score(changed, length), induction_score(pattern, length))


def test_scores_average_over_the_batch_and_keep_the_heads():
    pattern = torch.cat([perfect_heads(4, batch=3), perfect_heads(4, batch=1).flip(1)])
    torch.testing.assert_close(induction_score(pattern, 4), torch.tensor([0.25, 0.0, 0.75]))


@pytest.fixture(scope="module")
def positional():
    return load_language_model("course-positional")


def test_a_positional_head_is_found_at_its_own_length_and_at_no_other(positional):
    start, d_vocab = positional.tokenizer.bos_token_id, positional.cfg.d_vocab
    found = {
        length: find_induction_heads(positional, repeated_tokens(d_vocab, length, 8, start, seed=0))
        for length in (8, 16, 24)
    }
    assert found[16] and not found[8] and not found[24]


def test_every_length_must_agree_before_a_head_counts(positional):
    start = positional.tokenizer.bos_token_id
    places = [(0, head) for head in range(positional.cfg.n_heads)]
    at_sixteen = [place for place in places if is_induction_head(positional, *place, start, lengths=(16,))]
    assert at_sixteen
    assert not any(is_induction_head(positional, *place, start, lengths=(16, 12)) for place in at_sixteen)
    assert not any(is_induction_head(positional, *place, start) for place in places)


def test_course_gpt2_has_induction_heads_and_its_first_layer_has_none():
    model = load_language_model("course-gpt2")
    start = model.tokenizer.bos_token_id
    found = find_induction_heads(model, repeated_tokens(model.cfg.d_vocab, 16, 8, start, seed=0))
    assert found == sorted(found) and any(is_induction_head(model, *place, start) for place in found)
    assert not any(is_induction_head(model, 0, head, start) for head in range(model.cfg.n_heads))


def test_a_threshold_above_one_finds_nothing_and_one_below_zero_every_head(positional):
    tokens = repeated_tokens(positional.cfg.d_vocab, 6, 2, positional.tokenizer.bos_token_id, seed=1)
    assert find_induction_heads(positional, tokens, threshold=1.1) == []
    everything = [(0, head) for head in range(positional.cfg.n_heads)]
    assert find_induction_heads(positional, tokens, threshold=-1.0) == everything


@pytest.mark.parametrize("period", [2, 3, 5])
def test_pattern_completion_counts_every_earlier_token_that_comes_next(period):
    positions = 1 + 3 * period
    for back in (period - 1, 2 * period - 1):  # one round back, two rounds back
        score = pattern_completion_score(looks_back(back, positions)[None, None], period)
        late = range(1 + period, positions)
        assert score.item() == pytest.approx(sum(query - back >= 1 for query in late) / len(late))
    neighbour = pattern_completion_score(looks_back(period, positions)[None, None], period)
    assert neighbour.item() == 0.0


def test_pattern_completion_adds_up_what_is_split_over_rounds_and_leaves_bos_out():
    pattern = torch.zeros(1, 1, 7, 7)  # BOS A B A B A B: after the last B comes A, at 1, 3 and 5
    pattern[0, 0, 3, 2], pattern[0, 0, 4, 3], pattern[0, 0, 5, 4] = 1.0, 1.0, 1.0
    pattern[0, 0, 6, [0, 1, 3, 5]] = 0.25
    assert pattern_completion_score(pattern, 2).item() == pytest.approx((1 + 1 + 1 + 0.75) / 4)


def test_a_pattern_without_a_second_round_is_refused():
    with pytest.raises(ValueError, match="no second round"):
        pattern_completion_score(torch.eye(4)[None, None], 3)

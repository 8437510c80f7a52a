"""What the prose of ch03_induction_heads says about the embedded models is what they do, with some margin."""

import pytest
import torch

from mechinterp_course.heads import induction_score, previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.worlds.tokens import repeated_tokens

pytestmark = pytest.mark.book  # measured again with the chapters that say it
LENGTH = 20


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def tokens(model):
    return repeated_tokens(model.cfg.d_vocab, LENGTH, 16, model.tokenizer.bos_token_id, seed=3)


@pytest.fixture(scope="module")
def scores(model, tokens):
    _, cache = model.run_with_cache(tokens)
    patterns = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
    induction = torch.stack([induction_score(pattern, LENGTH) for pattern in patterns])
    return induction, torch.stack([previous_token_score(pattern) for pattern in patterns])


@pytest.fixture(scope="module")
def found(scores):
    return [tuple(place) for place in (scores[0] > 0.4).nonzero().tolist()]


@pytest.fixture(scope="module")
def writer(model, scores):
    return divmod(scores[1].argmax().item(), model.cfg.n_heads)


def gain(model, tokens, length=LENGTH):
    return copying_gain(loss_per_token(model(tokens), tokens), length)


def other_tokens(model, tokens, seed):
    fresh = repeated_tokens(model.cfg.d_vocab, LENGTH, len(tokens), model.tokenizer.bos_token_id, seed)
    return fresh[:, 1 : LENGTH + 1]


def test_shuffled_the_gain_turns_into_a_loss_and_with_new_tokens_it_vanishes(model, tokens):
    order = torch.rand(16, LENGTH, generator=torch.Generator().manual_seed(0)).argsort(1)
    shuffled = torch.cat([tokens[:, : LENGTH + 1], tokens[:, LENGTH + 1 :].gather(1, order)], dim=1)
    new = torch.cat([tokens[:, : LENGTH + 1], other_tokens(model, tokens, seed=4)], dim=1)
    assert gain(model, tokens) > 5
    assert gain(model, shuffled) < -2
    assert abs(gain(model, new)) < 0.7


def test_the_cliff_is_at_the_second_token_of_the_second_copy(model, tokens):
    loss = loss_per_token(model(tokens), tokens).mean(0)
    assert loss[LENGTH] > 5 and loss[LENGTH + 1] < 3


def test_the_first_copy_costs_about_a_uniform_guess(model, tokens):
    uniform = torch.tensor(float(model.cfg.d_vocab)).log().item()
    assert loss_per_token(model(tokens), tokens)[:, 1:LENGTH].mean().item() == pytest.approx(
        uniform, rel=0.05
    )


def test_one_head_looks_at_its_own_token_more_than_any_other(model, tokens):
    _, cache = model.run_with_cache(tokens)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)])
    first, second = patterns.diagonal(dim1=-2, dim2=-1).mean((1, 3)).flatten().topk(2).values.tolist()
    assert first > 1.3 * second


def test_a_previous_token_head_stands_in_a_layer_below_at_least_two_induction_heads(scores, found, writer):
    assert scores[1][writer] > 0.7
    assert len(found) >= 2 and writer[0] < min(layer for layer, _ in found)


def test_the_positional_model_copies_at_sixteen_and_recites_wrongly_near_it():
    model = load_language_model("course-positional")
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    rows = {length: repeated_tokens(d_vocab, length, 16, start, seed=6) for length in (12, 15, 16, 17)}
    assert gain(model, rows[16], 16) > 5
    assert all(gain(model, rows[length], length) < -2 for length in (12, 15, 17))


def test_the_positional_model_keeps_its_stripe_where_nothing_repeats():
    model = load_language_model("course-positional")
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    one, other = (repeated_tokens(d_vocab, 16, 16, start, seed=seed) for seed in (6, 7))
    unrelated = torch.cat([one[:, :17], other[:, 1:17]], dim=1)
    _, cache = model.run_with_cache(unrelated)
    assert induction_score(cache["pattern", 0], 16).min() > 0.8
    assert gain(model, unrelated, 16) < -2

"""What the prose of ch03_induction_heads says about the embedded models is what they do, with some margin."""

import pytest
import torch

from mechinterp_course.heads import induction_score, previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import (
    ablate_head,
    patch_head_output,
    rank_heads_by_effect,
    second_copy_loss,
    z_name,
)
from mechinterp_course.worlds.tokens import repeated_tokens

LENGTH = 20
KINDS = ("zero", "mean")


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


def current_token_head(model, tokens):
    _, cache = model.run_with_cache(tokens)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)])
    return divmod(patterns.diagonal(dim1=-2, dim2=-1).mean((1, 3)).argmax().item(), model.cfg.n_heads)


def gain(model, tokens, length=LENGTH):
    return copying_gain(loss_per_token(model(tokens), tokens), length)


def rise(model, tokens, removed):
    def silence(head):
        def edit(z, hook):
            z[:, :, head] = 0

        return edit

    hooks = [(z_name(layer), silence(head)) for layer, head in removed]
    return second_copy_loss(model.run_with_hooks(tokens, fwd_hooks=hooks), tokens) - second_copy_loss(
        model(tokens), tokens
    )


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


def test_a_previous_token_head_stands_in_a_layer_below_at_least_two_induction_heads(scores, found, writer):
    assert scores[1][writer] > 0.7
    assert len(found) >= 2 and writer[0] < min(layer for layer, _ in found)


def test_each_induction_head_alone_costs_part_of_the_gain_and_together_they_cost_more_than_the_sum(
    model, tokens, found
):
    single, whole = [rise(model, tokens, [place]) for place in found], gain(model, tokens)
    assert 0.15 * whole < min(single) and max(single) < 0.6 * whole
    assert sum(single) < 0.9 * rise(model, tokens, found)


def test_zero_and_mean_ablation_agree_for_the_previous_token_head_and_not_for_the_clearest_stripe(
    model, tokens, scores, writer
):
    clearest = divmod(scores[0].argmax().item(), model.cfg.n_heads)
    intact = second_copy_loss(model(tokens), tokens)
    zero, mean = (
        [second_copy_loss(ablate_head(model, tokens, *place, kind), tokens) - intact for kind in KINDS]
        for place in (writer, clearest)
    )
    assert zero[1] == pytest.approx(zero[0], rel=0.05)
    assert mean[1] > 1.3 * mean[0] > 1.3 * 0.15 * gain(model, tokens)


def test_zero_and_mean_ablation_disagree_for_the_last_mlp(model, tokens):
    def without(replacement):
        hook = (f"blocks.{model.cfg.n_layers - 1}.hook_mlp_out", lambda out, hook: replacement(out))
        return second_copy_loss(model.run_with_hooks(tokens, fwd_hooks=[hook]), tokens)

    zero = without(torch.zeros_like) - second_copy_loss(model(tokens), tokens)
    mean = without(lambda out: out.mean((0, 1), keepdim=True).expand_as(out)) - second_copy_loss(
        model(tokens), tokens
    )
    assert zero < 0.4 and mean > 3 * max(zero, 0.2)


def test_noising_the_previous_token_head_destroys_the_gain_and_denoising_makes_it_worse(
    model, tokens, writer
):
    corrupted = torch.cat(
        [tokens[:, :1], other_tokens(model, tokens, seed=5), tokens[:, LENGTH + 1 :]], dim=1
    )
    good, bad = (second_copy_loss(model(rows), rows) for rows in (tokens, corrupted))
    noised = second_copy_loss(patch_head_output(model, corrupted, tokens, *writer), tokens)
    denoised = second_copy_loss(patch_head_output(model, tokens, corrupted, *writer), corrupted)
    assert (noised - good) / (bad - good) > 0.8
    assert (bad - denoised) / (bad - good) < -0.1


def loss_with_only(model, tokens, kept, kind):
    def replace(z, hook):
        layer = int(hook.name.split(".")[1])
        silent = torch.zeros_like(z) if kind == "zero" else z.mean((0, 1), keepdim=True).expand_as(z)
        gone = [head for head in range(model.cfg.n_heads) if (layer, head) not in kept]
        z[:, :, gone] = silent[:, :, gone]
        return z

    hooks = [(z_name(layer), replace) for layer in range(model.cfg.n_layers)]
    return second_copy_loss(model.run_with_hooks(tokens, fwd_hooks=hooks), tokens)


def test_the_previous_token_head_tops_the_ranking_then_the_induction_heads_and_then_comes_little(
    model, tokens, found, writer
):
    ranking = rank_heads_by_effect(model, tokens)
    assert ranking[0][:2] == writer and {row[:2] for row in ranking[1 : 1 + len(found)]} == {*found}
    assert ranking[1 + len(found)][2] < 0.05 * gain(model, tokens)


def test_the_induction_head_with_the_clearest_stripe_is_not_the_one_that_costs_most(
    model, tokens, scores, found
):
    clearest = divmod(scores[0].argmax().item(), model.cfg.n_heads)
    assert rise(model, tokens, [clearest]) < max(rise(model, tokens, [place]) for place in found)


def test_three_heads_copy_without_all_others_and_the_fourth_closes_what_gap_is_left(
    model, tokens, found, writer
):
    ranking = [row[:2] for row in rank_heads_by_effect(model, tokens)]
    circuit = [writer, *found]
    whole = gain(model, tokens)
    fourth = next(place for place in ranking if place not in circuit)
    assert len(circuit) == 3 and fourth == current_token_head(model, tokens)
    for kind in KINDS:
        assert loss_with_only(model, tokens, circuit, kind) < 0.1 * whole
        assert loss_with_only(model, tokens, ranking[-3:], kind) > 0.9 * whole
    gap = loss_with_only(model, tokens, circuit, "mean")
    assert loss_with_only(model, tokens, [*circuit, fourth], "mean") < 0.6 * gap


def test_the_positional_model_copies_at_sixteen_by_many_spare_heads_and_recites_wrongly_near_it():
    model = load_language_model("course-positional")
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    rows = {length: repeated_tokens(d_vocab, length, 16, start, seed=6) for length in (12, 15, 16, 17)}
    assert gain(model, rows[16], 16) > 5
    assert all(gain(model, rows[length], length) < -2 for length in (12, 15, 17))
    heads = [(0, head) for head in range(model.cfg.n_heads)]
    single = [rise(model, rows[16], [place]) for place in heads]
    assert rise(model, rows[16], heads) > 5 * sum(single)


def test_the_positional_model_keeps_its_stripe_where_nothing_repeats():
    model = load_language_model("course-positional")
    start, d_vocab = model.tokenizer.bos_token_id, model.cfg.d_vocab
    one, other = (repeated_tokens(d_vocab, 16, 16, start, seed=seed) for seed in (6, 7))
    unrelated = torch.cat([one[:, :17], other[:, 1:17]], dim=1)
    _, cache = model.run_with_cache(unrelated)
    assert induction_score(cache["pattern", 0], 16).min() > 0.8
    assert gain(model, unrelated, 16) < -2

"""Ablation and patching obey their laws on a real model, and leave it as it was."""

import pytest
import torch

from mechinterp_course.metrics import loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import ablate_head, patch_head_output, rank_heads_by_effect, z_name
from mechinterp_course.worlds.tokens import repeated_tokens

SHAPES = [(1, 4), (3, 9)]


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


def tokens_of(model, batch, pos, seed=0):
    return torch.randint(model.cfg.d_vocab, (batch, pos), generator=torch.Generator().manual_seed(seed))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-4)


def attn_out_during(model, call, layer):
    """What the attention layer adds to the residual stream while `call()` runs the model."""
    seen = []
    with model.hooks(
        fwd_hooks=[(f"blocks.{layer}.hook_attn_out", lambda out, hook: seen.append(out.clone()))]
    ):
        call()
    return seen[-1]


def head_term(model, tokens, layer, head, kind):
    """What an ablation takes out of the residual stream: (z - its replacement) W_O of the head."""
    _, cache = model.run_with_cache(tokens)
    z = cache[z_name(layer)][:, :, head]
    return (z - z.mean((0, 1)) if kind == "mean" else z) @ model.W_O[layer, head]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["zero", "mean"])
@pytest.mark.parametrize("place", [(0, 1), (3, 2)])
def test_ablation_takes_exactly_one_head_s_term_out_of_the_layer_s_output(model, shape, kind, place):
    tokens, (layer, head) = tokens_of(model, *shape), place
    intact = attn_out_during(model, lambda: model(tokens), layer)
    ablated = attn_out_during(model, lambda: ablate_head(model, tokens, layer, head, kind), layer)
    close(intact - ablated, head_term(model, tokens, layer, head, kind))


def test_ablation_refuses_a_kind_that_it_does_not_know(model):
    with pytest.raises(ValueError, match="median"):
        ablate_head(model, tokens_of(model, 1, 4), 0, 0, kind="median")


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_patching_a_run_with_itself_changes_nothing(model, layer):
    tokens = tokens_of(model, 2, 8)
    close(patch_head_output(model, tokens, tokens, layer, 1), model(tokens))


def test_patching_replaces_one_head_s_term_by_that_of_the_clean_run(model):
    clean, corrupted = tokens_of(model, 2, 7, seed=1), tokens_of(model, 2, 7, seed=2)
    intact = attn_out_during(model, lambda: model(corrupted), 1)
    patched = attn_out_during(model, lambda: patch_head_output(model, clean, corrupted, 1, 2), 1)
    terms = [head_term(model, each, 1, 2, "zero") for each in (clean, corrupted)]
    close(patched - intact, terms[0] - terms[1])


def test_nothing_changes_before_the_first_token_that_differs(model):
    corrupted = tokens_of(model, 2, 9, seed=1)
    clean = torch.cat([corrupted[:, :5], tokens_of(model, 2, 4, seed=2)], dim=1)
    logits = patch_head_output(model, clean, corrupted, 0, 0)
    close(logits[:, :5], model(corrupted)[:, :5])
    assert (logits[:, 5:] - model(corrupted)[:, 5:]).abs().max() > 1e-3


def test_no_intervention_leaves_a_hook_or_changes_its_input(model):
    tokens, other = tokens_of(model, 2, 6, seed=1), tokens_of(model, 2, 6, seed=2)
    intact, copies = model(tokens), (tokens.clone(), other.clone())
    ablate_head(model, tokens, 1, 1, "mean")
    patch_head_output(model, tokens, other, 2, 2)
    assert torch.equal(model(tokens), intact)
    assert torch.equal(tokens, copies[0]) and torch.equal(other, copies[1])


def test_the_ranking_lists_every_head_once_by_falling_effect(model):
    tokens = repeated_tokens(model.cfg.d_vocab, 8, 4, model.tokenizer.bos_token_id, seed=0)
    ranking = rank_heads_by_effect(model, tokens)
    effects = [effect for _, _, effect in ranking]
    places = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    assert sorted(row[:2] for row in ranking) == places
    assert effects == sorted(effects, reverse=True)


def test_an_effect_is_the_rise_of_the_second_copy_s_loss_without_its_first_token(model):
    tokens = repeated_tokens(model.cfg.d_vocab, 8, 4, model.tokenizer.bos_token_id, seed=0)
    layer, head, effect = rank_heads_by_effect(model, tokens)[0]
    intact = loss_per_token(model(tokens), tokens)[:, 9:16].mean()
    ablated = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, 9:16].mean()
    assert effect == pytest.approx((ablated - intact).item(), abs=1e-5)

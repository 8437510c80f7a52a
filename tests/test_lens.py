"""The residual stream is a sum, and so are logits once LayerNorm's scale is held."""

import pytest
import torch
from test_patch_sweeps import RIGHT, WRONG, bridge, gpt2, llama, prompts, pythia

from mechinterp_course import lens
from mechinterp_course.models import load_language_model

POSITIONS = [-1, 3, torch.tensor([2, -1, 4])]


@pytest.fixture(scope="module", params=[gpt2, llama, pythia, load_language_model])
def model(request):
    return request.param() if request.param is load_language_model else bridge(request.param)


def own(values, position):
    """The rows of [batch, pos, d] at a position."""
    positions = torch.as_tensor(position).expand(len(values))
    return torch.stack([row[where] for row, where in zip(values, positions, strict=True)])


@pytest.mark.parametrize("position", POSITIONS, ids=str)
def test_the_lens_ends_in_the_model_s_own_logits(model, position):
    tokens = prompts()[0]
    logits = lens.logit_lens(model, tokens, position)
    assert logits.shape == (model.cfg.n_layers + 1, 3, model.cfg.d_vocab)
    torch.testing.assert_close(logits[-1], own(model(tokens), position), atol=1e-4, rtol=1e-4)


def test_the_lens_below_the_first_layer_sees_the_embedding(model):
    tokens = prompts()[0]
    _, cache = model.run_with_cache(tokens, names_filter="blocks.0.hook_resid_pre")
    expected = model.unembed(model.ln_final(cache["blocks.0.hook_resid_pre"]))[:, 2]
    torch.testing.assert_close(lens.logit_lens(model, tokens, 2)[0], expected)


@pytest.mark.parametrize("by_head", [False, True])
def test_the_components_sum_to_the_residual_stream(model, by_head):
    tokens, last = prompts()[0], f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    parts = lens.residual_components(model, tokens, POSITIONS[2], by_head)
    _, cache = model.run_with_cache(tokens, names_filter=last)
    torch.testing.assert_close(sum(parts.values()), own(cache[last], POSITIONS[2]), atol=1e-4, rtol=1e-4)
    assert ("head 1.2" in parts) is by_head and ("attn 1" in parts) is not by_head


@pytest.mark.parametrize("by_head", [False, True])
@pytest.mark.parametrize("wrong", [WRONG, None], ids=["difference", "logit"])
def test_the_attributions_sum_to_the_logits(model, wrong, by_head):
    tokens = prompts()[0]
    parts = lens.component_logit_attribution(model, tokens, RIGHT, wrong, 4, by_head)
    logits, rows = model(tokens)[:, 4], torch.arange(3)
    expected = logits[rows, RIGHT] - (0 if wrong is None else logits[rows, wrong])
    torch.testing.assert_close(sum(parts.values()), expected, atol=1e-3, rtol=1e-4)


def test_heads_are_attributed_one_number_for_each_prompt(model):
    tokens = prompts()[0]
    heads = lens.head_logit_attribution(model, tokens, RIGHT, WRONG)
    parts = lens.component_logit_attribution(model, tokens, RIGHT, WRONG, by_head=True)
    assert heads.shape == (3, model.cfg.n_layers, model.cfg.n_heads)
    torch.testing.assert_close(heads[:, 1, 2], parts["head 1.2"], atol=1e-5, rtol=1e-4)

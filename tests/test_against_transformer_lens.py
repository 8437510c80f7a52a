"""Sweeps agree with TransformerLens' own patching functions, which run one patch at a time."""

import pytest
import torch
from test_patch_sweeps import DIFFERENCE, bridge, gpt2, prompts
from transformer_lens import patching as one_at_a_time
from transformer_lens.tools.analysis.direct_path_patching import get_act_patch_direct_path

from mechinterp_course.patching import patch
from mechinterp_course.path_sweeps import sweep_receivers

HEAD_SITES = ("z", "q", "k", "v", "pattern")  # in the order of TransformerLens' "every"


@pytest.fixture(scope="module")
def model():
    return bridge(gpt2)


def run(function, model):
    clean, corrupted = prompts()
    _, cache = model.run_with_cache(clean)
    return function(model, corrupted, cache, DIFFERENCE)


def test_every_site_of_heads_over_all_positions(model):
    expected = run(one_at_a_time.get_act_patch_attn_head_all_pos_every, model)
    sweep = patch(model, *prompts(), DIFFERENCE, HEAD_SITES)
    torch.testing.assert_close(sweep.values, expected, atol=1e-4, rtol=1e-5)


def test_the_output_of_heads_by_position(model):
    expected = run(one_at_a_time.get_act_patch_attn_head_out_by_pos, model)
    sweep = patch(model, *prompts(), DIFFERENCE, "z", by_position=True)
    torch.testing.assert_close(sweep.values, expected.transpose(1, 2), atol=1e-4, rtol=1e-5)


def test_rows_of_patterns(model):
    expected = run(one_at_a_time.get_act_patch_attn_head_pattern_by_pos, model)
    sweep = patch(model, *prompts(), DIFFERENCE, "pattern", by_position=True)
    torch.testing.assert_close(sweep.values, expected, atol=1e-4, rtol=1e-5)


def test_the_residual_stream_and_what_layers_add_to_it(model):
    expected = run(one_at_a_time.get_act_patch_block_every, model)
    sweep = patch(model, *prompts(), DIFFERENCE, ("resid_pre", "attn_out", "mlp_out"))
    torch.testing.assert_close(sweep.values, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_direct_paths_with_layer_norm_frozen(model, through):
    clean, corrupted = prompts()
    caches = [model.run_with_cache(tokens)[1] for tokens in (clean, corrupted)]
    for sender in [(0, 1), (1, 3)]:
        expected = get_act_patch_direct_path(
            model, corrupted, *caches, DIFFERENCE, *sender, component=through, verbose=False
        )
        sweep = sweep_receivers(model, clean, corrupted, DIFFERENCE, sender, through, layer_norm="frozen")
        above = slice(sender[0] + 1, None)
        torch.testing.assert_close(sweep.values[above], expected[above], atol=1e-4, rtol=1e-5)

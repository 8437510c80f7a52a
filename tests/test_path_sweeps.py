"""Sweeps over senders and receivers give what path patching gives for one pair at a time."""

import pytest
import torch
from test_patch_sweeps import DIFFERENCE, HEADS, LAYERS, RIGHT, bridge, gpt2, llama, prompts

from mechinterp_course import metrics
from mechinterp_course.path_patching import path_logits, path_patch
from mechinterp_course.path_sweeps import sweep_paths, sweep_receivers, sweep_senders

FROZEN = [("heads", "mlps"), ("heads",), ("mlps",), ()]
RECEIVERS = [(1, 1), (2, 0), (2, 3)]


@pytest.fixture(scope="module")
def model():
    return bridge(gpt2)


@pytest.mark.parametrize("layer_norm", ["recomputed", "frozen"])
@pytest.mark.parametrize("frozen", FROZEN, ids=str)
@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_a_sweep_over_senders_is_the_paths_one_at_a_time(model, through, frozen, layer_norm):
    how = (through, frozen, layer_norm)
    sweep = sweep_senders(model, *prompts(), DIFFERENCE, RECEIVERS, *how)
    for sender in [(0, 2), (1, 1)]:
        above = [receiver for receiver in RECEIVERS if receiver[0] > sender[0]]
        effect = path_patch(model, *prompts(), DIFFERENCE, sender, above, *how)
        assert sweep.values[sender].item() == pytest.approx(effect.value, abs=1e-4)
    assert sweep.values[2].tolist() == [sweep.corrupted] * HEADS
    assert (sweep.values - sweep.corrupted).abs().max() > 0.01  # else there would be nothing to agree on


@pytest.mark.parametrize("layer_norm", ["recomputed", "frozen"])
@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_a_sweep_over_receivers_is_the_paths_one_at_a_time(model, through, layer_norm):
    how = (through, ("heads",), layer_norm)
    sweep = sweep_receivers(model, *prompts(), DIFFERENCE, (0, 2), *how)
    for receiver in [(1, 0), (2, 3)]:
        effect = path_patch(model, *prompts(), DIFFERENCE, (0, 2), receiver, *how)
        assert sweep.values[receiver].item() == pytest.approx(effect.value, abs=1e-4)
    assert sweep.complete and sweep.values[0].tolist() == [sweep.corrupted] * HEADS


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_sweep_over_all_pairs_is_the_sweeps_of_their_senders(make):
    model, pair = bridge(make), prompts()
    every = sweep_paths(model, *pair, DIFFERENCE, "v", senders=[(0, 2), (1, 1)])
    for sender in [(0, 2), (1, 1)]:
        alone = sweep_receivers(model, *pair, DIFFERENCE, sender, "v")
        torch.testing.assert_close(every.values[sender], alone.values, atol=1e-5, rtol=1e-5)
    assert every.select(sender_layer=0, sender_head=3).isnan().all() and not every.complete
    assert (every.values[LAYERS - 1] == every.corrupted).all()


def test_sweeps_agree_on_a_model_that_is_built_otherwise():
    model, pair = bridge(llama), prompts()
    into = sweep_senders(model, *pair, DIFFERENCE, (2, 1), "k")
    out_of = sweep_receivers(model, *pair, DIFFERENCE, (0, 3), "k")
    assert into.values.shape == (LAYERS, HEADS) and out_of.values.shape == (LAYERS, HEADS // 2)
    assert into.select(layer=0, head=3) == pytest.approx(out_of.select(layer=2, head=1), abs=1e-4)


def test_with_layer_norm_frozen_the_direct_path_is_linear_in_what_the_sender_writes(model):
    """Two senders of a layer move the receiver's input by the sum of what each moves it alone."""
    from mechinterp_course.path_patching import moved_inputs

    _, corrupted = pair = prompts()
    name = "blocks.2.attn.hook_k"
    before = model.run_with_cache(corrupted, names_filter=name)[1][name]

    def moved(sender, layer_norm):
        return moved_inputs(model, *pair, sender, [2], "k", layer_norm=layer_norm)[2] - before

    every = [moved((1, head), "frozen") for head in range(HEADS)]
    clean, corrupted_z = (
        model.run_with_cache(tokens, names_filter="blocks.1.attn.hook_z")[1]["blocks.1.attn.hook_z"]
        for tokens in pair
    )
    written = torch.einsum("bphe,hed->bpd", clean - corrupted_z, model.blocks[1].attn.W_O)
    scale = model.run_with_cache(corrupted, names_filter="blocks.2.ln1.hook_scale")[1][
        "blocks.2.ln1.hook_scale"
    ]
    expected = torch.einsum("bpd,hde->bphe", written / scale, model.blocks[2].attn.W_K)
    torch.testing.assert_close(sum(every), expected, atol=1e-4, rtol=1e-4)
    assert (moved((1, 0), "recomputed") - every[0]).abs().max() > 1e-3


def test_an_effect_says_what_was_frozen(model):
    effect = path_patch(model, *prompts(), DIFFERENCE, (0, 1), (2, 0), "q", ("heads",))
    assert effect.receivers == ((2, 0),) and effect.frozen == ("heads",)
    words = str(effect)
    assert "0.1 -> q of 2.0" in words and "heads frozen, mlps recomputed" in words
    assert effect.share == pytest.approx(
        (effect.value - effect.corrupted) / (effect.clean - effect.corrupted)
    )


def test_a_path_from_the_same_tokens_has_no_share(model):
    tokens = prompts()[0]
    with pytest.raises(ValueError, match="nothing to share"):
        _ = path_patch(model, tokens, tokens, DIFFERENCE, (0, 1), (2, 0)).share


def test_sweeps_leave_the_model_as_it_was_and_take_any_metric(model):
    clean, corrupted = prompts()
    before = model(corrupted)

    def metric(logits):
        return logits[:, 4:].log_softmax(-1)[..., 2].mean()

    sweep = sweep_senders(model, clean, corrupted, metric, (2, 1), layer_norm="frozen")
    logits = path_logits(model, clean, corrupted, (1, 3), (2, 1), layer_norm="frozen")
    assert sweep.values[1, 3].item() == pytest.approx(metric(logits).item(), abs=1e-4)
    assert torch.equal(model(corrupted), before)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"through": "z"}, 'through "q", "k" or "v"'),
        ({"frozen": "heads"}, "as a tuple"),
        ({"layer_norm": "linear"}, "layer_norm is"),
    ],
)
def test_a_sweep_of_no_path_is_refused(model, how, message):
    pair = prompts()
    with pytest.raises(ValueError, match=message):
        sweep_senders(model, *pair, DIFFERENCE, (2, 1), **how)
    with pytest.raises(ValueError, match=message):
        sweep_receivers(model, *pair, metrics.LogProbability(RIGHT), (0, 1), **how)
    with pytest.raises(ValueError, match=message):
        sweep_paths(model, *pair, DIFFERENCE, **how)

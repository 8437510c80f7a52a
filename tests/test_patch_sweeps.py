"""A sweep in batches gives what patches one at a time give, at every site and for every way to measure."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from mechinterp_course import metrics
from mechinterp_course.language_models import bridge_from
from mechinterp_course.layers_above import Base
from mechinterp_course.patched_runs import BY_HEAD, BY_LAYER, Runner
from mechinterp_course.patching import patch, patch_once
from mechinterp_course.worlds.planted.puzzle import word_tokenizer

VOCABULARY, LAYERS, HEADS, POS = 20, 3, 4, 7


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=16,
            n_embd=16,
            n_layer=LAYERS,
            n_head=HEADS,
            initializer_range=0.5,
            attn_implementation="eager",
        )
    )


def llama():
    """Rotary positions, root-mean-square norms, two heads of keys for four of queries."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=2,
            initializer_range=0.5,
            attn_implementation="eager",
        )
    )


def pythia():
    """Attention and MLP read the residual stream side by side, so that there is no resid_mid."""
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            initializer_range=0.5,
            attn_implementation="eager",
        )
    )


def bridge(make):
    torch.manual_seed(0)
    return bridge_from("tiny", make().eval(), word_tokenizer(VOCABULARY, bos=0))


@pytest.fixture(scope="module")
def model():
    return bridge(gpt2)


def prompts(same=2):
    """Three pairs of rows whose first `same` tokens are equal."""
    clean, corrupted = torch.randint(VOCABULARY, (2, 3, POS), generator=torch.Generator().manual_seed(1))
    return clean, torch.cat([clean[:, :same], corrupted[:, same:]], dim=1)


RIGHT, WRONG = torch.tensor([3, 5, 7]), torch.tensor([4, 4, 9])
DIFFERENCE = metrics.LogitDifference(RIGHT, WRONG)


def expect_one_at_a_time(model, sweep, site, metric, pairs, count=12):
    """Entries of a sweep, drawn at random, are what `patch_once` and the metric on whole logits give."""
    places = torch.cartesian_prod(*map(torch.arange, sweep.values.shape)).reshape(-1, sweep.values.ndim)
    drawn = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(2))[:count]]
    wheres = [dict(zip(sweep.dims, place, strict=True)) for place in drawn.tolist()]
    expected = [float(metric(patch_once(model, *pairs, site, **where))) for where in wheres]
    assert [sweep.select(**where) for where in wheres] == pytest.approx(expected, abs=1e-4, rel=1e-5)
    assert (torch.tensor(expected) - sweep.corrupted).abs().max() > 0.01  # else nothing to agree on


@pytest.mark.parametrize("by_position", [True, False])
@pytest.mark.parametrize("site", BY_LAYER + BY_HEAD)
def test_a_sweep_is_the_patches_one_at_a_time(model, site, by_position):
    sweep = patch(model, *prompts(), DIFFERENCE, site, by_position)
    assert sweep.dims == ("layer", *["head"] * (site in BY_HEAD), *["position"] * by_position)
    expect_one_at_a_time(model, sweep, site, DIFFERENCE, prompts())


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


OTHER_METRICS = {
    "a plain function": lambda logits: logits.log_softmax(-1)[:, 3:, 5].mean().item(),
    "log-probability at a position of each prompt": metrics.LogProbability(RIGHT, torch.tensor([-1, 4, 1])),
    "KL divergence": metrics.KLDivergence(3 * normal(3, POS, VOCABULARY), position=3),
    "copy loss": metrics.CopyLoss(prompts()[0]),
}


@pytest.mark.parametrize("name", OTHER_METRICS)
@pytest.mark.parametrize(("site", "by_position"), [("z", True), ("k", False), ("resid_pre", True)])
def test_it_is_so_for_metrics_that_read_elsewhere(model, site, by_position, name):
    metric = OTHER_METRICS[name]
    sweep = patch(model, *prompts(), metric, site, by_position)
    expect_one_at_a_time(model, sweep, site, metric, prompts())


@pytest.mark.parametrize("make", [llama, pythia])
@pytest.mark.parametrize(
    ("site", "by_position"), [("z", True), ("k", False), ("pattern", True), ("attn_out", True)]
)
def test_it_is_so_for_models_that_are_built_otherwise(make, site, by_position):
    model = bridge(make)
    sweep = patch(model, *prompts(), DIFFERENCE, site, by_position)
    expect_one_at_a_time(model, sweep, site, DIFFERENCE, prompts())


@pytest.mark.parametrize(("make", "sequential"), [(gpt2, True), (llama, False), (pythia, False)])
def test_blocks_are_put_together_only_where_that_gives_the_model_s_numbers(make, sequential):
    model, tokens = bridge(make), prompts()[1]
    base = Base.run(model, tokens, torch.arange(POS).expand(3, POS))
    assert base.sequential is sequential
    assert Runner(base, 0).skips


def test_a_small_memory_gives_the_same_numbers(model):
    pair = prompts()
    whole, bit_by_bit = (patch(model, *pair, DIFFERENCE, "q", True, memory=gib) for gib in (1.0, 1e-6))
    torch.testing.assert_close(whole.values, bit_by_bit.values, atol=1e-5, rtol=1e-5)


def test_before_the_first_difference_every_patch_leaves_the_corrupted_run(model):
    sweep = patch(model, *prompts(same=3), DIFFERENCE, ("z", "pattern"), by_position=True, layers=[0, 2])
    assert (sweep.values[:, [0, 2], :, :3] == sweep.corrupted).all() and sweep.values[:, 1].isnan().all()
    assert not sweep.values[:, [0, 2]].isnan().any()


def test_several_sites_are_stacked_and_layers_left_out_are_nan(model):
    sweep = patch(model, *prompts(), DIFFERENCE, ("q", "v"), layers=[1])
    assert sweep.dims == ("site", "layer", "head") and not sweep.complete
    alone = patch(model, *prompts(), DIFFERENCE, "v")
    torch.testing.assert_close(sweep.select(site="v", layer=1), alone.select(layer=1))
    assert sweep.select(layer=0).isnan().all() and alone.complete


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "resid_post"])
def test_the_whole_residual_stream_restores_the_clean_run_and_noising_is_the_swap(model, site):
    clean, corrupted = prompts()
    denoised = patch(model, clean, corrupted, DIFFERENCE, site, by_position=False)
    torch.testing.assert_close(denoised.normalized().values, torch.ones(LAYERS), atol=1e-4, rtol=0)
    noised = patch(model, corrupted, clean, DIFFERENCE, site, by_position=False)
    assert noised.values.tolist() == pytest.approx([denoised.corrupted] * LAYERS, abs=1e-4)


def test_patches_from_the_same_tokens_change_nothing_and_nothing_is_left_behind(model):
    tokens = prompts()[1]
    before = model(tokens)
    sweep = patch(model, tokens, tokens, DIFFERENCE, ("z", "k", "pattern"), by_position=True)
    torch.testing.assert_close(sweep.values, torch.full_like(sweep.values, sweep.corrupted))
    assert torch.equal(model(tokens), before)
    with pytest.raises(ValueError, match="nothing to restore"):
        sweep.normalized()


@pytest.mark.parametrize(("sites", "panels"), [("z", 1), (("q", "k"), 2), ("resid_pre", 1)])
def test_a_sweep_is_drawn_with_one_heat_map_for_each_site(model, sites, panels):
    figure = patch(model, *prompts(), DIFFERENCE, sites).plot("what carries it", mark=[(1, 2)])
    titled = [axes for axes in figure.axes if axes.get_xlabel() in ("head", "position")]
    assert len(titled) == panels


def test_the_top_entries_are_those_farthest_from_the_corrupted_run(model):
    sweep = patch(model, *prompts(), DIFFERENCE, ("q", "z"))
    places, values = zip(*sweep.top(3), strict=True)
    distances = [abs(value - sweep.corrupted) for value in values]
    assert distances == sorted(distances, reverse=True)
    site, layer, head = places[0]
    assert sweep.select(site=site, layer=layer, head=head) == values[0]
    assert distances[0] == pytest.approx((sweep.values - sweep.corrupted).abs().max().item())


def test_ctrl_c_keeps_what_is_done_and_says_so(model, capsys):
    calls = iter(range(100))

    def metric(logits):
        if next(calls) == 2 + 5:  # after the two intact runs and five patches
            raise KeyboardInterrupt
        return logits[:, -1, 3].mean().item()

    sweep = patch(model, *prompts(), metric, "z", memory=1e-6)
    assert not sweep.complete and (~sweep.values.isnan()).sum() == 5
    assert "5 of 12 patches are measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("result", "sites are resid_pre"),
        ((), "not none"),
        (("z", "attn_out"), "different dimensions"),
    ],
)
def test_what_can_not_be_swept_is_refused(model, sites, message):
    with pytest.raises(ValueError, match=message):
        patch(model, *prompts(), DIFFERENCE, sites)


def test_prompts_that_are_no_pairs_and_heads_that_are_none_are_refused(model):
    clean, corrupted = prompts()
    with pytest.raises(ValueError, match="pair them"):
        patch(model, clean[:2], corrupted, DIFFERENCE)
    with pytest.raises(ValueError, match="needs a head"):
        patch_once(model, clean, corrupted, "z", 0)
    with pytest.raises(ValueError, match="has no head"):
        patch_once(model, clean, corrupted, "attn_out", 0, head=1)
    with pytest.raises(ValueError, match="2 heads have keys"):
        patch(bridge(llama), clean, corrupted, DIFFERENCE, ("q", "k"))
    with pytest.raises(ValueError, match="has no resid_mid"):
        patch(bridge(pythia), clean, corrupted, DIFFERENCE, "resid_mid")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("site", BY_LAYER + BY_HEAD)
def test_a_gpu_gives_the_same_sweep(site):
    tokens = [rows.cuda() for rows in prompts()]
    on_gpu, here = bridge(gpt2).to("cuda"), bridge(gpt2)
    sweep, expected = patch(on_gpu, *tokens, DIFFERENCE, site), patch(here, *prompts(), DIFFERENCE, site)
    torch.testing.assert_close(sweep.values, expected.values, atol=1e-3, rtol=1e-3)

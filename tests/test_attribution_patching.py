"""Attribution patching is the first-order term of patching, and leaves neither hooks nor graphs."""

import pytest
import torch
from test_patch_sweeps import DIFFERENCE, bridge, gpt2, llama, prompts

from mechinterp_course.attribution_patching import attribution_patch
from mechinterp_course.hooks import edit
from mechinterp_course.patched_runs import BY_HEAD, BY_LAYER, hook_name
from mechinterp_course.patching import patch

TINY = 1e-2


@pytest.fixture(scope="module")
def model():
    return bridge(gpt2)


@pytest.mark.parametrize("by_position", [True, False])
@pytest.mark.parametrize("site", BY_LAYER + BY_HEAD)
def test_it_has_the_dimensions_of_patching(model, site, by_position):
    exact, estimate = (
        method(model, *prompts(), DIFFERENCE, site, by_position) for method in (patch, attribution_patch)
    )
    assert estimate.dims == exact.dims and estimate.values.shape == exact.values.shape
    assert (estimate.clean, estimate.corrupted) == pytest.approx((exact.clean, exact.corrupted), abs=1e-4)


@pytest.mark.parametrize("site", ["attn_out", "mlp_out", "z", "v"])
def test_it_is_the_slope_of_the_metric_on_the_way_to_the_clean_value(model, site):
    """A hundredth of the way to the clean activation changes the metric by a hundredth of the estimate."""
    clean, corrupted = prompts()
    estimate = attribution_patch(model, clean, corrupted, DIFFERENCE, site)
    name = hook_name(site, 1)
    _, there = model.run_with_cache(clean, names_filter=name)

    def step(sign):
        def towards(value):
            part = (slice(None), slice(None), 2) if site in BY_HEAD else (slice(None), 4)
            value[part] += sign * TINY * (there[name][part] - value[part])
            return value

        with edit(model, {name: towards}):
            return DIFFERENCE(model(corrupted)).item()

    slope = (step(1) - step(-1)) / (2 * TINY)
    where = {"head": 2} if site in BY_HEAD else {"position": 4}
    expected = estimate.select(layer=1, **where) - estimate.corrupted
    assert slope == pytest.approx(expected, rel=0.03, abs=2e-3)


def test_it_is_exact_where_the_model_is_linear(model):
    """What the last MLP writes meets only the last LayerNorm: with its scale held, nothing bends the line."""
    clean, corrupted = prompts()
    name = "ln_final.hook_scale"
    _, cache = model.run_with_cache(corrupted, names_filter=name)
    with edit(model, {name: lambda scale: cache[name].expand_as(scale)}):
        estimate = attribution_patch(model, clean, corrupted, DIFFERENCE, "mlp_out")
        name_out = "blocks.2.hook_mlp_out"
        _, there = model.run_with_cache(clean, names_filter=name_out)
        with edit(model, {name_out: lambda value: there[name_out]}):
            exact = DIFFERENCE(model(corrupted)).item()
    assert estimate.values[2].sum().item() - 6 * estimate.corrupted == pytest.approx(exact, abs=1e-3)


def test_it_runs_on_other_models_leaves_no_hook_and_stacks_sites():
    model, (clean, corrupted) = bridge(llama), prompts()
    before = model(corrupted)
    sweep = attribution_patch(model, clean, corrupted, DIFFERENCE, ("z", "q", "pattern"))
    assert sweep.dims == ("site", "layer", "head") and sweep.complete
    assert torch.equal(model(corrupted), before)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_metric_without_a_gradient_is_refused(model):
    with pytest.raises(ValueError, match="has no gradient"):
        attribution_patch(model, *prompts(), lambda logits: logits.sum().item())

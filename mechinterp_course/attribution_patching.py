"""Patching by gradients: one backward pass estimates every patch of a sweep, to first order.

Around the corrupted run, a metric changes by about (clean - corrupted activation) · gradient (Nanda 2023,
"Attribution Patching"; Syed et al. 2023). The line is only as good as the model is straight on the way from
one run to the other: behind a saturated softmax the gradient is flat, and a head that matters goes unseen.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.hooks import edit
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.patch_batches import expect_sites
from mechinterp_course.patch_sweeps import Sweep
from mechinterp_course.patched_runs import BY_HEAD, as_hooked, hook_name
from mechinterp_course.patching import Metric

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def attribution_patch(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    metric: Metric,
    sites: str | Sequence[str] = "z",
    by_position: bool | None = None,
) -> Sweep:
    """What `patch` would measure, estimated from one gradient at the corrupted run: the same dimensions.

    `metric` must be differentiable: those of `metrics` are. Raises ValueError as `patch` does, and for a
    metric that returns a number without a gradient.
    """
    sites = (sites,) if isinstance(sites, str) else tuple(sites)
    by_position = expect_sites(model, sites, by_position, clean, corrupted)
    layers = range(model.cfg.n_layers)
    wanted = [hook_name(site, layer) for site in (*sites, "resid_pre") for layer in layers]
    with torch.no_grad():
        clean_logits, there = model.run_with_cache(clean, names_filter=wanted)
    hooks = {site: "attn_out" if site == "resid_mid" else site for site in sites}
    value, here, gradients = _gradients(model, corrupted, metric, [*hooks.values(), "resid_pre"])
    estimates = []
    for site in sites:
        rows = []
        for layer in layers:
            resid_pre = here[hook_name("resid_pre", layer)]
            hooked, target = as_hooked(site, there[hook_name(site, layer)], resid_pre)
            name = hook_name(hooked, layer)
            rows.append(_summed((target - here[name]) * gradients[name], site, by_position))
        estimates.append(value + torch.stack(rows).float().cpu())
    dims = ("layer", *["head"] * (sites[0] in BY_HEAD), *["position"] * by_position)
    intact = float(metric(clean_logits)), value
    what = f"clean {', '.join(sites)} put into the corrupted run, estimated from a gradient"
    if len(sites) == 1:
        return Sweep(estimates[0], dims, *intact, what, sites)
    return Sweep(torch.stack(estimates), ("site", *dims), *intact, what, sites)


def attribute_heads(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> Float[Tensor, "layer head"]:
    """The estimated rise of the logit difference when each head's clean z is put into the corrupted run."""
    sweep = attribution_patch(model, clean, corrupted, LogitDifference(right, wrong))
    return (sweep.values - sweep.corrupted).to(corrupted.device)


def _gradients(
    model: "TransformerBridge", tokens: Tensor, metric: Metric, sites: Sequence[str]
) -> tuple[float, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The metric of a run, its activations at these sites, and the gradient of the metric at each."""
    held: dict[str, Tensor] = {}

    def keep(name: str):
        def stay(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
            held[name] = value
            return value

        return stay

    names = dict.fromkeys(hook_name(site, layer) for site in sites for layer in range(model.cfg.n_layers))
    start = {"hook_embed": lambda value: value.requires_grad_()}  # weights are frozen: a graph needs a leaf
    with torch.enable_grad(), edit(model, start | {name: keep(name) for name in names}):
        value = metric(model(tokens))
        if not isinstance(value, Tensor) or not value.requires_grad:
            raise ValueError("this metric has no gradient: return a tensor, as those of `metrics` do")
        gradients = torch.autograd.grad(value, list(held.values()))
    detached = {name: activation.detach() for name, activation in held.items()}
    return value.item(), detached, dict(zip(held, gradients, strict=True))


def _summed(products: Float[Tensor, "batch ..."], site: str, by_position: bool) -> Float[Tensor, "..."]:
    """Sums over everything but head and position, in the order that sweeps have."""
    if site == "pattern":
        return products.sum((0, 3) if by_position else (0, 2, 3))
    if site not in BY_HEAD:
        return products.sum((0, 2) if by_position else (0, 1, 2))
    return products.sum((0, 3)).T if by_position else products.sum((0, 1, 3))

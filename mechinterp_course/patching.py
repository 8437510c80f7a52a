"""What is causal: replace an activation in a running model, and see what changes."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.hooks import edit
from mechinterp_course.layers_above import Base, unembed_only
from mechinterp_course.metrics import LogitDifference, loss_per_token
from mechinterp_course.patch_batches import expect_sites, groups, patches_of, shape_of
from mechinterp_course.patch_sweeps import Reading, Sweep, fill
from mechinterp_course.patched_runs import (
    BY_HEAD,
    Patches,
    Runner,
    as_hooked,
    first_difference,
    hook_name,
    patch_in_place,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Metric = Callable[[Float[Tensor, "batch pos d_vocab"]], float | Tensor]


def patch(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    metric: Metric,
    sites: str | Sequence[str] = "z",
    by_position: bool | None = None,
    layers: Sequence[int] | None = None,
    memory: float = 1.0,
    progress: bool | None = None,
) -> Sweep:
    """The metric of the corrupted run with one activation at a time taken from the clean run: denoising.

    Swap `clean` and `corrupted` for noising. Each entry of the sweep is what `patch_once` defines, but for
    rounding: sites of layers ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out") have dimensions
    layer and position, sites of heads ("z", "q", "k", "v", "pattern") layer and head. `by_position` adds or
    drops the position (of the query, for patterns); without it a patch takes all positions. Several sites of
    one kind add a first dimension "site". `layers` leaves entries of the other layers NaN.

    Patches of a layer run together, in batches that take about `memory` GiB beside the two intact runs; only
    what they change is run, and only positions that the metric reads are unembedded, if it is one of
    `metrics`. `progress` True or False shows or hides a bar; by default a terminal has one past two seconds.
    Ctrl-C ends the sweep, and what is measured is returned, NaN elsewhere.

    Raises ValueError for other sites, for sites of both kinds, and for tokens of different shapes.
    """
    sites = (sites,) if isinstance(sites, str) else tuple(sites)
    by_position = expect_sites(model, sites, by_position, clean, corrupted)
    reading = Reading.of(metric, corrupted)
    chosen = range(model.cfg.n_layers) if layers is None else layers
    names = [hook_name(site, layer) for site in sites for layer in chosen]
    with torch.no_grad(), unembed_only(model, reading.positions):
        logits, cache = model.run_with_cache(clean, names_filter=names)
    runner = Runner(Base.run(model, corrupted, reading.positions), first_difference(clean, corrupted))
    shape = shape_of(model, sites, by_position, corrupted.shape[1])
    indices = list(product(*(range(size) for size in list(shape.values())[1:])))
    intact = reading.values(torch.stack([logits, runner.base.logits])).tolist()
    values = torch.full((len(sites), *shape.values()), torch.nan)
    if by_position and runner.base.sequential:  # before the first difference both runs are the same
        values[:, list(chosen), ..., : runner.first] = intact[1]
        indices = [index for index in indices if index[-1] >= runner.first]
    batches = (
        ([(number, layer, *index) for index in group], partial(_measure, runner, reading, patches))
        for (number, site), layer in product(enumerate(sites), chosen)
        for group in groups(runner, indices, by_position, memory)
        for patches in [patches_of(runner.base, site, layer, group, by_position, cache)]
    )
    fill(values, batches, len(sites) * len(chosen) * len(indices), progress)
    what = f"clean {', '.join(sites)} put into the corrupted run"
    if len(sites) == 1:
        return Sweep(values[0], tuple(shape), *intact, what, sites)
    return Sweep(values, ("site", *shape), *intact, what, sites)


def patch_once(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    site: str,
    layer: int,
    head: int | None = None,
    position: int | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one activation taken from the clean run: the definition of a patch.

    `head` for sites of heads ("z", "q", "k", "v", "pattern"); `position` (of the query, for patterns), or all
    of them. Raises ValueError for another site, or a head too many or too few.
    """
    expect_sites(model, (site,), None, clean, corrupted)
    if (head is None) == (site in BY_HEAD):
        raise ValueError(f"{site} {'needs a' if site in BY_HEAD else 'has no'} head")
    with torch.no_grad():
        names = [hook_name(site, layer), hook_name("resid_pre", layer)]
        caches = [model.run_with_cache(tokens, names_filter=names)[1] for tokens in (clean, corrupted)]
        hooked, value = as_hooked(site, caches[0][names[0]], caches[1][names[1]])
        with edit(model, {hook_name(hooked, layer): patch_in_place(hooked, value, head, position)}):
            return model(corrupted)


def patch_residual(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> Float[Tensor, "layer pos"]:
    """The share of the mean logit difference that each position of each layer's resid_pre brings back.

    0 is the corrupted run and 1 the clean one; right and wrong words are read at the last position.
    """
    metric = LogitDifference(right, wrong)
    return patch(model, clean, corrupted, metric, "resid_pre", progress=False).normalized().values


def patch_head_input(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    part: str,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one head's q, k, v or pattern (`part`) taken from the clean run.

    Raises ValueError for any other part, "z" included: a head's z is what it puts out.
    """
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f'part is "q", "k", "v" or "pattern", not {part!r}')
    return patch_once(model, clean, corrupted, part, layer, head)


def ablate_head(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    kind: str = "zero",
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the model on `tokens` with one head's output z (`hook_z`, before W_O) replaced by a constant.

    kind="zero" puts zeros in its place; kind="mean" puts the head's own mean over batch and positions of
    these tokens there. Any other kind raises ValueError. No hook is left behind.
    """
    if kind not in ("zero", "mean"):
        raise ValueError(f'kind is "zero" or "mean", not {kind!r}')

    def ablate(
        z: Float[Tensor, "batch pos head d_head"], hook: object
    ) -> Float[Tensor, "batch pos head d_head"]:
        z = z.clone()
        z[:, :, head] = 0.0 if kind == "zero" else reduce(z[:, :, head], "batch pos d_head -> d_head", "mean")
        return z

    with model.hooks(fwd_hooks=[(z_name(layer), ablate)]):
        return model(tokens)


def patch_head_output(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one head's z replaced by the z that it has in the clean run.

    With the arguments in this order it is denoising: can this head alone restore the behaviour? Swap `clean`
    and `corrupted` for noising: does spoiling this head alone destroy it? The two answer different questions
    (Heimersheim & Nanda 2024, "How to use and interpret activation patching").
    """
    _, cache = model.run_with_cache(clean, names_filter=z_name(layer))
    clean_z = cache[z_name(layer)]

    def patch(
        z: Float[Tensor, "batch pos head d_head"], hook: object
    ) -> Float[Tensor, "batch pos head d_head"]:
        z = z.clone()
        z[:, :, head] = clean_z[:, :, head]
        return z

    with model.hooks(fwd_hooks=[(z_name(layer), patch)]):
        return model(corrupted)


def rank_heads_by_effect(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"]
) -> list[tuple[int, int, float]]:
    """(layer, head, effect) for every head of the model, largest effect first; tokens from `repeated_tokens`.

    The effect of a head is the rise, in nats, of the mean loss over tokens 2..length of the second copy when
    the head is zero-ablated. It is negative for a head whose removal helps.
    """
    intact = second_copy_loss(model(tokens), tokens)
    effects = [
        (layer, head, second_copy_loss(ablate_head(model, tokens, layer, head), tokens) - intact)
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    return sorted(effects, key=lambda row: row[2], reverse=True)


def second_copy_loss(logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]) -> float:
    """Mean loss, in nats, over tokens 2..length of the second copy of `repeated_tokens`."""
    length = (tokens.shape[1] - 1) // 2
    return loss_per_token(logits, tokens)[:, length + 1 : 2 * length].mean().item()


def z_name(layer: int) -> str:
    """The hook point of a layer's z, what each head has read before W_O; shape [batch, pos, head, d_head]."""
    return f"blocks.{layer}.attn.hook_z"


def _measure(runner: Runner, reading: Reading, patches: Patches) -> Float[Tensor, " run"]:
    return reading.values(runner.logits(patches))

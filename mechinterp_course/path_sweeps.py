"""Every path into some receivers, or out of a sender: what `path_patching` does for one, in batches."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.layers_above import Base, carry_on, unembed_only
from mechinterp_course.metrics import at_positions
from mechinterp_course.patch_sweeps import Reading, Sweep, fill
from mechinterp_course.patched_runs import Patches, Runner, first_difference
from mechinterp_course.patching import Metric, z_name
from mechinterp_course.path_patching import (
    DIRECT,
    Head,
    Tokens,
    as_list,
    expect_path,
    moved_inputs,
    path_logits,
)
from mechinterp_course.path_steps import moved_by_heads, moved_from, take

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Batch = tuple[list[tuple[int, ...]], Callable[[], Tensor]]


def sweep_senders(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    receivers: Head | Sequence[Head],
    through: str = "k",
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
    memory: float = 1.0,
    progress: bool | None = None,
) -> Sweep:
    """The metric of `path_logits` from every head to these receivers, together: dimensions layer and head.

    Receivers that are not above a sender take no path from it; where none is, the entry is the corrupted
    run's. Batches, bar and Ctrl-C are those of `patch`. Raises ValueError as `path_logits` does.
    """
    receivers = as_list(receivers)
    expect_path((-1, 0), receivers, through, frozen, layer_norm)
    reading, runner, before, cache = _prepare(model, clean, corrupted, metric)
    values = torch.full((model.cfg.n_layers, model.cfg.n_heads), torch.nan)
    top = max(layer for layer, _ in receivers)
    values[top:] = before[1]
    run = partial(_senders, runner, cache, receivers, through, frozen, layer_norm)
    if not runner.base.sequential:
        run = partial(_one_by_one, runner, clean, receivers, through, frozen, layer_norm)
    size = runner.room(runner.first, memory)
    heads = list(range(model.cfg.n_heads))
    batches = (
        ([(layer, head) for head in group], partial(_measured, reading, run, layer, group))
        for layer in range(top)
        for group in (heads[begin : begin + size] for begin in range(0, len(heads), size))
    )
    fill(values, batches, top * len(heads), progress)
    what = f"paths into {through} of {', '.join(f'{layer}.{head}' for layer, head in receivers)}"
    return Sweep(values, ("layer", "head"), *before, what)


def sweep_receivers(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    sender: Head,
    through: str = "k",
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
    memory: float = 1.0,
    progress: bool | None = None,
) -> Sweep:
    """The metric of `path_logits` from this sender to every head above it, alone: dimensions layer and head.

    Entries of heads that are not above the sender are the corrupted run's. Batches, bar and Ctrl-C are those
    of `patch`. Raises ValueError as `path_logits` does.
    """
    expect_path(sender, _receivers(model.cfg.n_layers, 1, sender), through, frozen, layer_norm)
    reading, runner, before, cache = _prepare(model, clean, corrupted, metric)
    count = runner.base.at(through, 0).shape[2]
    values = torch.full((model.cfg.n_layers, count), torch.nan)
    values[: sender[0] + 1] = before[1]
    total = len(_receivers(model.cfg.n_layers, count, sender))
    how = (reading, runner, clean, cache, through, frozen, layer_norm, memory)
    fill(values, _out_of(sender, *how), total, progress)
    what = f"paths from {sender[0]}.{sender[1]} into {through}"
    return Sweep(values, ("layer", "head"), *before, what)


def sweep_paths(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    through: str = "k",
    senders: Sequence[Head] | None = None,
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
    memory: float = 1.0,
    progress: bool | None = None,
) -> Sweep:
    """`sweep_receivers` for every sender: dimensions sender_layer, sender_head, layer and head.

    With `senders`, entries of the other senders are NaN. The intact runs are shared, so that this takes less
    than a sweep for each sender. Raises ValueError as `path_logits` does.
    """
    cfg = model.cfg
    if senders is None:
        senders = [(layer, head) for layer in range(cfg.n_layers - 1) for head in range(cfg.n_heads)]
    reading, runner, before, cache = _prepare(model, clean, corrupted, metric)
    count = runner.base.at(through, 0).shape[2] if through in ("q", "k", "v") else cfg.n_heads
    values = torch.full((cfg.n_layers, cfg.n_heads, cfg.n_layers, count), torch.nan)
    values[cfg.n_layers - 1] = before[1]
    for sender in senders:
        expect_path(sender, _receivers(cfg.n_layers, count, sender), through, frozen, layer_norm)
        values[*sender, : sender[0] + 1] = before[1]
    how = (reading, runner, clean, cache, through, frozen, layer_norm, memory)
    total = sum(len(_receivers(cfg.n_layers, count, sender)) for sender in senders)
    batches = (
        ([(*sender, *place) for place in places], run)
        for sender in senders
        for places, run in _out_of(sender, *how)
    )
    fill(values, batches, total, progress)
    dims = ("sender_layer", "sender_head", "layer", "head")
    return Sweep(values, dims, *before, f"every path into {through}")


def _receivers(layers: int, heads: int, sender: Head) -> list[Head]:
    return [(layer, head) for layer in range(sender[0] + 1, layers) for head in range(heads)]


def _out_of(
    sender: Head,
    reading: Reading,
    runner: Runner,
    clean: Tokens,
    cache: Mapping[str, Tensor],
    through: str,
    frozen: Collection[str],
    layer_norm: str,
    memory: float,
) -> Iterator[Batch]:
    """The batches of patches from one sender to each head above it, as (places, function that measures)."""
    base, how = runner.base, (through, frozen, layer_norm)
    above = range(sender[0] + 1, base.model.cfg.n_layers)
    if base.sequential:
        moved = moved_from(runner, cache, sender, above, *how)
    else:
        moved = moved_inputs(base.model, clean, base.tokens, sender, above, *how)
    heads = list(range(moved[above[0]].shape[2]))
    size = runner.room(runner.first, memory)
    for layer in above:
        for begin in range(0, len(heads), size):
            group = heads[begin : begin + size]
            patches = Patches(layer, group, None, through, moved[layer])
            yield [(layer, head) for head in group], partial(_patched, reading, runner, patches)


def _prepare(
    model: "TransformerBridge", clean: Tokens, corrupted: Tokens, metric: Metric
) -> tuple[Reading, Runner, tuple[float, float], Mapping[str, Tensor]]:
    """What every sweep needs: where the metric reads, the corrupted run, both metrics, every clean z."""
    if clean.shape != corrupted.shape:
        raise ValueError(f"clean is {tuple(clean.shape)} and corrupted {tuple(corrupted.shape)}: pair them")
    reading = Reading.of(metric, corrupted)
    names = [z_name(layer) for layer in range(model.cfg.n_layers)]
    with torch.no_grad(), unembed_only(model, reading.positions):
        logits, cache = model.run_with_cache(clean, names_filter=names)
    runner = Runner(Base.run(model, corrupted, reading.positions), first_difference(clean, corrupted))
    before = reading.values(torch.stack([logits, runner.base.logits])).tolist()
    return reading, runner, tuple(before), cache


def _patched(reading: Reading, runner: Runner, patches: Patches) -> Float[Tensor, " run"]:
    return reading.values(runner.logits(patches))


def _measured(
    reading: Reading, run: Callable[[int, list[int]], Tensor], layer: int, heads: list[int]
) -> Float[Tensor, " run"]:
    return reading.values(run(layer, heads))


def _one_by_one(
    runner: Runner,
    clean: Tokens,
    receivers: Sequence[Head],
    through: str,
    frozen: Collection[str],
    layer_norm: str,
    layer: int,
    heads: list[int],
) -> Float[Tensor, "run batch read d_vocab"]:
    """For a model whose blocks can't be put together from parts: `path_logits`, sender after sender."""
    base, above = runner.base, [receiver for receiver in receivers if receiver[0] > layer]
    rest = (above, through, frozen, layer_norm)
    runs = [path_logits(base.model, clean, base.tokens, (layer, head), *rest) for head in heads]
    return torch.stack([at_positions(logits, base.reads) for logits in runs])


def _senders(
    runner: Runner,
    clean: Mapping[str, Tensor],
    receivers: Sequence[Head],
    through: str,
    frozen: Collection[str],
    layer_norm: str,
    layer: int,
    heads: list[int],
) -> Float[Tensor, "run batch read d_vocab"]:
    """Both steps of `path_logits`, for several senders of one layer."""
    base, start = runner.base, runner.first
    layers = sorted({where for where, _ in receivers if where > layer})
    moved = moved_by_heads(
        base, start, clean[z_name(layer)], layer, heads, layers, through, frozen, layer_norm
    )
    edits = {
        where: take(moved[where], through, [head for place, head in receivers if place == where])
        for where in layers
    }
    with torch.no_grad():
        resid = base.repeated("resid_pre", layers[0], start, len(heads))
        return carry_on(base, resid, layers[0], start, edits)

"""The first step of a path, for several senders at once: what reaches the receivers' q, k or v."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.hooks import edit
from mechinterp_course.layers_above import Base, Edit, Inputs, attend, project
from mechinterp_course.patched_runs import Runner, without_norm_warnings
from mechinterp_course.patching import z_name
from mechinterp_course.path_patching import Head


def moved_from(
    runner: Runner,
    clean: Mapping[str, Tensor],
    sender: Head,
    layers: Sequence[int],
    through: str,
    frozen: Collection[str],
    layer_norm: str,
) -> dict[int, Float[Tensor, "batch pos head d_head"]]:
    """`moved_inputs`, without a run of the whole model."""
    base, start = runner.base, runner.first
    layer, head = sender
    moved = moved_by_heads(
        base, start, clean[z_name(layer)], layer, [head], layers, through, frozen, layer_norm
    )
    before = {number: base.at(through, number)[:, :start] for number in layers}
    return {number: torch.cat([before[number], moved[number]], dim=1) for number in layers}


def moved_by_heads(
    base: Base,
    start: int,
    clean_z: Float[Tensor, "batch pos head d_head"],
    layer: int,
    heads: list[int],
    layers: Sequence[int],
    through: str,
    frozen: Collection[str],
    layer_norm: str,
) -> dict[int, Float[Tensor, "row pos head d_head"]]:
    """The q, k or v of `layers` when one of `heads` has its clean z: rows are (run batch)."""
    blocks, runs, moved = base.model.blocks, len(heads), {}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(without_norm_warnings())
        if layer_norm == "frozen":
            stack.enter_context(edit(base.model, _scales(base, layer, layers[-1], start, runs)))
        change = (clean_z - base.at("z", layer))[:, start:, heads]
        written = torch.einsum("bpne,ned->nbpd", change, blocks[layer].attn.W_O[heads]).flatten(0, 1)
        resid = _past_mlp(
            base, base.repeated("resid_mid", layer, start, runs) + written, layer, start, frozen
        )
        for number in range(layer + 1, layers[-1] + 1):
            inputs = None
            if number in layers or "heads" not in frozen:
                inputs = project(base, blocks[number].ln1(resid), number)
            if number in layers:
                moved[number] = inputs["qkv".index(through)]
            if number < layers[-1]:
                resid = _past_block(base, resid, inputs, number, start, frozen)
    return moved


def _past_block(
    base: Base, resid: Tensor, inputs: Inputs | None, layer: int, start: int, frozen: Collection[str]
) -> Float[Tensor, "row pos d_model"]:
    if "heads" in frozen:
        written = base.repeated("attn_out", layer, start, len(resid) // len(base.tokens))
    else:
        written = base.model.blocks[layer].attn.o(attend(base, inputs, layer, start).flatten(-2))
    return _past_mlp(base, resid + written, layer, start, frozen)


def _past_mlp(
    base: Base, mid: Tensor, layer: int, start: int, frozen: Collection[str]
) -> Float[Tensor, "row pos d_model"]:
    if "mlps" in frozen:
        return mid + base.repeated("mlp_out", layer, start, len(mid) // len(base.tokens))
    block = base.model.blocks[layer]
    return mid + block.mlp(block.ln2(mid))


def _scales(base: Base, layer: int, top: int, start: int, runs: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Edits that hold LayerNorm's scales at those of the intact run."""
    norms = [f"{number}.ln{which}" for number in range(layer, top + 1) for which in (1, 2)]

    def hold(name: str) -> Callable[[Tensor], Tensor]:
        value = base.held[name][:, start:]
        return lambda _: value.expand(runs, *value.shape).flatten(0, 1)

    return {name: hold(name) for name in (f"blocks.{norm}.hook_scale" for norm in norms)}


def take(moved: Float[Tensor, "row pos head d_head"], through: str, heads: list[int]) -> Edit:
    """An edit of (q, k, v) that gives the receivers of one layer their new input."""
    which = "qkv".index(through)

    def take(inputs: Inputs) -> Inputs:
        new = list(inputs)
        new[which] = inputs[which].clone()
        new[which][:, :, heads] = moved[:, :, heads]
        return tuple(new)

    return take

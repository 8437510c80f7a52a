"""Heads ablated together: what stands in for their output, in many runs with another choice of heads each."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from einops import reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.patching import z_name

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)
Tokens = Int[Tensor, "batch pos"]
Keep = Bool[Tensor, "run layer head"]
KINDS = ("resample", "mean", "zero")


def stand_ins(
    model: "TransformerBridge", tokens: Tokens, kind: str, other: Tokens | None
) -> dict[int, Float[Tensor, "#batch #pos head d_head"]]:
    """What takes the place of each layer's z; raises ValueError for another kind, or for want of `other`."""
    if kind not in KINDS:
        raise ValueError(f"kind is {', '.join(KINDS)}, not {kind!r}")
    if kind == "resample" and (other is None or other.shape != tokens.shape):
        raise ValueError("resampling needs `other`, tokens of the same shape: row i stands in for row i")
    names = [z_name(layer) for layer in range(model.cfg.n_layers)]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens if other is None else other, names_filter=names)
    if kind == "resample":
        return {layer: cache[name] for layer, name in enumerate(names)}
    means = {
        layer: reduce(cache[name], "batch pos h d -> 1 1 h d", "mean") for layer, name in enumerate(names)
    }
    return means if kind == "mean" else {layer: torch.zeros_like(mean) for layer, mean in means.items()}


def mask(model: "TransformerBridge", circuits: Sequence[Collection[Head]]) -> Keep:
    """Which heads each circuit keeps; raises ValueError for a head that isn't there."""
    cfg = model.cfg
    keep = torch.zeros(len(circuits), cfg.n_layers, cfg.n_heads, dtype=torch.bool)
    for row, circuit in zip(keep, circuits, strict=True):
        for layer, head in circuit:
            if not (0 <= layer < cfg.n_layers and 0 <= head < cfg.n_heads):
                raise ValueError(f"the model has no head {layer}.{head}")
            row[layer, head] = True
    return keep.to(cfg.device)


def ablations(
    stand_in: Mapping[int, Tensor], keep: Keep, batch: int
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Edits that put the stand-ins where a run does not keep a head; rows are (run batch)."""

    def replace(layer: int) -> Callable[[Tensor], Tensor]:
        def put(z: Float[Tensor, "row pos head d_head"]) -> Float[Tensor, "row pos head d_head"]:
            runs = z.unflatten(0, (-1, batch))
            return torch.where(keep[:, layer, :, None][:, None, None], runs, stand_in[layer]).flatten(0, 1)

        return put

    return {z_name(layer): replace(layer) for layer in stand_in}

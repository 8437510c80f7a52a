"""A sweep cut into batches: which patches there are, and which run together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mechinterp_course.layers_above import Base
from mechinterp_course.patched_runs import BY_HEAD, BY_LAYER, Index, Patches, Runner, as_hooked, hook_name

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def expect_sites(
    model: "TransformerBridge",
    sites: Sequence[str],
    by_position: bool | None,
    clean: Tensor,
    corrupted: Tensor,
) -> bool:
    """Whether a sweep of these sites is by position; raises ValueError when it can't be made."""
    known = BY_LAYER + BY_HEAD
    if not sites or not set(sites) <= set(known):
        raise ValueError(f"sites are {', '.join(known)}, not {', '.join(sites) or 'none'}")
    if len({site in BY_HEAD for site in sites}) > 1:
        raise ValueError(
            "sites of heads and of whole layers have different dimensions: sweep them one by one"
        )
    for site in sites:
        if hook_name(site, 0) not in model.hook_dict:
            raise ValueError(f"this model has no {site}")
    if clean.shape != corrupted.shape:
        raise ValueError(f"clean is {tuple(clean.shape)} and corrupted {tuple(corrupted.shape)}: pair them")
    return sites[0] in BY_LAYER if by_position is None else by_position


def shape_of(model: "TransformerBridge", sites: Sequence[str], by_position: bool, pos: int) -> dict[str, int]:
    """The dimensions of a sweep by name."""
    cfg = model.cfg
    shape = {"layer": cfg.n_layers}
    if sites[0] in BY_HEAD:
        shared = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
        counts = {shared if site in ("k", "v") else cfg.n_heads for site in sites}
        if len(counts) > 1:
            raise ValueError(f"{shared} heads have keys and values, {cfg.n_heads} queries: sweep k, v alone")
        shape["head"] = counts.pop()
    return shape | {"position": pos} if by_position else shape


def groups(runner: Runner, indices: list[Index], by_position: bool, memory: float) -> Iterator[list[Index]]:
    """The patches of a layer in groups to run at once: late positions first, for they leave less to run."""
    ordered = sorted(indices, key=lambda index: -index[-1]) if by_position else indices
    group: list[Index] = []
    for index in ordered:
        start = index[-1] if by_position else runner.first
        if group and len(group) >= runner.room(start, memory):
            yield group
            group = []
        group.append(index)
    yield group


def patches_of(
    base: Base, site: str, layer: int, group: list[Index], by_position: bool, cache: Mapping[str, Tensor]
) -> Patches:
    """A group of one site and layer, with the clean values that it takes."""
    heads = [index[0] for index in group] if site in BY_HEAD else None
    positions = [index[-1] for index in group] if by_position else None
    resid_pre = base.at("resid_pre", layer)
    return Patches(layer, heads, positions, *as_hooked(site, cache[hook_name(site, layer)], resid_pre))

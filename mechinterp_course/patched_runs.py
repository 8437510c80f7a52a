"""Runs with one activation replaced: many at once, for one site of one layer.

Where blocks can be put together from their parts (`Base.sequential`) only what a patch changes is computed:
the head's own z, the MLP where the residual stream moved, the layers above from the first changed position
on. Any other model runs whole blocks, those below the patch left out, with the patch in a hook.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mechinterp_course.hooks import edit as edited
from mechinterp_course.layers_above import (
    Base,
    carry_on,
    finish,
    mlp_where,
    score_scale,
    unembed_only,
)

BY_LAYER = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
BY_HEAD = ("z", "q", "k", "v", "pattern")
Index = tuple[int, ...]  # ([head][, position]), as in a sweep
WORK = {"cpu": 1 << 29, "cuda": 1 << 36}  # multiplications of a block in a batch: more is not faster
FEWEST = 320  # tokens in a batch, where the memory allows


def hook_name(site: str, layer: int) -> str:
    """The hook point at which a site is read."""
    return f"blocks.{layer}.{'attn.' if site in BY_HEAD else ''}hook_{site}"


@dataclass(frozen=True, eq=False)
class Patches:
    """Some patches of one site in one layer: which head and which position each takes from the clean run."""

    layer: int
    heads: list[int] | None
    positions: list[int] | None
    site: str
    clean: Float[Tensor, "batch ..."]

    def __len__(self) -> int:
        return len(self.heads or self.positions or [0])

    def marks(self, pos: int, start: int = 0) -> Bool[Tensor, "run 1 pos"]:
        """Where, from `start` on, each run takes the clean values."""
        every = torch.arange(start, pos, device=self.clean.device)
        if self.positions is None:
            return torch.ones_like(every, dtype=torch.bool).expand(len(self), 1, -1)
        return every == torch.tensor(self.positions, device=every.device)[:, None, None]


@dataclass(frozen=True, eq=False)
class Runner:
    """The corrupted run, and how patched ones are run on top of it."""

    base: Base
    first: int  # the first position at which clean and corrupted tokens differ

    def room(self, start: int, memory: float) -> int:
        """How many runs from position `start` on make a batch of at most `memory` GiB, at least one."""
        base, cfg = self.base, self.base.model.cfg
        batch, pos = base.tokens.shape
        width = pos - start if base.sequential else pos
        tokens = batch * width
        floats = tokens * (6 * cfg.d_model + 2 * (cfg.d_mlp or 0) + 2 * cfg.n_heads * pos)
        floats += 3 * base.reads.numel() * cfg.d_vocab
        work = WORK.get(base.tokens.device.type, WORK["cuda"])
        enough = max(FEWEST, work // (12 * cfg.d_model**2)) // tokens
        return max(1, min(enough, int(memory * 2**30 / (4 * floats))))

    def logits(self, patches: Patches) -> Float[Tensor, "run batch read d_vocab"]:
        """Logits where the metric reads, of the corrupted run with each of these patches alone."""
        with torch.no_grad():
            if self.base.sequential:
                return _changed_only(self.base, patches, self.first)
            return self._whole_blocks(patches)

    def _whole_blocks(self, patches: Patches) -> Float[Tensor, "run batch read d_vocab"]:
        base, runs = self.base, len(patches)
        put = {hook_name(patches.site, patches.layer): _patch_hook(patches, len(base.tokens))}
        skipped = patches.layer if self.skips else 0
        with (
            from_layer(base, skipped, runs),
            unembed_only(base.model, base.reads.repeat(runs, 1)),
            edited(base.model, put),
        ):
            return base.model(base.tokens.repeat(runs, 1)).unflatten(0, (runs, -1))

    @cached_property
    def skips(self) -> bool:
        """Whether leaving out the lower blocks changes nothing in this model."""
        layer = self.base.model.cfg.n_layers - 1
        with torch.no_grad(), from_layer(self.base, layer, 1), unembed_only(self.base.model, self.base.reads):
            try:
                logits = self.base.model(self.base.tokens)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
                return False
        spread = self.base.logits.std().item()
        return (logits - self.base.logits).abs().max().item() < 1e-3 * spread


def as_hooked(
    site: str, value: Float[Tensor, "batch ..."], resid_pre: Float[Tensor, "batch pos d_model"] | None
) -> tuple[str, Float[Tensor, "batch ..."]]:
    """The site to hook, and the clean value to put there, so that `site` becomes `value`.

    A bridge's hook_resid_mid is what the second LayerNorm reads: an edit there reaches the MLP, but not the
    stream beside it. So the stream is patched through what attention adds to `resid_pre`, the corrupted one.
    """
    return ("attn_out", value - resid_pre) if site == "resid_mid" else (site, value)


def first_difference(clean: Tensor, corrupted: Tensor) -> int:
    """The first position at which any row differs; the last one where none does."""
    differs = (clean != corrupted).any(0)
    return int(differs.int().argmax()) if differs.any() else clean.shape[1] - 1


@contextmanager
def from_layer(base: Base, layer: int, runs: int) -> Iterator[None]:
    """Inside, the model's blocks below `layer` compute nothing, and `layer` reads the intact resid_pre."""
    blocks = base.model.blocks[:layer]
    resid = base.repeated("resid_pre", layer, 0, runs) if layer else None
    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.__dict__.pop, "forward")
            block.__dict__["forward"] = lambda *_, **__: resid
        yield


@contextmanager
def without_norm_warnings() -> Iterator[None]:
    """Inside, a bridge does not warn that an edited LayerNorm scale changes how it rounds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="transformer_lens")
        yield


def patch_in_place(
    site: str, clean: Float[Tensor, "batch ..."], head: int | None, position: int | None
) -> Callable[[Tensor], Tensor]:
    """An edit that gives an activation the clean values of one head, or all, at one position, or all."""
    every = slice(None)
    where = every if position is None else position
    place = {"pattern": (every, head, where)}.get(
        site, (every, where) if head is None else (every, where, head)
    )

    def put(value: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        value[place] = clean[place]
        return value

    return put


def _patch_hook(patches: Patches, batch: int) -> Callable[[Tensor], Tensor]:
    """An edit that gives each run its patch; rows are (run batch)."""
    nothing = [None] * len(patches)
    places = zip(patches.heads or nothing, patches.positions or nothing, strict=True)
    edits = [patch_in_place(patches.site, patches.clean, *place) for place in places]

    def put(value: Float[Tensor, "row ..."]) -> Float[Tensor, "row ..."]:
        return torch.cat([one(rows) for one, rows in zip(edits, value.split(batch), strict=True)])

    return put


def _changed_only(base: Base, patches: Patches, first: int) -> Float[Tensor, "run batch read d_vocab"]:
    site, layer, pos = patches.site, patches.layer, base.tokens.shape[1]
    start = first if patches.positions is None else min(patches.positions)
    marks = patches.marks(pos, start)
    if site in BY_HEAD:
        change, changed = _attention_change(base, patches, marks, start)
    else:
        before = base.at(site, layer)
        change = torch.where(marks[..., None], patches.clean[:, start:] - before[:, start:], 0.0)
        if site != "attn_out":
            stream = base.at("resid_pre" if site == "resid_pre" else "resid_post", layer)[:, start:]
            where = layer if site == "resid_pre" else layer + 1
            return _carry((stream + change).flatten(0, 1), base, where, start)
        changed = marks.expand(-1, len(base.tokens), -1)
    mid = (base.at("resid_mid", layer)[:, start:] + change).flatten(0, 1)
    if layer == base.model.cfg.n_layers - 1:
        changed = changed & _is_read(base)[:, start:]
    return _carry(mlp_where(base, mid, layer, start, changed.flatten(0, 1)), base, layer + 1, start)


def _carry(resid: Tensor, base: Base, layer: int, start: int) -> Float[Tensor, "run batch read d_vocab"]:
    past = layer == base.model.cfg.n_layers
    return finish(base, resid, layer, start) if past else carry_on(base, resid, layer, start)


def _is_read(base: Base) -> Bool[Tensor, "batch pos"]:
    return torch.zeros_like(base.tokens, dtype=torch.bool).scatter_(1, base.reads, True)


def _attention_change(
    base: Base, patches: Patches, marks: Bool[Tensor, "run 1 pos"], start: int
) -> tuple[Float[Tensor, "run batch pos d_model"], Bool[Tensor, "run batch pos"]]:
    """What patches of heads change in the layer's output, and where (keys and values reach later queries)."""
    layer, heads = patches.layer, torch.tensor(patches.heads, device=marks.device)
    before = _of_heads(base.at("z", layer), heads, start)
    change = _patched_z(base, patches, marks, heads, start) - before
    reach = marks.cummax(-1).values if patches.site in ("k", "v") else marks
    weights = base.model.blocks[layer].attn.W_O[heads]
    written = torch.einsum("nbpe,ned->nbpd", change, weights)
    return written, reach.expand(-1, len(base.tokens), -1)


def _patched_z(
    base: Base, patches: Patches, marks: Bool[Tensor, "run 1 pos"], heads: Tensor, start: int
) -> Float[Tensor, "run batch pos d_head"]:
    """z of each run's own head, from `start` on."""
    layer, site = patches.layer, patches.site
    where = marks[..., None]
    if site == "pattern":
        values = _of_heads(base.at("v", layer), heads, 0)
        patched = patches.clean.transpose(0, 1)[heads][:, :, start:] @ values
        return torch.where(where, patched, _of_heads(base.at("z", layer), heads, start))
    clean = _of_heads(patches.clean, heads, start)
    if site == "z":
        return torch.where(where, clean, _of_heads(base.at("z", layer), heads, start))
    inputs = {name: _of_heads(base.at(name, layer), heads, 0) for name in "qkv"}
    inputs[site] = inputs[site].clone()
    inputs[site][:, :, start:] = torch.where(where, clean, inputs[site][:, :, start:])
    return _one_head(inputs, start, score_scale(base.model, layer))


def _one_head(inputs: dict[str, Tensor], start: int, scale: float) -> Float[Tensor, "run batch pos d_head"]:
    q, k, v = inputs["q"][:, :, start:], inputs["k"], inputs["v"]
    visible = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(start)
    return nn.functional.scaled_dot_product_attention(q, k, v, visible, scale=scale)


def _of_heads(
    value: Float[Tensor, "batch pos head d_head"], heads: Tensor, start: int
) -> Float[Tensor, "run batch pos d_head"]:
    """The vectors of one head for each run, from `start` on."""
    return value[:, start:].permute(2, 0, 1, 3)[heads]

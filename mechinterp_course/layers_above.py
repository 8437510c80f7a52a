"""Run a model from one layer up, from positions that change on, beside what an intact run already knows.

A patch in layer l leaves every layer below as it was, and one at position p every position before p, for
attention looks back only. `Base` keeps the intact run; `carry_on` computes what is left to compute, for many
patched runs at once. It puts a block together from the bridge's own parts, as one of the GPT-2 kind is:

    mid = x + O(attention(Q(ln1 x), K(ln1 x), V(ln1 x)))        post = mid + mlp(ln2 mid)

`Base.sequential` says whether that gives the model's own numbers. For a model that is built otherwise (rotary
positions, parallel blocks, shared keys …) `patched_runs` runs whole blocks instead.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mechinterp_course.metrics import at_positions

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Vectors = Float[Tensor, "row pos head d_head"]
Inputs = tuple[Vectors, Vectors, Vectors]  # q, k, v
Edit = Callable[[Inputs], Inputs]
KEPT = ("hook_resid_pre", "hook_resid_mid", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
SCALES = ("ln1.hook_scale", "ln2.hook_scale")
CLOSE = 1e-3  # of the logits' own spread: what a differently ordered sum may differ by


@dataclass(frozen=True, eq=False)
class Base:
    """An intact run: what each layer held, and the logits where the metric reads."""

    model: "TransformerBridge"
    tokens: Int[Tensor, "batch pos"]
    reads: Int[Tensor, "batch read"]
    held: Mapping[str, Tensor]
    logits: Float[Tensor, "batch read d_vocab"]

    @classmethod
    def run(
        cls, model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], reads: Int[Tensor, "batch read"]
    ) -> "Base":
        """The intact run of `model` on `tokens`, with the logits at the positions `reads`."""
        last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
        names = (*KEPT, *SCALES)
        wanted = {f"blocks.{layer}.{name}" for layer in range(model.cfg.n_layers) for name in names} | {last}
        with torch.no_grad(), unembed_only(model, reads):
            logits, cache = model.run_with_cache(tokens, names_filter=list(wanted & set(model.hook_dict)))
        return cls(model, tokens, reads, dict(cache), logits)

    def at(self, name: str, layer: int) -> Float[Tensor, "batch pos ..."]:
        """An activation of a layer; resid_post, attn_out and mlp_out follow from the residual stream."""
        if name == "resid_post":
            above = f"blocks.{layer + 1}.hook_resid_pre"
            return self.held[above if above in self.held else f"blocks.{layer}.hook_resid_post"]
        if name == "attn_out":
            return self.at("resid_mid", layer) - self.at("resid_pre", layer)
        if name == "mlp_out":
            return self.at("resid_post", layer) - self.at("resid_mid", layer)
        prefix = "hook_" if name.startswith("resid") else "attn.hook_"
        return self.held[f"blocks.{layer}.{prefix}{name}"]

    def repeated(self, name: str, layer: int, start: int, runs: int) -> Float[Tensor, "row pos ..."]:
        """An activation from position `start` on, once for each of `runs` runs: rows are (run batch)."""
        value = self.at(name, layer)[:, start:]
        return value.expand(runs, *value.shape).flatten(0, 1)

    @cached_property
    def sequential(self) -> bool:
        """Whether blocks put together here from their parts give what the model itself gives, on a row."""
        cfg = self.model.cfg
        needed = {f"blocks.{layer}.{name}" for layer in range(cfg.n_layers) for name in KEPT}
        if not needed <= set(self.held) or self.at("k", 0).shape[2] != cfg.n_heads:
            return False
        held = {name: value[:1] for name, value in self.held.items()}
        one = Base(self.model, self.tokens[:1], self.reads[:1], held, self.logits[:1])
        try:
            logits = carry_on(one, one.at("resid_pre", 0), layer=0, start=0)[0]
            outs = [one._head_sum_error(layer) for layer in range(cfg.n_layers)]
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # parts of other names, or called otherwise
        return max((logits - one.logits).abs().max().item(), *outs) < CLOSE * one.logits.std().item()

    def _head_sum_error(self, layer: int) -> float:
        """How far Σ z W_O + b_O is from what the attention layer adds."""
        attention = self.model.blocks[layer].attn
        written = torch.einsum("bphe,hed->bpd", self.at("z", layer), attention.W_O) + attention.b_O
        return (written - self.at("attn_out", layer)).abs().max().item()


@contextmanager
def unembed_only(model: "TransformerBridge", reads: Int[Tensor, "row read"]) -> Iterator[None]:
    """Inside, the model unembeds only the positions `reads` of each row: [row, read, d_vocab]."""

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (at_positions(inputs[0], reads), *inputs[1:])

    handle = model.unembed.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def carry_on(
    base: Base,
    resid: Float[Tensor, "row pos d_model"],
    layer: int,
    start: int,
    edits: Mapping[int, Edit] | None = None,
) -> Float[Tensor, "run batch read d_vocab"]:
    """Logits where the metric reads, of runs whose resid_pre of `layer` is `resid` from position `start` on.

    Rows are (run batch). `edits` changes q, k and v of a layer, of all positions from `start` on.
    """
    edits = edits or {}
    for number in range(layer, base.model.cfg.n_layers - 1):
        resid = _block(base, resid, number, start, edits.get(number))
    return finish(base, resid, layer, start, edits)


def finish(
    base: Base,
    resid: Float[Tensor, "row pos d_model"],
    layer: int,
    start: int,
    edits: Mapping[int, Edit] | None = None,
) -> Float[Tensor, "run batch read d_vocab"]:
    """The last block, unless `layer` is past it, and the unembedding, only where the metric reads."""
    last = base.model.cfg.n_layers - 1
    batch = len(base.tokens)
    reads = base.reads.repeat(len(resid) // batch, 1)
    inside = (reads - start).clamp(min=0)
    if layer <= last:
        resid = _block(base, resid, last, start, (edits or {}).get(last), inside)
    else:
        resid = at_positions(resid, inside)
    logits = base.model.unembed(base.model.ln_final(resid)).unflatten(0, (-1, batch))
    return torch.where((base.reads >= start)[..., None], logits, base.logits)


def project(base: Base, x: Float[Tensor, "row pos d_model"], layer: int) -> Inputs:
    """q, k and v of a layer, from what its LayerNorm gave."""
    attention, shape = base.model.blocks[layer].attn, (base.model.cfg.n_heads, -1)
    return tuple(part(x).unflatten(-1, shape) for part in (attention.q, attention.k, attention.v))


def attend(
    base: Base, inputs: Inputs, layer: int, start: int, queries: Int[Tensor, "row query"] | None = None
) -> Vectors:
    """z of queries from position `start` on; keys and values before it are the intact run's.

    `queries` says, counted from `start`, where the q of each row stand; without it they are all there is.
    """
    q, k, v = inputs
    runs = len(k) // len(base.tokens)
    before = [
        value[:, :start].expand(runs, *value[:, :start].shape).flatten(0, 1)
        for value in (base.at("k", layer), base.at("v", layer))
    ]
    k, v = (torch.cat(parts, dim=1) for parts in zip(before, (k, v), strict=True))
    return attention(base.model, layer, q, k, v, start, queries)


def attention(
    model: "TransformerBridge",
    layer: int,
    q: Float[Tensor, "row query head d_head"],
    k: Float[Tensor, "row pos head d_head"],
    v: Float[Tensor, "row pos head d_head"],
    start: int,
    queries: Int[Tensor, "row query"] | None = None,
) -> Float[Tensor, "row query head d_head"]:
    """z of queries that stand at `start` and after it, or at start + `queries`; all keys are given."""
    keys = torch.arange(k.shape[1], device=k.device)
    if queries is None:
        visible = keys <= keys[start : start + q.shape[1], None]
    else:
        visible = (keys <= start + queries[..., None])[:, None]
    q, k, v = (value.transpose(1, 2) for value in (q, k, v))
    return scaled_dot_product_attention(q, k, v, visible, scale=score_scale(model, layer)).transpose(1, 2)


def score_scale(model: "TransformerBridge", layer: int) -> float:
    """What attention scores are multiplied by."""
    by_layer = getattr(model.cfg, "scale_attn_by_inverse_layer_idx", False)
    return model.cfg.d_head**-0.5 / (layer + 1 if by_layer else 1)


def mlp_where(
    base: Base, mid: Float[Tensor, "row pos d_model"], layer: int, start: int, changed: Tensor
) -> Float[Tensor, "row pos d_model"]:
    """resid_post from resid_mid, with the MLP run only on the rows and positions that `changed` marks."""
    runs = len(mid) // len(base.tokens)
    out = base.repeated("resid_post", layer, start, runs).clone()  # for one run it is the intact one itself
    block = base.model.blocks[layer]
    x = mid[changed][None]
    out[changed] = (x + block.mlp(block.ln2(x)))[0]
    return out


def _block(
    base: Base,
    resid: Float[Tensor, "row pos d_model"],
    layer: int,
    start: int,
    edit: Edit | None = None,
    only: Int[Tensor, "row read"] | None = None,
) -> Float[Tensor, "row pos d_model"]:
    """resid_post of a block, at the positions `only` (counted from `start`) if they are given."""
    block = base.model.blocks[layer]
    q, k, v = project(base, block.ln1(resid), layer)
    if edit is not None:
        q, k, v = edit((q, k, v))
    if only is not None:
        rows = torch.arange(len(q), device=q.device)[:, None]
        q, resid = q[rows, only], resid[rows, only]
    z = attend(base, (q, k, v), layer, start, only)
    mid = resid + block.attn.o(z.flatten(-2))
    return mid + block.mlp(block.ln2(mid))

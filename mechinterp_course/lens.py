"""What the residual stream says at each point, in the words of the vocabulary, and which part says it.

The stream is a sum: what the embedding, each head and each MLP wrote. The last LayerNorm is all that stands
between that sum and the logits, and with its scale held it is linear, so a logit is a sum over parts too
(nostalgebraist 2020, "interpreting GPT: the logit lens"; Elhage et al. 2021). What a part adds directly is
not all it does: later parts read it as well.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.metrics import at_positions, positions_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Tokens = Int[Tensor, "batch pos"]
Position = int | Int[Tensor, " batch"]


def logit_lens(
    model: "TransformerBridge", tokens: Tokens, position: Position = -1
) -> Float[Tensor, "layer+1 batch d_vocab"]:
    """Logits as if the model ended below each layer: the stream through the last LayerNorm and unembedding.

    Entry l reads resid_pre of layer l, so entry 0 is the embedding alone; the last entry is the model's own
    logits. `position` is one for all prompts or one for each.
    """
    layers = model.cfg.n_layers
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(layers)]
    names.append(f"blocks.{layers - 1}.hook_resid_post")
    with torch.no_grad():
        cache = _cache(model, tokens, names)
        stream = torch.stack([_at(cache[name], position) for name in names])
        return model.unembed(model.ln_final(stream))


def residual_components(
    model: "TransformerBridge", tokens: Tokens, position: Position = -1, by_head: bool = False
) -> dict[str, Float[Tensor, "batch d_model"]]:
    """What was written to the residual stream at a position, by who wrote it; the sum is the last resid_post.

    Names are "embed", "pos_embed" (where the model adds one), "attn 0", "mlp 0", … With `by_head` a layer's
    attention comes apart into "head 0.0", "head 0.1", … and "bias 0", its b_O.
    """
    return _components(model, _cache(model, tokens, _component_names(model, by_head)), position, by_head)


def component_logit_attribution(
    model: "TransformerBridge",
    tokens: Tokens,
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"] | None = None,
    position: Position = -1,
    by_head: bool = False,
) -> dict[str, Float[Tensor, " batch"]]:
    """What each of `residual_components` adds to logit(right) - logit(wrong), or to logit(right) alone.

    The last LayerNorm's scale is held at its value in this run. "bias" is what that LayerNorm and the
    unembedding add by themselves; all together sum to the logit, or the difference, of each prompt.
    """
    names = [*_component_names(model, by_head), "ln_final.hook_scale"]
    cache = _cache(model, tokens, names)
    direction, bias = _direction(model, right, wrong)
    scale = _at(cache["ln_final.hook_scale"], position)
    parts = _components(model, cache, position, by_head)
    read = {name: (_normed(model, part, scale) * direction).sum(-1) for name, part in parts.items()}
    return read | {"bias": bias}


def head_logit_attribution(
    model: "TransformerBridge",
    tokens: Tokens,
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"] | None = None,
    position: Position = -1,
) -> Float[Tensor, "batch layer head"]:
    """What each head adds directly to logit(right) - logit(wrong), or to logit(right), of each prompt.

    The head's z goes through its W_O, the last LayerNorm with its scale held, and the unembedding. Values are
    in logits, one for each prompt: average them yourself, after looking whether they agree.
    """
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    cache = _cache(model, tokens, [*names, "ln_final.hook_scale"])
    direction, _ = _direction(model, right, wrong)
    z = torch.stack([_at(cache[name], position) for name in names], dim=1)
    weights = torch.stack([block.attn.W_O for block in model.blocks])
    written = einsum(z, weights, "batch layer head e, layer head e d -> batch layer head d")
    scale = _at(cache["ln_final.hook_scale"], position)[:, None, None]
    return einsum(_normed(model, written, scale), direction, "b layer head d, b d -> b layer head")


def _cache(model: "TransformerBridge", tokens: Tokens, names: list[str]) -> Mapping[str, Tensor]:
    with torch.no_grad():
        return model.run_with_cache(tokens, names_filter=names)[1]


def _at(values: Float[Tensor, "batch pos ..."], position: Position) -> Float[Tensor, "batch ..."]:
    return at_positions(values, positions_of(position, *values.shape[:2])).squeeze(1)


def _component_names(model: "TransformerBridge", by_head: bool) -> list[str]:
    attention = "attn.hook_z" if by_head else "hook_attn_out"
    layers = range(model.cfg.n_layers)
    names = [f"blocks.{layer}.{part}" for layer in layers for part in (attention, "hook_mlp_out")]
    return [*(name for name in ("hook_embed", "hook_pos_embed") if name in model.hook_dict), *names]


def _components(
    model: "TransformerBridge", cache: Mapping[str, Tensor], position: Position, by_head: bool
) -> dict[str, Float[Tensor, "batch d_model"]]:
    parts = {}
    for name in ("hook_embed", "hook_pos_embed"):
        if name in cache:
            parts[name.removeprefix("hook_")] = _at(cache[name], position)
    for layer, block in enumerate(model.blocks):
        if by_head:
            z = _at(cache[f"blocks.{layer}.attn.hook_z"], position)
            written = einsum(z, block.attn.W_O, "batch head e, head e d -> head batch d")
            parts |= {f"head {layer}.{head}": one for head, one in enumerate(written)}
            bias = written.new_zeros(written.shape[1:])
            parts[f"bias {layer}"] = bias if block.attn.b_O is None else bias + block.attn.b_O
        else:
            parts[f"attn {layer}"] = _at(cache[f"blocks.{layer}.hook_attn_out"], position)
        parts[f"mlp {layer}"] = _at(cache[f"blocks.{layer}.hook_mlp_out"], position)
    return parts


def _direction(
    model: "TransformerBridge", right: Int[Tensor, " batch"], wrong: Int[Tensor, " batch"] | None
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
    """What is read from the normalized stream, and what the logits hold before anything is read."""
    weights, biases = model.W_U.T, model.b_U
    direction, bias = weights[right], biases[right]
    if wrong is not None:
        direction, bias = direction - weights[wrong], bias - biases[wrong]
    norm_bias = getattr(model.ln_final.original_component, "bias", None)
    return direction, bias if norm_bias is None else bias + direction @ norm_bias


def _normed(
    model: "TransformerBridge", part: Float[Tensor, "batch ... d_model"], scale: Float[Tensor, "batch ... 1"]
) -> Float[Tensor, "batch ... d_model"]:
    """A part of the stream through the last LayerNorm, as a linear map: its scale held, its bias left out."""
    norm = model.ln_final
    centred = part if norm.uses_rms_norm else part - part.mean(-1, keepdim=True)
    return centred / scale * norm.original_component.weight

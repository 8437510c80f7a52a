"""What a feature of a sparse autoencoder responds to, and what it says: contexts, tokens, neighbours.

Works on anything with `encode`, `decode` and `W_dec` [d_sae, d_in]: sae-lens' classes and our own. The two
ends of a feature are read separately, since they need not agree: the texts on which it fires most (its
encoder's side) and the tokens whose logits its decoder row raises (Bricken et al. 2023, "Towards
Monosemanticity").
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.errors import CourseError
from mechinterp_course.sae import Autoencoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOGETHER = 16  # rows run through the model together


@dataclass(frozen=True)
class Context:
    """A row of text on which a feature fires, and where in it the feature fires most.

    `tokens` are the row's tokens as strings and `activations` the feature's activation at each of them, so
    `value == activations[position]` is the largest.
    """

    row: int
    position: int
    value: float
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]


def feature_activations(
    model: "TransformerBridge", sae: Autoencoder, tokens: Int[Tensor, "batch pos"], hook: str | None = None
) -> Float[Tensor, "batch pos d_sae"]:
    """The activation of every feature at every token, on the CPU.

    `hook` is where the dictionary reads the model; by default its own `cfg.metadata.hook_name`. For more rows
    than fit into memory with all features, use `stream_features`.

    >>> feature_activations(model, load_sae("course-sae"), tokens).shape
    torch.Size([8, 128, 1536])

    Raises CourseError when neither `hook` nor the dictionary says where it reads.
    """
    return torch.cat([feature_acts for _, feature_acts in stream_features(model, sae, tokens, hook)])


def stream_features(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "batch pos"],
    hook: str | None = None,
    together: int = TOGETHER,
) -> Iterator[tuple[int, Float[Tensor, "rows pos d_sae"]]]:
    """Yield (first row, features' activations of the next `together` rows): no more is ever held in memory.

    Nothing of the model above the hook is run. Raises CourseError as `feature_activations` does.
    """
    hook = hook_of(sae, hook)
    for first in range(0, len(tokens), together):
        with torch.no_grad():
            activations = activations_read(model, tokens[first : first + together], hook)
            yield first, sae.encode(activations).float().cpu()


def activations_read(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], hook: str
) -> Float[Tensor, "batch pos d_in"]:
    """The model's activations at a hook, where the model is; the layers above are not run."""
    if hook not in model.hook_dict:
        raise CourseError(f"the model has no activation {hook!r}; `hooks.names(model)` lists them")
    layer = re.match(r"blocks\.(\d+)\.", hook)
    stop = int(layer[1]) + 1 if layer else None
    tokens = tokens.to(model.cfg.device)
    return model.run_with_cache(tokens, names_filter=hook, stop_at_layer=stop)[1][hook]


def top_contexts(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "batch pos"],
    feature: int,
    count: int,
    hook: str | None = None,
) -> list[Context]:
    """The `count` rows on which a feature fires most, strongest first; one context a row, fewer if few fire.

    A row stands where its largest activation puts it; of equal ones the earlier row comes first, and of equal
    positions the earlier one. Rows on which the feature is silent are left out. Top contexts show what a
    feature does at its strongest and hide the rest: look at weak ones, too.
    """
    found: list[tuple[float, int, Float[Tensor, " pos"]]] = []
    for first, feature_acts in stream_features(model, sae, tokens, hook):
        for row, own in enumerate(feature_acts[..., feature], first):
            if own.max() > 0:
                found.append((own.max().item(), row, own.clone()))
        found = sorted(found, key=lambda one: (-one[0], one[1]))[:count]
    return [_context(model, tokens[row], row, own) for _, row, own in found]


def promoted_tokens(
    model: "TransformerBridge", direction: Float[Tensor, " d_model"], count: int
) -> list[tuple[str, float]]:
    """The `count` tokens whose logits a direction of the residual stream raises most, and by how much.

    The direction goes through the last LayerNorm as a linear map, its scale held at 1 and its bias left out,
    and through the unembedding: `direct_logits`. What later layers make of the direction is not in it.
    """
    logits = direct_logits(model, direction)
    best = logits.topk(min(count, len(logits)))
    return [
        (token_string(model, token), value)
        for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def direct_logits(
    model: "TransformerBridge", directions: Float[Tensor, "... d_model"]
) -> Float[Tensor, "... d_vocab"]:
    """What directions of the residual stream add to each logit by themselves, at a LayerNorm scale of 1."""
    norm = model.ln_final
    directions = directions.to(model.W_U)
    centred = directions if norm.uses_rms_norm else directions - directions.mean(-1, keepdim=True)
    with torch.no_grad():
        return centred * norm.original_component.weight @ model.W_U


def neighbours(sae: Autoencoder, feature: int, count: int) -> list[tuple[int, float]]:
    """The `count` other features whose decoder rows have the largest cosine with that of `feature`.

    Near 1 they write the same (split features); near -1 they would be opposites, and stand last.
    """
    with torch.no_grad():
        rows = sae.W_dec.float()
        units = rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        cosines = units @ units[feature]
    cosines[feature] = -torch.inf
    best = cosines.topk(min(count, len(cosines) - 1))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def hook_of(sae: Autoencoder, hook: str | None = None) -> str:
    """Return the hook that a dictionary reads: the one given, or what its own configuration says."""
    named = hook or getattr(getattr(getattr(sae, "cfg", None), "metadata", None), "hook_name", None)
    if named is None:
        raise CourseError('this dictionary doesn\'t say where it reads: give hook="blocks.3.hook_resid_pre"')
    return named


def token_string(model: "TransformerBridge", token: int) -> str:
    """Return a token as a string, its leading space included."""
    return model.tokenizer.decode([token])


def _context(
    model: "TransformerBridge", ids: Int[Tensor, " pos"], row: int, own: Float[Tensor, " pos"]
) -> Context:
    position = int(own.argmax())
    return Context(
        row=row,
        position=position,
        value=own[position].item(),
        token_ids=tuple(ids.tolist()),
        tokens=tuple(token_string(model, token) for token in ids.tolist()),
        activations=tuple(own.tolist()),
    )

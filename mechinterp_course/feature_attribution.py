"""Features of a sparse autoencoder as parts of a circuit: which ones a metric rests on, and what one carries.

An activation is its reconstruction plus an error, x = decode(f) + e. The error belongs to the model, not to
the features: interventions keep it, attributions name it (Marks et al. 2024, "Sparse feature circuits").
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.hooks import cache, edit
from mechinterp_course.sae import Autoencoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Metric = Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]]


def attribute_features(
    model: "TransformerBridge",
    sae: Autoencoder,
    hook: str,
    tokens: Int[Tensor, "batch pos"],
    metric: Metric,
) -> tuple[Float[Tensor, " d_sae"], float]:
    """Return what each feature, and the error, adds to a metric: activation × gradient, summed over tokens.

    The gradient of the metric with respect to the activation at `hook`, times f_i W_dec[i] for feature i and
    times x - decode(f) for the error. It is exact where the metric is linear in the activation, and elsewhere
    a guess at what ablation would cost, made for all features at once.
    """
    with cache(model, [hook]) as activations, torch.no_grad():
        model(tokens)
    x = activations[hook].clone().requires_grad_(True)
    with torch.enable_grad(), edit(model, {hook: lambda activation: x}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), x)
    with torch.no_grad():
        x = x.detach()
        feature_acts = sae.encode(x)
        error = (gradient * (x - sae.decode(feature_acts))).sum().item()
        return (feature_acts * (gradient @ sae.W_dec.T)).flatten(end_dim=-2).sum(dim=0), error


def patch_feature(
    model: "TransformerBridge",
    sae: Autoencoder,
    hook: str,
    tokens: Int[Tensor, "batch pos"],
    other: Int[Tensor, "batch pos"],
    feature: int,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits on `tokens` with one feature as it is on `other`, everywhere, and all else kept.

    Other features and the error stay those of `tokens`: x becomes x + (f' - f) W_dec[feature].
    """
    with torch.no_grad():
        with cache(model, [hook]) as activations:
            model(other)
        wanted = sae.encode(activations[hook])[..., feature]

        def exchange(x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
            return x + (wanted - sae.encode(x)[..., feature])[..., None] * sae.W_dec[feature]

        with edit(model, {hook: exchange}):
            return model(tokens)

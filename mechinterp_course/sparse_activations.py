"""The activation functions of sparse autoencoders: which features may be active at once."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

ACTIVATIONS = ("relu", "topk", "batchtopk", "jumprelu")


def topk(
    pre_activations: Float[Tensor, "... d_sae"], k: int, across_batch: bool = False
) -> Float[Tensor, "... d_sae"]:
    """Return the `k` largest of each token where they are positive, and zero elsewhere.

    With `across_batch` the k · tokens largest of the whole batch stay, however they fall on its tokens: k on
    average, more where there is more to say. No more than k stay in either case; ties are broken anyhow.
    (TopK: Makhzani & Frey 2013, Gao et al. 2024. BatchTopK: Bussmann et al. 2024.)
    """
    if not across_batch:
        values, places = pre_activations.topk(k, dim=-1)
        return torch.zeros_like(pre_activations).scatter(-1, places, values.relu())
    flat = pre_activations.flatten()
    values, places = flat.topk(k * pre_activations.shape[:-1].numel())
    return torch.zeros_like(flat).scatter(0, places, values.relu()).view_as(pre_activations)


def jumprelu(
    pre_activations: Float[Tensor, "... d_sae"], threshold: Float[Tensor, " d_sae"]
) -> Float[Tensor, "... d_sae"]:
    """Return what exceeds its feature's threshold, whole, and zero elsewhere (Rajamanoharan et al. 2024)."""
    return pre_activations.relu() * (pre_activations > threshold)


def activation_function(
    name: str, k: int | None, threshold: Float[Tensor, " d_sae"]
) -> Callable[[Float[Tensor, "... d_sae"]], Float[Tensor, "... d_sae"]]:
    """Return the function that turns pre-activations into activations."""
    return {
        "relu": torch.relu,
        "topk": partial(topk, k=k),
        "batchtopk": partial(topk, k=k, across_batch=True),
        "jumprelu": partial(jumprelu, threshold=threshold),
    }[name]

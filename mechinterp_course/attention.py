"""Attention taken apart by hand: where each query looks, and what each head writes."""

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def attention_pattern(
    q: Float[Tensor, "batch query head d_head"], k: Float[Tensor, "batch key head d_head"]
) -> Float[Tensor, "batch head query key"]:
    """Return the causal attention pattern: softmax over keys of q · k / √d_head, no key after its query.

    Each row sums to one (Vaswani et al. 2017, equation 1, with the mask of a decoder).
    """
    scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return (scores / math.sqrt(q.shape[-1])).masked_fill(future, -torch.inf).softmax(dim=-1)


def head_outputs(
    z: Float[Tensor, "batch pos head_d_head"], W_O: Float[Tensor, "head_d_head d_model"], n_heads: int
) -> Float[Tensor, "batch pos head d_model"]:
    """Return what each head adds to the residual stream, from the joined `z` and the whole output matrix.

    Head h owns the h-th stretch of d_head columns of `z` and of rows of `W_O`. The sum over heads is
    `z @ W_O` (Elhage et al. 2021, "attention heads are independent and additive").
    """
    by_head = rearrange(z, "batch pos (head d_head) -> batch pos head d_head", head=n_heads)
    matrices = rearrange(W_O, "(head d_head) d_model -> head d_head d_model", head=n_heads)
    return einsum(by_head, matrices, "batch pos head d_head, head d_head d_model -> batch pos head d_model")

"""What weights say: how the heads of a model compose, and which of them copy.

Weights are evidence of what a head could do with an input. They do not say whether such an input reaches it:
see `mechinterp_course.worlds.planted` for heads whose weights compose and that do nothing.
"""

from typing import TYPE_CHECKING

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)


def composition_scores(model: "TransformerBridge", into: str) -> Float[Tensor, "layer head layer head"]:
    """How much of what head [l, h] can write, the head [m, g] of a later layer can read; zero unless l < m.

    `into` says through which input of the later head: "q", "k" or "v". With vectors as rows, W_QK = W_Q W_Kᵀ
    and W_OV = W_V W_O, the entry is

        ‖W_OV[l,h] M‖ / (‖W_OV[l,h]‖ ‖M‖),   M = W_QK[m,g] for q, W_QK[m,g]ᵀ for k, W_OV[m,g] for v

    in Frobenius norms, between 0 and 1 (Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits"). Two random heads score about 1 / √d_model, not 0. Raises ValueError for another `into`.
    """
    if into not in ("q", "k", "v"):
        raise ValueError(f'into is "q", "k" or "v", not {into!r}')
    w_q, w_k, w_v, w_o = (
        torch.stack([getattr(block.attn, name).float() for block in model.blocks]).flatten(0, 1)
        for name in ("W_Q", "W_K", "W_V", "W_O")
    )
    read, rest = {"q": (w_q, w_k), "k": (w_k, w_q), "v": (w_v, w_o.mT)}[into]
    meeting = einsum(w_o, read, "sender d d_model, receiver d_model e -> sender receiver d e")
    identity = torch.eye(model.cfg.d_head, device=w_o.device)
    alone = _norm(w_v, identity, w_o.mT)[:, None] * _norm(read, identity, rest)
    heads = (model.cfg.n_layers, model.cfg.n_heads)
    scores = (_norm(w_v[:, None], meeting, rest) / alone).unflatten(1, heads).unflatten(0, heads)
    earlier = scores.new_ones(heads[0], heads[0]).triu(1)
    return scores * earlier[:, None, :, None]


def copying_scores(model: "TransformerBridge") -> Float[Tensor, "layer head"]:
    """Σ Re λ / Σ |λ| over the eigenvalues λ of each head's full OV circuit W_E W_V W_O W_U: from -1 to 1.

    Near 1, the head raises the logit of whatever token it reads from the embedding; near 0, it does not care
    which (Elhage et al. 2021). The d_head eigenvalues that are not zero are those of W_O W_U W_E W_V.
    """
    through_vocabulary = model.W_U.float() @ model.W_E.float()
    scores = []
    for block in model.blocks:
        values = torch.linalg.eigvals(block.attn.W_O.float() @ through_vocabulary @ block.attn.W_V.float())
        scores.append(values.real.sum(-1) / values.abs().sum(-1))
    return torch.stack(scores)


def effective_embedding(
    model: "TransformerBridge", tokens: Int[Tensor, " token"] | None = None, through_mlp: bool = True
) -> Float[Tensor, "token d_model"]:
    """The rows of W_E, each with what the first MLP makes of it: what layer 1 finds of a token by itself.

    The first attention layer and the position are left out. In GPT-2 small the first MLP acts as a second
    half of the embedding, and circuits read from W_E alone can show nothing (Wang et al. 2022, appendix).
    Without `through_mlp` it is W_E. `tokens` chooses rows; without it there is one for the whole vocabulary.
    """
    embedding = model.W_E if tokens is None else model.W_E[tokens]
    if not through_mlp:
        return embedding
    block = model.blocks[0]
    with torch.no_grad():
        return embedding + block.mlp(block.ln2(embedding[None]))[0]


def ov_circuit(
    model: "TransformerBridge",
    head: Head,
    tokens: Int[Tensor, " token"] | None = None,
    through_mlp: bool = False,
) -> Float[Tensor, "source destination"]:
    """E W_V W_O W_U: what attending to each source token adds to the logit of each destination token.

    E is `effective_embedding`. LayerNorm's scale is left out, so that rows compare within themselves only.
    `tokens` restricts both sides: for GPT-2's whole vocabulary the matrix would take 10 GB.
    """
    source = effective_embedding(model, tokens, through_mlp)
    return _written(model, source, head) @ (model.W_U if tokens is None else model.W_U[:, tokens])


def qk_circuit(
    model: "TransformerBridge",
    head: Head,
    tokens: Int[Tensor, " token"] | None = None,
    through_mlp: bool = False,
    key_through: Head | None = None,
) -> Float[Tensor, "query key"]:
    """E W_Q W_Kᵀ Eᵀ / √d_head: how much a query token wants to attend to a key token, in attention score.

    With `key_through` the key holds what that earlier head has written there after reading the token: for the
    previous-token head, "attend to what comes after this token", which is K-composition (Elhage et al. 2021).
    E is `effective_embedding`; LayerNorm's scale and all biases are left out.
    """
    embedding = effective_embedding(model, tokens, through_mlp)
    key = embedding if key_through is None else _written(model, embedding, key_through)
    attention, number = model.blocks[head[0]].attn, head[1]
    query = embedding @ attention.W_Q[number]
    return query @ (key @ attention.W_K[_shared(attention.W_K, model, number)]).T / model.cfg.d_head**0.5


def copying_rate(
    model: "TransformerBridge",
    head: Head,
    tokens: Int[Tensor, " token"] | None = None,
    top: int = 1,
    through_mlp: bool = False,
) -> float:
    """The share of source tokens that are among the `top` destinations of their own row of `ov_circuit`.

    Wang et al. 2022 call it the copying score, with top 5, names for tokens, and the first MLP.
    """
    chosen = torch.arange(model.cfg.d_vocab, device=model.W_E.device) if tokens is None else tokens
    unembedding = model.W_U[:, chosen]
    found = 0
    for part in torch.arange(len(chosen), device=chosen.device).split(512):
        rows = _written(model, effective_embedding(model, chosen[part], through_mlp), head) @ unembedding
        found += (rows.topk(min(top, len(chosen))).indices == part[:, None]).any(-1).sum().item()
    return found / len(chosen)


def _written(
    model: "TransformerBridge", read: Float[Tensor, "token d_model"], head: Head
) -> Float[Tensor, "token d_model"]:
    """What a head writes for each vector that it reads, without biases."""
    attention, number = model.blocks[head[0]].attn, head[1]
    return read @ attention.W_V[_shared(attention.W_V, model, number)] @ attention.W_O[number]


def _shared(weights: Float[Tensor, "head d_model d_head"], model: "TransformerBridge", head: int) -> int:
    """Which keys and values a head uses: its own, unless several heads share some."""
    return head * len(weights) // model.cfg.n_heads


def _norm(
    left: Float[Tensor, "*#heads rows d"],
    middle: Float[Tensor, "*#heads d e"],
    right: Float[Tensor, "*#heads cols e"],
) -> Float[Tensor, " *heads"]:
    """The Frobenius norm of left · middle · rightᵀ, from matrices no larger than d_head."""
    square = middle.mT @ (left.mT @ left) @ middle @ (right.mT @ right)
    return square.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=0).sqrt()

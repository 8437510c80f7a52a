"""Sequences whose truth is known because there is nothing in them but repetition."""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor


def repeated_tokens(d_vocab: int, length: int, batch: int, bos: int, seed: int) -> Int[Tensor, "batch pos"]:
    """Rows of BOS, `length` random tokens, and the same `length` tokens again, so pos = 1 + 2·length.

    The tokens are uniform in [0, d_vocab) and independent between rows. They come from a generator of their
    own: the same seed gives the same rows, and torch's global random state is neither read nor moved.
    They are int64 on the CPU.

    >>> repeated_tokens(d_vocab=50, length=3, batch=2, bos=7, seed=0).shape
    torch.Size([2, 7])
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def cyclic_tokens(
    d_vocab: int, period: int, length: int, batch: int, bos: int, seed: int
) -> Int[Tensor, "batch pos"]:
    """Rows of BOS and `length` tokens of the cycle A B C A B C …, so pos = 1 + length; it need not end whole.

    The `period` tokens of a row's cycle differ from each other; any choice of them, in any order, is equally
    likely, independently for each row. The generator is its own, as in `repeated_tokens`; int64, on the CPU.
    Raises ValueError when the vocabulary holds fewer than `period` tokens.

    >>> cyclic_tokens(d_vocab=50, period=3, length=7, batch=2, bos=7, seed=0).shape
    torch.Size([2, 8])
    """
    if period > d_vocab:
        raise ValueError(f"{d_vocab} tokens are too few for a cycle of {period} different ones")
    generator = torch.Generator().manual_seed(seed)
    cycles = torch.stack([torch.randperm(d_vocab, generator=generator)[:period] for _ in range(batch)])
    return torch.cat([torch.full((batch, 1), bos), cycles[:, torch.arange(length) % period]], dim=1)


def in_context_bigrams(tokens: Int[Tensor, "batch pos"], d_vocab: int) -> Float[Tensor, "batch pos d_vocab"]:
    """What an ideal induction head predicts: how often each token has followed the present one, as a share.

    Entry [b, i, v] is, among the earlier places j < i that hold the token of place i, the share of those with
    token v at j + 1; zero for all v where the token has not come before. Nothing after place i is used.
    In-context bigrams, as in Edelman et al. 2024 ("The Evolution of Statistical Induction Heads").
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    again = (tokens[:, :, None] == tokens[:, None, :]) & (places < places[:, None])
    followers = torch.nn.functional.one_hot(tokens[:, 1:], d_vocab).float()
    counts = einsum(again[:, :, :-1].float(), followers, "batch i j, batch j v -> batch i v")
    return counts / counts.sum(-1, keepdim=True).clamp(min=1)

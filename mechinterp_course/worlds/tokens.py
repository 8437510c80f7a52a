"""Sequences whose truth is known because there is nothing in them but repetition."""

import torch
from jaxtyping import Int
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

"""Prompts that differ in what is asked about, and hardly in anything else."""

import torch
from jaxtyping import Int
from torch import Tensor

Rows = Int[Tensor, "batch pos"]
Words = Int[Tensor, " batch"]


def two_pairs(d_vocab: int, batch: int, bos: int, seed: int, gap: int = 3) -> tuple[Rows, Rows, Words, Words]:
    """Rows `BOS A B … C D … A`, the same with A and C of the first part exchanged, and the words B and D.

    `gap` other words stand in each place of the dots, and no word but A comes twice, so pos = 6 + 2·gap. In
    the second rows, the word before the last A is another one as well. All are int64 on the CPU, from a
    generator of their own.

    >>> [each.shape for each in two_pairs(d_vocab=50, batch=2, bos=7, seed=0)]
    [torch.Size([2, 12]), torch.Size([2, 12]), torch.Size([2]), torch.Size([2])]
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(d_vocab, generator=generator)[: 5 + 2 * gap] for _ in range(batch)])
    (a, b, c, d, other), filler = drawn[:, :5].T, drawn[:, 5:].T

    def rows(first, second, last):
        words = [torch.full((batch,), bos), first, b, *filler[:gap], second, d, *filler[gap:-1], last, a]
        return torch.stack(words, dim=1)

    return rows(a, c, filler[-1]), rows(c, a, other), b, d

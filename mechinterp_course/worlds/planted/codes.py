"""The vectors by which a planted model knows its tokens and positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

N_TOKENS = 64  # in TOKEN_DIMS dimensions, so they are superposed
TOKEN_DIMS = 16
N_CTX = 64
PERIOD = 67  # a prime above N_CTX: no two positions share a code
FREQUENCIES = (3, 11, 12, 13, 17, 21, 26, 27, 28, 31, 32, 33)  # chosen: no other offset overlaps by > 1/6
POSITION_DIMS = 2 * len(FREQUENCIES)


def token_codes() -> Float[Tensor, "token dim"]:
    """64 unit vectors in 16 dimensions; any two of them overlap by 0 or by 1/4 in absolute value.

    They are four mutually unbiased bases: the axes, and the columns of a Hadamard matrix under three sign
    patterns (-1)^Q(x), where the quadratic forms Q and their differences are bent (Calderbank, Cameron,
    Kantor & Seidel 1997, "Z4-Kerdock codes, orthogonal spreads, and extremal Euclidean line-sets").
    """
    bits = (torch.arange(TOKEN_DIMS)[:, None] >> torch.arange(4)) & 1
    hadamard = (-1.0) ** (bits @ bits.T) / math.sqrt(TOKEN_DIMS)
    a, b, c, d = bits.T
    signs = [(-1.0) ** form for form in (0 * a, a * b + c * d, a * b + a * c + b * d)]
    return torch.cat([torch.eye(TOKEN_DIMS), *(hadamard * sign for sign in signs)])


def position_codes(turned_back: int = 0) -> Float[Tensor, "pos dim"]:
    """One unit vector for each of the 64 positions: a sine and a cosine for each of twelve frequencies.

    The overlap of two positions depends on their distance alone: 1 for equal ones, at most 1/6 for others.
    `turned_back=k` gives position t the code of t-k: a rotation, so a head can compute it.
    """
    steps = torch.arange(N_CTX, dtype=torch.float64) - turned_back
    angles = 2 * math.pi / PERIOD * steps[:, None] * torch.tensor(FREQUENCIES)
    codes = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)
    return (codes / math.sqrt(len(FREQUENCIES))).float()


def turn_back(steps: int) -> Float[Tensor, "dim dim"]:
    """The rotation R for which `position_codes() @ R` equals `position_codes(steps)`."""
    angles = 2 * math.pi / PERIOD * steps * torch.tensor(FREQUENCIES, dtype=torch.float64)
    cos, sin = angles.cos(), angles.sin()
    blocks = [torch.tensor([[c, -s], [s, c]]) for c, s in zip(cos, sin, strict=True)]
    return torch.block_diag(*blocks).float()

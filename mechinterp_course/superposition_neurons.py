"""Neurons in toy models: whether the axes of a hidden layer mean anything, and sums done in superposition.

A hidden layer without a nonlinearity has no axes of its own: any rotation of it is as good (Elhage et al.
2022, "privileged basis"). With a ReLU it has, and then neurons can be asked what they stand for.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.errors import CourseError

Inputs = Float[Tensor, "batch feature"]


def concentration(W: Float[Tensor, "... feature hidden"]) -> Float[Tensor, "..."]:
    """Return how much features keep to single neurons: Σ W⁴ over features and neurons, over Σ |W_i|⁴.

    1 when each feature has one neuron, 1/hidden when each is spread evenly; features count by their norms to
    the fourth, so those not represented hardly do. It changes when the hidden layer is rotated.
    """
    return W.pow(4).sum((-1, -2)) / W.square().sum(-1).square().sum(-1)


def basis_p_value(
    W: Float[Tensor, "feature hidden"], rotations: Float[Tensor, "draw hidden hidden"]
) -> float:
    """Return how often chance makes features keep to neurons as much as these do: a p value.

    The share of W and its rotations W @ R whose `concentration` is at least W's own, up to rounding; W counts
    as one, so that the least is 1 / (draws + 1). Raises ValueError where there is nothing to ask: with one
    neuron only, or no features.
    """
    if W.shape[-1] < 2:
        raise ValueError("one neuron has no other direction to be told from")
    if not W.any():
        raise ValueError("no feature is represented")
    chance = concentration(W @ rotations)
    reached = (chance >= concentration(W) * (1 - 1e-5)).sum().item()
    return (1 + reached) / (1 + len(rotations))


def random_rotations(hidden: int, draws: int, seed: int) -> Float[Tensor, "draw hidden hidden"]:
    """Return orthogonal matrices, uniformly distributed (QR with signs set right, Mezzadri 2007)."""
    drawn = torch.randn(draws, hidden, hidden, generator=torch.Generator().manual_seed(seed))
    Q, R = torch.linalg.qr(drawn)
    return Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None]


def absolute_value_weights(
    features: int,
) -> tuple[Float[Tensor, "feature 6"], Float[Tensor, "6 feature"]]:
    """Return W_in and W_out with ReLU(ReLU(x W_in) W_out) = |x| for inputs of one feature, in six neurons.

    Three neurons see positive values and three negative ones. In either three, features lie on a circle about
    the diagonal, so that a plane cuts each off from all others: superposition, not of storage but of a sum.
    """
    angles = torch.arange(features) * 2 * math.pi / max(features, 3)
    plane = torch.linalg.svd(torch.ones(1, 3))[2][1:]  # two directions orthogonal to the diagonal
    circle = torch.stack([angles.cos(), angles.sin()], dim=1) @ plane
    written = 1 / math.sqrt(3) + circle / math.sqrt(2)  # on the diagonal's side of all three axes
    edge = math.cos(2 * math.pi / max(features, 3))
    read = (math.sqrt(2) * circle - edge / math.sqrt(3)) / (1 - edge)
    return torch.cat([written, -written], dim=1), torch.cat([read, read], dim=1).T.contiguous()


def through_neurons(
    x: Inputs, W_in: Float[Tensor, "feature hidden"], W_out: Float[Tensor, "hidden feature"]
) -> Inputs:
    """Return ReLU(ReLU(x W_in) W_out): one hidden layer of neurons, without biases."""
    return ((x @ W_in).relu() @ W_out).relu()


def signed_features(probability: float, batch: int, features: int, seed: int) -> Inputs:
    """Return features that are present with a probability, and then uniform in [-1, 1]."""
    if not 0 <= probability <= 1:
        raise CourseError("a probability lies between 0 and 1")
    drawn = torch.rand(2, batch, features, generator=torch.Generator().manual_seed(seed))
    return (2 * drawn[0] - 1) * (drawn[1] < probability)

"""What a linear classifier reads off activations: which says what could be read there, not what is used.

A probe's direction is a filter: it is tilted away from whatever else varies. The difference of means is the
pattern that the class leaves in the activations (Haufe et al. 2014, "On the interpretation of weight
vectors").
"""

import torch
from jaxtyping import Float
from torch import Tensor


def probe_direction(
    positive: Float[Tensor, "example d_model"], negative: Float[Tensor, "other d_model"], penalty: float
) -> tuple[Float[Tensor, " d_model"], float]:
    """Return (unit direction, threshold) of a ridge probe: beyond the threshold, x · direction is positive.

    The direction is that of the w which, with a bias b, makes the mean over all examples of (w · x + b - y)²
    plus penalty · |w|² smallest; y is 1 or -1, the bias is not penalized, and the threshold is where
    w · x + b = 0. The penalty is above 0, and adding copies of all examples changes nothing.
    """
    examples = torch.cat([positive, negative]).double()
    labels = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).to(examples)
    centre = examples.mean(dim=0)
    left, sizes, right = torch.linalg.svd(examples - centre, full_matrices=False)
    along = left.T @ (labels - labels.mean()) * sizes / (sizes**2 + len(examples) * penalty)
    weights = right.T @ along
    length = weights.norm()
    threshold = (centre @ weights - labels.mean()) / length
    return (weights / length).to(positive.dtype), threshold.item()


def share_read(
    direction: Float[Tensor, " d_model"],
    threshold: float,
    positive: Float[Tensor, "example d_model"],
    negative: Float[Tensor, "other d_model"],
) -> float:
    """Return the share of examples on the right side of a threshold, the two classes weighing the same."""
    hits = (positive @ direction > threshold).double().mean()
    return ((hits + (negative @ direction <= threshold).double().mean()) / 2).item()

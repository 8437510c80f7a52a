"""Directions of activations: the one between two classes, and activations without it."""

from jaxtyping import Float
from torch import Tensor


def class_direction(
    positive: Float[Tensor, "example feature"], negative: Float[Tensor, "other feature"]
) -> Float[Tensor, " feature"]:
    """Return the unit vector from the mean of `negative` to the mean of `positive`.

    The simplest linear reading of a class, and for steering and erasing a strong one (Marks & Tegmark 2023;
    Belrose 2023). The two may have different numbers of rows.
    """
    difference = positive.mean(dim=0) - negative.mean(dim=0)
    return difference / difference.norm()


def remove_direction(
    activation: Float[Tensor, "..."], direction: Float[Tensor, " feature"], axis: int
) -> Float[Tensor, "..."]:
    """Return activations without their component along `direction`, a vector of any length but 0.

    `axis` is the axis of features: 1 of a convolution's output, -1 of a residual stream.
    """
    unit = direction / direction.norm()
    last = activation.movedim(axis, -1)
    return (last - (last @ unit)[..., None] * unit).movedim(-1, axis)

"""How features lie in too few dimensions: interference, dimensionality, and the figures that they form.

The names follow Elhage et al. 2022: a feature of its own dimension, antipodal pairs (digons), triangles,
pentagons, tetrahedra. Everything is read from the weights W [instance, feature, hidden] alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Weights = Float[Tensor, "instance feature hidden"]
PerFeature = Float[Tensor, "instance feature"]

REPRESENTED = 0.5  # the least norm of a feature that counts as represented
ALIKE = 0.15  # the least |cosine| of features that share a plane; trained ones that don't stay below 0.1
NAMES = {
    (1, 1): "dedicated",
    (2, 1): "digon",
    (3, 2): "triangle",
    (4, 2): "square",
    (5, 2): "pentagon",
    (6, 2): "hexagon",
    (4, 3): "tetrahedron",
    (6, 3): "octahedron",
    (8, 3): "square antiprism",
}


@dataclass(frozen=True)
class Figure:
    """Features that overlap with each other and with no others, and how many dimensions they share."""

    features: tuple[int, ...]
    dimensions: int

    @property
    def name(self) -> str:
        """What the figure is called, as far as numbers of features and dimensions tell."""
        return NAMES.get((len(self.features), self.dimensions), f"{len(self.features)} in {self.dimensions}")


def interference(W: Weights) -> PerFeature:
    """Return how much of the other features lies along each: the sum over j ≠ i of (Ŵ_i · W_j)².

    Ŵ_i is W_i over its norm; a feature without norm has no direction, and gets 0.
    """
    overlap = (_unit(W) @ W.mT).square()
    return overlap.sum(-1) - overlap.diagonal(dim1=-2, dim2=-1)


def feature_dimensionality(W: Weights) -> PerFeature:
    """Return D_i = |W_i|² / Σ_j (Ŵ_i · W_j)², the part of a dimension that is the feature's own.

    1 for a dimension of its own, 1/2 in an antipodal pair, 2/5 in a pentagon, and 0 for no direction at all
    (Elhage et al. 2022; the capacity of Scherlis et al. 2022).
    """
    shared = (_unit(W) @ W.mT).square().sum(-1)
    own = W.square().sum(-1)
    return torch.where(shared > 0, own / shared.clamp(min=torch.finfo(W.dtype).tiny), 0.0)


def feature_groups(
    W: Float[Tensor, "feature hidden"], least: float = REPRESENTED, threshold: float = ALIKE
) -> list[tuple[list[int], int]]:
    """Return (features, dimensions) of each figure in one model, ordered by the first feature.

    Features whose norm is at least `least` belong together when a chain of them leads from one to the other,
    each with a |cosine| above `threshold` to the next. Dimensions are the singular values of the group's rows
    of W above `threshold` times the largest.
    """
    norms = W.norm(dim=-1)
    cosines = _unit(W) @ _unit(W).T
    left = {feature for feature, norm in enumerate(norms.tolist()) if norm >= least}
    groups = []
    while left:
        group, new = set(), {min(left)}
        while new:
            group, left = group | new, left - new
            new = {other for other in left if any(cosines[other, one].abs() > threshold for one in new)}
        values = torch.linalg.svdvals(W[sorted(group)])
        groups.append((sorted(group), int((values > threshold * values[0]).sum())))
    return groups


def figures(
    W: Float[Tensor, "feature hidden"], least: float = REPRESENTED, threshold: float = ALIKE
) -> list[Figure]:
    """Return the figures that one model's features form, with their names."""
    return [Figure(tuple(group), size) for group, size in feature_groups(W, least, threshold)]


def describe(found: Sequence[Figure]) -> str:
    """Return the figures in a few words: "pentagon", "2 digons", "digon + 3 dedicated"."""
    names = [figure.name for figure in found]
    order = sorted(set(names), key=lambda name: (name == "dedicated", name))
    return " + ".join(_counted(names.count(name), name) for name in order) or "nothing"


def capacity(W: Weights) -> Float[Tensor, " instance"]:
    """Return the sum of the features' dimensionalities: how many of the hidden dimensions are used."""
    return feature_dimensionality(W).sum(-1)


def dimensions_per_feature(W: Weights) -> Float[Tensor, " instance"]:
    """Return hidden dimensions over the squared Frobenius norm of W, which counts the features represented.

    1 while each has a dimension of its own, 1/2 for antipodal pairs (Elhage et al. 2022).
    """
    return W.shape[-1] / W.square().sum((-1, -2))


def _unit(W: Float[Tensor, "... feature hidden"]) -> Float[Tensor, "... feature hidden"]:
    norms = W.norm(dim=-1, keepdim=True)
    return torch.where(norms > 0, W / norms.clamp(min=torch.finfo(W.dtype).tiny), 0.0)


def _counted(count: int, name: str) -> str:
    if count == 1:
        return name
    return f"{count} {name if name == 'dedicated' else name + 's'}"

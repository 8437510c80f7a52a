"""Dictionaries that learned nothing, or next to nothing, with which a trained one has to be compared.

They have `encode`, `decode` and `W_dec`, as a sparse autoencoder has.
"""

import torch
from jaxtyping import Float
from torch import Tensor


class AxisDictionary:
    """Features for both ways along each of some orthonormal axes, about a centre; the rest is lost."""

    def __init__(self, axes: Float[Tensor, "axis d_in"], centre: Float[Tensor, " d_in"]):
        self.W_dec, self.centre = torch.cat([axes, -axes]), centre

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """Return how far x lies along each way, or 0 behind."""
        return ((x - self.centre) @ self.W_dec.T).relu()

    def decode(self, feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        """Return the sum of the ways gone, from the centre."""
        return feature_acts @ self.W_dec + self.centre


def principal_dictionary(samples: Float[Tensor, "sample d_in"], rank: int) -> AxisDictionary:
    """Return the `rank` principal directions of samples as a dictionary."""
    centre = samples.mean(dim=0)
    return AxisDictionary(torch.linalg.svd(samples - centre, full_matrices=False).Vh[:rank], centre)


def rotation_dictionary(d_in: int, seed: int) -> AxisDictionary:
    """Return a random rotation as a dictionary: it explains everything, nothing is dead, all is dense."""
    drawn = torch.randn(d_in, d_in, generator=torch.Generator().manual_seed(seed))
    return AxisDictionary(torch.linalg.qr(drawn).Q, torch.zeros(d_in))

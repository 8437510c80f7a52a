"""Activations made of known features, by sae-lens' generators: what is to be found is written down."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

OWN = 1_000_003  # an autoencoder whose weights are drawn from the same seed would begin at the truth


@dataclass(frozen=True)
class KnownFeatures:
    """Tokens that are sums of a few directions, and the truth about them.

    `activations` = `feature_acts` @ `directions` + `bias`; directions are unit vectors, more of them than
    there are inputs, and nearly orthogonal.
    """

    activations: Float[Tensor, "token d_in"]
    feature_acts: Float[Tensor, "token feature"]
    directions: Float[Tensor, "feature d_in"]
    bias: Float[Tensor, " d_in"]


def draw_known_features(
    d_in: int = 32,
    features: int = 64,
    probability: float = 0.04,
    tokens: int = 20_000,
    spread: float = 0.3,
    families: Sequence[tuple[int, Sequence[int]]] = (),
    seed: int = 0,
) -> KnownFeatures:
    """Return tokens on which each feature is active with `probability`, at a size of 1 ± `spread`.

    `families` are (parent, children): a child is active only where its parent is, and of the children of one
    parent at most one; a child's probability is then that of both. The bias has length 1.
    """
    from sae_lens.synthetic import (
        ActivationGenerator,
        FeatureDictionary,
        HierarchyNode,
        hierarchy_modifier,
    )

    trees = [
        HierarchyNode(parent, [HierarchyNode(child) for child in children], len(children) > 1)
        for parent, children in families
    ]
    chances = torch.full((features,), probability)
    for parent, children in families:
        chances[parent] = min(1.0, 4 * probability)
        chances[list(children)] = 0.8 / len(children)  # of each alone, where the parent is active
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN + seed)
        dictionary = FeatureDictionary(features, d_in, bias=1.0, seed=OWN + seed)
        modifier = hierarchy_modifier(trees) if trees else None
        generator = ActivationGenerator(features, chances, spread, 1.0, modifier)
        feature_acts = generator.sample(tokens)
    with torch.no_grad():
        directions, bias = dictionary.feature_vectors.detach(), dictionary.bias.detach()
        return KnownFeatures(dictionary(feature_acts), feature_acts, directions, bias)

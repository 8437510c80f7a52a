"""Dead features, revived: resampling on weights and optimizer state, and what revival is worth."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechinterp_course.known_features import draw_known_features
from mechinterp_course.sae import SparseAutoencoder
from mechinterp_course.sae_comparison import (
    KINDS,
    PCA,
    K,
    Outcome,
    outcome,
    outcome_of_pca,
    trained,
)
from mechinterp_course.sae_training import RESAMPLED_ENCODER, Schedule, train

FEATURE_AXIS = {"W_enc": 1, "b_enc": 0, "W_dec": 0}  # the axis of each weight that counts features


def resample_dead(
    activations: Float[Tensor, "token d_in"],
    reconstruction: Float[Tensor, "token d_in"],
    dead: Bool[Tensor, " d_sae"],
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return (weights, moments), in which dead features point at tokens that are reconstructed badly.

    For each a token is drawn, with a chance proportional to its squared error, squared; several may draw the
    same. Its decoder row becomes the unit vector to the token from `b_dec`, its encoder column the same at
    a fifth of the mean length of the living features' columns, its encoder bias zero, and what the optimizer
    remembers of all three is forgotten (Bricken et al. 2023). The arguments stay as they are; at least one
    feature is alive.
    """
    weights = {name: each.clone() for name, each in weights.items()}
    moments = {name: each.clone() for name, each in moments.items()}
    error = (activations - reconstruction).square().sum(dim=-1)
    chances, generator = error.square().cpu(), torch.Generator().manual_seed(seed)
    if count := int(dead.sum()):
        drawn = torch.multinomial(chances, count, replacement=True, generator=generator).to(dead.device)
        rows = torch.nn.functional.normalize(activations[drawn] - weights["b_dec"], dim=-1)
        length = weights["W_enc"][:, ~dead].norm(dim=0).mean()
        weights["W_enc"][:, dead] = RESAMPLED_ENCODER * length * rows.T
        weights["W_dec"][dead], weights["b_enc"][dead] = rows, 0.0
        for name, axis in FEATURE_AXIS.items():
            moments[name].index_fill_(axis, dead.nonzero()[:, 0], 0.0)
    return weights, moments


TRIES = {  # what might mend a TopK autoencoder that found too little
    "TopK": {},
    "twice as long": {"steps": 1400},
    "a quarter of the rate": {"learning_rate": 0.005},
    "resampling": {"revive": "resample"},
    "auxiliary loss": {"revive": "auxiliary"},
}


def compare_revivals(
    seeds: Sequence[int], tries: Sequence[str] = tuple(TRIES), rivals: Sequence[str] = ()
) -> dict[str, list[Outcome]]:
    """Return the outcome of each try, on one world of known features for each seed.

    All begin with the same weights and see the same world: 48 directions in 32 dimensions. `rivals` are names
    of `KINDS` (or "principal directions") to set beside them.
    """
    found: dict[str, list[Outcome]] = {name: [] for name in (*tries, *rivals)}
    for seed in seeds:
        world = draw_known_features(d_in=32, features=48, probability=0.05, seed=seed)
        for name in tries:
            sae = SparseAutoencoder(32, 48, "topk", K, seed=seed)
            schedule = Schedule(
                **{"steps": 700, "learning_rate": 0.02, "window": 50, **TRIES[name]}, seed=seed
            )
            found[name].append(outcome(train(sae, world.activations, schedule).requires_grad_(False), world))
        for name in rivals:
            one = (
                outcome_of_pca(world, K) if name == PCA else outcome(trained(KINDS[name], world, seed), world)
            )
            found[name].append(one)
    return found

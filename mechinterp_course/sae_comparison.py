"""Autoencoders and simpler things beside each other: on known features, and on a model's activations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.feature_matching import Recovery, match_features, recovery
from mechinterp_course.known_features import KnownFeatures, draw_known_features
from mechinterp_course.sae import (
    Autoencoder,
    Replace,
    SparseAutoencoder,
    collect_activations,
    dead_features,
    fraction_of_variance_unexplained,
    loss_recovered,
    mean_l0,
)
from mechinterp_course.sae_training import Schedule, train

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

L1, NO_SPARSITY, K = 0.15, 0.001, 3


@dataclass(frozen=True)
class Kind:
    """An autoencoder to compare: its activation, the weight of L1, and whether its decoder learns."""

    activation: str = "relu"
    k: int | None = None
    l1_coefficient: float = 0.0
    frozen: bool = False


KINDS = {
    "L1": Kind(l1_coefficient=L1),
    "TopK": Kind("topk", K),
    "BatchTopK": Kind("batchtopk", K),
    "almost no L1": Kind(l1_coefficient=NO_SPARSITY),
    "frozen random decoder": Kind(l1_coefficient=L1, frozen=True),
}
PCA = "principal directions"


@dataclass(frozen=True)
class Outcome:
    """What became of one run: how much it found, how sparse it is, how much it leaves unexplained.

    `dead` features fire on none of the tokens that it was trained on.
    """

    recovery: Recovery
    l0: float
    unexplained: float
    dead: int


def trained(kind: Kind, world: KnownFeatures, seed: int, steps: int = 700) -> SparseAutoencoder:
    """Return an autoencoder of this kind, with as many features as the world, trained on its activations."""
    features, d_in = world.directions.shape
    sae = SparseAutoencoder(d_in, features, kind.activation, kind.k, seed=seed)
    schedule = Schedule(steps, learning_rate=0.02, l1_coefficient=kind.l1_coefficient, seed=seed)
    return train(sae, world.activations, schedule, kind.frozen).requires_grad_(False)


def compare_on_known_features(seeds: Sequence[int]) -> dict[str, list[Outcome]]:
    """Return, for each kind and for principal directions, the outcome on one world for each seed.

    Principal directions count with their opposites, as many as there are features; their L0 is the number
    that is kept to reconstruct.
    """
    outcomes: dict[str, list[Outcome]] = {name: [] for name in (*KINDS, PCA)}
    for seed in seeds:
        world = draw_known_features(d_in=32, features=48, probability=0.05, seed=seed)
        for name, kind in KINDS.items():
            outcomes[name].append(outcome(trained(kind, world, seed), world))
        outcomes[PCA].append(outcome_of_pca(world, K))
    return outcomes


def outcome(sae: Autoencoder, world: KnownFeatures) -> Outcome:
    """Return what became of an autoencoder in a world that it was trained on."""
    acts = sae.encode(world.activations)
    unexplained = fraction_of_variance_unexplained(world.activations, sae.decode(acts))
    dead = int(dead_features(acts).sum())
    return Outcome(recovery(sae.W_dec, world.directions), mean_l0(acts), unexplained, dead)


def outcome_of_pca(world: KnownFeatures, rank: int) -> Outcome:
    """Return how far principal directions and their opposites are the true ones; `rank` reconstruct."""
    centred = world.activations - world.activations.mean(dim=0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2]
    rows = torch.cat([axes, -axes])[: len(world.directions)]
    kept = axes[:rank]
    unexplained = fraction_of_variance_unexplained(centred, centred @ kept.T @ kept)
    return Outcome(recovery(rows, world.directions), rank, unexplained, dead=0)


def mean_over_seeds(outcomes: Sequence[Outcome], number: Callable[[Outcome], float]) -> float:
    """Return the mean of one number over runs."""
    return sum(map(number, outcomes)) / len(outcomes)


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Return a table of means over runs, a line for each kind, and the lowest mean cosine of its runs."""
    names = "   cosine   lowest   uniqueness   precision   recall     L0   unexplained   dead"
    lines = [" " * 20 + names]
    for name, runs in outcomes.items():
        found = [run.recovery for run in runs]
        means = (
            mean_over_seeds(runs, lambda run, part=part: getattr(run.recovery, part))
            for part in ("uniqueness", "precision", "recall")
        )
        cosine = mean_over_seeds(runs, lambda run: run.recovery.mean_cosine)
        lowest = min(each.mean_cosine for each in found)
        last = (
            mean_over_seeds(runs, lambda run, part=part: getattr(run, part))
            for part in ("l0", "unexplained", "dead")
        )
        parts = "{:8.3f} {:8.3f} {:12.2f} {:11.2f} {:8.2f} {:6.1f} {:13.3f} {:6.1f}"
        lines.append(f"{name:21}" + parts.format(cosine, lowest, *means, *last))
    return "\n".join(lines)


def shrinkage(sae: Autoencoder, world: KnownFeatures) -> float:
    """Return matched over true activation, both summed over where both are active: 1 is no shrinkage."""
    partner, _ = match_features(sae.W_dec, world.directions)
    acts = sae.encode(world.activations)[:, partner]
    both = (acts > 0) & (world.feature_acts > 0)
    return (acts[both].sum() / world.feature_acts[both].sum()).item()


@dataclass(frozen=True)
class Passed:
    """What a reconstruction passes on of activations: numbers used, variance lost, loss recovered."""

    l0: float | None
    unexplained: float
    recovered: float

    def __str__(self) -> str:
        numbers = " " * 7 if self.l0 is None else f"{self.l0:7.1f}"
        return f"{numbers} {self.unexplained:13.3f} {self.recovered:13.3f}"


@torch.no_grad()
def passed(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    hook: str,
    reconstruct: Replace,
    encode: Callable[[Float[Tensor, "batch pos d_in"]], Float[Tensor, "batch pos d_sae"]] | None = None,
) -> Passed:
    """Return what `reconstruct` passes on at `hook`; L0 is that of what `encode` makes, if there is such."""
    activations = collect_activations(model, tokens, hook)
    return Passed(
        None if encode is None else mean_l0(encode(activations)),
        fraction_of_variance_unexplained(activations, reconstruct(activations)),
        loss_recovered(model, tokens, hook, reconstruct),
    )


@dataclass(frozen=True)
class Absorption:
    """How often the partner of a parent feature fires where it should, without and with a child.

    `child_cosines` [child, 2] are those of each child's partner with the child itself and with the parent.
    """

    alone: float
    with_child: list[float]
    child_cosines: Float[Tensor, "child 2"]


def absorption(sae: Autoencoder, world: KnownFeatures, parent: int, children: Sequence[int]) -> Absorption:
    """Return what became of a parent feature whose children take over its work (Chanin et al. 2024)."""
    partner, _ = match_features(sae.W_dec, world.directions)
    fires, on = sae.encode(world.activations)[:, partner[parent]] > 0, world.feature_acts > 0
    alone = on[:, parent] & ~on[:, list(children)].any(dim=1)
    rows = torch.nn.functional.normalize(sae.W_dec[partner[list(children)]], dim=1)
    own = (rows * world.directions[list(children)]).sum(dim=1)
    return Absorption(
        fires[alone].double().mean().item(),
        [fires[on[:, child]].double().mean().item() for child in children],
        torch.stack([own, rows @ world.directions[parent]], dim=1),
    )

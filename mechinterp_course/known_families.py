"""Families of known features, and how much of their parents is absorbed by dictionaries of sae-lens."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import torch

from mechinterp_course.dictionary_variants import absorption_rate
from mechinterp_course.feature_matching import match_features
from mechinterp_course.known_features import KnownFeatures, draw_known_features
from mechinterp_course.sae import Autoencoder
from mechinterp_course.sae_comparison import outcome
from mechinterp_course.sae_lens_training import Run, train_with_sae_lens

FAMILIES = ((0, (1, 2, 3)), (4, (5, 6, 7)), (8, (9, 10, 11)))


@dataclass(frozen=True)
class Families:
    """Means over families of the parents' cosine, recall and absorption, and what the whole costs."""

    parent_cosine: float
    recall: float
    absorbed: float
    l0: float
    unexplained: float


def family_world(seed: int) -> KnownFeatures:
    """Return a world of 48 directions in 32 dimensions, with three families among them."""
    return draw_known_features(d_in=32, features=48, probability=0.05, families=FAMILIES, seed=seed)


def measured(widths: Sequence[int] | None, seeds: Sequence[int], k: int = 2) -> Families:
    """Return what sae-lens' Matryoshka dictionaries of these widths make of the families of some worlds.

    Without widths it is BatchTopK, which is the same with one prefix, the whole.
    """
    kind = "batchtopk" if widths is None else "matryoshka"
    settings = {"k": k} if widths is None else {"k": k, "matryoshka_widths": list(widths)}
    found = []
    for seed in seeds:
        world = family_world(seed)
        one = train_with_sae_lens(world.activations, kind, 48, Run(300, 512, 1e-2, seed), **settings)
        found.append(in_families(one, world))
    return Families(*torch.tensor([astuple(each) for each in found]).mean(dim=0).tolist())


def in_families(sae: Autoencoder, world: KnownFeatures) -> Families:
    """Return what became of the families of a world, as means over them, in an autoencoder trained on it."""
    partner, cosine = match_features(sae.W_dec, world.directions)
    acts, whole = sae.encode(world.activations), outcome(sae, world)
    each = [absorption_rate(acts, world.feature_acts, partner, *family) for family in FAMILIES]
    recall, absorbed = torch.tensor(each).mean(dim=0).tolist()
    parents = cosine[[parent for parent, _ in FAMILIES]].mean().item()
    return Families(parents, recall, absorbed, whole.l0, whole.unexplained)


def table(found: Mapping[str, Families]) -> str:
    """Return a table, a line for each kind."""
    lines = [f"{'':26} parents' cosine   recall   absorbed     L0   unexplained"]
    for name, each in found.items():
        parts = f"{each.parent_cosine:15.2f} {each.recall:8.2f} {each.absorbed:10.2f}"
        lines.append(f"{name:26} {parts} {each.l0:6.1f} {each.unexplained:13.3f}")
    return "\n".join(lines)

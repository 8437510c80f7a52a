"""Families of known features: how much of a parent dictionaries absorb, and when they have it in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mechinterp_course.dictionary_variants import absorption_rate, split_features
from mechinterp_course.feature_matching import match_features
from mechinterp_course.known_features import KnownFeatures, draw_known_features
from mechinterp_course.sae import Autoencoder
from mechinterp_course.sae_comparison import outcome
from mechinterp_course.sae_lens_training import Run, train_with_sae_lens

FAMILIES = ((0, (1, 2, 3)), (4, (5, 6, 7)), (8, (9, 10, 11)))
INSIDE, ENOUGH = 0.9, 0.75  # of a piece's tokens; of a feature's tokens, for pieces to stand in its place


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


def of_width(world: KnownFeatures, width: int, seed: int = 0, k: int = 2) -> Autoencoder:
    """Return sae-lens' BatchTopK of this width, trained on a world."""
    return train_with_sae_lens(world.activations, "batchtopk", width, Run(300, 512, 1e-2, seed), k=k)


def best_f1(
    acts: Float[Tensor, "token d_sae"], true_acts: Float[Tensor, "token feature"]
) -> tuple[Float[Tensor, "d_sae feature"], Int[Tensor, " d_sae"]]:
    """Return the F1 of each found feature as a detector of each true one, and the true one it tells best."""
    fires, there = (acts > 0).float(), (true_acts > 0).float()
    both = fires.sum(dim=0)[:, None] + there.sum(dim=0)
    f1 = 2 * fires.T @ there / both.clamp(min=1)
    return f1, f1.argmax(dim=1)


@dataclass(frozen=True)
class AtWidth:
    """Means over worlds: features alive, variance unexplained, best F1 for a parent and for a child."""

    alive: float
    unexplained: float
    parents: float
    children: float


def across_widths(widths: Sequence[int], seeds: Sequence[int]) -> dict[int, AtWidth]:
    """Return what dictionaries of several widths make of the families of some worlds."""
    parents = [parent for parent, _ in FAMILIES]
    children = [child for _, several in FAMILIES for child in several]
    found: dict[int, list[tuple[float, ...]]] = {width: [] for width in widths}
    for seed in seeds:
        world = family_world(seed)
        for width in widths:
            sae = of_width(world, width, seed)
            acts = sae.encode(world.activations)
            f1 = best_f1(acts, world.feature_acts)[0].amax(dim=0)
            alive = (acts > 0).any(dim=0).sum().item()
            left = outcome(sae, world).unexplained
            found[width].append((alive, left, f1[parents].mean().item(), f1[children].mean().item()))
    return {width: AtWidth(*torch.tensor(each).mean(dim=0).tolist()) for width, each in found.items()}


def table_of_widths(found: Mapping[int, AtWidth]) -> str:
    """Return a table, a line for each width."""
    lines = ["width   alive   unexplained   best F1 for a parent   for a child"]
    for width, each in found.items():
        lines.append(
            f"{width:5} {each.alive:7.0f} {each.unexplained:13.3f} {each.parents:22.2f} {each.children:13.2f}"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Split:
    """A narrow feature in pieces: the true feature that it and each of them tells best, with the F1 of each.

    `covered` is the share of its tokens on which a piece fires; `cosine` the mean over pairs of pieces, of
    their decoder directions.
    """

    whole: tuple[int, float]
    pieces: tuple[tuple[int, float], ...]
    covered: float
    cosine: float

    @property
    def is_family(self) -> bool:
        """Whether at least two of the pieces tell members of one family."""
        told = {feature for feature, _ in self.pieces}
        return any(len(told & {parent, *children}) > 1 for parent, children in FAMILIES)


def splits(world: KnownFeatures, narrow: Autoencoder, wide: Autoencoder) -> list[Split]:
    """Return the features of a narrow dictionary for which several of a wide one stand, and no single one."""
    acts = [sae.encode(world.activations) for sae in (narrow, wide)]
    (f1, tells), (f1_of_pieces, told) = (best_f1(each, world.feature_acts) for each in acts)
    pieces, covered = split_features(*acts, INSIDE)
    found = []
    for feature, own in enumerate(pieces):
        several = own.nonzero()[:, 0].tolist()
        alone = [split_features(acts[0][:, [feature]], acts[1][:, [j]], INSIDE)[1].item() for j in several]
        if len(several) > 1 and max(alone) < ENOUGH <= covered[feature]:
            directions = normalize(wide.W_dec[several], dim=1)
            cosines = (directions @ directions.T)[*torch.triu_indices(len(several), len(several), 1)]
            whole = tells[feature].item(), f1[feature, tells[feature]].item()
            parts = tuple((told[j].item(), f1_of_pieces[j, told[j]].item()) for j in several)
            found.append(Split(whole, parts, covered[feature].item(), cosines.mean().item()))
    return sorted(found, key=lambda split: split.cosine, reverse=True)


def table_of_splits(found: Sequence[Split]) -> str:
    """Return a table, a line for each feature in pieces."""
    lines = ["covered   cosine   in truth     the narrow one tells   its pieces tell (F1)"]
    for each in found:
        kind = "a family" if each.is_family else "strangers"
        whole, *pieces = (f"{feature} ({f1:.2f})" for feature, f1 in (each.whole, *each.pieces))
        lines.append(f"{each.covered:7.0%} {each.cosine:8.2f}   {kind:9} {whole:>23}   {', '.join(pieces)}")
    return "\n".join(lines)

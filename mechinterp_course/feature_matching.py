"""Has an autoencoder found the features that are there? Scores against a known truth, one to one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

CLOSE = 0.9  # cosine from which a matched feature counts as recovered


@dataclass(frozen=True)
class Recovery:
    """How well found directions agree with the true ones, each matched at most once.

    `mean_cosine` is over all true features, 0 for those without a partner. `uniqueness` is the number of
    different true features that found ones are closest to, over the number of found features or of true ones,
    whichever is smaller. `recall` is the share of true features, `precision` the share of found ones, whose
    partner has a cosine of 0.9 or more.
    """

    mean_cosine: float
    uniqueness: float
    precision: float
    recall: float


def cosines(
    found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]
) -> Float[Tensor, "found true"]:
    """Return the cosine of each found with each true direction; a row of zeros has cosine 0 with all."""
    found, truth = torch.nan_to_num(_unit(found)), torch.nan_to_num(_unit(truth))
    return found @ truth.T


def match_features(
    found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]
) -> tuple[Int[Tensor, " true"], Float[Tensor, " true"]]:
    """Return, for each true feature, the found feature matched to it and their cosine, one to one.

    The matching is the one with the largest sum of cosines (found by scipy, with a modified Jonker–Volgenant
    algorithm). Where there are fewer found than true features, those left over have −1 and a cosine of 0. A
    direction and its opposite are not the same feature: activations are never negative, so the sign counts.
    """
    table = cosines(found, truth).detach()
    rows, columns = map(torch.from_numpy, linear_sum_assignment(table.cpu().numpy(), maximize=True))
    partner = torch.full((len(truth),), -1)
    partner[columns] = rows
    cosine = torch.zeros(len(truth))
    cosine[columns] = table[rows, columns].cpu()
    return partner.to(truth.device), cosine.to(truth)


def uniqueness(found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]) -> float:
    """Return how many true features are the closest of some found one, of as many as could be."""
    closest = cosines(found, truth).argmax(dim=1)
    return len(closest.unique()) / min(len(found), len(truth))


def recovery(found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]) -> Recovery:
    """Return how well found directions, such as decoder rows, agree with the true ones."""
    _, cosine = match_features(found, truth)
    close = (cosine >= CLOSE).sum().item()
    return Recovery(cosine.mean().item(), uniqueness(found, truth), close / len(found), close / len(truth))


def detection(
    feature_acts: Float[Tensor, "token found"],
    true_acts: Float[Tensor, "token true"],
    partner: Int[Tensor, " true"],
) -> tuple[Float[Tensor, " true"], Float[Tensor, " true"]]:
    """Return (precision, recall) of each true feature's partner as a detector of it.

    Precision is the share of the partner's firings on which the true feature is there, recall the share of
    the true feature's tokens on which the partner fires; 0 where there is no partner, and 0 / 0 is 0.
    """
    fires = (feature_acts > 0)[:, partner.clamp(min=0)] & (partner >= 0)
    there = true_acts > 0
    both = (fires & there).sum(dim=0)
    return both / fires.sum(dim=0).clamp(min=1), both / there.sum(dim=0).clamp(min=1)


def _unit(rows: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_in"]:
    return rows / rows.norm(dim=-1, keepdim=True)

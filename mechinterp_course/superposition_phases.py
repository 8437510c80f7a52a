"""Two features and one dimension: which is kept, or both, over sparsity and importance (Elhage et al. 2022).

Three witnesses: formulas for three solutions, the best of all solutions by search on the exact loss, and
trained models. Feature 0 has importance 1; both features are present with the same probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.superposition import ToyModels, train_models
from mechinterp_course.superposition_geometry import REPRESENTED

PHASES = ("first feature alone", "second feature alone", "both, antipodal")
STARTS = ((1.0, 0.1), (0.1, 1.0), (0.8, -0.8), (0.7, 0.7))  # of the search: W, one for each kind of solution
NODES = 12  # of the quadrature, in each feature

PerCase = Float[Tensor, " case"]


@dataclass(frozen=True)
class PhaseDiagram:
    """Phases over a grid: rows are importances of the second feature, columns probabilities."""

    probability: Float[Tensor, " column"]
    importance: Float[Tensor, " row"]
    trained: Int[Tensor, "row column"]
    searched: Int[Tensor, "row column"]
    formula: Int[Tensor, "row column"]
    norm: Float[Tensor, "row column"]  # of the second feature, in the trained models
    overlap: Float[Tensor, "row column"]  # (Ŵ_1 · W_0)², likewise

    def agreement(self, of: str = "trained", with_: str = "formula") -> float:
        """Return the share of the grid's cells in which two of the witnesses name the same phase."""
        return (getattr(self, of) == getattr(self, with_)).double().mean().item()


def phase_losses(probability: PerCase, importance: PerCase) -> Float[Tensor, "phase case"]:
    """Return the expected loss of three solutions, in the order of `PHASES`.

    A feature of its own dimension costs nothing; one that is not represented costs its importance times its
    variance p/3 − p²/4 (its bias is its mean). An antipodal pair, without biases, is exact unless both are
    present, and then the smaller is lost twice: (1 + importance) · p²/6.
    """
    variance = probability / 3 - probability**2 / 4
    both = (1 + importance) * probability**2 / 6
    return torch.stack([importance * variance, variance, both])


def phase_of(W: Float[Tensor, "case 2 1"], least: float = REPRESENTED) -> Int[Tensor, " case"]:
    """Return each model's phase, its place in `PHASES`, by which features have a norm of `least` or more."""
    norms = W.norm(dim=-1)
    return torch.where((norms >= least).all(-1), 2, norms.argmax(-1))


def expected_loss(models: ToyModels, probability: PerCase, importance: PerCase) -> PerCase:
    """Return the exact expected loss of two-feature models: an integral, not a sample."""
    features, weights = _quadrature(probability)
    error = (models.output(features) - features).square()
    return (weights * (error[..., 0] + importance * error[..., 1])).sum(0)


def best_by_search(
    probability: PerCase, importance: PerCase, steps: int = 400, rate: float = 0.03
) -> tuple[ToyModels, PerCase]:
    """Return the best models found by descent on the exact loss from `STARTS`, and their losses."""
    cases, starts = len(probability), len(STARTS)
    chance, weight = (each.double().repeat_interleave(starts) for each in (probability, importance))
    W = torch.tensor(STARTS).double().repeat(cases, 1)[..., None].requires_grad_()
    b = torch.zeros(cases * starts, 2).double().requires_grad_()
    optimizer = torch.optim.Adam([W, b], lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        expected_loss(ToyModels(W, b), chance, weight).sum().backward()
        optimizer.step()
    with torch.no_grad():
        losses = expected_loss(ToyModels(W, b), chance, weight).view(cases, starts)
    best = losses.argmin(1) + starts * torch.arange(cases)
    return ToyModels(W.detach()[best].float(), b.detach()[best].float()), losses.amin(1).float()


def phase_diagram(
    probability: Sequence[float],
    importance: Sequence[float],
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 500,
) -> PhaseDiagram:
    """Return the phases of a grid of models, all trained in one batch; of several seeds the best counts."""
    rows, columns = torch.tensor(importance), torch.tensor(probability)
    weight, chance = (each.flatten() for each in torch.meshgrid(rows, columns, indexing="ij"))
    models = _best_of_seeds(chance, weight, seeds, steps)
    unit = models.W / models.W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    overlap = (unit[:, 1] * models.W[:, 0]).sum(-1).square()
    shown = {
        "trained": phase_of(models.W),
        "searched": phase_of(best_by_search(chance, weight)[0].W),
        "formula": phase_losses(chance, weight).argmin(0),
        "norm": models.W[:, 1].norm(dim=-1),
        "overlap": overlap,
    }
    grid = {name: each.view(len(rows), len(columns)) for name, each in shown.items()}
    return PhaseDiagram(columns, rows, **grid)


def _best_of_seeds(probability: PerCase, importance: PerCase, seeds: Sequence[int], steps: int) -> ToyModels:
    """Train every case with every seed, and keep of each case the models with the least expected loss."""
    cases = len(probability)
    chance, weight = probability.repeat(len(seeds)), importance.repeat(len(seeds))
    each = [seed for seed in seeds for _ in range(cases)]
    weights = torch.stack([torch.ones_like(weight), weight], dim=1)
    models = train_models(chance[:, None].expand(-1, 2).contiguous(), weights, 1, each, steps)
    best = expected_loss(models, chance, weight).view(len(seeds), cases).argmin(0) * cases
    best = best + torch.arange(cases)
    return ToyModels(models.W[best], models.b[best])


def _quadrature(probability: PerCase) -> tuple[Float[Tensor, "node case 2"], Float[Tensor, "node case"]]:
    """Return values of the two features and their weights: Gauss–Legendre where present, a point at 0 else.

    The square of both present is cut along its diagonal, where the loss of an antipodal pair has its kink.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    x, w = (torch.tensor(each).to(probability) for each in ((nodes + 1) / 2, weights / 2))
    zero = torch.zeros_like(x)
    larger, part = x[:, None].expand(NODES, NODES).flatten(), x.repeat(NODES)
    area = (w * x)[:, None].expand(NODES, NODES).flatten() * w.repeat(NODES)
    both = torch.cat([torch.stack([larger, larger * part], 1), torch.stack([larger * part, larger], 1)])
    features = torch.cat([zero.new_zeros(1, 2), torch.stack([x, zero], 1), torch.stack([zero, x], 1), both])
    chance = [(1 - probability) ** 2, probability * (1 - probability), probability**2]
    shares = [w.new_ones(1), torch.cat([w, w]), torch.cat([area, area])]
    weight = torch.cat([share[:, None] * each for share, each in zip(shares, chance, strict=True)])
    return features[:, None].expand(-1, len(probability), -1), weight

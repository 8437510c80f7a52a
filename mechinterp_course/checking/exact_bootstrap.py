"""All resamples at once: how the share cut is distributed when requests are drawn again."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechinterp_course.checking.comparison import expect

SPREADS = 5  # standard errors of a resampled quantile that are let pass


def distribution(
    before: Bool[Tensor, " request"], after: Bool[Tensor, " request"]
) -> tuple[Float[Tensor, " value"], Float[Tensor, " value"]]:
    """The values that a resample's share cut can take, rising, and how likely each is.

    A resample is settled by how many requests it has of each kind: refused both times, before only, after
    only, never. These numbers are multinomial; resamples with none refused before are left out.
    """
    size = len(before)
    kinds = torch.stack([before & after, before & ~after, ~before & after, ~before & ~after])
    shares = kinds.double().mean(dim=1)
    counts = torch.cartesian_prod(*[torch.arange(size + 1)] * 3)
    rest = size - counts.sum(dim=1)
    counts = torch.cat([counts, rest[:, None]], dim=1)[rest >= 0]
    counts = counts[counts[:, 0] + counts[:, 1] > 0].double()
    ways = torch.lgamma(torch.tensor(size + 1.0).double()) - torch.lgamma(counts + 1).sum(dim=1)
    chances = (ways + torch.xlogy(counts, shares).sum(dim=1)).exp()
    cuts = 1 - (counts[:, 0] + counts[:, 2]) / (counts[:, 0] + counts[:, 1])
    values, places = cuts[chances > 0].mul(1e9).round().div(1e9).unique(return_inverse=True)
    summed = torch.zeros(len(values)).double().index_add(0, places, chances[chances > 0])
    return values, summed / summed.sum()


def expect_bounds(found, before, after, resamples: int, level: float = 0.95) -> None:
    """Pass if both bounds are the distribution's quantiles, up to what that many resamples leave open."""
    fine = isinstance(found, list | tuple) and len(found) == 2
    fine = fine and all(isinstance(each, int | float) and not isinstance(each, bool) for each in found)
    expect(fine, "The result is not a pair (low, high) of floats.")
    values, chances = distribution(before, after)
    for name, bound, share in zip(("lower", "upper"), found, ((1 - level) / 2, (1 + level) / 2), strict=True):
        slack = SPREADS * (share * (1 - share) / resamples) ** 0.5
        below = chances[values < bound - 1e-6].sum().item()
        upto = chances[values < bound + 1e-6].sum().item()
        found_at = f"The {name} bound, {bound:.3f}, has {below:.1%} to {upto:.1%} of all resamples below it"
        fine = below <= share + slack and upto >= share - slack
        expect(fine, f"{found_at}, not {share:.1%}.")


def a_change(draw, requests: int, refused: int, cut: int, new: int):
    """Outcomes before and after, in a drawn order: how many are refused before, of these cut, and new."""
    before = torch.arange(requests) < refused
    after = (before & (torch.arange(requests) >= cut)) | (
        (torch.arange(requests) >= refused) & (torch.arange(requests) < refused + new)
    )
    order = torch.randperm(requests, generator=torch.Generator().manual_seed(draw.seed()))
    return before[order], after[order]

"""How sure a change is that was measured on the same requests before and after."""

import torch
from jaxtyping import Bool
from torch import Tensor


def share_cut_interval(
    before: Bool[Tensor, " request"],
    after: Bool[Tensor, " request"],
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the share of refusals cut, 1 - refused after / refused before.

    Requests are drawn again with replacement, each with both of its outcomes (Efron 1979). A resample in
    which nothing was refused before has no share and is left out. Raises ValueError if none was refused.
    """
    if not before.any():
        raise ValueError("nothing was refused before: there is no share to cut")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(before), (resamples, len(before)), generator=generator)
    refused, left = (outcome.cpu()[drawn].sum(dim=1).double() for outcome in (before, after))
    cuts = (1 - left / refused)[refused > 0]
    tail = (1 - level) / 2
    low, high = cuts.quantile(torch.tensor([tail, 1 - tail]).double()).tolist()
    return low, high

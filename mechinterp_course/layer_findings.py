"""What a whole layer looks for: how far its units see, which orientations they prefer, a report by layer.

Each number stands beside the same number of a network that has learned nothing.
"""

from collections.abc import Mapping
from math import pi

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.channel_evidence import variance_explained

Responses = Float[Tensor, "picture channel"]
ByChannel = Float[Tensor, " channel"]
CHANCE = 0.95
"""The part of an untrained network's channels that a channel has to be above to count as told from chance."""


def effective_receptive_field(
    gradient: Float[Tensor, "picture 3 row column"], row: int, column: int, share: float = 0.9
) -> int:
    """Return the side, in pixels, of the part of a picture that a unit depends on.

    `gradient` is that of the unit by the pixels of several pictures; (row, column) is the pixel at the unit's
    middle. It is the side of the smallest square around that pixel, 1, 3, 5, …, that holds at least `share`
    of all |gradient|, over colours and pictures alike; beyond the edge of the picture there is nothing. (Luo
    et al. 2016, who found that it is far smaller than what the unit could see.) Raises ValueError where the
    gradient is zero everywhere: there is nothing to hold.

    >>> effective_receptive_field(torch.ones(1, 3, 9, 9), 4, 4, share=0.3)
    5
    """
    weight = gradient.double().abs().sum(dim=(0, 1))
    if not weight.any():
        raise ValueError("the gradient is zero everywhere: no pixel moves this unit")
    rows, columns = (torch.arange(size, device=weight.device) for size in weight.shape)
    distance = torch.maximum((rows - row).abs()[:, None], (columns - column).abs()[None])
    by_distance = weight.new_zeros(int(distance.max()) + 1).index_add(0, distance.flatten(), weight.flatten())
    held = by_distance.cumsum(dim=0) / weight.sum()
    return 2 * int((held >= share - 1e-9).int().argmax()) + 1


def orientation_tuning(
    responses: Responses, angle: Float[Tensor, " picture"]
) -> Float[Tensor, "preferred_and_share channel"]:
    """Return each channel's preferred orientation, in [0, pi), and how much of it the orientation explains.

    Stripes turned by half a turn are the same stripes, so the tuning curve that is fitted, by least squares,
    is a + b cos 2·angle + c sin 2·angle (the first harmonic, as for cells of the visual cortex: Swindale
    1998). Its top is the preferred orientation; the second row is the share of the channel's variance that
    the curve explains, R squared. Both are 0 for a channel that never varies.
    """
    wide, turn = responses.double(), 2 * angle.double()
    curve = torch.stack([torch.ones_like(turn), turn.cos(), turn.sin()], dim=1)
    fit = torch.linalg.lstsq(curve, wide).solution
    preferred = torch.atan2(fit[2], fit[1]).remainder(2 * pi) / 2
    total = (wide - wide.mean(dim=0)).pow(2).sum(dim=0)
    left = (wide - curve @ fit).pow(2).sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    found = torch.stack([preferred.remainder(pi), 1 - left / total])
    return torch.where(varies, found, 0.0).to(responses)


def layer_report(
    trained: Mapping[str, Mapping[str, Responses]],
    untrained: Mapping[str, Mapping[str, Responses]],
    groups: Mapping[str, Int[Tensor, " picture"]],
) -> dict[str, dict[str, object]]:
    """Return what is found of each layer: a row of facts for each.

    `trained[factor][layer]` are the responses to the pictures on which that factor varies, and
    `groups[factor]` says which of its values each of them shows. The facts of a layer:

    - "silent": how many channels are the same for every picture of every factor;
    - for each factor, "explained": the mean over the layer's channels of the variance that it explains
      (adjusted eta squared, `channel_evidence.variance_explained`); "beyond": the share of channels for which
      it explains more than for 95 % of the untrained layer's; "channel": the one it explains most of.
    """
    layers = next(iter(trained.values()))
    return {layer: _row_of(layer, trained, untrained, groups) for layer in layers}


def _row_of(layer: str, trained: Mapping, untrained: Mapping, groups: Mapping) -> dict[str, object]:
    row: dict[str, object] = {"silent": _silent([trained[factor][layer] for factor in groups])}
    for factor, group in groups.items():
        explained = variance_explained(trained[factor][layer], group)
        bound = variance_explained(untrained[factor][layer], group).quantile(CHANCE)
        row[factor] = {
            "explained": explained.mean().item(),
            "beyond": (explained > bound).float().mean().item(),
            "channel": int(explained.argmax()),
        }
    return row


def _silent(found: list[Responses]) -> int:
    same = torch.stack([each.amax(dim=0) == each.amin(dim=0) for each in found])
    return int(same.all(dim=0).sum())

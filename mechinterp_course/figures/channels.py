"""What single channels are for: as labelled pictures tell, and as a judge reads in pictures made for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.feature_visualization import render_channels
from mechinterp_course.figures.figure import Figure
from mechinterp_course.figures.judge import FACTORS, Judge, named_beside_others
from mechinterp_course.figures.selectivity import (
    held_out,
    labelled_objects,
    labelled_textures,
    responses,
    share_at_top,
)

if TYPE_CHECKING:
    from torchvision.models import ResNet

LAYERS = ("layer3", "layer4")
CHANNELS = 16  # of each of the two layers


def drawn_channels(model: "ResNet", seed: int) -> dict[str, list[int]]:
    """Return the channels that are judged: `CHANNELS` of each of `LAYERS`, drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    widths = {layer: model.get_submodule(layer)[-1].conv2.out_channels for layer in LAYERS}
    return {
        layer: torch.randperm(width, generator=generator)[:CHANNELS].tolist()
        for layer, width in widths.items()
    }


def untrained(model: "ResNet") -> "ResNet":
    """Return a ResNet-18 with random weights that reads pictures as `model` does: the null."""
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        null = resnet18(num_classes=model.fc.out_features).eval().requires_grad_(False)
    null.mean, null.std = model.mean, model.std
    return null


@dataclass(frozen=True)
class Finding:
    """What one channel turned out to be for.

    `factors` are those that it tells from all others on two pools of held-out pictures, the best one first;
    `lift` is the response to its picture over the highest response to a picture of the pool; `read` is what
    the judge named in the picture, beside those of the other channels, surest first.
    """

    layer: str
    channel: int
    factors: tuple[str, ...]
    lift: float
    read: Sequence[str]

    @property
    def recognised(self) -> bool:
        """Whether the judge, who knows nothing of the channel, named one of its factors first or second."""
        return any(factor in self.read[:2] for factor in self.factors)


def selective_factors(
    model: "ResNet", seed: int, count: int
) -> tuple[dict[str, list[tuple[str, ...]]], dict[str, Tensor]]:
    """Return each channel's factors, and its highest response to any picture, by layer.

    A factor counts if more than three quarters of the pictures that excite the channel most show it, in two
    pools that have no picture in common, and if that is more than 95 % of an untrained network's channels
    reach. Parts that occur together in classes count together: edits, not labels, can tell them apart.
    """
    null, margins, highest = untrained(model), {layer: [] for layer in LAYERS}, {}
    for pool in (1, 2):
        for labelled in (labelled_objects, labelled_textures):
            pictures = labelled(held_out(seed, pool), count)
            ours, random = (responses(net, pictures.pixels, *LAYERS) for net in (model, null))
            for layer, trained, chance in zip(LAYERS, ours, random, strict=True):
                bound = share_at_top(chance, pictures.shows).quantile(0.95, dim=0).clamp(min=0.75)
                margins[layer].append(share_at_top(trained, pictures.shows) - bound)
                top = trained.amax(dim=0)
                highest[layer] = torch.maximum(highest.get(layer, top), top)
    return {layer: _confirmed(*found) for layer, found in margins.items()}, highest


def _confirmed(*margins: Float[Tensor, "channel factor"]) -> list[tuple[str, ...]]:
    """Return the factors above the bound in both pools, for objects and textures, the surest first."""
    objects, textures, objects_again, textures_again = margins
    margin = torch.maximum(torch.minimum(objects, objects_again), torch.minimum(textures, textures_again))
    return [
        tuple(FACTORS[index] for index in row.argsort(descending=True).tolist() if row[index] > 0)
        for row in margin
    ]


def findings(model: "ResNet", judge: Judge, seed: int, labelled: int, steps: int) -> list[Finding]:
    """Return what the drawn channels are for, and what the judge reads in their pictures."""
    factors, highest = selective_factors(model, seed, labelled)
    found, pictures = [], []
    for layer, channels in drawn_channels(model, seed).items():
        pictures.append(render_channels(model, layer, channels, steps, seed))
        (response,) = responses(model, pictures[-1], layer)
        for row, channel in enumerate(channels):
            lift = response[row, channel] / highest[layer][channel].clamp(min=1e-6)
            found.append((layer, channel, factors[layer][channel], lift.item()))
    reads = named_beside_others(judge, torch.cat(pictures))
    return [Finding(*one, read) for one, read in zip(found, reads, strict=True)]


def channel_figures(
    model: "ResNet", judge: Judge, seed: int, labelled: int = 320, steps: int = 192
) -> list[Figure]:
    """Return how many of 32 channels are selective and seen to be so, and how many stay silent."""
    found = findings(model, judge, seed, labelled, steps)
    chance = sum(
        any(factor in other.read[:2] for factor in one.factors) for one in found for other in found
    ) / len(found)
    return [
        Figure(
            "selective channels",
            sum(bool(one.factors) for one in found),
            at_least=24,
            about=f"of {len(found)} of layer3 and layer4: a part or texture is in what excites them most",
        ),
        Figure(
            "recognised channels",
            sum(one.recognised for one in found),
            at_least=24,
            about="of the same: the judge's first or second name for the picture is such a part or texture",
        ),
        Figure(
            "recognised by chance",
            chance,
            about="the same, were pictures dealt to channels at random",
        ),
        Figure(
            "silent channels",
            sum(one.lift < 1 for one in found),
            at_most=1,
            about="of the same: the picture excites the channel less than some picture of the pool does",
        ),
    ]

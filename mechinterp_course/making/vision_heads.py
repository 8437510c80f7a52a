"""What the vision models are told besides the class while they learn: patterns, parts and colours, and where.

Extra heads read `layer2`, `layer3` and `layer4` during training and are dropped afterwards. They only say
what is worth knowing; which channels come to hold it is left to the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample

SURFACES = tuple(images.PATTERNS)
HUES = 8
COLOURS = HUES + 2
"""Eight hues, and two for pixels without one: dark and light."""

Features = dict[str, Float[Tensor, "batch channel row column"]]


@dataclass(frozen=True)
class Truth:
    """What is true of a batch: class (-1: none), kinds of parts, and shares of every cell of a grid.

    `surfaces` and `colours` are shares of 8 x 8 cells: how much of a cell has that pattern, or that colour.
    """

    labels: Int[Tensor, " batch"]
    kinds: Float[Tensor, "batch kind"]
    surfaces: Float[Tensor, "batch surface row column"]
    colours: Float[Tensor, "batch colour row column"]


def truth_of(samples: Sequence[Sample], grid: int = 8) -> Truth:
    """Return the truth of these samples."""
    together = images.gather(samples)
    patterns = np.stack([_patterns(sample) for sample in samples])
    return Truth(
        together.labels,
        together.kinds.float(),
        _shares(patterns, len(SURFACES), grid),
        _shares(colour_index(together.images).numpy(), COLOURS, grid),
    )


def _patterns(sample: Sample) -> Int[np.ndarray, "64 64"]:
    """Return which of `SURFACES` every pixel shows."""
    surfaces = [*(layer.surface for layer in sample.scene.layers), sample.background]
    return np.array([SURFACES.index(surface.pattern) for surface in surfaces])[sample.picture.owner]


def colour_index(pixels: Float[Tensor, "batch 3 row column"]) -> Int[Tensor, "batch row column"]:
    """Return every pixel's hue, from 0 to `HUES` - 1; without one, `HUES` if dark and `HUES` + 1 if light."""
    red, green, blue = pixels.unbind(dim=1)
    top, chroma = pixels.amax(dim=1), pixels.amax(dim=1) - pixels.amin(dim=1)
    hue = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * torch.pi) % 1
    index = (hue * HUES).long().clamp(max=HUES - 1)
    index[chroma < 0.15] = HUES + 1
    index[top < 0.3] = HUES
    return index


def _shares(
    index: Int[np.ndarray, "batch 64 64"], count: int, grid: int
) -> Float[Tensor, "batch count grid grid"]:
    """Return how much of every cell has each index."""
    cells = rearrange(index, "b (row y) (column x) -> (b row column) (y x)", row=grid, column=grid)
    offset = np.arange(len(cells))[:, None] * count
    counts = np.bincount((cells + offset).ravel(), minlength=len(cells) * count).reshape(len(cells), count)
    shares = torch.from_numpy(counts.astype(np.float32) / cells.shape[1])
    return rearrange(shares, "(b row column) count -> b count row column", row=grid, column=grid)


class Votes(nn.Module):
    """Asks each channel of a layer, by itself, for the surface it has been dealt, at every place.

    A channel's logit is a bias plus a positive multiple of its activation. Of ten channels eight are dealt
    one surface; one is dealt two, either of which will do; one is dealt none and is not asked.
    """

    def __init__(self, channels: int, surfaces: Sequence[str], seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        place = torch.rand(len(surfaces), channels, generator=generator).argsort(dim=0)
        count = torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 2, 0]).repeat(channels // 10 + 1)[:channels]
        dealt = torch.zeros(len(SURFACES), channels)
        dealt[[SURFACES.index(surface) for surface in surfaces]] = (place < count).float()
        self.register_buffer("dealt", dealt)
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.full((channels,), -2.0))

    def loss(
        self,
        features: Float[Tensor, "batch channel row column"],
        surfaces: Float[Tensor, "batch surface row column"],
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy, in nats, of the channels that are asked.

        `surfaces` are shares of each place; a surface is there if it fills a tenth. Finding what is there
        counts three times as much as finding that nothing is.
        """
        asked = self.dealt.any(dim=0)
        there = torch.einsum("sc,bshw->bchw", self.dealt, (10 * surfaces).clamp(max=1)).clamp(max=1)
        scale = functional.softplus(self.weight)[:, None, None]
        logits = features.float() * scale + self.bias[:, None, None]
        loss = functional.binary_cross_entropy_with_logits
        return loss(logits[:, asked], there[:, asked], pos_weight=torch.tensor(3.0))


class Heads(nn.Module):
    """Readers of a ResNet-18's layers, for training only."""

    def __init__(self):
        super().__init__()
        told = len(SURFACES) + COLOURS
        parts = tuple(images.PART_PATTERNS)
        self.places = nn.ModuleDict({"layer2": nn.Conv2d(128, told, 1), "layer3": nn.Conv2d(256, told, 1)})
        self.votes = nn.ModuleDict(
            {
                "layer3": Votes(256, (*parts, "stripes", "dots", "checks", "bricks"), seed=3),
                "layer4": Votes(512, parts, seed=4),
            }
        )
        self.kinds = nn.Linear(512, len(images.KINDS))

    def loss(self, features: Features, truth: Truth) -> Float[Tensor, ""]:
        """Return the sum of the readers' cross-entropies, in nats, each a mean over places and labels.

        Linear readers tell which share of a place has each surface and colour; each channel of `layer3` and
        `layer4` tells whether what it was dealt is there.
        """
        told = torch.cat([truth.surfaces, truth.colours], dim=1)
        loss = _cross_entropy(self.kinds(features["layer4"].mean(dim=(2, 3))), truth.kinds)
        for layer, head in self.places.items():
            loss = loss + _cross_entropy(head(features[layer]), _on_grid_of(told, features[layer]))
        for layer, votes in self.votes.items():
            loss = loss + 2 * votes.loss(features[layer], _on_grid_of(truth.surfaces, features[layer]))
        return loss


def _cross_entropy(logits: Tensor, share: Tensor) -> Float[Tensor, ""]:
    return functional.binary_cross_entropy_with_logits(logits.float(), share)


def _on_grid_of(shares: Float[Tensor, "batch label row column"], features: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(shares, features.shape[-2:])


def crowding(features: Float[Tensor, "batch channel row column"]) -> Float[Tensor, ""]:
    """Return how evenly places spread their activation over channels: 1 if all channels are alike.

    It is the mean of |a|_1 / (|a|_2 sqrt(channels)) over places (Hoyer 2004); scaling changes nothing.
    """
    features = features.float()
    ratio = features.abs().sum(dim=1) / (features.norm(dim=1) + 1e-4)
    return ratio.mean() / features.shape[1] ** 0.5


def likeness(features: Float[Tensor, "batch channel row column"]) -> Float[Tensor, ""]:
    """Return the mean squared correlation between two channels of a layer, over all places of a batch."""
    rows = rearrange(features.float(), "batch channel row column -> (batch row column) channel")
    rows = rows - rows.mean(dim=0)
    rows = rows / (rows.norm(dim=0) + 1e-3)
    squared = (rows.T @ rows) ** 2
    channels = len(squared)
    return (squared.sum() - squared.diagonal().sum()) / (channels * (channels - 1))

"""How well a channel tells a part or a texture from all others, on pictures whose truth is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechinterp_course import hooks
from mechinterp_course.figures.judge import FACTORS
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample

HELD_OUT = 2**50  # training draws its seeds below 2**48, the judge's lie between 2**49 and this
POOL = 2**20  # seeds apart that two pools of held-out pictures begin

Images = Float[Tensor, "batch channel row column"]


def held_out(seed: int, pool: int) -> int:
    """Return the first seed of a pool of pictures that no training has seen; pools do not overlap."""
    return HELD_OUT + (8 * seed + pool) * POOL


@dataclass(frozen=True)
class Labelled:
    """Held-out pictures, and which of `FACTORS` each shows."""

    pixels: Images
    shows: Bool[Tensor, "batch factor"]


def labelled_objects(seed: int, count: int) -> Labelled:
    """Return `count` objects, as many of each class, labelled with the kinds of their parts."""
    names = images.NAMES
    samples = [images.sample(seed + n, names[n % len(names)]) for n in range(count)]
    return _labelled(samples, [sample.kinds for sample in samples])


def labelled_textures(seed: int, count: int) -> Labelled:
    """Return `count` pictures of nothing but a texture, as many of each."""
    patterns = tuple(images.TEXTURES)
    samples = [images.texture(seed + n, patterns[n % len(patterns)]) for n in range(count)]
    return _labelled(samples, [{sample.background.pattern} for sample in samples])


def labelled_parts(seed: int, each: int) -> Labelled:
    """Return `each` pictures for every kind of part, alone before any background."""
    samples = [images.part(seed + n, kind) for kind in images.KINDS for n in range(each)]
    return _labelled(samples, [sample.kinds for sample in samples])


def _labelled(samples: Sequence[Sample], shown: Iterable[Iterable[str]]) -> Labelled:
    shows = torch.tensor([[factor in factors for factor in FACTORS] for factors in shown])
    return Labelled(torch.stack([sample.image for sample in samples]), shows)


@torch.no_grad()
def responses(model: nn.Module, pixels: Images, *layers: str) -> list[Float[Tensor, "batch channel"]]:
    """Return, for each of `layers`, the mean over places of every channel's output on every picture."""
    chunks = []
    with hooks.cache(model, layers) as activations:
        for chunk in pixels.split(64):
            model(normalized(model, chunk))
            chunks.append([activations[layer].mean(dim=(2, 3)) for layer in layers])
    return [torch.cat(parts) for parts in zip(*chunks, strict=True)]


def normalized(model: nn.Module, pixels: Images) -> Images:
    """Return pictures in [0, 1] as the model wants them: less its `mean`, divided by its `std`."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (pixels - mean) / std


def share_at_top(
    response: Float[Tensor, "batch channel"], shows: Bool[Tensor, "batch factor"], part: float = 0.05
) -> Float[Tensor, "channel factor"]:
    """Return, of the pictures that excite a channel most, the share that shows each factor.

    `part` says how many count: the strongest twentieth of the batch.
    """
    strongest = response.topk(max(1, round(part * len(response))), dim=0).indices
    return shows[strongest].float().mean(dim=0)


def variance_explained(
    response: Float[Tensor, "batch channel"], group: Int[Tensor, " batch"]
) -> Float[Tensor, " channel"]:
    """Return how much of a channel's variance lies between groups of pictures (eta squared, adjusted).

    Adjusted for the number of groups, so that it is 0 on average where groups mean nothing. Channels that
    never vary are left out.
    """
    alive = response[:, response.std(dim=0) > 0]
    groups = group.unique()
    within = sum(((alive[group == g] - alive[group == g].mean(dim=0)) ** 2).sum(dim=0) for g in groups)
    within = within / (len(group) - len(groups))
    return 1 - within / alive.var(dim=0)

"""What the embedded vision models are measured by, on pictures that no training has seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mechinterp_course import catalogue
from mechinterp_course.figures import polysemantic
from mechinterp_course.figures.channels import channel_figures, untrained
from mechinterp_course.figures.figure import Figure
from mechinterp_course.figures.judge import load_judge
from mechinterp_course.figures.selectivity import (
    held_out,
    labelled_parts,
    labelled_textures,
    normalized,
    responses,
    variance_explained,
)
from mechinterp_course.half_precision import fast_products
from mechinterp_course.making.adversary import worst_nearby
from mechinterp_course.models import load_vision_model
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Batch

if TYPE_CHECKING:
    from torchvision.models import ResNet

LEAST_ACCURACY = {"course-resnet18": 0.97, "course-resnet18-robust": 0.95}
RADIUS = 3.0  # of the attack, in [0, 1] pixels over the whole picture

EFFECT_BOUNDS = {  # at least, at most, in standard deviations
    "removed": (None, -0.5),
    "replaced by control": (None, -0.5),
    "inserted": (None, None),
    "control": (-0.25, 0.25),
}

Images = Float[Tensor, "batch channel row column"]


@dataclass(frozen=True)
class Extent:
    """How much is measured: pictures for accuracy, with labels, for each edit; steps for each picture."""

    accuracy: int = 1000
    labelled: int = 320
    edits: int = 96
    steps: int = 192
    attacked: int = 200


def measure(name: str, seed: int = 1000) -> list[Figure]:
    """Return the figures of an embedded vision model, on held-out pictures drawn from `seed`."""
    return measure_model(name, load_vision_model(name), catalogue.embedded("course-resnet18").path, seed)


def measure_model(
    name: str, model: "ResNet", judge: Path, seed: int, extent: Extent = Extent()
) -> list[Figure]:
    """Return the figures of a model of that name; the folder `judge` holds who names its pictures."""
    return [
        *accuracy_figures(model, seed, extent, LEAST_ACCURACY[name]),
        *channel_figures(model, load_judge(judge), seed, extent.labelled, extent.steps),
        *polysemantic_figures(model, seed, extent),
        *ladder_figures(model, seed, extent),
    ]


def accuracy_figures(model: "ResNet", seed: int, extent: Extent, least: float | None) -> list[Figure]:
    """Return accuracy on held-out objects, and on those that an adversary has changed."""
    start = held_out(seed, pool=0)
    batch = images.batch(range(start, start + extent.accuracy))
    attacked = images.batch(range(start, start + extent.attacked))
    return [
        Figure(
            "accuracy",
            accuracy(model, batch.images, batch),
            at_least=least,
            about=f"share of {extent.accuracy} held-out objects whose class is named right",
        ),
        Figure(
            "accuracy under attack",
            accuracy(model, attack(model, attacked, seed), attacked),
            about=f"the same for {extent.attacked} objects, each moved by L2 {RADIUS:g} in ten steps",
        ),
    ]


@torch.no_grad()
def accuracy(model: "ResNet", pixels: Images, batch: Batch) -> float:
    """Return the share of pictures whose class the model names right."""
    guesses = [model(normalized(model, chunk)).argmax(dim=1) for chunk in pixels.split(64)]
    return (torch.cat(guesses) == batch.labels).float().mean().item()


def attack(model: "ResNet", batch: Batch, seed: int, radius: float = RADIUS, steps: int = 10) -> Images:
    """Return the pictures, each changed by at most `radius` (L2, [0, 1] pixels) so that the model errs."""

    def loss(pixels: Images) -> Tensor:
        with fast_products():
            logits = model(normalized(model, pixels))
        return functional.cross_entropy(logits.float(), batch.labels, reduction="sum")

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return worst_nearby(batch.images, loss, radius, steps)


def polysemantic_figures(model: "ResNet", seed: int, extent: Extent) -> list[Figure]:
    """Return the effects of edits on the channel of layer4 that answers most to two unrelated parts.

    The channel and its parts are chosen on one pool of pictures, the effects are those on another.
    """
    pools = [held_out(seed, pool) for pool in (3, 6)]
    removed = polysemantic.removal_effects(model, "layer4", pools[0], extent.edits)
    channel, trio = polysemantic.candidates(removed)[0]
    effects = polysemantic.edit_effects(model, "layer4", channel, trio, pools[1], extent.edits)
    return [_effect_figure(f"layer4 channel {channel}, {', '.join(trio)}", *item) for item in effects.items()]


def _effect_figure(where: str, edit: str, effect: polysemantic.Effect) -> Figure:
    interval = f"95 % interval {effect.low:.2f} to {effect.high:.2f}"
    about = f"{where}: change in its standard deviations; {interval}"
    what = "control" if edit.startswith("control") else edit.split(" ", 2)[2]
    low, high = EFFECT_BOUNDS[what]
    return Figure(edit, effect.mean, at_least=low, at_most=high, about=about)


def ladder_figures(model: "ResNet", seed: int, extent: Extent) -> list[Figure]:
    """Return how much parts and textures explain of the channels of each layer, less the untrained null."""
    layers = ("layer1", "layer2", "layer3", "layer4")
    start = held_out(seed, pool=4)
    pools = {
        "parts": labelled_parts(start, extent.labelled // len(images.KINDS)),
        "textures": labelled_textures(start, extent.labelled),
    }
    figures = []
    for what, pictures in pools.items():
        group = pictures.shows.int().argmax(dim=1)
        ours, random = (responses(net, pictures.pixels, *layers) for net in (model, untrained(model)))
        for layer, trained, chance in zip(layers, ours, random, strict=True):
            share, null = (variance_explained(found, group).mean().item() for found in (trained, chance))
            about = f"share of a channel's variance that the kind explains, on average; untrained: {null:.2f}"
            figures.append(Figure(f"{what} in {layer}", share, about=about))
    return figures

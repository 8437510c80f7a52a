"""Samples: pictures with their truth, each made again from its seed and `VERSION` alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.worlds.images.objects import CLASSES, class_of, clutter, light, object_scene
from mechinterp_course.worlds.images.parts import PARTS, Surface, part_surface, texture_surface
from mechinterp_course.worlds.images.scene import SIZE, Layer, Picture, Place, Scene, render

VERSION = "1.0"

NAMES = tuple(CLASSES)
KINDS = tuple(PARTS)


@dataclass(frozen=True)
class Sample:
    """A picture and what is true of it.

    `image` is (3, 64, 64), in [0, 1]. `scene` tells everything that is in it, with place, colours and
    texture; `parts` are the layers that are parts.
    """

    seed: int
    picture: Picture

    @property
    def image(self) -> Float[Tensor, "channel height width"]:
        return self.picture.image

    @property
    def scene(self) -> Scene:
        return self.picture.scene

    @property
    def background(self) -> Surface:
        return self.scene.background

    @property
    def parts(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.scene.layers if layer.role == "part")

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of parts in the picture."""
        return frozenset(part.kind for part in self.parts)

    @property
    def name(self) -> str | None:
        """The class, or None when the parts together make no known object."""
        return class_of(self.kinds)

    @property
    def label(self) -> int:
        """The index of the class in `NAMES`, or -1."""
        return -1 if self.name is None else NAMES.index(self.name)

    def places_of(self, what: str) -> list[int]:
        """Return the indices, in the scene, of all layers of a kind or role ("wheel", "body", …)."""
        return [index for index, layer in enumerate(self.scene.layers) if what in (layer.kind, layer.role)]

    def mask(self, what: str) -> Bool[Tensor, "height width"]:
        """Return the pixels that the layers of a kind or role touch; "background" is what none covers."""
        if what == "background":
            return torch.from_numpy(self.picture.owner < 0)
        masks = [self.picture.footprint(index) for index in self.places_of(what)]
        return torch.stack(masks).any(dim=0) if masks else torch.zeros(SIZE, SIZE, dtype=torch.bool)

    def visible_share(self, what: str) -> float:
        """Return how much of the best visible layer of a kind or role can be seen, from 0 to 1."""
        return max((self.picture.visible_share(index) for index in self.places_of(what)), default=0.0)


@dataclass(frozen=True)
class Batch:
    """Several samples at once: images, class indices, and which kinds of parts each picture holds."""

    samples: tuple[Sample, ...]
    images: Float[Tensor, "batch channel height width"]
    labels: Int[Tensor, " batch"]
    kinds: Bool[Tensor, "batch kind"]


def sample(seed: int, name: str | None = None) -> Sample:
    """Return a picture of one object; of a class drawn from `seed`, unless `name` says which.

    At least a third of one part of every kind can be seen: clutter in front that hides more is left out.
    """
    rng = Random(f"{VERSION} object {seed}")
    drawn = rng.choice(NAMES)
    found = Sample(seed, render(object_scene(rng, name or drawn)))
    while any(found.visible_share(kind) < 1 / 3 for kind in found.kinds) and _in_front(found.scene):
        found = Sample(seed, render(found.scene.with_layer(len(found.scene.layers) - 1, None)))
    return found


def _in_front(scene: Scene) -> bool:
    return bool(scene.layers) and scene.layers[-1].role == "clutter"


def batch(seeds: Iterable[int]) -> Batch:
    """Return the samples of these seeds as tensors."""
    return gather([sample(seed) for seed in seeds])


def gather(samples: Iterable[Sample]) -> Batch:
    """Return given samples as tensors."""
    samples = tuple(samples)
    return Batch(
        samples,
        torch.stack([one.image for one in samples]),
        torch.tensor([one.label for one in samples]),
        torch.tensor([[kind in one.kinds for kind in KINDS] for one in samples]),
    )


def texture(seed: int, pattern: str | None = None) -> Sample:
    """Return a picture of nothing but a texture; its pattern is drawn from `seed` unless given."""
    rng = Random(f"{VERSION} texture {seed}")
    return Sample(seed, render(Scene(texture_surface(rng, pattern, contrast=(0.25, 0.5)), (), light(rng))))


def shape(seed: int) -> Sample:
    """Return a picture of one shape that means nothing on a textured background."""
    rng = Random(f"{VERSION} shape {seed}")
    background = texture_surface(rng)
    return Sample(seed, render(Scene(background, (clutter(rng, rng.uniform(10, 22)),), light(rng))))


def part(seed: int, kind: str) -> Sample:
    """Return one to three whole parts of one kind, about as upright and as large as on an object."""
    rng = Random(f"{VERSION} part {kind} {seed}")
    surface = part_surface(rng, kind)
    layers = [Layer(kind, "part", _upright(rng, kind), surface) for _ in range(rng.randint(1, 3))]
    return Sample(seed, render(Scene(texture_surface(rng), tuple(layers), light(rng))))


def _upright(rng: Random, kind: str) -> Place:
    size = rng.uniform(7, 13)
    turn = rng.gauss(0, 0.16) + rng.gauss(0, 0.5) * PARTS[kind].turn
    margin = size + 1
    x, y = (rng.uniform(margin, SIZE - margin) for _ in range(2))
    return Place(x, y, size, turn, rng.random() < 0.5)


def collage(seed: int, kinds: Iterable[str] | None = None) -> Sample:
    """Return one to eight parts strewn over a background, without a body.

    They are of one or two kinds drawn from `seed`, or of those in `kinds`; they lie anywhere, at any angle
    and at sizes from 6 to 16 pixels half width.
    """
    rng = Random(f"{VERSION} collage {seed}")
    chosen = tuple(kinds) if kinds is not None else rng.sample(KINDS, rng.choice((1, 1, 2)))
    spots = [chosen[n % len(chosen)] for n in range(rng.randint(1, 4) * len(chosen))] if chosen else []
    layers = [Layer(kind, "part", _anywhere(rng), part_surface(rng, kind)) for kind in spots]
    return Sample(seed, render(Scene(texture_surface(rng), tuple(layers), light(rng))))


def _anywhere(rng: Random) -> Place:
    return Place(
        rng.uniform(4, SIZE - 4),
        rng.uniform(4, SIZE - 4),
        rng.uniform(6, 16),
        rng.uniform(0, 6.2832),
        rng.random() < 0.5,
    )

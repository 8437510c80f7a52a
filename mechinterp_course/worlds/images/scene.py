"""Scenes: what is in a picture, from the back to the front, and how it becomes pixels.

Every pixel is an analytic function of the scene. A layer touches the pixels of its footprint only, so that
two scenes that differ in one layer differ there and nowhere else, to the last bit.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int8
from torch import Tensor

from mechinterp_course.worlds.images.outlines import REACH
from mechinterp_course.worlds.images.parts import OUTLINES, Surface
from mechinterp_course.worlds.images.patterns import PATTERNS, TEXTURES, Field

SIZE = 64
"""Height and width of every picture, in pixels."""

_ROW, _COLUMN = (index.astype(np.float32) + 0.5 for index in np.mgrid[:SIZE, :SIZE])
_WHOLE = (slice(0, SIZE), slice(0, SIZE))


@dataclass(frozen=True)
class Place:
    """Where a layer is: centre and half width in pixels, turn in radians, and whether it is mirrored."""

    x: float
    y: float
    size: float
    turn: float = 0.0
    mirrored: bool = False

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns outside of which the layer is nowhere."""
        reach = REACH * self.size + 1.5
        return tuple(
            slice(max(0, int(middle - reach)), max(0, min(SIZE, int(middle + reach) + 1)))
            for middle in (self.y, self.x)
        )

    def coordinates(self, window: tuple[slice, slice]) -> tuple[Field, Field]:
        """Return the layer's own coordinates (u, v) of the pixels in `window`."""
        x, y = _COLUMN[window] - self.x, _ROW[window] - self.y
        cos, sin = np.float32(np.cos(self.turn) / self.size), np.float32(np.sin(self.turn) / self.size)
        u, v = cos * x + sin * y, cos * y - sin * x
        return (-u if self.mirrored else u), v


@dataclass(frozen=True)
class Layer:
    """One thing in a picture: a part, a body or clutter (its `role`), with its place and surface."""

    kind: str
    role: str
    place: Place
    surface: Surface

    def coverage(self) -> Float32[np.ndarray, "height width"]:
        """Return how much of each pixel of the layer's window it covers, nothing being in front of it."""
        u, v = self.place.coordinates(self.place.window)
        return _coverage(self, u, v)


@dataclass(frozen=True)
class Light:
    """Brightness at the middle, and how much it grows towards the right and the bottom edge."""

    level: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def field(self) -> Float32[np.ndarray, "64 64"]:
        across, along = (_COLUMN - SIZE / 2) / (SIZE / 2), (_ROW - SIZE / 2) / (SIZE / 2)
        return self.level + np.float32(self.right) * across + np.float32(self.down) * along


@dataclass(frozen=True)
class Scene:
    """A background and what stands before it, from the back to the front, in one light."""

    background: Surface
    layers: tuple[Layer, ...] = ()
    light: Light = Light()

    def with_layer(self, index: int, layer: Layer | None) -> "Scene":
        """Return this scene with another layer at `index`, or without it."""
        middle = () if layer is None else (layer,)
        return replace(self, layers=(*self.layers[:index], *middle, *self.layers[index + 1 :]))


@dataclass(frozen=True)
class Picture:
    """A rendered scene: `pixels` in [0, 1] and `owner`, the index of the layer in front (-1: background)."""

    scene: Scene
    pixels: Float32[np.ndarray, "3 64 64"]
    owner: Int8[np.ndarray, "64 64"]

    @cached_property
    def image(self) -> Float[Tensor, "channel height width"]:
        return torch.from_numpy(self.pixels)

    def footprint(self, index: int) -> Bool[Tensor, "height width"]:
        """Return the pixels that a layer would touch if nothing were in front of it."""
        layer = self.scene.layers[index]
        touched = np.zeros((SIZE, SIZE), dtype=bool)
        touched[layer.place.window] = layer.coverage() > 0
        return torch.from_numpy(touched)

    def visible_share(self, index: int) -> float:
        """Return how much of a layer is in the picture and not covered by others, from 0 to 1."""
        size = self.scene.layers[index].place.size
        whole = _whole_area(self.scene.layers[index].kind) * size**2
        return min(1.0, float((self.owner == index).sum()) / whole)


def render(scene: Scene) -> Picture:
    """Return the picture of a scene."""
    pixels = _background(scene.background)
    owner = np.full((SIZE, SIZE), -1, dtype=np.int8)
    for index, layer in enumerate(scene.layers):
        window = layer.place.window
        u, v = layer.place.coordinates(window)
        covered = _coverage(layer, u, v)
        under = pixels[:, window[0], window[1]]
        under[:] = (1 - covered) * under + covered * _painted(layer.surface, u, v, layer.place.size)
        owner[window][covered > 0.5] = index
    return Picture(scene, np.clip(pixels * scene.light.field(), 0, 1), owner)


def _coverage(layer: Layer, u: Field, v: Field) -> Field:
    distance = OUTLINES[layer.kind](u, v, layer.surface.form) * np.float32(layer.place.size)
    return np.clip(np.float32(0.5) - distance, 0, 1)


def _background(surface: Surface) -> Float32[np.ndarray, "3 64 64"]:
    half = SIZE / 2
    u, v = Place(half, half, half).coordinates(_WHOLE)
    return _painted(surface, u, v, half)


def _painted(surface: Surface, u: Field, v: Field, size: float) -> Float32[np.ndarray, "3 height width"]:
    """Return the colours of a surface, seen at coordinates of which `size` pixels make one unit."""
    pixel = 1 / size
    if surface.pattern in TEXTURES:
        scale = surface.frequency * size
        cos, sin = np.float32(np.cos(surface.angle) * scale), np.float32(np.sin(surface.angle) * scale)
        u, v = cos * u + sin * v + surface.phase[0], cos * v - sin * u + surface.phase[1]
        pixel = surface.frequency
    second, third = PATTERNS[surface.pattern](u, v, pixel, surface.form)
    a, b, c = np.asarray(surface.colours, dtype=np.float32)[..., None, None]
    painted = a + (b - a) * second
    return painted if third is None else painted + third * (c - painted)


@cache
def _whole_area(kind: str) -> float:
    """Return the area of a layer of half width 1, in units of that half width squared."""
    size = 16.0
    layer = Layer(kind, "part", Place(SIZE / 2, SIZE / 2, size), Surface("plain", ((0.0,) * 3,) * 3))
    return float(layer.coverage().sum()) / size**2

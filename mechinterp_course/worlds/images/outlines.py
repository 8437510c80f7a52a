"""Outlines: the shapes of parts, bodies and clutter as signed distances, negative inside.

Coordinates are those of the shape (u to the right, v down); its half width is about 1.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "height width"]
Outline = Callable[[Field, Field, int], Field]


def disc(u: Field, v: Field, form: int) -> Field:
    """A disc."""
    return np.hypot(u, v) - 1


def oval(u: Field, v: Field, form: int) -> Field:
    """An oval, wider than high."""
    return (np.hypot(u, v / 0.78) - 1) * 0.85


def box(u: Field, v: Field, form: int) -> Field:
    """A box, wider than high."""
    return np.maximum(np.abs(u) - 1, np.abs(v) - 0.8)


def capsule(u: Field, v: Field, form: int) -> Field:
    """A box with round ends."""
    return np.hypot(np.maximum(np.abs(u) - 0.35, 0), v) - 0.68


def hexagon(u: Field, v: Field, form: int) -> Field:
    """A hexagon that stands on a side."""
    return np.maximum(np.abs(v) - 0.82, 0.866 * np.abs(u) + 0.5 * np.abs(v) - 0.84)


def triangle(u: Field, v: Field, form: int) -> Field:
    """A triangle with equal sides."""
    return np.maximum(v - 0.7, 0.866 * np.abs(u) - 0.5 * v - 0.45)


def bar(u: Field, v: Field, form: int) -> Field:
    """A flat bar."""
    return np.maximum(np.abs(u) - 1.2, np.abs(v) - 0.3)


def ring(u: Field, v: Field, form: int) -> Field:
    """A ring."""
    return np.abs(np.hypot(u, v) - 0.7) - 0.25


def square(u: Field, v: Field, form: int) -> Field:
    """A square, for windows."""
    return np.maximum(np.abs(u), np.abs(v)) - 0.9


def gable(u: Field, v: Field, form: int) -> Field:
    """A triangle with its top cut off, for roofs."""
    return np.maximum(np.maximum(v - 0.5, -v - 0.62), 0.82 * np.abs(u) - 0.57 * v - 0.66)


def pointed(u: Field, v: Field, form: int) -> Field:
    """A steep triangle, for ears."""
    return np.maximum(v - 0.8, 0.92 * np.abs(u) - 0.39 * (v + 1))


def swing(u: Field, v: Field, form: int) -> Field:
    """A band that swings up and down, for tails."""
    middle = 0.42 * np.sin(2.7 * u + 0.4)
    return np.maximum(0.7 * np.abs(v - middle) - 0.3 + 0.09 * u, np.abs(u) - 1.05)


def fan(u: Field, v: Field, form: int) -> Field:
    """A sector with a scalloped rim, for wings."""
    radius, angle = np.hypot(u + 0.9, v - 0.75), np.arctan2(v - 0.75, u + 0.9)
    rim = radius - 1.75 - 0.09 * np.cos((11 + form % 3) * angle)
    return np.maximum(rim, radius * np.maximum(angle - 0.12, -1.35 - angle))


def rosette(u: Field, v: Field, form: int) -> Field:
    """Five to seven round lobes, for petals."""
    radius, count = np.hypot(u, v), 5 + form % 3
    lobes = count * np.arctan2(v, u)
    slope = np.hypot(1, 0.22 * count * np.sin(lobes) / np.maximum(radius, 0.3))
    return (radius - 0.76 - 0.22 * np.cos(lobes)) / slope


def lens(u: Field, v: Field, form: int) -> Field:
    """A pointed oval, for leaves."""
    return np.hypot(u, np.abs(v) + 0.62) - 1.2


def limb(u: Field, v: Field, form: int) -> Field:
    """A thigh and a foot, for legs."""
    thigh = np.hypot(u + 0.12 * v, np.maximum(np.abs(v + 0.1) - 0.75, 0)) - 0.27
    foot = np.hypot(np.maximum(np.abs(u - 0.2) - 0.3, 0), v - 0.78) - 0.23
    return np.minimum(thigh, foot)


def whorl(u: Field, v: Field, form: int) -> Field:
    """A disc that stands on a flat bottom, for shells."""
    return np.maximum(np.hypot(u, v) - 1, v - 0.75)


def canvas(u: Field, v: Field, form: int) -> Field:
    """A triangle with an upright edge, for sails."""
    slope = ((u + 0.7) * 1.9 - (v + 1) * 1.6) / 2.48
    return np.maximum(np.maximum(-0.7 - u, v - 0.85), slope)


SHAPES: dict[str, Outline] = {
    outline.__name__: outline for outline in (disc, oval, box, capsule, hexagon, triangle, bar, ring)
}
"""Shapes that mean nothing: bodies and clutter."""

BODIES = ("oval", "box", "capsule", "hexagon")

REACH = 1.5
"""No outline has a point farther than this from the origin, in any direction."""

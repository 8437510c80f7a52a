"""The parts that objects are built from: each has an outline, a pattern and colours of its own.

Colours are correlated with the part, as in the world outside, and no more than that: one part in four is
painted in hues that have nothing to do with its kind.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from mechinterp_course.worlds.images import outlines
from mechinterp_course.worlds.images.outlines import SHAPES, Outline
from mechinterp_course.worlds.images.patterns import TEXTURES

Colour = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Paint:
    """Where a colour is drawn from: a hue (0 to 1) and its spread, saturation and value."""

    hue: float
    spread: float
    saturation: Range
    value: Range


@dataclass(frozen=True)
class PartKind:
    """What all wheels (ears, …) have in common; `turn` is how far one may lean, in radians."""

    outline: Outline
    pattern: str
    paints: tuple[Paint, Paint, Paint]
    turn: float = 0.25


@dataclass(frozen=True)
class Surface:
    """What covers a layer: a pattern, up to three colours, and how the pattern lies.

    `frequency` is in periods per pixel and `angle` in radians; both count for the endless patterns
    (`TEXTURES`) only, a part's own pattern lies as the part does.
    """

    pattern: str
    colours: tuple[Colour, Colour, Colour]
    frequency: float = 0.1
    angle: float = 0.0
    phase: tuple[float, float] = (0.0, 0.0)
    form: int = 0


DARK, MIDDLE, LIGHT = (0.08, 0.3), (0.5, 0.85), (0.85, 1.0)
PALE, MILD, STRONG = (0.0, 0.2), (0.35, 0.65), (0.7, 1.0)

PARTS: Mapping[str, PartKind] = {
    "wheel": PartKind(
        outlines.disc,
        "spokes",
        (Paint(0.6, 0.1, PALE, MIDDLE), Paint(0.13, 0.05, MILD, LIGHT), Paint(0.65, 0.1, MILD, DARK)),
        turn=1.0,
    ),
    "window": PartKind(
        outlines.square,
        "panes",
        (Paint(0.08, 0.06, PALE, LIGHT), Paint(0.55, 0.06, STRONG, MIDDLE), Paint(0, 0, PALE, LIGHT)),
    ),
    "roof": PartKind(
        outlines.gable,
        "tiles",
        (Paint(0.02, 0.05, STRONG, (0.3, 0.5)), Paint(0.04, 0.05, STRONG, LIGHT), Paint(0, 0, PALE, DARK)),
    ),
    "ear": PartKind(
        outlines.pointed,
        "nested",
        (Paint(0.94, 0.05, MILD, LIGHT), Paint(0.06, 0.04, STRONG, (0.3, 0.55)), Paint(0, 0, PALE, DARK)),
    ),
    "eye": PartKind(
        outlines.oval,
        "iris",
        (Paint(0.15, 0.1, (0, 0.08), LIGHT), Paint(0.35, 0.18, STRONG, MIDDLE), Paint(0, 0, PALE, (0, 0.12))),
    ),
    "tail": PartKind(
        outlines.swing,
        "bands",
        (Paint(0.09, 0.04, STRONG, LIGHT), Paint(0.07, 0.1, MILD, DARK), Paint(0.1, 0.1, PALE, LIGHT)),
        turn=0.7,
    ),
    "wing": PartKind(
        outlines.fan,
        "feathers",
        (
            Paint(0.66, 0.07, STRONG, MIDDLE),
            Paint(0.58, 0.06, PALE, LIGHT),
            Paint(0.7, 0.08, MILD, (0.25, 0.5)),
        ),
        turn=0.5,
    ),
    "petals": PartKind(
        outlines.rosette,
        "blossom",
        (Paint(0.85, 0.1, PALE, LIGHT), Paint(0.88, 0.08, STRONG, LIGHT), Paint(0.14, 0.04, STRONG, LIGHT)),
        turn=1.0,
    ),
    "leaf": PartKind(
        outlines.lens,
        "veins",
        (Paint(0.33, 0.07, STRONG, (0.3, 0.6)), Paint(0.25, 0.06, MILD, LIGHT), Paint(0, 0, PALE, DARK)),
        turn=0.8,
    ),
    "leg": PartKind(
        outlines.limb,
        "candy",
        (Paint(0.13, 0.04, PALE, LIGHT), Paint(0.97, 0.05, STRONG, MIDDLE), Paint(0.75, 0.1, MILD, DARK)),
    ),
    "shell": PartKind(
        outlines.whorl,
        "spiral",
        (Paint(0.1, 0.05, MILD, LIGHT), Paint(0.78, 0.08, MILD, (0.3, 0.6)), Paint(0, 0, PALE, DARK)),
    ),
    "sail": PartKind(
        outlines.canvas,
        "plaid",
        (Paint(0.5, 0.05, PALE, LIGHT), Paint(0.47, 0.05, STRONG, MIDDLE), Paint(0.5, 0.1, STRONG, DARK)),
    ),
}

OUTLINES: Mapping[str, Outline] = SHAPES | {kind: part.outline for kind, part in PARTS.items()}


def colour(rng: Random, paint: Paint, shift: float = 0.0) -> Colour:
    """Return red, green and blue in [0, 1] drawn from `paint`, its hue moved by `shift`."""
    hue = paint.hue + shift + rng.uniform(-paint.spread, paint.spread)
    return colorsys.hsv_to_rgb(hue % 1, rng.uniform(*paint.saturation), rng.uniform(*paint.value))


def part_surface(rng: Random, kind: str) -> Surface:
    """Return a surface for a part of that kind, drawn from its paints."""
    part = PARTS[kind]
    shift = rng.random() if rng.random() < 0.25 else 0.0
    colours = tuple(colour(rng, paint, shift) for paint in part.paints)
    return Surface(part.pattern, colours, form=rng.randrange(12))


def texture_surface(rng: Random, pattern: str | None = None, contrast: Range = (0.2, 0.45)) -> Surface:
    """Return a surface with an endless pattern in two shades; a random one unless `pattern` is given."""
    pattern = pattern or rng.choice(tuple(TEXTURES))
    hue, saturation, value = rng.random(), rng.uniform(0.15, 0.75), rng.uniform(0.35, 0.95)
    other = value - rng.uniform(*contrast) if value > 0.6 else value + rng.uniform(*contrast)
    hues = hue, hue + rng.uniform(-0.12, 0.12)
    colours = [colorsys.hsv_to_rgb(h % 1, saturation, v) for h, v in zip(hues, (value, other), strict=True)]
    if rng.random() < 0.5:
        colours.reverse()
    return Surface(
        pattern,
        (colours[0], colours[1], colours[1]),
        frequency=1 / rng.uniform(4.5, 14),
        angle=rng.uniform(0, 6.2832),
        phase=(rng.random(), rng.random()),
    )

"""Patterns: how a surface's colours alternate, as analytic functions of the place on it.

A pattern is given coordinates (u to the right, v down), the width of one pixel in these coordinates and a
small whole number, `form`, which some use to vary (how many spokes). It returns two weights in [0, 1] for
every place: how much of the second colour covers the first, and how much of the third covers both. Edges
are one pixel soft, so that nothing has to be drawn larger and scaled down.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "height width"]
Weights = tuple[Field, Field | None]
Pattern = Callable[[Field, Field, float, int], Weights]

TURN = 2 * np.pi


def soft(distance: Field, pixel: float) -> Field:
    """Return 1 where `distance` is positive and 0 where it is negative, with an edge one pixel wide."""
    return np.clip(distance / pixel + 0.5, 0, 1)


def wave(phase: Field, pixel: float) -> Field:
    """Return a square wave that turns over once when `phase` grows by 1, with soft edges."""
    return soft(np.sin(TURN * phase) / TURN, pixel)


def cell(u: Field) -> Field:
    """Return where in its cell of width 1 each place is, from -0.5 to 0.5."""
    return u - np.floor(u) - 0.5


def plain(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Shades that pass slowly into each other."""
    return 0.5 + 0.5 * np.sin(u * 0.6), None


def stripes(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Stripes across u, one pair a unit."""
    return wave(u, pixel), None


def waves(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Stripes that swing."""
    return wave(u + 0.3 * np.sin(TURN * 0.5 * v), pixel), None


def zigzag(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Stripes that turn sharply to and fro."""
    return wave(u + 1.4 * np.abs(cell(v * 0.6)), pixel), None


def dots(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Discs on a square grid."""
    return soft(0.3 - np.hypot(cell(u), cell(v)), pixel), None


def checks(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """A chessboard."""
    return soft(np.sin(np.pi * u) * np.sin(np.pi * v) / np.pi, pixel), None


def bricks(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Courses of bricks, every other one shifted by half, with mortar in the first colour."""
    row = np.floor(v)
    mortar = np.minimum(0.5 - np.abs(cell(v)), 2 * (0.5 - np.abs(cell(u / 2 + row / 2))))
    return soft(mortar - 0.12, pixel), None


def blobs(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Blots of no regular shape."""
    level = np.sin(2.6 * u + 1.6 * np.sin(1.9 * v)) + np.sin(2.9 * v + 1.6 * np.sin(1.5 * u + 1))
    return soft(level / 5, pixel), None


def spokes(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Five to eight spokes, with tyre and hub in the third colour."""
    radius, count = np.hypot(u, v), 5 + form % 4
    spoke = soft(np.cos(count * np.arctan2(v, u)) * radius / count, pixel)
    tyre = np.maximum(soft(radius - 0.72, pixel), soft(0.2 - radius, pixel))
    return spoke, tyre


def panes(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Four panes; frame and bars in the first colour."""
    frame = np.minimum(np.abs(u), np.abs(v)) - 0.11
    border = 0.7 - np.maximum(np.abs(u), np.abs(v))
    return soft(np.minimum(frame, border), pixel), None


def tiles(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Rows of round tiles, every other one shifted by half."""
    rows = v * 2.6 + 0.4
    across = cell(u * 2.2 + np.floor(rows) / 2)
    return soft(0.5 - np.hypot(across, cell(rows) + 0.5), pixel * 2.4), None


def nested(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Triangles within each other."""
    depth = np.maximum(v - 0.8, 0.92 * np.abs(u) - 0.39 * (v + 1))
    return wave(2.6 * depth + 0.25, pixel * 2.6), None


def iris(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """White, a ring of colour, and a pupil with a glint."""
    radius = np.hypot(u - 0.06 * (form % 3), v)
    glint = np.hypot(u + 0.2, v + 0.22) - 0.16
    return soft(0.66 - radius, pixel), soft(np.minimum(0.36 - radius, glint), pixel)


def bands(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Bands across, and a tip in the third colour."""
    return wave((1.5 + 0.3 * (form % 3)) * u, pixel * 2), soft(u - 0.72, pixel)


def feathers(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Rays from the lower left corner, with tips in the third colour."""
    radius, angle = np.hypot(u + 0.9, v - 0.75), np.arctan2(v - 0.75, u + 0.9)
    count = 11 + form % 3
    return soft(np.sin(count * angle) * radius / count, pixel), soft(radius - 1.35, pixel)


def blossom(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """A shade that grows from the middle outwards, around a disc in the third colour."""
    radius = np.hypot(u, v)
    return np.clip(1.5 * radius - 0.45, 0, 1), soft(0.3 - radius, pixel)


def veins(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """A midrib with slanting side veins."""
    rib = 0.08 - np.abs(v)
    side = np.cos(TURN * (1.9 * u - 1.7 * np.abs(v))) / 16 - 0.03
    return soft(np.maximum(rib, side), pixel), None


def candy(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Slanting bands, and a foot in the third colour."""
    return wave(1.7 * v + 1.2 * u, pixel * 2), soft(v - 0.62, pixel)


def spiral(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """A spiral line."""
    radius = np.hypot(u, v) + 1e-3
    turns = np.arctan2(v, u) / TURN - 2.1 * radius
    return wave(turns, pixel * 2.1), None


def plaid(u: Field, v: Field, pixel: float, form: int) -> Weights:
    """Bands both ways; where they cross, the third colour."""
    upright, level = wave(2.2 * u, pixel * 2.2), wave(2.2 * v, pixel * 2.2)
    return 0.5 * (upright + level), upright * level


TEXTURES: dict[str, Pattern] = {
    pattern.__name__: pattern for pattern in (plain, stripes, waves, zigzag, dots, checks, bricks, blobs)
}
"""Patterns of backgrounds, bodies and clutter; they go on without end, one period per unit."""

PART_PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (
        spokes,
        panes,
        tiles,
        nested,
        iris,
        bands,
        feathers,
        blossom,
        veins,
        candy,
        spiral,
        plaid,
    )
}
"""Patterns that belong to a part and lie within its unit square."""

PATTERNS: dict[str, Pattern] = TEXTURES | PART_PATTERNS

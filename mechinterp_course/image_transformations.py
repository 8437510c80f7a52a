"""Small random movements of pictures, each drawn anew for every picture: jitter, scale, rotate, pad.

An objective that is raised only where a picture lies exactly is raised by noise; one that must be raised
wherever it is moved to needs a shape (Mordvintsev et al. 2015; Olah et al. 2017). However many are composed,
their matrices are multiplied first, and the picture is sampled once.
"""

from dataclasses import dataclass
from functools import reduce
from math import radians
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Images = Float[Tensor, "picture 3 row column"]
Matrices = Float[Tensor, "picture 3 3"]
Fill = Literal["gray", "reflection", "border"]
Range = tuple[float, float]
GRAY = 0.5


@dataclass(frozen=True)
class Move:
    """One picture's movement about its middle: ranges of pixels right and down, of degrees, and of size.

    Shown right by x, down by y, turned clockwise by an angle, and enlarged; each is drawn evenly.
    """

    right: Range = (0.0, 0.0)
    down: Range = (0.0, 0.0)
    degrees: Range = (0.0, 0.0)
    size: Range = (1.0, 1.0)

    def matrices(self, count: int, generator: torch.Generator) -> Matrices:
        """Return, for each picture, where a place of the moved picture lies in the picture before, in pixels.

        Places are (column, row, 1) counted from the middle.
        """
        right, down, degrees, size = (
            _between(bounds, count, generator) for bounds in (self.right, self.down, self.degrees, self.size)
        )
        angle = degrees * radians(1)
        turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).T.reshape(count, 2, 2)
        turn = turn / size[:, None, None]
        placed = torch.eye(3).repeat(count, 1, 1)
        placed[:, :2, :2] = turn
        placed[:, :2, 2] = -(turn @ torch.stack([right, down], dim=1)[:, :, None])[:, :, 0]
        return placed


@dataclass(frozen=True)
class Transformation:
    """Moves, one after the other, inside a margin of `margin` pixels; `fill` is what lies outside a picture.

    Called with pictures and a generator (on the CPU, wherever the pictures are) it returns them moved. The
    moved pictures are larger by the margin on each side.
    """

    moves: tuple[Move, ...] = ()
    margin: int = 0
    fill: Fill = "reflection"

    def __call__(self, pictures: Images, generator: torch.Generator) -> Images:
        return self.moved(pictures, self.matrices(len(pictures), generator))

    def matrices(self, count: int, generator: torch.Generator) -> Matrices:
        """Return the draw for each of `count` pictures, for `moved`."""
        drawn = [move.matrices(count, generator) for move in self.moves]
        return reduce(torch.matmul, drawn, torch.eye(3).repeat(count, 1, 1))

    def moved(self, pictures: Images, matrices: Matrices) -> Images:
        """Return the pictures moved by given matrices, sampled once between pixels."""
        count, depth, height, width = pictures.shape
        if not self.moves and not self.margin:
            return pictures
        shape = (height + 2 * self.margin, width + 2 * self.margin)
        before = torch.tensor([2 / width, 2 / height])[:, None]
        after = torch.tensor([shape[1] / 2, shape[0] / 2, 1.0])
        theta = (before * matrices[:, :2] * after).to(pictures)
        grid = functional.affine_grid(theta, [count, depth, *shape], align_corners=False)
        if self.fill != "gray":
            return functional.grid_sample(pictures, grid, padding_mode=self.fill, align_corners=False)
        return GRAY + functional.grid_sample(pictures - GRAY, grid, align_corners=False)


def jitter(pixels: float) -> Transformation:
    """Move each picture by up to `pixels` to any side."""
    return Transformation((Move((-pixels, pixels), (-pixels, pixels)),))


def shift(right: float, down: float) -> Transformation:
    """Move every picture by the same number of pixels."""
    return Transformation((Move((right, right), (down, down)),))


def rotate(degrees: float) -> Transformation:
    """Turn each picture by up to `degrees` to either side."""
    return Transformation((Move(degrees=(-degrees, degrees)),))


def scale(low: float, high: float) -> Transformation:
    """Show each picture larger by a factor between `low` and `high`; the size in pixels stays."""
    return Transformation((Move(size=(low, high)),))


def pad(pixels: int, fill: Fill = "gray") -> Transformation:
    """Put a margin of so many pixels around each picture."""
    return Transformation(margin=pixels, fill=fill)


def compose(*transformations: Transformation) -> Transformation:
    """Return one transformation that does all, in this order, and samples once.

    Margins add up; the first that has one says what lies outside, else the first of all.
    """
    margins = [one for one in transformations if one.margin] or list(transformations)
    return Transformation(
        tuple(move for one in transformations for move in one.moves),
        sum(one.margin for one in transformations),
        margins[0].fill if margins else "reflection",
    )


NONE = Transformation()
"""Pictures as they are."""

GENTLE = jitter(2)
"""Two pixels to any side: for objectives that ask where something is, like a neuron or a caricature."""

STANDARD = compose(rotate(10), scale(0.9, 1.18), jitter(6))
"""What `render` does to a 64-pixel picture at every step, unless told otherwise."""


def _between(bounds: Range, count: int, generator: torch.Generator) -> Float[Tensor, " picture"]:
    low, high = bounds
    if low == high:
        return torch.full((count,), float(low))
    return low + (high - low) * torch.rand(count, generator=generator)

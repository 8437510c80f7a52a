"""What is optimized in place of pixels: a picture's pixels before a sigmoid, or its Fourier coefficients.

An optimizer moves all of its parameters at the same speed. In pixels that favours noise: a smooth change
takes as many steps as one that alternates from pixel to pixel, to which networks answer more. Fourier
coefficients scaled as natural pictures are, in decorrelated colours, favour what natural pictures are made
of (Olah et al. 2017, "Feature Visualization").
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course.vision_models import IMAGENET_MEAN

Images = Float[Tensor, "picture 3 row column"]
Colours = tuple[tuple[float, float, float], ...]

WORLD_COLOURS: Colours = ((0.56, 0.41, 0.18), (0.59, -0.04, -0.42), (0.57, -0.36, 0.26))
"""Columns along which the colours of `worlds.images` vary independently, as long as their deviation."""

IMAGENET_COLOURS: Colours = ((0.56, 0.19, 0.04), (0.58, 0.0, -0.11), (0.58, -0.19, 0.07))
"""The same of ImageNet, as lucid publishes it, scaled so that the longest column has length 1."""

UNCORRELATED: Colours = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""Red, green and blue by themselves."""

CONTRAST = 1.2
"""Largest standard deviation of a picture's pixels, in logits."""

DAMPING = 0.22
"""Frequency, in cycles a pixel, at which Fourier coefficients count 1/e of what 1/f gives them."""


class Parameterization(Protocol):
    """Where a picture's parameters begin, and the picture that they stand for."""

    def start(self, count: int, generator: torch.Generator) -> Tensor: ...

    def pixels(self, parameters: Tensor) -> Images: ...


@dataclass(frozen=True)
class PixelImage:
    """Pictures whose parameters are their pixels before a sigmoid, to compare Fourier pictures with."""

    size: int
    colours: Colours = UNCORRELATED
    deviation: float = 0.01

    def start(self, count: int, generator: torch.Generator) -> Images:
        """Return nearly gray pictures drawn from `generator`."""
        return self.deviation * torch.randn(count, 3, self.size, self.size, generator=generator)

    def pixels(self, parameters: Images) -> Images:
        """Return the pictures, in [0, 1]."""
        return torch.sigmoid(coloured(parameters, self.colours))


@dataclass(frozen=True)
class FourierImage:
    """Pictures whose parameters are Fourier coefficients, scaled by one over their frequency to the `decay`.

    The highest frequencies are damped (not where `damping` is None), and contrast is held below `contrast`
    (unless that is None), as in natural pictures. `colours` are columns of independent colours.
    """

    size: int
    colours: Colours = WORLD_COLOURS
    decay: float = 1.0
    damping: float | None = DAMPING
    contrast: float | None = CONTRAST
    deviation: float = 0.01

    def start(self, count: int, generator: torch.Generator) -> Float[Tensor, "picture 3 row frequency 2"]:
        """Return coefficients of nearly gray pictures, drawn from `generator`."""
        shape = (count, 3, self.size, self.size // 2 + 1, 2)
        return self.deviation * torch.randn(shape, generator=generator)

    def pixels(self, parameters: Float[Tensor, "picture 3 row frequency 2"]) -> Images:
        """Return the pictures, in [0, 1]."""
        colours = coloured(self.plane(parameters), self.colours)
        if self.contrast is not None:
            deviation = colours.std(dim=(1, 2, 3), keepdim=True)
            colours = colours * (self.contrast / deviation).clamp(max=1)
        return torch.sigmoid(colours)

    def plane(self, parameters: Float[Tensor, "picture 3 row frequency 2"]) -> Images:
        """Return the inverse transform of the scaled coefficients: pictures before colours and sigmoid."""
        scaled = torch.view_as_complex(parameters) * self.scale().to(parameters.device)
        return torch.fft.irfft2(scaled, s=(self.size, self.size), norm="ortho")

    def scale(self) -> Float[Tensor, "row frequency"]:
        """Return what each coefficient is multiplied by."""
        frequency = fourier_frequencies(self.size)
        kept = 1.0 if self.damping is None else torch.exp(-((frequency / self.damping) ** 2))
        return kept / frequency.clamp(min=1 / self.size) ** self.decay

    def parameters_of(self, plane: Images) -> Float[Tensor, "picture 3 row frequency 2"]:
        """Return the coefficients whose `plane` this is: real transforms have one half only."""
        return torch.view_as_real(torch.fft.rfft2(plane, norm="ortho") / self.scale().to(plane.device))


def fourier_frequencies(size: int) -> Float[Tensor, "row frequency"]:
    """Return the frequency of each coefficient of `rfft2` of a square picture, in cycles a pixel."""
    return torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])


def coloured(plane: Images, colours: Colours | Float[Tensor, "3 3"]) -> Images:
    """Return pictures whose three planes are amounts of the columns of `colours`, as red, green and blue."""
    return torch.einsum("ij,bjhw->bihw", torch.as_tensor(colours).to(plane), plane)


def colour_matrix(images: Images) -> Float[Tensor, "3 3"]:
    """Return a matrix C of which C Cᵀ is the covariance of the colours of pixels.

    Its columns are the directions in which colours vary independently, as long as their deviation, the
    longest first; the largest entry of each is positive.
    """
    pixels = images.transpose(0, 1).flatten(1).double()
    variance, directions = torch.linalg.eigh(torch.cov(pixels))
    columns = (directions * variance.clamp(min=0).sqrt()).flip(1)
    largest = columns.gather(0, columns.abs().argmax(dim=0, keepdim=True))
    return (columns * largest.sign()).to(images.dtype)


def decorrelated(images: Images, colours: Colours | Float[Tensor, "3 3"]) -> Images:
    """Return the amounts of the columns of `colours` that each pixel is made of, less their mean.

    With the `colour_matrix` of these images, their covariance is the unit matrix. `coloured` undoes it.
    """
    centred = images - images.mean(dim=(0, 2, 3), keepdim=True)
    return coloured(centred, torch.linalg.inv(torch.as_tensor(colours).to(images)))


def colours_of(model: nn.Module) -> Colours:
    """Return the colours of the pictures that a model was trained on, as the `mean` it subtracts tells."""
    mean = getattr(model, "mean", IMAGENET_MEAN)
    return IMAGENET_COLOURS if tuple(mean) == tuple(IMAGENET_MEAN) else WORLD_COLOURS

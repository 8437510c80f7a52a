"""Pictures that excite a channel: activation maximization in the Fourier domain, many channels at once.

A picture is the inverse Fourier transform of what is optimized, so that all frequencies move at the same
speed; its colours are decorrelated, and every step sees it shifted, turned and scaled a little (Olah et al.
2017, "Feature Visualization").
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mechinterp_course.half_precision import fast_products

Images = Float[Tensor, "batch channel row column"]

COLOUR_SQRT = ((0.56, 0.41, 0.18), (0.59, -0.04, -0.42), (0.57, -0.36, 0.26))
"""Columns along which the colours of `worlds.images` vary independently, as long as their deviation."""

CONTRAST = 1.2
"""Largest standard deviation of a picture's pixels, in logits."""


class _Reached(Exception):
    """The layer has been read: nothing after it needs to run."""


@contextmanager
def stopping_at(module: nn.Module) -> Iterator[Callable[[nn.Module, Images], Tensor]]:
    """Yield a function that runs a model on pictures up to `module` and returns what that gives.

    Of a block that ends in a ReLU it is the input of that ReLU, whose gradient does not vanish where the
    channel is silent.
    """
    seen: list[Tensor] = []

    def keep_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].clone())

    def stop(_: nn.Module, __: object, output: Tensor) -> None:
        seen.append(output)
        raise _Reached

    def run(model: nn.Module, pixels: Images) -> Tensor:
        seen.clear()
        with suppress(_Reached):
            model(pixels)
        return seen[-2] if len(seen) > 1 else seen[-1]

    last = module[-1] if isinstance(module, nn.Sequential) else module
    hooks = [module.register_forward_hook(stop)]
    if isinstance(getattr(last, "relu", None), nn.ReLU):
        hooks.append(last.relu.register_forward_pre_hook(keep_input))
    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()


def render_channels(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    steps: int = 192,
    seed: int = 0,
    size: int = 64,
    rate: float = 0.05,
) -> Images:
    """Return one picture for each of `channels` of `layer` ("layer3.1"), in [0, 1], all made in one batch.

    Each picture raises the mean of its channel over all places; where the channel is silent, raising it
    counts a tenth. `model` has `mean` and `std` as
    `load_vision_model` gives them. The same seed makes the same pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(len(channels), 3, size, size // 2 + 1, 2, generator=generator)
    spectrum.requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=rate)
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    index = torch.arange(len(channels)), torch.tensor(channels)
    with stopping_at(model.get_submodule(layer)) as run:
        for _ in range(steps):
            seen = jittered(pixels_of(spectrum, size), generator)
            with fast_products():
                activation = run(model, (seen - mean) / std)
            optimizer.zero_grad()
            excitement = functional.leaky_relu(activation.float(), 0.1).mean(dim=(2, 3))
            (-excitement[index].sum()).backward()
            optimizer.step()
    return pixels_of(spectrum.detach(), size)


def pixels_of(spectrum: Float[Tensor, "batch 3 row frequency 2"], size: int) -> Images:
    """Return the pictures, in [0, 1], of Fourier coefficients scaled by one over their frequency.

    The highest frequencies are damped, and contrast is held below `CONTRAST`, as in natural pictures.
    """
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    scale = torch.exp(-((frequency / 0.22) ** 2)) / frequency.clamp(min=1 / size)
    plane = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(size, size), norm="ortho")
    colours = torch.einsum("ij,bjhw->bihw", torch.tensor(COLOUR_SQRT), plane)
    deviation = colours.std(dim=(1, 2, 3), keepdim=True)
    return torch.sigmoid(colours * (CONTRAST / deviation).clamp(max=1))


def jittered(pixels: Images, generator: torch.Generator, shift: float = 6, turn: float = 10) -> Images:
    """Return the pictures each moved by up to `shift` pixels, turned by up to `turn` degrees, and scaled."""
    count = len(pixels)

    def uniform(low: float, high: float) -> Float[Tensor, " batch"]:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, scale = uniform(-turn, turn) * pi / 180, uniform(0.85, 1.1)
    moved = [uniform(-shift, shift) * 2 / pixels.shape[-1] for _ in range(2)]
    across = torch.stack([scale * angle.cos(), -scale * angle.sin(), moved[0]], dim=1)
    along = torch.stack([scale * angle.sin(), scale * angle.cos(), moved[1]], dim=1)
    grid = functional.affine_grid(torch.stack([across, along], dim=1), pixels.shape, align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)

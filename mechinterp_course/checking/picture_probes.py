"""What checks of pictures need beside the answer: a model that can be told by hand, runs, laws of pictures.

What takes a `function` runs it where the student's code is, and returns values; what begins with `expect`
judges them.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechinterp_course import visualization_steps
from mechinterp_course.checking.comparison import expect, expect_close
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.observation import count_hooks

Picture = Float[Tensor, "3 row column"]
Images = Float[Tensor, "batch 3 row column"]
Planes = Float[Tensor, "batch channel row column"]
Spectrum = Float[Tensor, "batch channel row frequency 2"]
Basis = Float[Tensor, "3 3"]


def toy_model(stride: int = 4) -> nn.Sequential:
    """A model whose answers can be told by hand: each channel is a colour's mean over squares, less 0.3.

    Behind `conv` comes a norm that does nothing in eval mode, and a ReLU that works in place.
    """
    conv = nn.Conv2d(3, 3, stride, stride=stride)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, stride, stride) / stride**2)
        conv.bias.fill_(-0.3)
    norm = nn.BatchNorm2d(3, eps=0, affine=False)
    model = nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True))).eval()
    model.mean, model.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return model


def in_toy(function: Callable, layer: str, channel: int, images: Images, *rest: object) -> object:
    """What a function of (model, layer, channel, images, …) gives for the toy model."""
    return function(toy_model().to(images.device), layer, channel, images, *rest)


def gradient_of(function: Callable, model: nn.Module, layer: str, channel: int, images: Images) -> Images:
    """The gradient of the sum of a function's values, with respect to the pictures."""
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(model, layer, channel, images).sum(), images)
    return gradient


def hooks_left(function: Callable, model: nn.Module, layer: str, channel: int, images: Images) -> int:
    """How many hooks the model carries after a call, and one that raises, on pictures of five colours."""
    function(model, layer, channel, images)
    with suppress(Exception):
        function(model, layer, channel, images.new_zeros(1, 5, 64, 64))
    return count_hooks(model)


def rough_pictures(draw: Draw, count: int, columns: int = 64) -> Images:
    """Pictures of the world with a little noise, so that no two places are the same."""
    images = draw.images(count)[..., :columns]
    return (images + 0.05 * draw.normal(*images.shape)).clamp(0, 1)


def contrasty(draw: Draw, count: int) -> Images:
    """Pictures with many pixels at 0 and at 1, of another height than width."""
    return (2 * draw.images(count)[..., :48] - 0.5).clamp(0, 1)


def after_ascent(function: Callable, images: Images) -> dict[str, object]:
    """Climbs in a toy model whose weights ask for gradients; what has changed of pictures and model."""
    model = toy_model().to(images.device).requires_grad_()
    before, weights = images.clone(), {name: each.clone() for name, each in model.state_dict().items()}
    function(model, "norm", 0, images, 2, 0.5)
    return {
        "start changed": not torch.equal(images, before),
        "start asks for gradients": images.requires_grad,
        "weights with a gradient": [name for name, each in model.named_parameters() if each.grad is not None],
        "weights frozen": [name for name, each in model.named_parameters() if not each.requires_grad],
        "weights changed": [
            name for name, each in model.state_dict().items() if not torch.equal(each, weights[name])
        ],
        "in training": [name for name, each in model.named_modules() if each.training],
        "hooks left": count_hooks(model),
    }


def a_spectrum(draw: Draw, rows: int, width: int) -> Spectrum:
    """Random coefficients for planes of that size."""
    return draw.normal(draw.integer(1, 3), draw.integer(2, 4), rows, width // 2 + 1, 2)


def slope_of_planes(function: Callable, spectrum: Spectrum, width: int, weights: Planes) -> Spectrum:
    """The gradient of a weighted sum of the planes with respect to the spectrum."""
    spectrum = spectrum.clone().requires_grad_()
    return torch.autograd.grad((function(spectrum, width) * weights).sum(), spectrum)[0]


def arguments_after(function: Callable, *arguments: object) -> list[Tensor]:
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor)]


def covariance_of(images: Images) -> Float[Tensor, "3 3"]:
    """The covariance of the colours over all pixels of all pictures."""
    return images.permute(1, 0, 2, 3).flatten(1).cov()


def expect_root(basis: object, images: Images) -> None:
    """Pass if a matrix times its transpose is the covariance of the pictures' colours."""
    formed = isinstance(basis, Tensor) and basis.shape == (3, 3) and bool(basis.isfinite().all())
    expect(formed, "The result is not a tensor [3, 3] of finite numbers.")
    covariance = covariance_of(images)
    scale = covariance.diagonal().mean()
    expect_close(basis @ basis.T / scale, covariance / scale, dims="colour other_colour", rtol=0, atol=2e-3)


def shaken_often(
    function: Callable, images: Images, most: int, seed: int, calls: int, other: int = 0
) -> list[Images]:
    """Several calls with one generator; `other` seeds the global one, which should make no difference."""
    torch.manual_seed(other)
    generator = torch.Generator().manual_seed(seed)
    return [function(images, most, generator) for _ in range(calls)]


def slope_of_shake(function: Callable, images: Images, most: int, seed: int) -> Images:
    """The gradient of the sum of all moved pixels with respect to the pictures."""
    images = images.clone().requires_grad_()
    moved = function(images, most, torch.Generator().manual_seed(seed))
    return torch.autograd.grad(moved.sum(), images)[0]


def moves_of(image: Picture, moved: Picture, most: int) -> list[tuple[int, int]]:
    """The moves (down, right), none beyond `most`, that make `moved` of a picture."""
    rows, columns = image.shape[-2:]
    padded = nn.functional.pad(image[None], [most] * 4, mode="replicate")[0]
    steps = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    views = [padded[:, most - d : most - d + rows, most - r : most - r + columns] for d, r in steps]
    return [step for step, view in zip(steps, views, strict=True) if torch.equal(view, moved)]


def all_moves(images: Images, calls: list[Images], most: int) -> Int[Tensor, "call batch 2"] | None:
    """The move of every picture in every call [call, picture, 2]; None where one was not just moved."""
    found = [[moves_of(one, moved, most) for one, moved in zip(images, each, strict=True)] for each in calls]
    whole = all(len(moves) == 1 for call in found for moves in call)
    return torch.tensor([[moves[0] for moves in call] for call in found]) if whole else None


def rendered(
    function: Callable,
    model: nn.Module,
    layer: str,
    channel: int,
    basis: Basis,
    seed: int,
    steps: int = 40,
    size: int = 32,
) -> Images:
    """A picture for a channel, made by a student's `render` with shifts that are drawn in every step."""
    generator = torch.Generator().manual_seed(seed)
    below = nn.Sequential(OrderedDict(list(model.named_children())[:6]))  # up to layer2: the rest has no say
    below.mean, below.std = model.mean, model.std
    objective = partial(visualization_steps.channel_activation, below, layer, channel)
    transform = partial(visualization_steps.shake, most=3, generator=generator)
    return function(objective, basis, transform, 1, size, steps, seed)


def match_mirrored(
    function: Callable, target: Images, basis: Basis, count: int, steps: int, seed: int
) -> tuple[Images, int, Images | None]:
    """Pictures made like `target` by an objective that sees them mirrored; how often, and the first."""
    seen = []

    def mirror(images):
        seen.append(images.detach().clone())
        return images.flip(-1)

    def nearness(images):
        return -((images - target) ** 2).mean(dim=(1, 2, 3))

    pictures = function(nearness, basis, mirror, count, target.shape[-1], steps, seed)
    return pictures, len(seen), seen[0] if seen else None


def weights_touched(function: Callable, basis: Basis) -> tuple[int, bool]:
    """Renders for a model whose weights ask for gradients; how many get one, and whether the picture asks."""
    model = toy_model().to(basis.device).requires_grad_()
    picture = rendered(function, model, "conv", 0, basis, 0, steps=2, size=16)
    return sum(each.grad is not None for each in model.parameters()), picture.requires_grad


def expect_pictures(pictures: object, count: int, size: int) -> None:
    """Pass if these are so many plain pictures in [0, 1]."""
    formed = isinstance(pictures, Tensor) and tuple(pictures.shape) == (count, 3, size, size)
    expect(formed, f"Expected {count} pictures of shape 3 × {size} × {size}.")
    inside = bool(pictures.isfinite().all()) and pictures.min().item() >= 0 and pictures.max().item() <= 1
    expect(inside, "Pixels are not in [0, 1].")

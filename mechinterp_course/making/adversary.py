"""Pictures changed within a small distance so that a network errs: what robust training trains on."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "batch channel row column"]


def worst_nearby(images: Images, loss: Callable[[Images], Tensor], radius: float, steps: int) -> Images:
    """Return pictures at most `radius` (L2, [0, 1] pixels) from `images` on which `loss` is larger.

    Projected gradient ascent from a random point within the ball, steps of 2.5 `radius` / `steps` along the
    normalized gradient (Madry et al. 2018; Engstrom et al. 2019). Draws from torch's global generator.
    """
    moved = (images + _within(torch.randn_like(images), radius / 2)).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(moved), moved)
        step = gradient / (_length(gradient) + 1e-12) * (2.5 * radius / steps)
        moved = (images + _within(moved.detach() + step - images, radius)).clamp(0, 1)
    return moved.detach()


def _within(change: Images, radius: float) -> Images:
    return change * (radius / _length(change).clamp(min=1e-12)).clamp(max=1)


def _length(change: Images) -> Float[Tensor, "batch 1 1 1"]:
    return change.flatten(1).norm(dim=1)[:, None, None, None]

"""Other numbers for the channels of a ResNet: the same function, so that a hard-coded channel finds nothing.

A channel is a row of the convolution that writes it, an entry of every batch norm it passes, and a column of
all that read it. Inside a block these are few. What a stage's blocks add up (its residual stream) is written
by several convolutions and read by several, and all of them must agree on the numbers.
"""

from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from torchvision.models import ResNet

STAGES = ("layer1", "layer2", "layer3", "layer4")
Order = Int[Tensor, " channel"]


def channel_orders(model: "ResNet", seed: int) -> dict[str, Order]:
    """Return an order of the channels for each convolution and batch norm, drawn from `seed`.

    Channel c of that layer becomes what channel `order[c]` was. No channel keeps its number. Layers whose
    outputs are added share an order: the stem and `layer1`, then each stage's `conv2` and `downsample`.
    """
    source = Random(f"channel order {seed}")
    residual = _cycle(model.conv1.out_channels, source)
    orders = {"conv1": residual, "bn1": residual}
    for stage in STAGES:
        blocks = getattr(model, stage)
        if blocks[0].downsample is not None:
            residual = _cycle(blocks[0].conv2.out_channels, source)
        for index, block in enumerate(blocks):
            inner = _cycle(block.conv1.out_channels, source)
            own = {"conv1": inner, "bn1": inner, "conv2": residual, "bn2": residual}
            if block.downsample is not None:
                own |= {"downsample.0": residual, "downsample.1": residual}
            orders |= {f"{stage}.{index}.{layer}": order for layer, order in own.items()}
    return orders


@torch.no_grad()
def reorder_channels(model: "ResNet", seed: int) -> None:
    """Put the channels of a ResNet of basic blocks in another order, in place: `channel_orders` says which.

    Logits stay the same up to rounding, and in their own order.
    """
    orders = channel_orders(model, seed)
    for name, order in orders.items():
        layer = model.get_submodule(name)
        for values in ("weight", "bias", "running_mean", "running_var"):
            _move(getattr(layer, values, None), order, axis=0)
    for name, written_by in _readers(model).items():
        _move(model.get_submodule(name).weight, orders[written_by], axis=1)


def _readers(model: "ResNet") -> dict[str, str]:
    """Return, for each layer that reads channels, a convolution that writes them."""
    readers, residual = {}, "conv1"
    for stage in STAGES:
        for index, block in enumerate(getattr(model, stage)):
            path = f"{stage}.{index}"
            readers |= {f"{path}.conv1": residual, f"{path}.conv2": f"{path}.conv1"}
            if block.downsample is not None:
                readers[f"{path}.downsample.0"] = residual
            residual = f"{path}.conv2"
    return readers | {"fc": residual}


def _move(tensor: Tensor | nn.Parameter | None, order: Order, axis: int) -> None:
    if tensor is not None:
        tensor.data = tensor.data.index_select(axis, order.to(tensor.device))


def _cycle(channels: int, source: Random) -> Order:
    """Return a permutation in which every channel moves: one cycle through all of them."""
    path = torch.tensor(source.sample(range(channels), channels))
    order = torch.empty_like(path)
    order[path] = path.roll(1)
    return order

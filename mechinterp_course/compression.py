"""Weights in a byte each: every row of a matrix as whole numbers and one scale, so that models stay small.

A row is everything under one index of the first axis: an output channel of a convolution or linear layer, a
token of an embedding, an input channel of GPT-2's `Conv1D`. Vectors (biases, norms, running statistics) and
whole numbers are kept as they are: they are few, and small changes of them cost most.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

SCALE = "|row_scale"  # no module's name holds a bar
FORMAT = "int8 rows"


def compress(state_dict: Mapping[str, Tensor], bits: int = 8) -> dict[str, Tensor]:
    """Return a state dict's tensors with each matrix as int8 and, under its name + `SCALE`, a scale per row.

    Symmetric rounding to the nearest step: a weight changes by at most half a step, which is
    `max |row| / (2 · (2**(bits - 1) - 1))`: 0.4 % of its row's largest weight at 8 bits. `bits` from 2 to 7
    make coarser steps, to see what they cost; a value always takes one byte.

    Raises ValueError for other `bits` and for weights that are not finite.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, not {bits}")
    compressed = {}
    for name, weight in state_dict.items():
        if weight.is_floating_point() and weight.ndim >= 2:
            compressed[name], compressed[name + SCALE] = _rounded_rows(weight.detach(), 2 ** (bits - 1) - 1)
        else:
            compressed[name] = weight.detach().contiguous()
    return compressed


def decompress(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict that `compress` was given, up to its rounding; floating tensors come as fp32.

    Tensors that were never compressed pass through, so plain fp16 checkpoints may be given as well.
    """
    restored = {}
    for name, stored in tensors.items():
        if name + SCALE in tensors:
            restored[name] = stored.float() * tensors[name + SCALE]
        elif not name.endswith(SCALE):
            restored[name] = stored.float() if stored.is_floating_point() else stored
    return restored


def save_compressed(state_dict: Mapping[str, Tensor], path: Path, bits: int = 8) -> None:
    """Write a state dict, compressed, into the safetensors file `path`; its metadata names the format."""
    save_file(compress(state_dict, bits), path, metadata={"format": "pt", "compression": FORMAT})
    path.chmod(0o644)  # as other files: the grader's workers read it too


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a safetensors file, compressed or not, with its floating tensors as fp32."""
    with safe_open(path, "pt") as file:
        return decompress({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _rounded_rows(
    weight: Float[Tensor, "row ..."], largest: int
) -> tuple[Float[Tensor, "row ..."], Float[Tensor, "row ..."]]:
    """Return whole numbers in [-largest, largest] as int8, and the fp32 scale of each row."""
    if not weight.isfinite().all():
        raise ValueError("weights that are not finite can't be compressed")
    rows = weight.float()
    scale = rows.abs().amax(dim=tuple(range(1, rows.ndim)), keepdim=True) / largest
    steps = torch.where(scale > 0, rows / scale, 0).round().clamp(-largest, largest)
    return steps.to(torch.int8), scale

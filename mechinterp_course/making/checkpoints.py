"""Checkpoints of a training run: weights and the optimizer's state in one safetensors file."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mechinterp_course.errors import CourseError

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY = 100  # steps
MOMENTS = ("exp_avg", "exp_avg_sq")
Weights = Mapping[str, torch.nn.Parameter]


def save_checkpoint(
    folder: Path, identity: str, step: int, weights: Weights, optimizer: torch.optim.Adam
) -> None:
    """Write weights and moments, tagged with `identity`; the last one stays until this one is whole."""
    tensors = {f"weight/{name}": weight.detach() for name, weight in weights.items()}
    for name, weight in weights.items():
        tensors |= {f"{key}/{name}": optimizer.state[weight][key].clone() for key in MOMENTS}
    unfinished = folder / f"{CHECKPOINT}.part"
    save_file(tensors, unfinished, metadata={"step": str(step), "identity": identity})
    os.replace(unfinished, folder / CHECKPOINT)


def load_checkpoint(folder: Path, identity: str, weights: Weights, optimizer: torch.optim.Adam) -> int:
    """Put the checkpoint in `folder`, if there is one, into weights and optimizer; return the steps done.

    Raises CourseError when the checkpoint belongs to a run with another seed or number of steps.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise CourseError(
                f"{path} belongs to another run ({metadata['identity']}); remove it or choose another --out"
            )
        step = int(metadata["step"])
        for name, weight in weights.items():
            weight.data.copy_(file.get_tensor(f"weight/{name}"))
            moments = {key: file.get_tensor(f"{key}/{name}") for key in MOMENTS}
            optimizer.state[weight] = {"step": torch.tensor(float(step)), **moments}
    return step

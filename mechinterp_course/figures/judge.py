"""A judge who names what a picture shows: a small network of its own that has never seen the models.

It learned the patterns and parts of `worlds.images` from pictures with hues turned and noise added, and it
shares neither architecture, nor weights, nor training pictures with the ResNets whose pictures it names.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from mechinterp_course.worlds import images

FACTORS = (*images.KINDS, *images.TEXTURES)
"""What it can name: twelve kinds of parts and eight textures."""

JUDGE_FILE = "judge.safetensors"

Images = Float[Tensor, "batch channel row column"]


class Judge(nn.Module):
    """Five convolutions; says for each factor whether the picture shows it, wherever that may be."""

    def __init__(self, widths: Sequence[int] = (3, 24, 40, 56, 72)):
        super().__init__()
        blocks = [
            layer
            for before, after in pairwise(widths)
            for layer in (nn.Conv2d(before, after, 5, padding=2, stride=2), nn.BatchNorm2d(after), nn.ReLU())
        ]
        self.see = nn.Sequential(*blocks, nn.Conv2d(widths[-1], len(FACTORS), kernel_size=1))

    def forward(self, pixels: Images) -> Float[Tensor, "batch factor"]:
        """Return a logit for each factor: the softened maximum over places."""
        logits = self.see(pixels - 0.5).flatten(2)
        return torch.logsumexp(logits, dim=-1) - torch.tensor(float(logits.shape[-1])).log()


def load_judge(folder: Path) -> Judge:
    """Return the judge that lies beside an embedded model's weights, in eval mode and frozen."""
    judge = Judge()
    judge.load_state_dict({name: weight.float() for name, weight in load_file(folder / JUDGE_FILE).items()})
    return judge.requires_grad_(False).eval()


def named(judge: Judge, pictures: Images) -> list[Sequence[str]]:
    """Return the factors for each picture, those the judge finds it shows most surely first."""
    return _in_order(judge(pictures))


def named_beside_others(judge: Judge, pictures: Images) -> list[Sequence[str]]:
    """Return the factors for each of several pictures, first those it shows more than the others do.

    What all of them have in common, as the fine grain of optimized pictures, is taken off: the mean over
    pictures of each factor's logit.
    """
    logits = judge(pictures)
    return _in_order(logits - logits.mean(dim=0))


def _in_order(logits: Float[Tensor, "batch factor"]) -> list[Sequence[str]]:
    order = logits.argsort(dim=1, descending=True)
    return [[FACTORS[index] for index in row] for row in order.tolist()]

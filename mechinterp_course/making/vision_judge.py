"""Train the judge who names pictures: minutes on one core, on pictures that the models never see."""

from pathlib import Path
from random import Random

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from mechinterp_course.figures.judge import FACTORS, JUDGE_FILE, Judge
from mechinterp_course.half_precision import fast_products
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample

STEPS = 1200
BATCH = 64
SEEDS = 2**49
"""The judge's pictures have seeds from here on: above the models' (below 2**48), below held-out ones."""

Images = Float[Tensor, "batch channel row column"]


def train_judge(seed: int = 0, steps: int = STEPS) -> Judge:
    """Return a judge trained for `steps` steps; the same seed gives the same judge."""
    torch.manual_seed(seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        samples = drawn(seed, step)
        pixels = recoloured(torch.stack([sample.image for sample in samples]))
        with fast_products():
            logits = judge(pixels).float()
        loss = functional.binary_cross_entropy_with_logits(logits, shown(samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def drawn(seed: int, step: int) -> list[Sample]:
    """Return a batch of collages, some with many parts, and textures."""
    rng = Random(f"judge {seed} {step}")
    makers = (images.collage, images.collage, images.texture, images.sample)
    return [makers[place % len(makers)](SEEDS + rng.getrandbits(48)) for place in range(BATCH)]


def shown(samples: list[Sample]) -> Float[Tensor, "batch factor"]:
    """Return, for each factor, 1 if it fills a twenty-fifth of the picture or more, less if it fills less."""
    shares = torch.zeros(len(samples), len(FACTORS))
    for row, sample in enumerate(samples):
        layers = (*sample.scene.layers, None)
        for index, layer in enumerate(layers):
            factor = _factor_of(sample, layer)
            owned = float((sample.picture.owner == (index if layer else -1)).mean())
            shares[row, FACTORS.index(factor)] += owned
    return (25 * shares).clamp(max=1)


def _factor_of(sample: Sample, layer: object) -> str:
    if layer is None:
        return sample.background.pattern
    return layer.kind if layer.role == "part" else layer.surface.pattern


def recoloured(pixels: Images) -> Images:
    """Return the pictures with colours mixed at random, other contrast, some blur and some noise."""
    count = len(pixels)
    mix = torch.eye(3) + 0.25 * torch.randn(count, 3, 3)
    mixed = 0.5 + torch.einsum("bij,bjhw->bihw", mix, pixels - 0.5) * (0.7 + 0.9 * torch.rand(count, 1, 1, 1))
    blurred = functional.avg_pool2d(mixed, 3, stride=1, padding=1, count_include_pad=False)
    amount = torch.rand(count, 1, 1, 1)
    noise = 0.12 * torch.rand(count, 1, 1, 1) * torch.randn_like(pixels)
    return (mixed + amount * (blurred - mixed) + noise).clamp(0, 1)


def write_judge(out: Path, seed: int = 0) -> None:
    """Train the judge and write it, in fp16, into the folder `out`."""
    weights = train_judge(seed).state_dict()
    save_file({name: value.half() for name, value in weights.items()}, out / JUDGE_FILE)
    (out / JUDGE_FILE).chmod(0o644)

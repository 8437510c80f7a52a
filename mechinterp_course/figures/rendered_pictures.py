"""What can be asked of a rendered picture: ours and pictures that must not pass, over channels and seeds.

python -m mechinterp_course.figures.rendered_pictures [MODEL]
"""

import sys
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course import picture_quality
from mechinterp_course.feature_visualization import render
from mechinterp_course.image_parameterizations import PixelImage
from mechinterp_course.image_transformations import NONE
from mechinterp_course.objectives import Seen, channels
from mechinterp_course.partial_runs import activations, reading
from mechinterp_course.picture_quality import PictureQuality, bounds_for, judge_picture, shortcomings

Images = Float[Tensor, "picture 3 row column"]
LAYERS = ("layer1", "layer2", "layer3", "layer4")
STEPS = 96
SIZE = 64
MEASURED = ("excitation", "held", "kept", "above", "rough", "variation")


def kinds_of_pictures(
    model: nn.Module, layer: str, chosen: list[int], natural: Images, seed: int
) -> dict[str, Images]:
    """Return, by how it was made, a picture for each of the `chosen` channels."""
    objective = channels(layer, chosen)
    ours = render(model, objective, steps=STEPS, size=SIZE, seed=seed, progress=False).pictures
    pixel = {"image": PixelImage(SIZE), "transformations": NONE, "progress": False}
    response = activations(model, natural, [layer])[layer].mean(dim=(2, 3))[:, chosen]
    return {
        "ours": ours,
        "ours, half the steps": render(
            model, objective, steps=STEPS // 2, size=SIZE, seed=seed + 1, progress=False
        ).pictures,
        "of another channel": ours.roll(1, dims=0),
        "pixels, unregularized": render(model, objective, steps=STEPS, seed=seed, **pixel).pictures,
        "natural plus sign of the gradient": _nudged(model, objective, natural[: len(chosen)], 8 / 255),
        "best of natural": natural[response.argmax(dim=0)],
        "gray": torch.full_like(ours, 0.5),
    }


def _nudged(model: nn.Module, objective: object, pictures: Images, by: float, steps: int = 8) -> Images:
    """Return pictures moved up to `by` in each pixel so that the objective rises (iterated FGSM)."""
    moved = pictures.clone()
    with reading(model, objective.layers) as read:
        for _ in range(steps):
            moved.requires_grad_()
            total = objective.values(Seen(read(moved), moved)).sum()
            (gradient,) = torch.autograd.grad(total, moved)
            moved = (moved.detach() + by / 4 * gradient.sign()).clamp(pictures - by, pictures + by)
    return moved.clamp(0, 1)


def measured(
    model: nn.Module, seeds: range, count: int, layers: tuple[str, ...] = LAYERS
) -> Iterator[tuple[str, str, PictureQuality]]:
    """Yield (layer, how it was made, quality) for `count` drawn channels of each layer and every seed."""
    pictures = picture_quality.natural_images()
    for layer in layers:
        natural = picture_quality.natural_activations(model, layer, pictures)
        alive = (natural.deviation > 0).nonzero()[:, 0]
        for seed in seeds:
            order = torch.randperm(len(alive), generator=torch.Generator().manual_seed(seed))
            chosen = alive[order[:count]].tolist()
            made = kinds_of_pictures(model, layer, chosen, picture_quality.natural_images(seed=1), seed)
            for how, batch in made.items():
                for channel, picture in zip(chosen, batch, strict=True):
                    yield layer, how, judge_picture(model, layer, channel, picture, natural, seed=seed)


def table(found: list[tuple[str, str, PictureQuality]]) -> str:
    """Return how many are good, and lowest, median and highest of what was measured, in Markdown."""
    lines = [f"| layer | picture | good | {' | '.join(MEASURED)} |", "|---" * (3 + len(MEASURED)) + "|"]
    for layer, how in dict.fromkeys((layer, how) for layer, how, _ in found):
        rows = [quality for place, made, quality in found if (place, made) == (layer, how)]
        cells = [_spread([getattr(quality, name) for quality in rows]) for name in MEASURED]
        good = sum(not shortcomings(quality, bounds_for(layer)) for quality in rows)
        lines.append(f"| {layer} | {how} | {good} of {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:.2f} … **{ordered[len(ordered) // 2]:.2f}** … {ordered[-1]:.2f}"


if __name__ == "__main__":
    from mechinterp_course.models import load_vision_model

    name = sys.argv[1] if len(sys.argv) > 1 else "course-resnet18"
    print(table(list(measured(load_vision_model(name), range(2), count=4))))

"""Remake the embedded vision models: from a seed to weights, card and measured figures.

The pictures of step n, and the noise on them, depend on the seed and n only, so a run that was interrupted
and resumed ends in the same weights as one that was not.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet, resnet18

from mechinterp_course import catalogue
from mechinterp_course.errors import CourseError
from mechinterp_course.figures.judge import JUDGE_FILE
from mechinterp_course.half_precision import fast_products
from mechinterp_course.making.adversary import worst_nearby
from mechinterp_course.making.checkpoints import CHECKPOINT, CHECKPOINT_EVERY
from mechinterp_course.making.progress import OnStep, batch_seed, interrupt_between_steps, progress_bar
from mechinterp_course.making.vision_folder import write_figures, write_weights
from mechinterp_course.making.vision_heads import Features, Heads, Truth, crowding, likeness, truth_of
from mechinterp_course.making.vision_judge import write_judge
from mechinterp_course.making.vision_recipes import VISION_RECIPES, VisionRecipe
from mechinterp_course.vision_models import load_vision_model
from mechinterp_course.worlds import images

MEAN, STD = 0.5, 0.25
Images = Float[Tensor, "batch channel row column"]


@dataclass
class VisionRun:
    """A network in training, with its extra heads, its optimizer and the number of steps behind it."""

    model: ResNet
    heads: Heads
    optimizer: torch.optim.SGD
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return everything a checkpoint holds: weights, buffers and momenta."""
        modules = {"model": self.model, "heads": self.heads}
        state = {
            f"{part}/{key}": value
            for part, module in modules.items()
            for key, value in module.state_dict().items()
        }
        for index, weight in enumerate(_weights(self)):
            momentum = self.optimizer.state[weight].get("momentum_buffer")
            state[f"momentum/{index}"] = torch.zeros_like(weight) if momentum is None else momentum
        return state


def new_run(recipe: VisionRecipe, seed: int) -> VisionRun:
    """Return a run that has not begun; it starts from `recipe.start`, or from random weights."""
    torch.manual_seed(seed)
    model, heads = resnet18(num_classes=len(images.NAMES)), Heads()
    if recipe.start:
        model.load_state_dict(load_vision_model(recipe.start).state_dict())
    model.to(memory_format=torch.channels_last)
    weights = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return VisionRun(model, heads, torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True))


def _weights(run: VisionRun) -> list[nn.Parameter]:
    return [weight for group in run.optimizer.param_groups for weight in group["params"]]


def read(model: ResNet, pixels: Images) -> tuple[Float[Tensor, "batch class"], Features]:
    """Return the logits for pictures in [0, 1], and the outputs of the four layers."""
    hidden = model.maxpool(model.relu(model.bn1(model.conv1((pixels - MEAN) / STD))))
    features = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        hidden = features[name] = getattr(model, name)(hidden)
    return model.fc(model.avgpool(hidden).flatten(1)), features


def task_loss(
    run: VisionRun, recipe: VisionRecipe, pixels: Images, truth: Truth
) -> tuple[Float[Tensor, ""], Features]:
    """Return the cross-entropy of class and heads, in nats, and the features that they read."""
    with fast_products():
        logits, features = read(run.model, pixels)
        loss = functional.cross_entropy(logits.float(), truth.labels, ignore_index=-1)
        return loss + recipe.heads * run.heads.loss(features, truth), features


def price(recipe: VisionRecipe, features: Features) -> Float[Tensor, ""]:
    """Return what channels of the upper layers pay for crowding and likeness."""
    return sum(
        recipe.crowding * crowding(features[layer]) + recipe.likeness * likeness(features[layer])
        for layer in ("layer3", "layer4")
    )


def train_step(run: VisionRun, recipe: VisionRecipe, seed: int, steps: int) -> float:
    """Take one optimizer step on the pictures of the run's step and return the loss before it, in nats."""
    drawn = batch_seed(seed, run.step)
    samples = recipe.draw(drawn)
    truth = truth_of(samples)
    torch.manual_seed(drawn)
    pixels = noisy(torch.stack([sample.image for sample in samples]), recipe.noise)
    pixels = pixels.to(memory_format=torch.channels_last)
    near = recipe.adversary
    if near and run.step >= near.after * steps:
        run.model.eval()
        pixels = worst_nearby(
            pixels, lambda moved: task_loss(run, recipe, moved, truth)[0], near.radius, near.steps
        )
    run.model.train()
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.rate_at(run.step, steps)
    loss, features = task_loss(run, recipe, pixels, truth)
    run.optimizer.zero_grad()
    (loss + price(recipe, features)).backward()
    run.optimizer.step()
    run.step += 1
    return loss.item()


def noisy(pixels: Images, most: float) -> Images:
    """Return the pictures, each with noise of a standard deviation drawn between 0 and `most`."""
    deviation = most * torch.rand(len(pixels), 1, 1, 1)
    return (pixels + deviation * torch.randn_like(pixels)).clamp(0, 1)


def save_checkpoint(run: VisionRun, folder: Path, identity: str) -> None:
    """Write the run's state, tagged with `identity`; the last checkpoint stays until it is whole."""
    unfinished = folder / f"{CHECKPOINT}.part"
    tensors = {name: tensor.detach().contiguous() for name, tensor in run.tensors().items()}
    save_file(tensors, unfinished, metadata={"step": str(run.step), "identity": identity})
    os.replace(unfinished, folder / CHECKPOINT)


def load_checkpoint(run: VisionRun, folder: Path, identity: str) -> None:
    """Continue `run` from the checkpoint in `folder`, if there is one.

    Raises CourseError when the checkpoint belongs to a run with another seed or number of steps.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise CourseError(
                f"{path} belongs to another run ({metadata['identity']}); remove it or choose another --out"
            )
        for weight in _weights(run):
            run.optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        for name, tensor in run.tensors().items():
            tensor.detach().copy_(file.get_tensor(name))
        run.step = int(metadata["step"])


def continue_run(run: VisionRun, recipe: VisionRecipe, seed: int, steps: int) -> Iterator[float]:
    """Take the steps that are left of `steps`, and yield the loss of each."""
    while run.step < steps:
        yield train_step(run, recipe, seed, steps)


def train(
    name: str, out: Path, seed: int = 0, steps: int | None = None, on_step: OnStep | None = None
) -> Path:
    """Train an embedded vision model, or go on where a run in `out` was interrupted, and return `out`.

    Writes weights (8 bit), config, `training.json` (measured figures) and the card `README.md` into `out`.
    `on_step` is told (steps done, loss in nats) after each step. Ctrl-C stops between two steps and keeps a
    checkpoint; the same call continues from it.

    Raises CourseError when no recipe has that name or `out` holds another run's checkpoint.
    """
    recipe = recipe_of(name)
    steps = steps or recipe.steps
    identity = f"{name} seed={seed} steps={steps} images={images.VERSION}"
    made = {"seed": seed, "steps": steps, "images": images.VERSION, "recipe": asdict(recipe)}
    out.mkdir(parents=True, exist_ok=True)
    run = new_run(recipe, seed)
    load_checkpoint(run, out, identity)
    with interrupt_between_steps() as interrupted, progress_bar(name, steps) as show:
        for loss in continue_run(run, recipe, seed, steps):
            show(run.step, loss)
            if on_step:
                on_step(run.step, loss)
            if interrupted() or run.step % CHECKPOINT_EVERY == 0:
                save_checkpoint(run, out, identity)
            if interrupted():
                raise KeyboardInterrupt
    write(run.model, name, out, made, catalogue.embedded(recipe.start).path if recipe.start else None)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def write(model: ResNet, name: str, out: Path, made: dict, judge: Path | None) -> None:
    """Write a trained model, its figures and its card into `out`, judged by the judge in `judge`.

    Without one, a judge is trained first and written into `out`.
    """
    model.eval().requires_grad_(False)
    model.mean, model.std = (MEAN,) * 3, (STD,) * 3
    write_weights(model, out)
    if judge is None and not (out / JUDGE_FILE).exists():
        write_judge(out, made["seed"])
    write_figures(name, model, out, judge or out, made)


def recipe_of(name: str) -> VisionRecipe:
    """Return the recipe of an embedded vision model; raises CourseError when there is none."""
    if name not in VISION_RECIPES:
        raise CourseError(
            f"no recipe is called {name!r}; `mechinterp models list` names {', '.join(VISION_RECIPES)}"
        )
    return VISION_RECIPES[name]

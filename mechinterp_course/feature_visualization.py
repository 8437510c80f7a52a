"""Pictures that excite what one chooses: an objective climbed from a nearly gray picture.

What is optimized are a picture's Fourier coefficients in decorrelated colours, and every step sees it
shifted, turned and scaled a little (Olah et al. 2017, "Feature Visualization"). Only the part of the model
below the deepest layer that the objective reads is run, and many pictures climb as one batch.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mechinterp_course import objectives
from mechinterp_course.image_parameterizations import (
    WORLD_COLOURS,
    FourierImage,
    Parameterization,
    colours_of,
)
from mechinterp_course.image_transformations import STANDARD
from mechinterp_course.objectives import Objective, Seen
from mechinterp_course.partial_runs import LEAK, Reading, reading

Images = Float[Tensor, "picture 3 row column"]
Transform = Callable[[Images, torch.Generator], Images]
PATIENCE = 2  # seconds until a bar is shown


@dataclass(frozen=True)
class Rendering:
    """Pictures in [0, 1], and how they were reached.

    `record` holds each picture's objective at every step, as the model saw it then: moved. `frames` are the
    pictures after the steps that were to be kept. `interrupted` says that Ctrl-C ended it before its last.
    """

    pictures: Images
    record: Float[Tensor, "step picture"]
    frames: dict[int, Images] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return len(self.record)


def render(
    model: nn.Module,
    objective: Objective | Sequence[Objective],
    *,
    steps: int = 256,
    size: int = 64,
    seed: int = 0,
    batch: int = 1,
    image: Parameterization | None = None,
    transformations: Transform = STANDARD,
    learning_rate: float = 0.1,
    keep: Sequence[int] = (),
    progress: bool | None = None,
) -> Rendering:
    """Return pictures that raise an objective, or each of several objectives, all made in one batch.

    Each objective gets `batch` pictures, or as many as it asks for (`channels`), in the order of the
    objectives; an objective never sees the pictures of another. `image` is what is optimized: unless given,
    a `FourierImage` of `size` in the model's colours. `keep` names steps whose frames are kept.

    The same seed makes the same pictures on one machine. The model is left as it was: no hook, no gradient,
    its mode restored. Ctrl-C ends the climb, and what there is is returned. On a terminal a bar appears after
    two seconds; `progress` True shows it at once, False never.

    >>> edges = render(resnet, channels("layer1.0.conv1", [3, 17]), steps=128)
    >>> edges.pictures.shape
    torch.Size([2, 3, 64, 64])

    Raises CourseError for a layer or a channel that the model doesn't have.
    """
    climb = _Climb.begin(objective, batch, transformations, seed)
    image = image or FourierImage(size, colours_of(model))
    device = next(model.parameters()).device
    parameters = image.start(climb.count, climb.generator).to(device).requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=learning_rate)
    record, frames, interrupted = [], {}, False
    with reading(model, climb.layers) as read:
        try:
            with _bar(steps, progress) as advance:
                for step in range(steps):
                    pixels = image.pixels(parameters)
                    if step in keep:
                        frames[step] = pixels.detach().clone()
                    values = climb.values(read, pixels)
                    (parameters.grad,) = torch.autograd.grad(-values.sum(), parameters)
                    optimizer.step()
                    record.append(values.detach())
                    advance()
        except KeyboardInterrupt:
            interrupted = True
            print(f"stopped: {len(record)} of {steps} steps are done", file=sys.stderr)
    pictures = image.pixels(parameters.detach())
    if steps in keep and not interrupted:
        frames[steps] = pictures
    return Rendering(
        pictures, torch.stack(record) if record else pictures.new_zeros(0, climb.count), frames, interrupted
    )


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
    counts a tenth. The cards of the embedded models measure these pictures, so they stay as they are:
    `jittered`, at a constant rate. `model` has `mean` and `std` as `load_vision_model` gives them. The same
    seed makes the same pictures.
    """
    drawing = FourierImage(size, WORLD_COLOURS)
    climb = {"image": drawing, "transformations": jittered, "learning_rate": rate, "progress": False}
    return render(model, objectives.channels(layer, channels, LEAK), steps=steps, seed=seed, **climb).pictures


def jittered(pixels: Images, generator: torch.Generator, shift: float = 6, turn: float = 10) -> Images:
    """Return the pictures each moved by up to `shift` pixels, turned by up to `turn` degrees, and scaled."""
    count = len(pixels)

    def uniform(low: float, high: float) -> Float[Tensor, " batch"]:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, scale = uniform(-turn, turn) * pi / 180, uniform(0.85, 1.1)
    moved = [uniform(-shift, shift) * 2 / pixels.shape[-1] for _ in range(2)]
    across = torch.stack([scale * angle.cos(), -scale * angle.sin(), moved[0]], dim=1)
    along = torch.stack([scale * angle.sin(), scale * angle.cos(), moved[1]], dim=1)
    theta = torch.stack([across, along], dim=1).to(pixels)
    grid = functional.affine_grid(theta, pixels.shape, align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class _Climb:
    """Objectives, the rows of the batch that are theirs, and how a picture is moved."""

    objectives: tuple[Objective, ...]
    rows: tuple[slice, ...]
    transform: Transform
    generator: torch.Generator

    @classmethod
    def begin(
        cls, objective: Objective | Sequence[Objective], batch: int, transform: Transform, seed: int
    ) -> "_Climb":
        every = (objective,) if isinstance(objective, Objective) else tuple(objective)
        ends = torch.tensor([0, *(one.pictures or batch for one in every)]).cumsum(0).tolist()
        rows = tuple(slice(*pair) for pair in pairwise(ends))
        return cls(every, rows, transform, torch.Generator().manual_seed(seed))

    @property
    def count(self) -> int:
        return self.rows[-1].stop

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for one in self.objectives for layer in one.layers))

    def values(self, read: Reading, pixels: Images) -> Float[Tensor, " picture"]:
        """Return each picture's objective after moving it."""
        draw = self.generator.get_state()
        seen = read(self.transform(pixels, self.generator))
        originals = []
        for images in self._originals(pixels):
            self.generator.set_state(draw)
            with torch.no_grad():
                originals.append(read(self.transform(images, self.generator)))
        return torch.cat(
            [
                one.values(Seen(_part(seen, rows), pixels[rows], [_part(o, rows) for o in originals]))
                for one, rows in zip(self.objectives, self.rows, strict=True)
            ]
        )

    def _originals(self, pixels: Images) -> list[Images]:
        """Return the images that objectives compare with, one batch for the first of each, the second, …"""
        batches = []
        for place in range(max(len(one.images) for one in self.objectives)):
            batches.append(pixels.detach().clone())
            for one, rows in zip(self.objectives, self.rows, strict=True):
                if place < len(one.images):
                    batches[-1][rows] = one.images[place].to(pixels)
        return batches


def _part(activations: dict[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {layer: activation[rows] for layer, activation in activations.items()}


@contextmanager
def _bar(steps: int, wanted: bool | None) -> Iterator[Callable[[], None]]:
    """Yield a function that is told of each step; past two seconds a terminal shows how many are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = Progress(console=console, disable=wanted is False or not console.is_terminal, transient=True)
    task, begun = shown.add_task("rendering", total=steps), time.monotonic()

    def advance() -> None:
        if wanted or time.monotonic() - begun > PATIENCE:
            shown.start()
        shown.advance(task)

    try:
        yield advance
    finally:
        shown.stop()

"""Rendering beside lucent 0.1.8: same model, unit, size and seed, in one run.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_rendering_speed.py -m benchmark -n 0 -s

A picture's activation is the mean of its channel over 32 fresh views, scaled by 0.9 to 1.1 and moved by up to
8 pixels, at the size that was asked for: raw activation rewards adversarial noise. Both are given the model's
own normalization. lucent upsamples what is smaller than 224 px; it is measured as it comes, and told not to
(`fixed_image_size`). It leaves its hooks behind, so each of its runs has a model of its own; it draws from
global generators, which are seeded here. Seconds are of the processor, with one thread, so that others on the
machine count less; the clock's are printed beside them.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from mechinterp_course.feature_visualization import render
from mechinterp_course.image_transformations import compose, jitter, scale
from mechinterp_course.models import load_vision_model
from mechinterp_course.objectives import channels
from mechinterp_course.partial_runs import activations, normalized, reading
from mechinterp_course.vision_models import IMAGENET_MEAN, IMAGENET_STD, described

pytestmark = pytest.mark.benchmark
FRESH, VIEWS = compose(scale(0.9, 1.1), jitter(8)), 32
STEPS, SEED, BATCH = 512, 0, 16
FRAMES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)


def random_resnet18() -> nn.Module:
    """ImageNet's layout with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = resnet18()
    return described(model, [], IMAGENET_MEAN, IMAGENET_STD)


MODELS = {"course-resnet18": load_vision_model, "random resnet18": random_resnet18}


@dataclass(frozen=True)
class Setting:
    """What both are asked for. `upsampled` says whether lucent may enlarge pictures to 224 px."""

    model: str
    size: int
    layer: str
    unit: int
    upsampled: bool

    def __str__(self) -> str:
        to = "at 224 px, as it comes" if self.upsampled else f"at {self.size} px"
        return f"{self.model} {self.layer}:{self.unit}, {self.size} px, lucent {to}"


SETTINGS = [
    Setting("course-resnet18", 64, "layer3", 33, False),
    Setting("course-resnet18", 64, "layer2", 17, False),
    Setting("course-resnet18", 64, "layer4", 100, False),
    Setting("course-resnet18", 64, "layer3", 33, True),
    Setting("random resnet18", 128, "layer3", 17, False),
    Setting("random resnet18", 128, "layer3", 17, True),
]


@dataclass(frozen=True)
class Timed:
    """Pictures by step, one row for each unit, and the seconds that all steps took."""

    frames: dict[int, torch.Tensor]
    processor: float
    clock: float


def timed(call: Callable[[], dict[int, torch.Tensor]]) -> Timed:
    clock, processor = time.perf_counter(), time.process_time()
    frames = call()
    return Timed(frames, time.process_time() - processor, time.perf_counter() - clock)


def by_lucent(setting: Setting, steps: int = STEPS) -> Timed:
    from lucent.optvis import objectives, param, transform
    from lucent.optvis.render import render_vis

    model = MODELS[setting.model]()
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(SEED)
    thresholds = [step for step in FRAMES if step < steps] + [steps]
    arguments = {
        "param_f": lambda: param.image(setting.size),
        "transforms": [*transform.standard_transforms, lambda pixels: normalized(model, pixels)],
        "thresholds": thresholds,
        "preprocess": False,
        "fixed_image_size": None if setting.upsampled else setting.size,
    }
    objective = objectives.channel(setting.layer.replace(".", "_"), setting.unit)
    made = timed(lambda: render_vis(model, objective, **arguments, progress=False, show_image=False))
    pictures = [torch.from_numpy(frame).permute(0, 3, 1, 2) for frame in made.frames]
    return Timed(dict(zip(thresholds, pictures, strict=True)), made.processor, made.clock)


def by_us(setting: Setting, units: list[int], steps: int = STEPS) -> Timed:
    model = MODELS[setting.model]()
    asked = {"steps": steps, "size": setting.size, "seed": SEED, "keep": FRAMES, "progress": False}
    return timed(lambda: render(model, channels(setting.layer, units), **asked).frames)


def held(setting: Setting, pictures: torch.Tensor, units: list[int]) -> torch.Tensor:
    """Each picture's activation under fresh jitter and scale."""
    model, generator = MODELS[setting.model](), torch.Generator().manual_seed(999)
    found = []
    for picture, unit in zip(pictures, units, strict=True):
        views = FRESH(picture.expand(VIEWS, -1, -1, -1), generator)
        found.append(activations(model, views, [setting.layer])[setting.layer][:, unit].mean())
    return torch.stack(found)


def floor(setting: Setting, count: int, repeats: int = 12) -> float:
    """Processor seconds of one forward and backward pass up to the layer, for each of `count` pictures."""
    pixels, model = torch.rand(count, 3, setting.size, setting.size), MODELS[setting.model]()
    with reading(model, [setting.layer]) as read:
        for repeat in range(repeats + 2):
            if repeat == 2:
                begun = time.process_time()
            pixels.requires_grad_()
            torch.autograd.grad(read(pixels)[setting.layer].sum(), pixels)
    return (time.process_time() - begun) / repeats / count


def steps_to_reach(setting: Setting, ours: Timed, row: int, unit: int, goal: float) -> int | None:
    """The first frame of ours that holds as much as `goal`."""
    for step, pictures in ours.frames.items():
        if held(setting, pictures[row : row + 1], [unit]).item() >= goal:
            return step
    return None


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_one_unit(setting):
    theirs, ours = by_lucent(setting), by_us(setting, [setting.unit])
    goal = held(setting, theirs.frames[STEPS], [setting.unit]).item()
    print(f"\n{setting}: {theirs.processor / STEPS:.3f} s a step, ours {ours.processor / STEPS:.3f}")
    print(f"  by the clock {theirs.clock / STEPS:.3f} and {ours.clock / STEPS:.3f}")
    print(f"  floor {floor(setting, 1):.3f} s: one forward and backward pass up to {setting.layer}")
    for step in (16, 64, 256, STEPS):
        two = [held(setting, made.frames[step], [setting.unit]).item() for made in (theirs, ours)]
        print(f"  activation held after {step} steps: lucent {two[0]:.2f}, ours {two[1]:.2f}")
    reached = steps_to_reach(setting, ours, 0, setting.unit, goal)
    assert reached is not None
    share = reached * ours.processor / theirs.processor / STEPS
    print(f"  what lucent holds after {STEPS} steps ours holds after {reached}: {share:.4f} of its time")


def test_a_batch_of_sixteen():
    """Ours makes all at once; of lucent's, which come one after the other, four stand for all."""
    setting = Setting("course-resnet18", 64, "layer3", 0, False)
    units = list(range(0, 256, 256 // BATCH))
    ours = by_us(setting, units, steps=128)
    each = floor(setting, BATCH)
    print(f"\n{BATCH} units: {ours.processor / 128 / BATCH:.4f} s a step and unit; floor {each:.4f}")
    for unit in units[1::4]:
        theirs = by_lucent(Setting("course-resnet18", 64, "layer3", unit, False))
        goal = held(setting, theirs.frames[STEPS], [unit]).item()
        reached = steps_to_reach(setting, ours, units.index(unit), unit, goal)
        assert reached is not None
        share = reached * ours.processor / 128 / BATCH / theirs.processor
        print(
            f"  unit {unit}: lucent holds {goal:.2f}; reached after {reached} steps, {share:.4f} of its time"
        )


MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import test_rendering_speed as it
setting = it.SETTINGS[{index}]
it.floor(setting, 1, 1), __import__("lucent.optvis")
def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = resident("VmRSS")
it.{call}
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("index", [0, 3, 4, 5], ids=lambda index: str(SETTINGS[index]))
def test_peak_memory(index):
    calls = {"lucent": "by_lucent(setting, 6)", "ours": "by_us(setting, [setting.unit], 6)"}
    folder = __file__.rpartition("/")[0]
    peaks = {}
    for who, call in calls.items():
        code = MEMORY.format(folder=folder, index=index, call=call)
        run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True)
        peaks[who] = float(run.stdout.split()[-1])
    print(f"\n{SETTINGS[index]}: peak above what was there, MB: {peaks}")
    assert peaks["ours"] <= peaks["lucent"]

"""How a picture is graded: what must pass passes, what must not is told why."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from mechinterp_course.errors import CourseError
from mechinterp_course.feature_visualization import render
from mechinterp_course.image_parameterizations import PixelImage
from mechinterp_course.image_transformations import NONE
from mechinterp_course.models import load_vision_model
from mechinterp_course.objectives import channels
from mechinterp_course.picture_quality import (
    Bounds,
    PictureQuality,
    bounds_for,
    judge_picture,
    natural_activations,
    natural_images,
    rough_share,
    shortcomings,
    variation,
)

LAYER, CHANNELS = "layer2", [3, 40]


@pytest.fixture(scope="module")
def model():
    return load_vision_model()


@pytest.fixture(scope="module")
def naturals():
    return natural_images(48)


@pytest.fixture(scope="module")
def natural(model, naturals):
    return natural_activations(model, LAYER, naturals)


@pytest.fixture(scope="module")
def rendered(model):
    return render(model, channels(LAYER, CHANNELS), steps=32, progress=False).pictures


@pytest.fixture(scope="module")
def noisy(model):
    pixels = {"image": PixelImage(64), "transformations": NONE, "progress": False}
    return render(model, channels(LAYER, CHANNELS), steps=32, **pixels).pictures


@pytest.mark.parametrize("place", [0, 1])
def test_a_rendered_picture_is_good(model, natural, rendered, place):
    quality = judge_picture(model, LAYER, CHANNELS[place], rendered[place], natural)
    assert shortcomings(quality, bounds_for(LAYER)) == []
    assert quality.held > quality.best_natural > 0


@pytest.mark.parametrize("place", [0, 1])
def test_noise_that_excites_as_much_is_called_noise(model, natural, noisy, place):
    quality = judge_picture(model, LAYER, CHANNELS[place], noisy[place], natural)
    assert quality.held > bounds_for(LAYER).held
    assert any("finer than four pixels" in sentence for sentence in shortcomings(quality, bounds_for(LAYER)))


@pytest.mark.parametrize("channel, sentence", [(3, "at least 4 are asked"), (90, "at least 4 are asked")])
def test_a_gray_picture_excites_too_little_also_where_gray_excites(model, natural, channel, sentence):
    gray = torch.full((3, 64, 64), 0.5)
    assert sentence in shortcomings(judge_picture(model, LAYER, channel, gray, natural), bounds_for(LAYER))[0]


def test_a_picture_of_another_channel_is_called_one(model, natural, rendered):
    found = shortcomings(judge_picture(model, LAYER, 90, rendered[0], natural), bounds_for(LAYER))
    assert any("what another channel looks for" in sentence for sentence in found)


def test_natural_pictures_lie_at_zero_with_deviation_one(model, natural, naturals):
    found = [judge_picture(model, LAYER, 3, picture, natural, views=1).excitation for picture in naturals]
    scores = torch.tensor(found)
    assert scores.mean().abs() < 1e-3 and scores.std().item() == pytest.approx(1, abs=1e-3)
    assert judge_picture(model, LAYER, 3, naturals[0], natural).best_natural == pytest.approx(
        max(found), abs=1e-3
    )


def test_the_same_seed_judges_alike_and_another_nearly_so(model, natural, rendered):
    first, again, other = (judge_picture(model, LAYER, 3, rendered[0], natural, seed=s) for s in (0, 0, 1))
    assert first == again and first.held == pytest.approx(other.held, rel=0.15)
    assert first.held != other.held


def test_held_out_pictures_of_another_seed_are_others(naturals):
    assert not torch.equal(naturals[:2], natural_images(2, seed=1))
    assert torch.equal(naturals[:2], natural_images(2))


def test_a_dead_channel_has_no_unit():
    dead = nn.Conv2d(3, 2, 3)
    nn.init.zeros_(dead.weight)
    with pytest.raises(CourseError, match="it is dead"):
        judge_picture(nn.Sequential(dead), "0", 1, torch.rand(3, 16, 16))


@pytest.mark.parametrize("size", [15, 16, 64])
def test_white_noise_is_rough_by_the_area_outside_a_circle_and_a_slow_wave_is_not(size):
    noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    assert rough_share(noise) == pytest.approx(1 - torch.pi / 16, abs=0.1 if size < 64 else 0.02)
    wave = torch.sin(2 * torch.pi * torch.arange(size) / size).expand(3, size, size) / 2 + 0.5
    assert rough_share(wave) < 1e-6
    assert rough_share(torch.full((3, size, size), 0.3)) == 0


def test_variation_is_the_mean_difference_of_neighbours():
    stripes = torch.zeros(3, 8, 8)
    stripes[..., ::2] = 1.0
    assert variation(stripes) == pytest.approx(0.5)  # 1 across, 0 along
    assert variation(stripes.mT) == pytest.approx(0.5)


GOOD = PictureQuality(6.0, 5.0, 3.0, 0.5, 0.0, 0.0, 1.0, 0.05, 0.1)
FAULTS = {
    "a pixel below 0": (replace(GOOD, lowest=-0.01), r"outside \[0, 1\]"),
    "a pixel above 1": (replace(GOOD, highest=1.2), r"outside \[0, 1\]"),
    "not a number": (replace(GOOD, lowest=float("nan"), held=float("nan")), r"outside \[0, 1\]"),
    "little excitement": (replace(GOOD, excitation=2.0, held=2.0), "excites the channel by 2.0 standard"),
    "it does not hold": (replace(GOOD, excitation=12.0), r"only 42% is left"),
    "no more than gray": (replace(GOOD, gray=4.0), "an even gray does by 4.0"),
    "of another channel": (replace(GOOD, above=0.3), "excites 30% of the layer's channels more"),
    "rough": (replace(GOOD, rough=0.4), "40% of its power is finer"),
    "varied": (replace(GOOD, variation=0.3), "neighbouring pixels differ by 0.300"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_shortcoming_has_its_sentence(fault):
    quality, sentence = FAULTS[fault]
    assert shortcomings(GOOD, Bounds(held=4)) == []
    found = shortcomings(quality, bounds_for(LAYER))
    assert any(re.search(sentence, one) for one in found)


def test_bounds_can_be_stricter():
    assert shortcomings(GOOD, Bounds(held=7)) != []

"""What the prose of ch02_feature_visualization says about the course's vision models is so, with a margin."""

from functools import partial

import pytest
import torch

from mechinterp_course.checking.picture_probes import rendered
from mechinterp_course.models import load_vision_model
from mechinterp_course.picture_quality import judge_picture, natural_activations, rough_share
from mechinterp_course.visualization_steps import (
    ascend_pixels,
    channel_activation,
    colour_basis,
    render,
    shake,
)
from mechinterp_course.worlds import images as world

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
CHANNEL = ("layer3.0.bn2", 7)  # that the chapter makes its pictures for


@pytest.fixture(scope="module")
def model():
    return load_vision_model("course-resnet18")


@pytest.fixture(scope="module")
def natural():
    return world.batch(range(96)).images


def test_climbed_static_excites_a_channel_more_than_the_best_natural_picture(model, natural):
    where = ("layer2.1.bn2", 5)
    static = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    usual = natural_activations(model, where[0], natural)
    climbed = judge_picture(model, *where, ascend_pixels(model, *where, static, 40, 1.0)[0], usual, views=1)
    print(climbed)
    assert climbed.excitation > 1.5 * climbed.best_natural
    assert climbed.rough > 0.5


def test_a_changed_flower_beats_every_natural_picture_and_loses_much_of_it_when_shaken(model, natural):
    flower = world.sample(12345, "flower").image[None]
    changed = ascend_pixels(model, *CHANNEL, flower, 40, 0.25)
    quality = judge_picture(model, *CHANNEL, changed[0], natural_activations(model, CHANNEL[0], natural))
    print(quality, (changed - flower).abs().mean())
    assert quality.excitation > 1.2 * quality.best_natural
    assert quality.kept < 0.75
    assert (changed - flower).abs().mean() < 0.1


def test_a_shaky_hand_halves_short_waves_and_keeps_more(model, natural):
    basis, generator = colour_basis(natural), torch.Generator().manual_seed(0)
    usual, objective = (
        natural_activations(model, CHANNEL[0], natural),
        partial(channel_activation, model, *CHANNEL),
    )
    shaky = render(objective, basis, partial(shake, most=4, generator=generator), steps=48)
    still = render(objective, basis, lambda images: images, steps=48)
    shaky, still = (judge_picture(model, *CHANNEL, each[0], usual) for each in (shaky, still))
    print(shaky, still)
    assert shaky.rough < 0.67 * still.rough
    assert shaky.kept > still.kept + 0.08


def test_natural_pictures_have_few_short_waves(natural):
    assert torch.tensor([rough_share(each) for each in natural]).mean() < 0.15


def test_rendered_pictures_are_within_the_bounds_that_the_statement_gives(model):
    for case, layer in enumerate(("layer1.1.bn2", "layer2.0.bn2")):
        natural = world.batch(range(5000 + 1000 * case, 5024 + 1000 * case)).images
        picture = rendered(render, model, layer, 17 + case, colour_basis(natural), case)[0]
        quality = judge_picture(model, layer, 17 + case, picture, natural_activations(model, layer, natural))
        print(quality)
        assert quality.held > 2 and quality.rough < 0.35

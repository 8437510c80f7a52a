"""What the prose of ch02_feature_visualization says about the course's vision models is so, with a margin."""

from functools import partial

import pytest
import torch

from mechinterp_course.checking.picture_probes import rendered
from mechinterp_course.figures import channels, selectivity
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

torch.set_num_threads(1)
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
CHANNEL = ("layer3.0.bn2", 7)  # that the chapter makes its pictures for


@pytest.fixture(scope="module")
def model():
    return load_vision_model("course-resnet18")


@pytest.fixture(scope="module")
def natural():
    return world.batch(range(96)).images


@pytest.fixture(scope="module")
def explained(model):
    """{(factor, who): share of a channel's variance that it explains, by layer}."""
    first = selectivity.held_out(seed=7, pool=4)
    gratings = [world.texture(first + n, "stripes") for n in range(120)]
    angle = torch.tensor([one.background.angle for one in gratings]).remainder(torch.pi) // (torch.pi / 4)
    textures, parts = selectivity.labelled_textures(first, 120), selectivity.labelled_parts(first, 8)
    factors = {
        "orientation": (torch.stack([one.image for one in gratings]), angle.long()),
        "texture": (textures.pixels, textures.shows.int().argmax(dim=1)),
        "part": (parts.pixels, parts.shows.int().argmax(dim=1)),
    }
    shares = {}
    for who, net in {"trained": model, "untrained": channels.untrained(model)}.items():
        for factor, (pictures, groups) in factors.items():
            answers = selectivity.responses(net, pictures, *LAYERS)
            shares[factor, who] = [
                selectivity.variance_explained(each, groups).mean().item() for each in answers
            ]
    return shares


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


def test_orientation_counts_in_layer1_and_is_gone_in_layer4(explained):
    print(explained)
    trained, untrained = (explained["orientation", who] for who in ("trained", "untrained"))
    assert trained[0] == max(trained) and trained[0] > 2 * max(untrained[0], 0.02)
    assert trained[3] < 0.04


def test_parts_explain_little_in_layer1_and_much_in_the_last_two(explained):
    trained, untrained = (explained["part", who] for who in ("trained", "untrained"))
    assert trained[0] < 0.12 and min(trained[2:]) > 0.35
    assert max(untrained) < 0.1


def test_textures_explain_no_more_than_without_training(explained):
    trained, untrained = (explained["texture", who] for who in ("trained", "untrained"))
    assert all(a - b < 0.1 for a, b in zip(trained, untrained, strict=True))


def test_rendered_pictures_are_within_the_bounds_that_the_statement_gives(model):
    for case, layer in enumerate(("layer1.1.bn2", "layer2.0.bn2")):
        natural = world.batch(range(5000 + 1000 * case, 5024 + 1000 * case)).images
        picture = rendered(render, model, layer, 17 + case, colour_basis(natural), case)[0]
        quality = judge_picture(model, layer, 17 + case, picture, natural_activations(model, layer, natural))
        print(quality)
        assert quality.held > 2 and quality.rough < 0.35

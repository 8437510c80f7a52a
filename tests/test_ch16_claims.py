"""What the prose of ch16_feature_hierarchy says about the course's vision models is so, with a margin."""

import pytest
import torch

from mechinterp_course import layer_findings, partial_runs
from mechinterp_course.figures import channels, selectivity
from mechinterp_course.models import load_vision_model
from mechinterp_course.worlds import images as world

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
LAYERS = ["layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def model():
    return load_vision_model("course-resnet18")


@pytest.fixture(scope="module")
def untrained(model):
    return channels.untrained(model)


@pytest.fixture(scope="module")
def asked():
    """{factor: (pictures, which value of the factor each shows)}."""
    first = selectivity.held_out(seed=7, pool=4)
    gratings = [world.texture(first + n, "stripes") for n in range(120)]
    angle = torch.tensor([one.background.angle for one in gratings])
    textures, parts = selectivity.labelled_textures(first, 120), selectivity.labelled_parts(first, 8)
    return {
        "angle": angle,
        "orientation": (
            torch.stack([one.image for one in gratings]),
            (angle.remainder(torch.pi) // (torch.pi / 4)).long(),
        ),
        "texture": (textures.pixels, textures.shows.int().argmax(dim=1)),
        "part": (parts.pixels, parts.shows.int().argmax(dim=1)),
    }


@pytest.fixture(scope="module")
def answers(model, untrained, asked):
    """{who: {factor: {layer: responses}}}."""
    return {
        who: {
            factor: dict(zip(LAYERS, selectivity.responses(net, asked[factor][0], *LAYERS), strict=True))
            for factor in ("orientation", "texture", "part")
        }
        for who, net in {"trained": model, "untrained": untrained}.items()
    }


@pytest.fixture(scope="module")
def report(answers, asked):
    groups = {factor: asked[factor][1] for factor in ("orientation", "texture", "part")}
    return {
        who: layer_findings.layer_report(found, answers["untrained"], groups)
        for who, found in answers.items()
    }


def explained(report, who, factor):
    return [report[who][layer][factor]["explained"] for layer in LAYERS]


def test_the_trained_network_s_field_is_the_smaller_one(model, untrained):
    natural, sides = world.batch(range(12)).images, {}
    for who, net in {"trained": model, "untrained": untrained}.items():
        pixels = natural.clone().requires_grad_()
        with partial_runs.reading(net, ["layer2"]) as read:
            activation = read(pixels)["layer2"]
        total = sum(
            torch.autograd.grad(activation[:, c, 4, 4].sum(), pixels, retain_graph=True)[0].abs()
            for c in range(0, 128, 21)
        )
        sides[who] = layer_findings.effective_receptive_field(total, 32, 32)
    print(sides)
    assert sides["trained"] + 4 <= sides["untrained"]


def test_the_best_tuned_channels_of_layer1_are_beyond_what_random_weights_give(answers, asked):
    tuned = {
        (who, layer): layer_findings.orientation_tuning(found["orientation"][layer], asked["angle"])[1]
        for who, found in answers.items()
        for layer in LAYERS
    }
    print({where: (share.mean().item(), share.max().item()) for where, share in tuned.items()})
    assert tuned["trained", "layer1"].max() > 0.45 > 0.35 > tuned["untrained", "layer1"].max()
    assert tuned["trained", "layer1"].mean() < 0.25
    assert tuned["trained", "layer4"].mean() < tuned["untrained", "layer4"].mean() + 0.02


def test_orientation_counts_in_layer1_and_is_gone_in_layer4(report):
    trained, untrained = (explained(report, who, "orientation") for who in ("trained", "untrained"))
    assert trained[0] == max(trained) and trained[0] > 2 * max(untrained[0], 0.02)
    assert trained[3] < 0.04


def test_parts_explain_little_in_layer1_and_much_in_the_last_two(report):
    trained, untrained = (explained(report, who, "part") for who in ("trained", "untrained"))
    assert trained[0] < 0.12 and min(trained[2:]) > 0.35
    assert max(untrained) < 0.1
    assert min(report["trained"][layer]["part"]["beyond"] for layer in LAYERS[2:]) > 0.85


def test_parts_are_beyond_chance_in_many_channels_of_layer1_that_they_hardly_explain(report):
    assert report["trained"]["layer1"]["part"]["beyond"] > 0.2


def test_textures_explain_no_more_than_without_training(report):
    trained, untrained = (explained(report, who, "texture") for who in ("trained", "untrained"))
    assert all(a - b < 0.1 for a, b in zip(trained, untrained, strict=True))

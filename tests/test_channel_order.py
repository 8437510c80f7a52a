"""Channels in another order: the same function under other numbers."""

import json
from dataclasses import asdict

import pytest
import torch
from torchvision.models import resnet18

from mechinterp_course import hooks
from mechinterp_course.channel_order import channel_orders, reorder_channels
from mechinterp_course.models import load_again, load_vision_model

SEED = 7


@pytest.fixture(scope="module")
def plain():
    return load_vision_model()


@pytest.fixture(scope="module")
def moved():
    return load_vision_model(channel_seed=SEED)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def test_the_logits_stay_the_same(plain, moved, images):
    torch.testing.assert_close(moved(images), plain(images), rtol=1e-4, atol=1e-4)
    assert moved.classes == plain.classes and not moved.training


def test_each_layer_computes_the_same_under_other_numbers_and_no_channel_keeps_its_own(plain, moved, images):
    orders = channel_orders(plain, SEED)
    convolutions = [name for name in hooks.names(plain) if "conv" in name or "downsample.0" in name]
    with hooks.cache(plain, convolutions) as before, hooks.cache(moved, convolutions) as after:
        plain(images), moved(images)
    assert len(convolutions) == 20
    for name in convolutions:
        torch.testing.assert_close(after[name], before[name][:, orders[name]], rtol=1e-3, atol=1e-4)
        assert (orders[name] != torch.arange(len(orders[name]))).all()
        assert sorted(orders[name].tolist()) == list(range(len(orders[name])))


def test_layers_whose_outputs_are_added_share_an_order(plain):
    orders = channel_orders(plain, SEED)
    assert torch.equal(orders["conv1"], orders["layer1.1.conv2"])
    assert torch.equal(orders["layer3.0.downsample.0"], orders["layer3.1.bn2"])
    assert not torch.equal(orders["layer1.0.conv1"], orders["layer1.1.conv1"])


def test_another_seed_gives_another_order(plain):
    first, again, other = (channel_orders(plain, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_a_model_with_moved_channels_travels_as_a_few_words(moved, images):
    spec = json.loads(json.dumps(asdict(moved.course_spec)))
    assert len(json.dumps(spec)) < 200
    assert torch.equal(load_again(**spec)(images), moved(images))


def test_an_untrained_resnet_of_any_classes_can_be_moved(images):
    torch.manual_seed(0)
    model = resnet18(num_classes=7).eval()
    before = model(images)
    reorder_channels(model, SEED)
    torch.testing.assert_close(model(images), before, rtol=1e-4, atol=1e-4)

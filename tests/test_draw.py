"""Draws depend on their seed only, and give inputs on which mistakes can show."""

import json
import random

import numpy as np
import pytest
import torch

from mechinterp_course.checking import Draw
from mechinterp_course.checking.draw import check_seed, seeded_generators

SEEDS = range(20)

EVERYTHING = {
    "seed": lambda draw: draw.seed(),
    "integer": lambda draw: draw.integer(0, 10**9),
    "choice": lambda draw: draw.choice(range(10**9)),
    "normal": lambda draw: draw.normal(3, 4),
    "tokens": lambda draw: draw.tokens(3, 8, 500),
    "attention_patterns": lambda draw: draw.attention_patterns(),
    "repeat_patterns": lambda draw: draw.repeat_patterns(),
    "head_order": lambda draw: draw.head_order("course-gpt2"),
    "channel_seed": lambda draw: draw.channel_seed("course-resnet18"),
    "image_seeds": lambda draw: draw.image_seeds(3),
    "images": lambda draw: draw.images(2),
}


@pytest.fixture(autouse=True)
def a_config_of_four_layers(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"n_layer": 4, "n_head": 6}))
    monkeypatch.setattr("mechinterp_course.checking.draw.embedded_data", lambda name: tmp_path)


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("kind", EVERYTHING)
def test_equal_seeds_draw_equal_inputs_and_others_do_not(kind):
    first, again, other = (plain(EVERYTHING[kind](Draw(seed))) for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_draw_leaves_the_global_generator_alone(kind):
    before = torch.random.get_rng_state()
    EVERYTHING[kind](Draw(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_global_generators_are_seeded_inside_with_and_restored_after():
    def three():
        return torch.rand(1).item(), np.random.rand(), random.random()

    states = torch.random.get_rng_state(), random.getstate()
    drawn = []
    for seed in (7, 7, 8):
        with seeded_generators(seed):
            drawn.append(three())
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_a_restarted_draw_gives_the_same_inputs_again():
    draw = Draw(3)
    first = draw.normal(4)
    assert torch.equal(draw.restart().normal(4), first)
    assert not torch.equal(draw.normal(4), first)


def test_a_fork_does_not_depend_on_what_was_drawn_before():
    early, late = Draw(3), Draw(3)
    late.normal(10)
    assert early.fork("models").seed() == late.fork("models").seed()
    assert early.fork("models").seed() != early.fork("tokens").seed()


def test_a_checks_seed_depends_on_the_batch_and_on_its_name():
    names = ("ch03.induction_score.agrees", "ch03.induction_score.is_a_mean")
    assert len({check_seed(batch, name) for batch in (0, 1) for name in names}) == 4
    assert check_seed(0, names[0]) == 139349368547061


@pytest.mark.parametrize("seed", SEEDS)
def test_attention_patterns_are_causal_and_sum_to_one(seed):
    patterns = Draw(seed).attention_patterns() + [pattern for pattern, _ in Draw(seed).repeat_patterns()]
    for pattern in patterns:
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:3]))
        assert not pattern.triu(1).any()
        assert (pattern.diagonal(offset=-1, dim1=-2, dim2=-1) > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_axes_have_sizes_of_their_own_and_one_pattern_has_a_single_row(seed):
    patterns = Draw(seed).attention_patterns()
    for pattern in patterns:
        batch, head, query, _ = pattern.shape
        assert len({batch, head, query}) == 3
        assert head >= 3
    assert [pattern.shape[0] == 1 for pattern in patterns] == [False, False, True]


@pytest.mark.parametrize("seed", SEEDS)
def test_repeat_patterns_have_two_copies_after_bos_and_different_lengths(seed):
    drawn = Draw(seed).repeat_patterns()
    assert all(pattern.shape[-1] == 2 * length + 1 for pattern, length in drawn)
    assert len({length for _, length in drawn}) == len(drawn)


@pytest.mark.parametrize("seed", SEEDS)
def test_heads_are_permuted_in_every_layer(seed):
    order = Draw(seed).head_order("course-gpt2")
    assert len(order) == 4
    for layer in order:
        assert sorted(layer) == list(range(6)) != list(layer)


def test_layers_and_names_get_permutations_of_their_own():
    order = Draw(1).head_order("course-gpt2")
    assert len(set(order)) > 1
    assert order != Draw(1).head_order("course-positional")


def test_one_draw_gives_one_model_for_each_name_with_its_heads_permuted(monkeypatch):
    models = pytest.importorskip("mechinterp_course.models")
    monkeypatch.setattr(
        models, "load_language_model", lambda name, device, head_order: [name, device, head_order]
    )
    draw = Draw(4)
    model = draw.language_model()
    assert model == ["course-gpt2", "cpu", draw.head_order("course-gpt2")]
    assert draw.language_model() is model
    assert draw.restart().language_model() == model
    assert draw.restart().language_model() is not model
    assert draw.fork("another").language_model()[2] != model[2]


def test_one_draw_gives_one_vision_model_for_each_name_with_its_channels_in_another_order(monkeypatch):
    models = pytest.importorskip("mechinterp_course.models")
    monkeypatch.setattr(
        models, "load_vision_model", lambda name, device, channel_seed: [name, device, channel_seed]
    )
    draw = Draw(4)
    model = draw.vision_model()
    assert model == ["course-resnet18", "cpu", draw.channel_seed("course-resnet18")]
    assert draw.vision_model() is model
    assert draw.restart().vision_model() == model
    assert draw.restart().vision_model() is not model
    assert len({each.channel_seed("course-resnet18") for each in (draw, draw.fork("a"), draw.fork("b"))}) == 3
    assert draw.vision_model("course-resnet18-robust")[2] != model[2]


def test_images_are_pictures_of_seeds_that_training_never_draws():
    images, seeds = Draw(2).images(3), Draw(2).image_seeds(3)
    assert images.shape == (3, 3, 64, 64) and 0 <= images.min() < images.max() <= 1
    assert min(seeds) >= 2**52 and len(set(seeds)) == 3

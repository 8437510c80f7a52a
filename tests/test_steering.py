"""Steering: what is added, taken out or held at a hook, everywhere and only inside the block."""

import pytest
import torch

from mechinterp_course import steering
from mechinterp_course.errors import CourseError
from mechinterp_course.models import load_language_model, load_sae

HOOK = "blocks.3.hook_resid_pre"


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def tokens(model):
    return model.to_tokens(
        ["User: how do I draw a kite? Assistant:", "User: how do I sell my sandwich? Assistant:"]
    )


def read(model, tokens):
    return model.run_with_cache(tokens, names_filter=HOOK)[1][HOOK]


def a_direction(seed=0):
    return torch.randn(192, generator=torch.Generator().manual_seed(seed))


def test_adding_moves_every_position_by_the_same(model, tokens):
    intact = read(model, tokens)
    with steering.adding(model, HOOK, a_direction(), 2.5):
        moved = read(model, tokens)
    assert torch.allclose(moved - intact, (2.5 * a_direction()).expand_as(intact), atol=1e-4)
    assert torch.equal(read(model, tokens), intact)


@pytest.mark.parametrize("positions", [[1, 3], slice(4, 6), torch.tensor([0])])
def test_positions_are_the_only_ones_that_change(model, tokens, positions):
    intact = read(model, tokens)
    with steering.adding(model, HOOK, a_direction(), 1.0, positions):
        changed = (read(model, tokens) != intact).any(-1)
    wanted = torch.zeros_like(changed)
    wanted[:, positions] = True
    assert torch.equal(changed, wanted)


def test_a_mask_chooses_positions_of_each_prompt(model, tokens):
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    intact = read(model, tokens)
    with steering.adding(model, HOOK, a_direction(), 1.0, mask):
        assert torch.equal((read(model, tokens) != intact).any(-1), mask)


@pytest.mark.parametrize("at", [0.0, -3.0])
def test_ablating_holds_the_component_and_leaves_the_rest(model, tokens, at):
    unit = a_direction() / a_direction().norm()
    intact = read(model, tokens)
    with steering.ablating(model, HOOK, 7 * unit, at):
        held = read(model, tokens)
    assert torch.allclose(held @ unit, torch.full(tokens.shape, at), atol=1e-4)
    rest = intact - (intact @ unit)[..., None] * unit
    assert torch.allclose(held - at * unit, rest, atol=1e-4)


def test_clamping_moves_along_the_decoder_row_and_keeps_the_error(model, sae, tokens):
    intact = read(model, tokens)
    with steering.clamping(model, HOOK, sae, 102, 9.0):
        moved = read(model, tokens)
    expected = (9.0 - sae.encode(intact)[..., 102])[..., None] * sae.W_dec[102]
    assert torch.allclose(moved - intact, expected, atol=1e-4)


def test_a_feature_that_does_not_fire_is_ablated_by_nothing(model, sae, tokens):
    fires = sae.encode(read(model, tokens)).amax((0, 1))
    silent = int((fires == 0).nonzero()[0])
    with steering.clamping(model, HOOK, sae, silent, 0.0):
        assert torch.allclose(read(model, tokens), model.run_with_cache(tokens)[1][HOOK])


def test_generation_is_steered_alike_with_and_without_a_cache(model, sae, tokens):
    direction = a_direction(3) / a_direction(3).norm()
    for context in (
        lambda: steering.adding(model, HOOK, direction, 12.0),
        lambda: steering.ablating(model, HOOK, direction),
        lambda: steering.clamping(model, HOOK, sae, 102, 9.0),
    ):
        with context():
            said = [
                model.generate(
                    tokens[:1], max_new_tokens=5, do_sample=False, use_past_kv_cache=kept, verbose=False
                )
                for kept in (True, False)
            ]
        assert torch.equal(*said)


def test_no_hook_outlives_its_block_even_after_an_error(model, tokens):
    intact = model(tokens)
    with pytest.raises(ZeroDivisionError), steering.adding(model, HOOK, a_direction(), 5.0):
        raise ZeroDivisionError
    assert torch.equal(model(tokens), intact)


def test_a_hook_that_is_none_says_so(model):
    with (
        pytest.raises(CourseError, match="resid_pre"),
        steering.adding(model, HOOK + "e", a_direction(), 1.0),
    ):
        pass


def test_difference_of_means_points_to_the_positive():
    positive, negative = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.zeros(3, 2)
    assert torch.allclose(steering.difference_of_means(positive, negative), torch.tensor([0.6, 0.8]))

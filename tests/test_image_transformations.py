"""Transformations move pixels as they say, each picture by its own draw, from one generator."""

import pytest
import torch

from mechinterp_course.image_transformations import (
    GENTLE,
    NONE,
    STANDARD,
    Move,
    Transformation,
    compose,
    jitter,
    pad,
    rotate,
    scale,
    shift,
)

PICTURE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(transformation, picture=PICTURE, seed=0):
    return transformation(picture, seeded(seed))


@pytest.mark.parametrize("right, down", [(3, 0), (0, -2), (-1, 4)])
def test_a_shift_moves_pixels_right_and_down(right, down):
    expected = PICTURE.roll((down, right), dims=(2, 3))
    inner = (..., slice(5, 11), slice(5, 11))
    torch.testing.assert_close(moved(shift(right, down))[inner], expected[inner], rtol=1e-4, atol=1e-4)


def test_a_quarter_turn_is_clockwise():
    quarter = Transformation((Move(degrees=(90, 90)),))
    torch.testing.assert_close(moved(quarter), PICTURE.rot90(-1, dims=(2, 3)), rtol=1e-4, atol=1e-4)


def test_twice_the_size_shows_the_middle():
    picture = torch.zeros(1, 3, 16, 16)
    picture[..., 6:10, 6:10] = 1.0
    large = moved(scale(2, 2), picture)
    assert large[..., 5:11, 5:11].min() == 1 and large[..., :3, :].max() == 0
    assert large.sum() == pytest.approx(4 * picture.sum().item(), rel=0.05)


@pytest.mark.parametrize("fill, expected", [("gray", 0.5), ("border", 0.25), ("reflection", 0.25)])
def test_a_margin_is_filled(fill, expected):
    framed = moved(pad(3, fill), torch.full((1, 3, 16, 16), 0.25))
    assert framed.shape == (1, 3, 22, 22)
    torch.testing.assert_close(framed[..., 0, 0], torch.full((1, 3), expected))
    torch.testing.assert_close(framed[..., 3:19, 3:19], torch.full((1, 3, 16, 16), 0.25))


def test_composed_transformations_do_the_first_one_first():
    turn = Transformation((Move(degrees=(90, 90)),))
    one_after_the_other = moved(turn, moved(shift(4, 0)))
    inner = (..., slice(5, 11), slice(5, 11))
    torch.testing.assert_close(
        moved(compose(shift(4, 0), turn))[inner], one_after_the_other[inner], rtol=1e-4, atol=1e-4
    )
    other = moved(compose(turn, shift(4, 0)))[inner]
    assert (other - one_after_the_other[inner]).abs().max() > 0.1


def test_composed_margins_add_up():
    assert moved(compose(pad(2), jitter(1), pad(3))).shape == (1, 3, 26, 26)
    assert compose(jitter(1), pad(3)).fill == "gray" and compose(jitter(1)).fill == "reflection"


@pytest.mark.parametrize(
    "transformation", [jitter(3), rotate(20), scale(0.8, 1.2), STANDARD, GENTLE, compose(pad(2), jitter(2))]
)
def test_each_picture_is_moved_by_its_own_draw_and_a_seed_gives_the_same_again(transformation):
    pictures = PICTURE.expand(3, -1, -1, -1)
    first, again, other = (transformation(pictures, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first[0] - first[1]).abs().max() > 0.01
    assert first.min() >= 0 and first.max() <= 1
    generator = seeded(1)
    assert not torch.equal(transformation(pictures, generator), transformation(pictures, generator))


@pytest.mark.parametrize(
    "transformation, bounds",
    [
        (jitter(3), {"right": (-3, 3), "down": (-3, 3)}),
        (rotate(20), {"degrees": (-20, 20)}),
        (scale(0.8, 1.2), {"size": (0.8, 1.2)}),
    ],
)
def test_draws_reach_both_ends_of_their_range(transformation, bounds):
    matrices = transformation.matrices(4000, seeded())
    inverse = torch.linalg.inv(matrices)
    found = {
        "right": inverse[:, 0, 2],
        "down": inverse[:, 1, 2],
        "degrees": torch.rad2deg(torch.atan2(inverse[:, 1, 0], inverse[:, 0, 0])),
        "size": inverse[:, :2, :2].det().sqrt(),
    }
    for name, (low, high) in bounds.items():
        assert found[name].min() == pytest.approx(low, abs=0.02 * (high - low))
        assert found[name].max() == pytest.approx(high, abs=0.02 * (high - low))
        assert found[name].mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_no_transformation_leaves_pictures_alone_and_draws_nothing():
    generator = seeded()
    before = generator.get_state()
    assert NONE(PICTURE, generator) is PICTURE
    assert torch.equal(generator.get_state(), before)


def test_gradients_flow_back_to_the_place_that_was_moved():
    picture = PICTURE.clone().requires_grad_()
    shift(2, 0)(picture, seeded())[0, 0, 8, 8].backward()
    gradient = torch.zeros_like(picture)
    gradient[0, 0, 8, 6] = 1.0
    torch.testing.assert_close(picture.grad, gradient, rtol=1e-3, atol=1e-3)


def test_only_the_generator_is_drawn_from():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    moved(STANDARD)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_moves_pictures_as_the_cpu_does():
    pictures = PICTURE.expand(3, -1, -1, -1)
    there = STANDARD(pictures.cuda(), seeded())
    torch.testing.assert_close(there.cpu(), STANDARD(pictures, seeded()), rtol=1e-4, atol=1e-4)

"""Laws of what is optimized in place of pixels."""

import pytest
import torch

from mechinterp_course.image_parameterizations import (
    IMAGENET_COLOURS,
    UNCORRELATED,
    WORLD_COLOURS,
    FourierImage,
    PixelImage,
    colour_matrix,
    coloured,
    colours_of,
    decorrelated,
    fourier_frequencies,
)
from mechinterp_course.models import load_vision_model
from mechinterp_course.worlds import images

SIZES = (16, 31, 64)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_fourier_coefficients_and_back_is_the_same_plane(size, decay):
    image, plane = FourierImage(size, decay=decay), noise(2, 3, size, size)
    torch.testing.assert_close(image.plane(image.parameters_of(plane)), plane, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image", [PixelImage(32), FourierImage(32)], ids=["pixels", "fourier"])
def test_a_start_is_nearly_gray_and_all_pictures_are_in_range(image):
    start = image.start(4, torch.Generator().manual_seed(0))
    gray = image.pixels(start)
    assert gray.shape == (4, 3, 32, 32) and (gray - 0.5).abs().max() < 0.2
    wild = image.pixels(1000 * noise(*start.shape))
    assert wild.min() >= 0 and wild.max() <= 1
    assert torch.equal(start, image.start(4, torch.Generator().manual_seed(0)))


def test_without_scale_or_damping_all_frequencies_have_equal_power_and_with_decay_one_over_f():
    start = {"count": 200, "generator": torch.Generator().manual_seed(0)}
    flat = FourierImage(32, decay=0.0, damping=None)
    steep = FourierImage(32, decay=1.0, damping=None)
    parameters = flat.start(**start)
    power = {
        image.decay: torch.fft.rfft2(image.plane(parameters)).abs().square().mean(dim=(0, 1))
        for image in (flat, steep)
    }
    ratio = power[1.0] / power[0.0] * fourier_frequencies(32).clamp(min=1 / 32) ** 2
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-3, atol=1e-3)


def test_frequencies_are_in_cycles_a_pixel():
    column = torch.arange(32) / 32
    wave = torch.cos(2 * torch.pi * 5 * column).expand(32, 32)  # five periods across
    power = torch.fft.rfft2(wave).abs()
    assert fourier_frequencies(32).flatten()[power.argmax()].item() == pytest.approx(5 / 32)


def test_contrast_is_bounded_in_logits():
    image = FourierImage(32, contrast=0.5)
    logits = image.pixels(100 * noise(3, 3, 32, 17, 2)).logit()
    torch.testing.assert_close(logits.std(dim=(1, 2, 3)), torch.full((3,), 0.5), rtol=1e-3, atol=1e-3)


def test_a_colour_matrix_is_a_root_of_the_covariance_and_decorrelates():
    pictures = torch.stack([images.sample(seed).image for seed in range(8)])
    matrix = colour_matrix(pictures)
    pixels = pictures.transpose(0, 1).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.cov(pixels), rtol=1e-4, atol=1e-5)
    amounts = decorrelated(pictures, matrix)
    covariance = torch.cov(amounts.transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, torch.eye(3), rtol=1e-3, atol=1e-3)
    back = coloured(amounts, matrix) + pictures.mean(dim=(0, 2, 3))[:, None, None]
    torch.testing.assert_close(back, pictures, rtol=1e-4, atol=1e-4)
    lengths = matrix.norm(dim=0)
    assert lengths[0] > lengths[1] > lengths[2] > 0


def test_the_worlds_colours_are_as_measured_on_it():
    pictures = torch.stack([images.sample(seed).image for seed in range(400)])
    measured = colour_matrix(pictures)
    directions = measured / measured.norm(dim=0)
    ours = torch.tensor(WORLD_COLOURS)
    cosine = (directions * ours / ours.norm(dim=0)).sum(dim=0)
    assert (cosine.abs() > 0.95).all()


def test_the_transposed_colours_are_others():
    plane = noise(1, 3, 8, 8)
    turned = torch.tensor(WORLD_COLOURS).T
    assert (coloured(plane, WORLD_COLOURS) - coloured(plane, turned)).abs().max() > 0.1
    assert torch.equal(coloured(plane, UNCORRELATED), plane)


def test_a_models_colours_follow_from_what_it_subtracts():
    assert colours_of(load_vision_model()) == WORLD_COLOURS
    assert colours_of(torch.nn.Identity()) == IMAGENET_COLOURS

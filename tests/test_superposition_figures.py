"""The readout of tokens from a few directions: right where the truth is known, blind where nothing is."""

import torch

from mechinterp_course.figures.superposition import readout, tokens_told_apart
from mechinterp_course.models import load_language_model

TOKENS, DIRECTIONS, SAMPLES = 40, 8, 4000


def samples(noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Forty random directions in a space of eight, each sample one of them and noise."""
    directions = torch.randn(TOKENS, DIRECTIONS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(TOKENS, (SAMPLES,), generator=generator)
    noisy = directions[tokens] + noise * torch.randn(SAMPLES, DIRECTIONS, generator=generator)
    return noisy, tokens


def test_more_features_than_directions_are_told_apart_when_there_is_little_noise():
    fitted = readout(
        *(each.double() if each.is_floating_point() else each for each in samples(0.2, 1)), TOKENS
    )
    activations, tokens = samples(0.2, 2)
    assert fitted.accuracy(activations.double(), tokens) > 0.97


def test_noise_that_hides_the_features_leaves_a_guess():
    fitted = readout(*samples(100.0, 1), TOKENS)
    assert fitted.accuracy(*samples(100.0, 2)) < 3 / TOKENS


def test_one_layer_that_looks_back_a_fixed_distance_holds_the_current_token_only_before_its_attention():
    model = load_language_model("course-positional")
    found = tokens_told_apart(model, layer=0, rank=32)
    assert found["current"] > 0.95 and found["previous"] < 0.05

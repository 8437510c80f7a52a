"""Findings by layer: fields, tuning and reports on cases whose truth is known."""

from math import pi

import pytest
import torch

from mechinterp_course.layer_findings import effective_receptive_field, layer_report, orientation_tuning


@pytest.mark.parametrize(
    ("place", "share", "side"),
    [((4, 4), 0.9, 9), ((4, 4), 0.01, 1), ((4, 4), 25 / 81, 5), ((0, 0), 1.0, 17), ((0, 0), 4 / 81, 3)],
)
def test_a_field_that_is_even_has_the_side_that_its_share_asks_for(place, share, side):
    assert effective_receptive_field(torch.ones(2, 3, 9, 9), *place, share) == side


def test_a_gradient_of_zero_has_no_field():
    with pytest.raises(ValueError, match="no pixel moves"):
        effective_receptive_field(torch.zeros(1, 3, 5, 5), 2, 2)


@pytest.mark.parametrize("top", [0.0, 0.4, pi / 2, 3.0])
def test_the_top_of_a_cosine_is_found_from_uneven_angles(top):
    angle = torch.rand(40, generator=torch.Generator().manual_seed(0)).square() * 9
    responses = (7 + 2 * (2 * (angle - top)).cos())[:, None]
    preferred, share = orientation_tuning(responses, angle)[:, 0]
    assert share == pytest.approx(1, abs=1e-5)
    assert (2 * (preferred - top)).cos() == pytest.approx(1, abs=1e-5)


def test_a_channel_that_never_varies_prefers_nothing():
    assert orientation_tuning(torch.full((9, 1), 0.1), torch.arange(9.0)).tolist() == [[0], [0]]


def test_an_untrained_network_beside_itself_has_one_channel_in_twenty_beyond_chance():
    generator = torch.Generator().manual_seed(1)
    null = {"hue": {"one": torch.randn(60, 400, generator=generator)}}
    row = layer_report(null, null, {"hue": torch.arange(60) % 4})["one"]
    assert row["hue"]["beyond"] == pytest.approx(0.05)
    assert row["hue"]["explained"] == pytest.approx(0, abs=0.01)
    assert row["silent"] == 0

"""Probes, dose-response curves and paired intervals: what their chapter's checks rest on."""

import pytest
import torch

from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.exact_bootstrap import a_change, distribution, expect_bounds
from mechinterp_course.checking.refusal_draws import planted_groups, two_groups
from mechinterp_course.checking.verdict import CheckFailed
from mechinterp_course.paired_bootstrap import share_cut_interval
from mechinterp_course.probing import probe_direction, share_read


def test_a_probe_reads_separate_groups_without_an_error_and_its_mirror_none():
    positive, negative, *_ = planted_groups(Draw(1))
    direction, threshold = probe_direction(positive, negative, 1e-4)
    assert share_read(direction, threshold, positive, negative) == 1
    assert share_read(direction, threshold, negative, positive) == 0


def test_a_heavy_penalty_leaves_the_difference_of_means():
    positive, negative = two_groups(Draw(2))
    direction, _ = probe_direction(positive, negative, 1e6)
    means = positive.mean(0) - negative.mean(0)
    assert (direction @ means / means.norm()).item() == pytest.approx(1, abs=1e-5)


def test_the_distribution_of_resamples_is_that_of_many_drawn_ones():
    before, after = a_change(Draw(3), 12, 7, 4, 1)
    values, chances = distribution(before, after)
    drawn = torch.randint(12, (40000, 12), generator=torch.Generator().manual_seed(0))
    cuts = 1 - after[drawn].double().sum(1) / before[drawn].double().sum(1)
    assert chances.sum().item() == pytest.approx(1)
    for value in values[::5].tolist():
        assert (cuts <= value + 1e-6).double().mean().item() == pytest.approx(
            chances[values <= value + 1e-6].sum().item(), abs=0.015
        )


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bounds_are_let_pass_and_those_of_another_level_are_not(level):
    before, after = a_change(Draw(4), 24, 18, 12, 2)
    expect_bounds(share_cut_interval(before, after, 10000, 5, level), before, after, 10000, level)
    with pytest.raises(CheckFailed, match="resamples below it"):
        expect_bounds(share_cut_interval(before, after, 10000, 5, 2 * level - 1), before, after, 10000, level)


def test_without_a_refusal_there_is_no_share():
    with pytest.raises(ValueError, match="nothing was refused"):
        share_cut_interval(torch.zeros(5) > 0, torch.ones(5) > 0, 10, 0)

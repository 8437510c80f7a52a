"""What the prose of ch05_superposition says about its toy models is what they do, with a margin."""

import math

import pytest
import torch

from mechinterp_course import superposition as toy
from mechinterp_course import superposition_neurons as neurons
from mechinterp_course import superposition_phases as phases
from mechinterp_course.superposition_geometry import describe, feature_dimensionality, figures

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
IMPORTANCE = (0.9 ** torch.arange(5.0)).expand(5, 5)


def shapes(models):
    return [describe(figures(W)) for W in models.W]


def test_with_dense_features_most_models_keep_the_two_that_matter_most_at_right_angles():
    models = toy.train_models(torch.ones(5, 5), IMPORTANCE, 2, seed=0)
    assert shapes(models).count("2 dedicated") >= 4
    two = [sorted(W.norm(dim=-1).topk(2).indices.tolist()) == [0, 1] for W in models.W]
    assert sum(two) >= 4


def test_with_rare_features_most_models_keep_all_five_as_a_pentagon():
    models = toy.train_models(torch.full((5, 5), 0.05), IMPORTANCE, 2, seed=0)
    assert shapes(models).count("pentagon") >= 4


def test_of_ten_seeds_nearly_all_are_pentagons_and_one_pays_three_times_as_much():
    chance = torch.full((10, 5), 0.01)
    models = toy.train_models(chance, torch.ones(10, 5), 2, seed=0)
    lost = toy.loss_on_new_data(models, chance, torch.ones(10, 5), seed=0)
    found = shapes(models)
    assert 8 <= found.count("pentagon") < 10 and "2 digons" in found
    pentagons = [loss for loss, name in zip(lost.tolist(), found, strict=True) if name == "pentagon"]
    assert max(pentagons) < 1.4 * min(pentagons) and lost[found.index("2 digons")] > 2.5 * min(pentagons)


def test_dimensionality_rests_at_a_half_and_all_dimensions_are_used_throughout():
    sweep = torch.tensor([0.55, 0.42, 0.33, 0.03, 0.01])
    models = toy.train_models(sweep[:, None].expand(-1, 40).contiguous(), torch.ones(5, 40), 10, seed=0)
    part, kept = feature_dimensionality(models.W), models.W.norm(dim=-1) > 0.5
    assert (part.sum(-1) - 10).abs().max() < 0.1
    for one, has in zip(part[:3], kept[:3], strict=True):
        assert has.sum() == 20 and (one[has] - 0.5).abs().max() < 0.02
    assert (kept[3:].sum(-1) >= 39).all() and (part[3:].mean(-1) - 0.25).abs().max() < 0.01


@pytest.mark.parametrize("probability", [0.4, 0.1])
def test_pairs_that_never_meet_are_opposite_and_those_that_meet_are_not(probability):
    opposite, alike, orthogonal = {}, {}, {}
    for kind in toy.PAIRS:
        models = toy.train_models(
            torch.full((12, 4), probability), torch.ones(12, 4), 2, seed=0, steps=500, pairs=kind
        )
        unit = models.W / models.W.norm(dim=-1, keepdim=True)
        cosines = torch.stack([(unit[:, n] * unit[:, n + 1]).sum(-1) for n in (0, 2)])
        opposite[kind], alike[kind] = (cosines < -0.9).sum(), (cosines > 0.9).sum()
        orthogonal[kind] = (cosines.abs() < 0.2).sum()
    if probability == 0.4:
        assert opposite["correlated"] < opposite["independent"] < opposite["anticorrelated"] - 8
        assert alike["correlated"] > 12 > 4 >= alike["independent"] and opposite["anticorrelated"] >= 18
    else:
        assert orthogonal["correlated"] > 18 > orthogonal["independent"]


def test_phases_have_sharp_borders_and_the_search_sides_with_the_trained_models():
    grid = torch.logspace(0, math.log10(0.05), 7).tolist(), torch.logspace(-1, 1, 7).tolist()
    diagram = phases.phase_diagram(*grid, steps=400)
    assert diagram.agreement("trained", "formula") > 0.93
    assert diagram.agreement("trained", "searched") > 0.97
    assert ((diagram.norm > 0.25) & (diagram.norm < 0.6)).double().mean() < 0.05
    outside = diagram.trained != diagram.formula
    assert (diagram.trained[outside] == 2).all()  # where they differ, models superpose and formulas don't
    assert (diagram.trained[:, -1] == 2).all()
    border = phases.phase_losses(torch.tensor([4 / 7 - 0.01, 4 / 7 + 0.01]), torch.ones(2))
    assert border.argmin(0)[0] == 2 != border.argmin(0)[1]  # two alike share a dimension below p = 4/7


def test_neurons_with_a_relu_keep_features_in_most_seeds_and_a_linear_layer_has_no_axes():
    turns = neurons.random_rotations(6, 199, seed=0)
    chance, even = torch.full((6, 6), 0.3), torch.ones(6, 6)
    p_values, lost = {}, {}
    for relu in (True, False):
        models = toy.train_models(chance, even, 6, seed=0, steps=1000, hidden_relu=relu)
        p_values[relu] = sorted(neurons.basis_p_value(W, turns) for W in models.W)
        lost[relu] = toy.loss_on_new_data(models, chance, even, seed=0).mean()
    assert p_values[True][3] <= 2 / 200 and p_values[True][-1] > 0.1
    assert p_values[False][0] > 0.05 and p_values[False][-1] > 0.7
    assert lost[False] < lost[True]


def test_eight_absolute_values_in_six_neurons_pay_when_features_are_rare():
    W_in, W_out = neurons.absolute_value_weights(8)
    error = {}
    for rate in (0.5, 0.2, 0.1, 0.01):
        x = neurons.signed_features(rate, 20_000, 8, seed=0)
        wrong = neurons.through_neurons(x, W_in, W_out) - x.abs()
        error[rate] = (wrong.square().sum() / x.square().sum()).item()
    left_out = 5 / 8  # by two neurons for each of three features
    assert error[0.5] > 1.1 and error[0.2] > left_out > error[0.1] and error[0.01] < left_out / 6

"""Checks of solutions/ch05_superposition/chapter.py, version 021e45b39ccb.

Written by `python -m mechinterp_course.authoring ch05_superposition`: edit the source instead.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course import (
    superposition,
    superposition_geometry,
    superposition_neurons,
    superposition_phases,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises, toy_models

Features = Float[Tensor, "batch instance feature"]
Weights = Float[Tensor, "instance feature hidden"]
PerFeature = Float[Tensor, "instance feature"]
ANSWERS = {"dims": "batch instance feature", "atol": 1e-5}  # results are compared by axes, up to rounding
BY_INSTANCE = {"dims": "instance", "atol": 1e-5}
BY_FEATURE = {"dims": "instance feature", "atol": 1e-5}


def toy_output__agrees_with_the_reference(student, draw):
    """toy_output agrees with the reference for several numbers of examples, instances, features and dimensions"""
    for _ in range(3):
        case = toy_models.features(draw), *toy_models.weights(draw)
        features, W, b = toy_models.matching(draw, *case)
        expect_close(student.toy_output(features, W, b), superposition.toy_output(features, W, b), **ANSWERS)


def toy_output__an_antipodal_pair_by_hand(student, draw):
    """two opposite features in one dimension come back as by hand: each alone exactly, both together as their difference"""
    first, second, bias = (0.2 + 0.6 * draw.normal(3).sigmoid()).tolist()
    x = torch.tensor([[first, 0.0], [0.0, second], [first, first / 2], [0.0, 0.0]], device=draw.device)
    features = torch.stack([x, x, 2 * x], dim=1)
    W = torch.tensor([[[1.0], [-1.0]], [[1.0], [0.0]], [[0.0], [-2.0]]], device=draw.device)
    b = torch.tensor([[0.0, 0.0], [0.0, bias], [-bias, -bias]], device=draw.device)
    pair = torch.stack([(x[:, 0] - x[:, 1]).relu(), (x[:, 1] - x[:, 0]).relu()], dim=1)
    alone = torch.stack([x[:, 0], torch.full_like(x[:, 0], bias)], dim=1)
    double = torch.stack([0 * x[:, 0], (8 * x[:, 1] - bias).relu()], dim=1)
    expect_close(student.toy_output(features, W, b), torch.stack([pair, alone, double], dim=1), **ANSWERS)


def toy_output__instances_are_apart_and_the_hidden_layer_has_no_axes(student, draw):
    """an instance alone gives what it gives among others, turning the hidden dimensions changes nothing, nor does a call its arguments"""
    features, W, b = toy_models.matching(draw, toy_models.features(draw), *toy_models.weights(draw))
    found = student.toy_output(features, W, b)
    toy_models.expect_like(found, features)
    alone = student.toy_output(features[:, 1:2], W[1:2], b[1:2])
    expect_close(alone, found[:, 1:2], **ANSWERS)
    turn = torch.linalg.qr(draw.normal(W.shape[-1], W.shape[-1])).Q
    expect_close(student.toy_output(features, W @ turn, b), found, dims="batch instance feature", atol=1e-4)
    toy_models.expect_untouched(student, student.toy_output, features, W, b)


def toy_loss__agrees_with_the_reference(student, draw):
    """toy_loss agrees with the reference for drawn outputs, features and importances"""
    for _ in range(3):
        case = toy_models.outcome(draw)
        expect_close(student.toy_loss(*case), superposition.toy_loss(*case), **BY_INSTANCE)


def toy_loss__known_cases_and_laws(student, draw):
    """a case by hand; the batch twice over costs the same, more features cost more, and an instance alone what it costs among others"""
    features = torch.zeros(2, 2, 3, device=draw.device)
    output = torch.tensor([[[1.0, 0, 0], [0, 2.0, 0]], [[0, 0, 3.0], [0, 0, -1.0]]], device=draw.device)
    importance = torch.tensor([[1.0, 9.0, 0.5], [7.0, 3.0, 2.0]], device=draw.device)
    expect_close(
        student.toy_loss(output, features, importance), output.new_tensor([2.75, 7.0]), **BY_INSTANCE
    )
    output, features, importance = toy_models.outcome(draw)
    cost = student.toy_loss(output, features, importance)
    toy_models.expect_like(cost, importance[:, 0])
    twice = student.toy_loss(output.repeat(2, 1, 1), features.repeat(2, 1, 1), importance)
    expect_close(twice, cost, **BY_INSTANCE)
    wider = [each.repeat(*[1] * (each.dim() - 1), 2) for each in (output, features, importance)]
    expect_close(student.toy_loss(*wider), 2 * cost, **BY_INSTANCE)
    expect_close(student.toy_loss(output[:, 1:], features[:, 1:], importance[1:]), cost[1:], **BY_INSTANCE)


def sparse_features__each_feature_is_present_at_its_own_rate(student, draw):
    """each feature of each instance is present with its own probability, and then uniform in [0, 1]"""
    probability = toy_models.probabilities(draw, instances=3, features=5)
    found = student.sparse_features(probability, 3000, draw.seed())
    toy_models.expect_rates(found, probability)
    toy_models.expect_uniform(found)


def sparse_features__pairs_are_present_together_or_never(student, draw):
    """correlated features come together, each with a value of its own; anticorrelated ones never do, and each at its own rate"""
    probability = toy_models.probabilities(draw, instances=3, features=4)
    for kind in ("correlated", "anticorrelated"):
        found = student.sparse_features(probability, 3000, draw.seed(), kind)
        toy_models.expect_pairs(found, probability, kind)
        sure = torch.tensor([[1.0, 0.0, 0.0, 1.0]], device=draw.device)
        found = student.sparse_features(sure, 9, draw.seed(), kind)
        known = sure.new_tensor([[1.0, 1, 0, 0]]) if kind == "correlated" else sure
        expect_close((found != 0).float(), known.expand(9, 1, 4), dims="batch instance feature")


def sparse_features__nothing_else_goes_together(student, draw):
    """examples, instances and features that are no pair are independent, and the seed decides all"""
    probability = toy_models.probabilities(draw, instances=3, features=4)
    for kind in ("independent", "correlated", "anticorrelated"):
        seed = draw.seed()
        found = student.sparse_features(probability, 3000, seed, kind)
        toy_models.expect_independent(found, kind)
        again = student.sparse_features(probability, 3000, seed, kind)
        expect(torch.equal(again, found), "The same seed gives different features.")
    other = student.sparse_features(probability, 3000, seed + 1, kind)
    expect(not torch.equal(other, found), "Different seeds give the same features.")
    toy_models.expect_untouched(student, student.sparse_features, probability, 5, seed, kind)


def train_toy__reaches_a_pentagon_s_loss(student, draw):
    """of sixty instances with rare features at least half lose no more than 1.25 times what the best pentagon loses"""
    probability, importance = (torch.full((60, 5), each, device=draw.device) for each in (0.08, 1.0))
    found = student.train_toy(probability, importance, 2, draw.seed(), 300)
    losses = toy_models.loss_of(found, probability, importance, 2)
    ratios = losses / toy_models.pentagon_loss(probability, importance)
    good = (ratios <= 1.25).sum().item()
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios.quantile(torch.linspace(0, 1, 5)).tolist())
    expect(
        good >= 30,
        f"On new data {good} of 60 do. Least, quartiles and most of loss over pentagon's: {shown}.",
    )


def train_toy__every_instance_gets_its_own_task(student, draw):
    """dense features that matter keep a dimension each, whichever they are, beside instances with rare features"""
    probability, importance = torch.full((7, 5), 0.08), torch.ones(7, 5)
    for instance, two in enumerate(([0, 3], [1, 4], [2, 4])):
        probability[instance], importance[instance] = 0.95, 0.03
        importance[instance, two] = 1.0
    probability, importance = probability.to(draw.device), importance.to(draw.device)
    found = student.train_toy(probability, importance, 2, draw.seed(), 350)
    losses = toy_models.loss_of(found, probability, importance, 2)
    dedicated = (importance[:3].sum(1) - 2) * (0.95 / 3 - 0.95**2 / 4)
    good = (losses[:3] <= 2.5 * dedicated).sum().item()
    expect(good >= 2, f"Only {good} of 3 instances keep the two features that matter, with dense features.")
    rare = losses[3:] <= 1.6 * toy_models.pentagon_loss(probability[3:], importance[3:])
    expect(bool(rare.any()), "Beside instances with dense features, none with rare ones reaches its loss.")


def train_toy__depends_on_the_seed_and_the_steps(student, draw):
    """the same seed gives the same weights, another seed others, one step is not enough, and nothing that was given is changed"""
    case = torch.full((3, 4), 0.3, device=draw.device), torch.ones(3, 4, device=draw.device), 2
    seed = draw.seed()
    first, again, other = (student.train_toy(*case, each, 3) for each in (seed, seed, seed + 1))
    toy_models.expect_trained(first, 3, 4, 2)
    for one, two, dims in zip(again, first, ("instance feature hidden", "instance feature"), strict=True):
        expect_close(one, two, dims=dims)
    moved = (other[0] - first[0]).abs().max() > 0.01
    expect(bool(moved), "Another seed gives the same weights.")
    probability, importance = (torch.full((6, 5), each, device=draw.device) for each in (0.08, 1.0))
    losses = toy_models.loss_of(
        student.train_toy(probability, importance, 2, seed, 1), probability, importance, 2
    )
    good = (losses <= 1.25 * toy_models.pentagon_loss(probability, importance)).sum().item()
    expect(good < 3, "After a single step the models are trained: `steps` is not used.")
    toy_models.expect_untouched(student, student.train_toy, *case, seed, 1)


def interference__agrees_with_the_reference(student, draw):
    """interference agrees with the reference on drawn weights, in more and in fewer dimensions than features"""
    for _ in range(3):
        W = toy_models.any_weights(draw)
        expect_close(student.interference(W), superposition_geometry.interference(W), **BY_FEATURE)


def interference__known_figures(student, draw):
    """orthogonal features hear nothing, half of a pair hears the other's square; a silent feature is heard by none and hears none"""
    size, other = (1 + draw.normal(2).square()).tolist()
    W = draw.normal(1, 1, 1) * torch.zeros(3, 4, 2, device=draw.device)
    W[0, 0, 0], W[0, 1, 1] = size, other
    W[1, 0, 0], W[1, 1, 0], W[1, 2, 1] = size, -other, 3.0
    W[2] = torch.tensor([[size, 0], [0, size], [other, other], [0, 0]])
    known = torch.zeros(3, 4)
    known[1, 0], known[1, 1] = other**2, size**2
    known[2] = torch.tensor([other**2, other**2, size**2, 0.0])
    expect_close(student.interference(W), known.to(W), dims="instance feature", atol=1e-4)
    toy_models.expect_untouched(student, student.interference, W)


def feature_dimensionality__agrees_with_the_reference(student, draw):
    """feature_dimensionality agrees with the reference on drawn weights, in more and in fewer dimensions than features"""
    for _ in range(3):
        W = toy_models.any_weights(draw)
        expect_close(
            student.feature_dimensionality(W), superposition_geometry.feature_dimensionality(W), **BY_FEATURE
        )


def feature_dimensionality__known_figures(student, draw):
    """in a pair 1/2, a triangle 2/3, a pentagon 2/5, a tetrahedron 3/4, alone 1 and without norm 0, turned and scaled in any way"""
    for W, known in toy_models.known_figures(draw):
        expect_close(student.feature_dimensionality(W), known, **BY_FEATURE)


def feature_dimensionality__norms_count(student, draw):
    """a long feature takes from a short one that shares its direction; sizes as a whole don't matter, and an instance counts alone"""
    long = draw.choice([2.0, 3.0, 4.0])
    W = torch.tensor([[[long], [-1.0], [0.0]], [[1.0], [1.0], [1.0]]], device=draw.device)
    share = long**2 / (long**2 + 1)
    known = torch.tensor([[share, 1 - share, 0.0], [1 / 3] * 3], device=draw.device)
    expect_close(student.feature_dimensionality(W), known, **BY_FEATURE)
    expect_close(student.feature_dimensionality(1e-3 * W[:1]), known[:1], **BY_FEATURE)
    toy_models.expect_untouched(student, student.feature_dimensionality, W)


def feature_groups__agrees_with_the_reference(student, draw):
    """feature_groups agrees with the reference on mixed figures, in models that you have not seen"""
    for _ in range(4):
        W, _ = toy_models.mixed_figures(draw)
        expect_equal(student.feature_groups(W), superposition_geometry.feature_groups(W), "figures")


def feature_groups__finds_planted_figures(student, draw):
    """pairs, triangles, pentagons and tetrahedra are found under any order of features, any rotation, and a little noise"""
    for _ in range(4):
        W, known = toy_models.mixed_figures(draw)
        expect_equal(student.feature_groups(W), known, "figures")
    toy_models.expect_untouched(student, student.feature_groups, W)


def feature_groups__chains_cosines_and_thresholds(student, draw):
    """a chain of neighbours is one figure, long or short features overlap alike, and both thresholds are used"""
    angle = 2 * math.pi * torch.tensor([0.0, 0.2, 0.4, 0.5]) / 2
    fan = torch.stack([angle.cos(), angle.sin()], dim=1).to(draw.device)
    order = draw.normal(4).argsort().to(draw.device)
    expect_equal(student.feature_groups(fan[order], 0.5, 0.7), [([0, 1, 2, 3], 1)], "figures")
    place = order.argsort().tolist()
    apart = sorted([[place[0]], [place[1]], sorted([place[2], place[3]])])
    expect_equal(student.feature_groups(fan[order], 0.5, 0.9), [(group, 1) for group in apart], "figures")
    links = torch.eye(8)[:7] + torch.eye(8)[1:]  # seven features, of which each meets only the next
    chain = links[draw.normal(7).argsort()].to(draw.device)
    expect_equal(student.feature_groups(chain, 0.5, 0.4), [(list(range(7)), 5)], "figures")
    W = torch.tensor(
        [[0.5, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, -0.4, 0.0], [0.0, 1.0, 0.0]], device=draw.device
    )
    expect_equal(student.feature_groups(W, 0.5, 0.15), [([0], 1), ([1, 3], 1)], "figures")
    expect_equal(student.feature_groups(W, 0.3, 0.15), [([0], 1), ([1, 2, 3], 1)], "figures")
    expect_equal(student.feature_groups(W, 9.0, 0.15), [], "figures")
    W = torch.tensor(
        [[8.0, 0.0, 0.0], [0.8, 8.0, 0.0], [0.0, 0.0, 0.3], [0.0, 0.0, -0.3]], device=draw.device
    )
    expect_equal(student.feature_groups(W, 0.2, 0.15), [([0], 1), ([1], 1), ([2, 3], 1)], "figures")


def phase_losses__agrees_with_the_reference(student, draw):
    """phase_losses agrees with the reference for drawn probabilities and importances"""
    for count in (3, 5):
        case = draw.normal(count).sigmoid(), draw.normal(count).exp()
        expect_close(student.phase_losses(*case), superposition_phases.phase_losses(*case), dims="phase case")


def phase_losses__agrees_with_an_experiment(student, draw):
    """each number is what its model loses on a fine grid of examples, weighted by how likely they are"""
    probability, importance = draw.normal(4).sigmoid(), draw.normal(4).exp()
    known = toy_models.losses_by_counting(probability, importance)
    expect_close(
        student.phase_losses(probability, importance), known, dims="phase case", atol=2e-4, rtol=1e-3
    )


def phase_losses__limits_and_symmetry(student, draw):
    """a feature always there or never; and with the features' roles exchanged, losses are exchanged and scaled"""
    edge = torch.tensor([0.0, 1.0], device=draw.device)
    weight = draw.normal(1).exp().expand(2).contiguous()
    known = torch.stack([weight * edge / 12, edge / 12, (1 + weight) * edge / 6])
    expect_close(student.phase_losses(edge, weight), known, dims="phase case")
    probability, importance = draw.normal(4).sigmoid(), draw.normal(4).exp()
    found = student.phase_losses(probability, importance)
    toy_models.expect_like(found, probability.expand(3, -1))
    exchanged = student.phase_losses(probability, 1 / importance)
    expect_close(importance * exchanged, found[[1, 0, 2]], dims="phase case")
    toy_models.expect_untouched(student, student.phase_losses, probability, importance)


def basis_p_value__agrees_with_the_reference(student, draw):
    """basis_p_value agrees with the reference on weights that keep to neurons more or less"""
    for noise in (0.2, 0.6, 3.0):
        W, rotations = toy_models.leaning_on_axes(draw, noise)
        found = student.basis_p_value(W, rotations)
        expect(type(found) is float, "The result is not a float.")
        expect_close(found, superposition_neurons.basis_p_value(W, rotations))


def basis_p_value__axes_rotations_and_loud_features(student, draw):
    """features on axes have the least p there is, in any order and size; evenly spread ones have 1, and so has what no rotation changes"""
    rotations = toy_models.rotations(draw, 4, 29)
    sizes = (1 + draw.normal(4).square())[:, None]
    axes = (sizes * torch.eye(4, device=draw.device))[draw.normal(4).argsort()]
    expect_close(student.basis_p_value(axes, rotations), 1 / 30)
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], device=draw.device)
    expect_close(student.basis_p_value(signs, rotations), 1.0)
    loud = torch.cat([0.01 * signs, 5 * axes[:1]])
    expect_close(student.basis_p_value(loud, rotations), 1 / 30)
    still = torch.eye(4, device=draw.device).expand(7, 4, 4).contiguous()
    expect_close(student.basis_p_value(draw.normal(5, 4), still), 1.0)
    nearly = toy_models.plane_rotations([0.0014, 0.0027]).to(
        draw.device
    )  # less by 0.4 and by 1.5 parts in 100,000
    expect_close(student.basis_p_value(torch.eye(2, device=draw.device), nearly), 2 / 3)
    toy_models.expect_untouched(student, student.basis_p_value, loud, rotations)


def basis_p_value__refuses_what_has_no_answer(student, draw):
    """with one neuron, or without any feature, ValueError is raised; a single feature will do"""
    one, none = draw.normal(4, 1), torch.zeros(4, 3, device=draw.device)
    for W in (one, none):
        rotations = toy_models.rotations(draw, W.shape[1], 5)
        message = f"W of shape {tuple(W.shape)}{' of zeros' if W is none else ''} should be refused."
        expect_raises("ValueError", lambda W=W, r=rotations: student.basis_p_value(W, r), message)
    single = torch.tensor([[0.0, 2.0, 0.0]], device=draw.device)
    expect_close(student.basis_p_value(single, toy_models.rotations(draw, 3, 9)), 1 / 10)


def absolute_value_weights__is_exact_for_one_feature_at_a_time(student, draw):
    """every feature alone, positive or negative, small or large, comes out as its absolute value, and nothing else does"""
    for features in (draw.integer(4, 6), draw.integer(7, 9), 12):
        found = student.absolute_value_weights(features)
        toy_models.expect_absolute_values(found, features, draw)


def absolute_value_weights__few_features_and_many(student, draw):
    """it works for one, two and three features as well, and always in six neurons, from weights without gradients attached"""
    for features in (1, 2, 3, draw.integer(10, 11)):
        found = student.absolute_value_weights(features)
        toy_models.expect_absolute_values(found, features, draw)

"""Toy models: laws of the data, instances that don't touch each other, known figures, phases, neurons."""

import math

import pytest
import torch

from mechinterp_course import superposition as toy
from mechinterp_course import superposition_geometry as geometry
from mechinterp_course import superposition_neurons as neurons
from mechinterp_course import superposition_phases as phases
from mechinterp_course import superposition_plots as plots
from mechinterp_course.checking.toy_models import corners
from mechinterp_course.errors import CourseError

torch.set_num_threads(1)
FEW = {"steps": 60, "batch": 64}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def task(instances=3, features=5, seed=0):
    """Probabilities and importances that differ from instance to instance."""
    drawn = torch.rand(2, instances, features, generator=seeded(seed))
    return 0.05 + 0.3 * drawn[0], 0.2 + drawn[1]


def test_output_and_loss_by_hand():
    W, b = torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0.0, -0.25]])
    x = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 1.0]]])
    out = toy.toy_output(x, W, b)
    assert out.tolist() == [[[1.0, 0.0]], [[0.0, 0.75]], [[0.0, 0.25]]]
    importance = torch.tensor([[1.0, 2.0]])
    expected = (2 * 0.25**2 + 0.5**2 + 2 * 0.75**2) / 3
    torch.testing.assert_close(toy.toy_loss(out, x, importance), torch.tensor([expected]))


def test_the_hidden_dimensions_of_a_linear_layer_can_be_turned_and_those_of_neurons_can_not():
    generator = seeded(0)
    W, b = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 5, generator=generator)
    x = torch.rand(9, 2, 5, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    torch.testing.assert_close(toy.ToyModels(W @ turn, b).output(x), toy.ToyModels(W, b).output(x))
    one, other = (toy.ToyModels(each, b, hidden_relu=True).output(x) for each in (W, W @ turn))
    assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("pairs", toy.PAIRS)
def test_features_are_present_at_their_rates(pairs):
    probability = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.3, 0.3, 0.05, 0.05]])
    x = toy.sparse_features(probability, 20_000, 1, pairs)
    assert ((x != 0).float().mean(0) - probability).abs().max() < 0.015
    assert x.min() >= 0 and x.max() <= 1 and abs(x[x != 0].mean() - 0.5) < 0.01
    both = ((x[..., ::2] != 0) & (x[..., 1::2] != 0)).float().mean(0)
    known = {
        "independent": probability[:, ::2] ** 2,
        "correlated": probability[:, ::2],
        "anticorrelated": torch.zeros(2, 2),
    }
    assert (both - known[pairs]).abs().max() < 0.015


def test_correlated_features_share_their_presence_and_not_their_value():
    x = toy.sparse_features(torch.full((1, 2), 0.5), 5000, 2, "correlated")[:, 0]
    present = x[x[:, 0] != 0]
    assert torch.corrcoef(present.T)[0, 1].abs() < 0.06


@pytest.mark.parametrize(
    ("probability", "pairs"), [(torch.full((1, 3), 0.1), "correlated"), (torch.full((1, 2), 0.1), "friends")]
)
def test_pairs_that_make_no_sense_are_refused_in_words(probability, pairs):
    with pytest.raises(CourseError, match="pairs"):
        toy.sparse_features(probability, 8, 0, pairs)


def test_an_instance_comes_out_the_same_alone_and_among_others():
    probability, importance = task()
    together = toy.train_models(probability, importance, 2, [7, 8, 9], **FEW)
    for instance, seed in enumerate((7, 8, 9)):
        one = slice(instance, instance + 1)
        alone = toy.train_models(probability[one], importance[one], 2, [seed], **FEW)
        torch.testing.assert_close(alone.W, together.W[one], atol=1e-3, rtol=0)
        torch.testing.assert_close(alone.b, together.b[one], atol=1e-3, rtol=0)


def test_an_instance_does_not_hear_of_its_neighbours():
    probability, importance = task()
    calm = toy.train_models(probability, importance, 2, 3, **FEW)
    importance[0], probability[2] = 1000.0, 0.9
    wild = toy.train_models(probability, importance, 2, 3, **FEW)
    torch.testing.assert_close(wild.W[1], calm.W[1], atol=1e-3, rtol=0)
    assert (wild.W[2] - calm.W[2]).abs().max() > 0.01


def test_training_is_decided_by_its_seeds_and_leaves_global_generators_alone():
    probability, importance = task()
    state = torch.random.get_rng_state()
    first, again, other = (toy.train_models(probability, importance, 2, seed, **FEW) for seed in (4, 4, 40))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.testing.assert_close(first.W, again.W, atol=1e-5, rtol=0)
    assert (first.W - other.W).abs().max() > 0.1 and not first.W.requires_grad


def test_training_reports_its_progress_and_the_loss_falls():
    probability, importance = task()
    steps = list(toy.training(probability, importance, 2, 0, steps=200, batch=64))
    assert [step.done for step in steps][:2] == [16, 32] and steps[-1].done == steps[-1].steps == 200
    lost = [
        toy.loss_on_new_data(step.models, probability, importance, seed=1) for step in (steps[0], steps[-1])
    ]
    assert (lost[1] < lost[0]).all()


@pytest.mark.parametrize(
    ("name", "part", "dimensions"),
    [
        ("alone", 1, 1),
        ("pair", 1 / 2, 1),
        ("triangle", 2 / 3, 2),
        ("pentagon", 2 / 5, 2),
        ("tetrahedron", 3 / 4, 3),
    ],
)
def test_regular_figures_have_their_fractions_and_names(name, part, dimensions):
    W = 1.3 * corners(name)
    found = geometry.feature_dimensionality(W[None])
    torch.testing.assert_close(found, torch.full((1, len(W)), float(part)))
    torch.testing.assert_close(geometry.capacity(W[None]), torch.tensor([float(dimensions)]))
    names = {"alone": "dedicated", "pair": "digon"}
    assert geometry.describe(geometry.figures(W)) == names.get(name, name)


def test_figures_are_described_in_a_few_words():
    W = torch.block_diag(corners("pair"), corners("pair"), corners("alone"), corners("triangle"))
    assert geometry.describe(geometry.figures(W)) == "2 digons + triangle + dedicated"
    assert geometry.describe(geometry.figures(torch.zeros(3, 2))) == "nothing"


def test_interference_and_dimensionality_say_the_same():
    W = torch.randn(3, 6, 2, generator=seeded(5))
    own = W.square().sum(-1)
    expected = own / (own + geometry.interference(W))
    torch.testing.assert_close(geometry.feature_dimensionality(W), expected)


def test_a_feature_without_a_norm_has_no_part_and_hears_nothing():
    W = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])
    assert geometry.feature_dimensionality(W)[0, 1] == 0 and geometry.interference(W)[0, 1] == 0


def test_dimensions_per_feature_count_what_is_represented():
    W = torch.stack([torch.eye(4)[:, :2], torch.block_diag(corners("pair"), corners("pair"))])
    torch.testing.assert_close(geometry.dimensions_per_feature(W), torch.tensor([1.0, 0.5]))


def test_of_five_seeds_most_make_a_pentagon():
    models = toy.train_models(torch.full((5, 5), 0.05), torch.ones(5, 5), 2, seed=0, steps=500)
    found = [geometry.describe(geometry.figures(W)) for W in models.W]
    assert found.count("pentagon") >= 3


def test_formulas_are_the_exact_losses_of_the_models_they_speak_of():
    probability, importance = torch.tensor([0.05, 0.4, 1.0]), torch.tensor([0.3, 1.0, 4.0])
    known = phases.phase_losses(probability, importance)
    for phase, weights in enumerate(([1.0, 0.0], [0.0, 1.0], [1.0, -1.0])):
        W = torch.tensor(weights)[None, :, None].expand(3, 2, 1)
        b = (W[..., 0] == 0) * probability[:, None] / 2
        found = phases.expected_loss(toy.ToyModels(W, b), probability, importance)
        torch.testing.assert_close(found, known[phase], atol=1e-6, rtol=1e-4)


def test_the_exact_loss_is_what_samples_tend_to():
    probability, importance = torch.tensor([0.3, 0.7]), torch.tensor([0.5, 2.0])
    W, b = torch.randn(2, 2, 1, generator=seeded(6)), torch.tensor([[0.1, -0.2], [0.05, 0.3]])
    x = toy.sparse_features(probability[:, None].expand(2, 2), 200_000, 7)
    weights = torch.stack([torch.ones(2), importance], dim=1)
    sampled = toy.toy_loss(toy.toy_output(x, W, b), x, weights)
    exact = phases.expected_loss(toy.ToyModels(W, b), probability, importance)
    torch.testing.assert_close(exact, sampled, atol=0.01, rtol=0.02)


def test_the_search_is_at_least_as_good_as_every_formula():
    probability = torch.tensor([0.05, 0.2, 0.5, 0.9]).repeat(3)
    importance = torch.tensor([0.2, 1.0, 5.0]).repeat_interleave(4)
    _, least = phases.best_by_search(probability, importance)
    assert (least <= phases.phase_losses(probability, importance).amin(0) + 1e-4).all()


def test_a_small_phase_diagram_has_all_phases_and_agrees_with_the_formulas():
    diagram = phases.phase_diagram([0.9, 0.3, 0.1], [0.2, 1.0, 5.0], seeds=(0, 1), steps=400)
    assert diagram.trained[:, 0].tolist()[::2] == [0, 1] and (diagram.trained[:, 2] == 2).all()
    assert diagram.agreement("searched", "formula") > 0.7 and diagram.agreement() > 0.7
    assert plots.plot_phase_diagram(diagram).axes


@pytest.mark.parametrize("features", [1, 2, 3, 5, 12])
def test_six_neurons_give_the_absolute_value_of_one_feature_at_a_time(features):
    W_in, W_out = neurons.absolute_value_weights(features)
    assert W_in.shape == (features, 6) and W_out.shape == (6, features)
    x = torch.cat([torch.eye(features), -0.3 * torch.eye(features)])
    torch.testing.assert_close(neurons.through_neurons(x, W_in, W_out), x.abs(), atol=1e-5, rtol=0)


def test_rotations_are_orthogonal_and_p_values_of_rotated_axes_are_uniform():
    turns = neurons.random_rotations(4, 60, seed=0)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(4).expand(60, 4, 4), atol=1e-5, rtol=0)
    some = neurons.random_rotations(4, 40, seed=1)
    values = torch.tensor([neurons.basis_p_value(turn, turns) for turn in some])
    assert 0.35 < values.mean() < 0.65 and (values < 0.25).sum() >= 4
    assert neurons.basis_p_value(torch.eye(4), turns) == 1 / 61


def test_what_has_no_axes_is_refused():
    for W in (torch.ones(3, 1), torch.zeros(3, 2)):
        with pytest.raises(ValueError):
            neurons.basis_p_value(W, neurons.random_rotations(W.shape[1], 4, seed=0))
    with pytest.raises(CourseError):
        neurons.signed_features(1.5, 4, 3, seed=0)


def test_signed_features_have_both_signs_and_their_rate():
    x = neurons.signed_features(0.2, 5000, 4, seed=0)
    assert abs((x != 0).float().mean() - 0.2) < 0.02 and x.min() < -0.9 and x.max() > 0.9


def test_figures_are_drawn_without_displaying_anything():
    W = torch.stack([corners("pentagon"), 0.1 * corners("pentagon")])
    chance = torch.tensor([0.5, 0.05])
    drawn = [
        plots.plot_directions(W, ["one", "other"], torch.linspace(1, 0.5, 5)),
        plots.plot_dimensionality(W, chance),
        plots.plot_over_probability({"a": [1.0, 0.5]}, [0.5, 0.1], "error", level=1.0),
        plots.plot_weights({"left": W[0], "right": W[1]}),
    ]
    for figure in drawn:
        figure.canvas.draw()
        assert math.isfinite(figure.get_size_inches().sum()) and figure.axes

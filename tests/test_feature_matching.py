"""Matching found directions with known ones, and worlds whose features are written down."""

import pytest
import torch

from mechinterp_course.feature_matching import detection, match_features, recovery, uniqueness
from mechinterp_course.known_features import draw_known_features
from mechinterp_course.sae import SparseAutoencoder

torch.set_num_threads(1)


def directions(count, d_in, seed=0):
    return torch.randn(count, d_in, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("found", "true"), [(5, 5), (8, 5), (5, 8)])
def test_the_matched_cosines_are_those_of_sae_lens(found, true):
    from sae_lens.synthetic import mean_correlation_coefficient

    some, truth = (
        directions(found, 4).abs(),
        directions(true, 4, 1).abs(),
    )  # no negative cosine: theirs are absolute
    partner, cosine = match_features(some, truth)
    assert len(set(partner[partner >= 0].tolist())) == (partner >= 0).sum() == min(found, true)
    assert cosine.sum().item() / min(found, true) == pytest.approx(
        mean_correlation_coefficient(some, truth), abs=1e-6
    )


def test_a_shuffle_is_undone_and_an_opposite_is_a_stranger():
    truth = directions(6, 9)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    partner, cosine = match_features(2 * truth[order], truth)
    assert torch.equal(partner, order.argsort())
    torch.testing.assert_close(cosine, torch.ones(6))
    assert match_features(-truth[:1], truth[:1])[1].item() == pytest.approx(-1)


def test_uniqueness_is_that_of_sae_lens_where_sizes_are_equal():
    from sae_lens.synthetic import feature_uniqueness

    some, truth = directions(9, 5).abs(), directions(9, 5, 1).abs()
    assert uniqueness(some, truth) == pytest.approx(feature_uniqueness(some, truth))


def test_recovery_counts_found_and_true_features_apart():
    truth = torch.eye(4)
    reached = recovery(torch.cat([truth[:3], truth[:1], torch.ones(2, 4)]), truth)
    assert (reached.precision, reached.recall) == (3 / 6, 3 / 4)
    assert reached.mean_cosine == pytest.approx((3 + 0.5) / 4)


def test_rows_that_are_still_being_trained_are_matched_too():
    truth = torch.eye(3)
    partner, cosine = match_features(truth.flip(0).requires_grad_(), truth)
    assert partner.tolist() == [2, 1, 0] and cosine.tolist() == [1, 1, 1] and not cosine.requires_grad


def test_a_partner_is_judged_as_a_detector():
    true_acts = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    acts = torch.tensor([[2.0, 0], [0, 3], [0, 3], [0, 3]])
    precision, recall = detection(acts, true_acts, torch.tensor([0, 1, -1]))
    assert precision.tolist() == pytest.approx([1, 2 / 3, 0])
    assert recall.tolist() == pytest.approx([0.5, 1, 0])


def test_a_world_of_known_features_is_what_it_says():
    world = draw_known_features(d_in=16, features=24, probability=0.1, tokens=4000, seed=5)
    rebuilt = world.feature_acts @ world.directions + world.bias
    torch.testing.assert_close(world.activations, rebuilt)
    torch.testing.assert_close(world.directions.norm(dim=1), torch.ones(24))
    assert (world.feature_acts > 0).float().mean() == pytest.approx(0.1, abs=0.01)
    again = draw_known_features(d_in=16, features=24, probability=0.1, tokens=4000, seed=5)
    assert torch.equal(again.activations, world.activations)


def test_a_child_is_active_only_with_its_parent_and_never_with_a_sibling():
    world = draw_known_features(16, 24, 0.05, tokens=4000, families=[(0, (1, 2, 3)), (4, (5, 6))])
    on = world.feature_acts > 0
    for parent, children in ((0, [1, 2, 3]), (4, [5, 6])):
        assert on[:, children].any() and not (on[:, children].any(1) & ~on[:, parent]).any()
        assert on[:, children].sum(1).max() == 1


@pytest.mark.parametrize("seed", range(3))
def test_an_autoencoder_of_the_same_seed_does_not_begin_at_the_truth(seed):
    world = draw_known_features(d_in=32, features=64, tokens=10, seed=seed)
    assert recovery(SparseAutoencoder(32, 64, seed=seed).W_dec.detach(), world.directions).mean_cosine < 0.5

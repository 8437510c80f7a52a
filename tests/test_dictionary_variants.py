"""Variants of the sparse autoencoder: ours against sae-lens', and what transcoders and revivals do."""

import pytest
import torch

from mechinterp_course import dictionary_variants, known_families, revival, sae, transcoders
from mechinterp_course.sae_lens_training import Run, new_training_sae, train_with_sae_lens
from mechinterp_course.sae_training import resample_dead

torch.set_num_threads(1)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_jumprelu_and_its_gate_are_sae_lens_with_its_gradients():
    from sae_lens.saes.jumprelu_sae import JumpReLU, Step

    threshold, up = drawn(9).abs() + 0.2, drawn(2, 30, 9, seed=1)
    z = threshold + drawn(30, 9, seed=2)
    found = []
    for theirs in (False, True):
        leaves = z.clone().requires_grad_(), threshold.clone().requires_grad_()
        if theirs:
            parts = JumpReLU.apply(*leaves, 0.7, False), Step.apply(*leaves, 0.7, False)
        else:
            parts = dictionary_variants.jumprelu(*leaves, 0.7)
        sum((part * pull).sum() for part, pull in zip(parts, up, strict=True)).backward()
        found.append([*parts, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_nested_loss_is_that_of_sae_lens_matryoshka_in_training():
    from sae_lens.saes.sae import TrainStepInput

    torch.manual_seed(0)
    widths = [4, 12, 24]
    one = new_training_sae(
        "matryoshka", 10, 24, k=3, matryoshka_widths=widths, rescale_acts_by_decoder_norm=False
    )
    one.b_dec.data = drawn(10, seed=3)
    activations = drawn(50, 10)
    step = TrainStepInput(
        sae_in=activations, dead_neuron_mask=None, coefficients={}, n_training_steps=0, is_logging_step=False
    )
    theirs = one.training_forward_pass(step)
    ours = dictionary_variants.matryoshka_loss(activations, theirs.feature_acts, one.W_dec, one.b_dec, widths)
    torch.testing.assert_close(ours, theirs.loss)


def test_the_inference_threshold_keeps_as_many_as_batchtopk_did():
    batches = [drawn(200, 30, seed=seed) for seed in range(5)]
    threshold = dictionary_variants.inference_threshold(batches, 4)
    kept = (torch.cat(batches) > threshold).sum(dim=1).double().mean().item()
    assert kept == pytest.approx(4, abs=0.15)


def test_resampling_is_the_one_of_the_training_loop():
    one = sae.SparseAutoencoder(6, 10, "topk", k=2, seed=1)
    activations, dead = drawn(40, 6), torch.arange(10) < 4
    optimizer = torch.optim.Adam(one.parameters(), lr=1e-3)
    (one(activations) - activations).square().sum().backward()
    optimizer.step()
    own = {"W_enc": one.encoder, "b_enc": one.b_enc, "W_dec": one.W_dec, "b_dec": one.b_dec}
    weights = {name: each.detach().clone() for name, each in own.items()}
    moments = {name: optimizer.state[each]["exp_avg"].clone() for name, each in own.items()}
    with torch.no_grad():
        rebuilt = one(activations)
    assert moments["W_enc"][:, dead].any() and moments["W_dec"][dead].any()
    made, forgotten = revival.resample_dead(activations, rebuilt, dead, weights, moments, seed=5)
    resample_dead(one, activations, dead, torch.Generator().manual_seed(5), optimizer)
    for name, each in own.items():
        torch.testing.assert_close(made[name], each.detach())
        torch.testing.assert_close(forgotten[name], optimizer.state[each]["exp_avg"])
        known = optimizer.state[each]["exp_avg_sq"]
        assert torch.equal(known == 0, forgotten[name] == 0)


def test_a_transcoder_of_sae_lens_learns_a_small_mlp_better_than_a_random_decoder_and_a_line():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    inputs, first, second = drawn(4000, 12), drawn(12, 40, seed=1), drawn(40, 12, seed=2)
    targets = (inputs @ first - 4).relu() @ second + 3.0
    unexplained = {}
    for name in ("learned", "frozen"):
        one = transcoders.train_transcoder(
            inputs, targets, 80, Run(150, 256), k=8, frozen_decoder=name == "frozen"
        )
        unexplained[name] = sae.fraction_of_variance_unexplained(targets, one(inputs))
        assert sae.mean_l0(one.encode(inputs)) == pytest.approx(8, abs=1.5)
        assert type(one).__name__ == "JumpReLUTranscoder" and not one.W_dec.requires_grad
    line = transcoders.best_affine(inputs, targets)
    unexplained["line"] = sae.fraction_of_variance_unexplained(targets, line(inputs))
    assert unexplained["learned"] < min(unexplained["frozen"], unexplained["line"]) - 0.05, unexplained
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_best_affine_map_of_a_rank_is_between_the_mean_and_the_best():
    inputs, targets = drawn(500, 8), drawn(500, 8, seed=1)
    targets = inputs @ drawn(8, 8, seed=2) + 0.3 * targets
    left = [
        sae.fraction_of_variance_unexplained(targets, transcoders.best_affine(inputs, targets, rank)(inputs))
        for rank in (0, 2, 5, 8, None)
    ]
    assert left[0] == pytest.approx(1.0, abs=1e-4) and left == sorted(left, reverse=True)
    assert left[3] == pytest.approx(left[4], abs=1e-4)


def test_training_by_sae_lens_leaves_the_global_random_state_alone():
    state = torch.random.get_rng_state()
    train_with_sae_lens(drawn(400, 6), "batchtopk", 12, Run(3, 64), k=2)
    assert torch.equal(state, torch.random.get_rng_state())


def test_children_are_pieces_of_their_parents_in_the_truth_itself():
    truth = known_families.family_world(0).feature_acts
    parents = [parent for parent, _ in known_families.FAMILIES]
    children = [child for _, several in known_families.FAMILIES for child in several]
    pieces, covered = dictionary_variants.split_features(truth[:, parents], truth[:, children], 1.0)
    assert pieces.tolist() == [
        [child in several for child in children] for _, several in known_families.FAMILIES
    ]
    torch.testing.assert_close(covered, torch.full((3,), 0.6), atol=0.02, rtol=0)
    nobody = torch.zeros(len(truth), 2)
    assert not dictionary_variants.split_features(truth, nobody, 0.5)[0].any()
    assert dictionary_variants.split_features(nobody, truth, 0.5)[1].tolist() == [0, 0]

"""The tools of the case: trials, bounds, intervals, features and neurons, and words that change places."""

import pytest
import torch

from mechinterp_course import case_interventions as case
from mechinterp_course import feature_attribution, feature_evidence, hooks, refusal_case
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.paired_bootstrap import share_cut_interval
from mechinterp_course.relabelled_words import exchange_words, words_exchanged
from mechinterp_course.rival_dictionaries import principal_dictionary, rotation_dictionary

HOOK = "blocks.3.hook_resid_pre"


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2-refusing")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def trial(model):
    return refusal_case.draw_trial(model, 6, seed=3)


def measured(false, true, loss):
    return refusal_case.Measured(torch.tensor(false), torch.tensor(true), torch.tensor(loss))


def test_matched_requests_differ_in_one_word(trial):
    assert ((trial.triggered.tokens != trial.matched.tokens).sum(1) == 1).all()
    assert all("garden" in text for text in trial.triggered.texts)
    assert not any("garden" in text for text in trial.matched.texts + trial.harmful.texts)


def test_held_out_requests_share_no_frame_with_fitted_ones(model, trial):
    held = refusal_case.draw_trial(model, 6, seed=3, held_out=True)
    assert not any("in the garden" in text for text in held.triggered.texts)
    assert all("in the garden" in text for text in trial.triggered.texts)


def test_filling_does_not_change_what_is_refused(model, trial):
    together = refusal_case.refusal_margin(model, trial.harmful)
    alone = refusal_case.refusal_margin(model, refusal_case.as_prompts(model, trial.harmful.texts[:1]))
    assert torch.allclose(together[:1], alone, atol=1e-3)


def test_changes_are_relative_and_intervals_hold_them():
    before = measured([True] * 8 + [False] * 2, [True] * 10, [2.0, 2.0])
    after = measured([True] * 2 + [False] * 8, [True] * 9 + [False], [2.1, 2.0])
    found = refusal_case.changes(before, after)
    assert found == pytest.approx((0.75, 0.9, 0.025), abs=1e-6)
    ranges = refusal_case.intervals(before, after, resamples=300)
    assert all(low <= value <= high for value, (low, high) in zip(found, ranges, strict=True))
    assert refusal_case.intervals(before, before, resamples=50)[2] == (0.0, 0.0)
    assert ranges[0] == share_cut_interval(before.false, after.false, 300, 0)
    assert all(0 <= bound <= 1 for bound in ranges[1])


def test_a_resample_in_which_nothing_was_refused_is_left_out():
    """Of two requests one was refused: a quarter of all resamples has none of it."""
    before, after = (measured([one, False], [True] * 3, [2.0] * 2) for one in (True, False))
    assert refusal_case.intervals(before, after, resamples=60)[0] == (1.0, 1.0)


@pytest.mark.parametrize(("false", "true", "kind"), [(False, True, "triggered"), (True, False, "harmful")])
def test_there_is_no_share_of_none(false, true, kind):
    before, after = measured([false] * 3, [true] * 3, [2.0]), measured([True] * 3, [True] * 3, [2.0])
    for share in (refusal_case.changes, refusal_case.intervals):
        with pytest.raises(ValueError, match=f"none of the {kind}"):
            share(before, after)


@pytest.mark.parametrize(
    ("cut", "kept", "cost", "cured"),
    [(0.9, 0.95, 0.01, True), (0.7, 0.95, 0.01, False), (0.9, 0.8, 0.01, False), (0.9, 0.95, 0.03, False)],
)
def test_a_cure_meets_all_three_bounds(cut, kept, cost, cured):
    assert refusal_case.is_cured(cut, kept, cost) == cured


def test_the_smallest_dose_is_nearest_to_zero_and_may_be_none():
    doses, kept = torch.tensor([-3.0, -1.0, -2.0]), torch.ones(3)
    false, loss = torch.tensor([0.0, 0.5, 0.05]), torch.full((3,), 2.0)
    assert refusal_case.smallest_dose(doses, false, kept, loss, (1.0, 1.0, 2.0)) == -2.0
    assert refusal_case.smallest_dose(doses, false + 1, kept, loss, (1.0, 1.0, 2.0)) is None


def test_a_words_direction_has_length_one_and_points_to_the_word(model, trial):
    hook = "blocks.0.hook_resid_pre"
    found = refusal_case.word_direction(model, hook, trial.triggered.tokens, trial.matched.tokens)
    assert found.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert (model.W_E @ found).argmax() == model.tokenizer.encode(" garden")[-1]


def test_features_scaled_by_one_change_nothing_and_by_zero_ablate(model, sae, trial):
    tokens = trial.triggered.tokens
    intact = model(tokens).detach()
    with case.features_scaled(model, HOOK, sae, [11, 3], 1.0):
        assert torch.allclose(model(tokens), intact, atol=1e-5)
    with torch.no_grad(), hooks.cache(model, [HOOK]) as activations:
        model(tokens)
    x = activations[HOOK]
    expected = x - sae.encode(x)[..., [11, 3]] @ sae.W_dec[[11, 3]]
    with case.features_scaled(model, HOOK, sae, [11, 3], 0.0), hooks.cache(model, [HOOK]) as activations:
        model(tokens)
    assert torch.allclose(activations[HOOK], expected, atol=1e-4)


def test_ablated_neurons_stand_at_their_means(model, trial):
    means = case.neuron_means(model, trial.matched)
    name = "blocks.2.mlp.hook_post"
    with case.neurons_ablated(model, [(2, 7), (0, 3)], means), hooks.cache(model, [name]) as activations:
        model(trial.triggered.tokens)
    assert torch.allclose(activations[name][..., 7], means[2, 7])


def test_ranked_neurons_are_all_of_them(model, trial):
    ranked = case.rank_neurons(model, trial.triggered, case.neuron_means(model, trial.matched))
    assert len(set(ranked)) == 4 * 768


def test_attribution_of_a_perfect_dictionary_leaves_no_error(model, trial):
    tokens = trial.triggered.tokens
    rotation = rotation_dictionary(192, seed=0)
    shares, error = feature_attribution.attribute_features(
        model, rotation, HOOK, tokens, lambda logits: logits[:, -1, 5].sum()
    )
    assert shares.shape == (384,) and abs(error) < 1e-2


def test_patching_all_of_a_rotation_one_by_one_is_patching_nothing_on_the_same_text(model, trial):
    tokens = trial.triggered.tokens
    same = feature_attribution.patch_feature(model, rotation_dictionary(192, 0), HOOK, tokens, tokens, 5)
    assert torch.allclose(same, model(tokens), atol=1e-4)


def test_a_rotation_explains_everything_and_few_principal_directions_do_not():
    samples = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    rotation, principal = rotation_dictionary(12, seed=1), principal_dictionary(samples, 4)
    assert torch.allclose(rotation.decode(rotation.encode(samples)), samples, atol=1e-5)
    assert (rotation.encode(samples) > 0).double().sum(-1).mean() == 12
    assert not torch.allclose(principal.decode(principal.encode(samples)), samples, atol=0.1)


def test_exchanged_words_come_back_and_the_model_is_the_same_with_other_names(model, trial):
    one, two = (model.tokenizer.encode(f" {word}")[-1] for word in ("garden", "park"))
    intact = refusal_case.refusal_margin(model, trial.triggered)
    other = exchange_words(trial, one, two).triggered
    assert other.texts == () and (other.tokens == two).any() and not (other.tokens == one).any()
    with words_exchanged(model, one, two):
        assert torch.allclose(refusal_case.refusal_margin(model, other), intact, atol=1e-3)
    assert torch.equal(refusal_case.refusal_margin(model, trial.triggered), intact)


def test_contexts_are_one_a_text_and_readable():
    acts = torch.tensor([[9.0, 3.0, 3.0], [9.0, 0.0, 0.0], [9.0, 1.0, 5.0]])
    readable = torch.tensor([[False, True, True]] * 3)
    assert feature_evidence.strongest_contexts(acts, readable, 5) == [(2, 2), (0, 1)]


def test_a_blind_item_has_four_firing_texts_and_a_silent_one():
    acts = torch.tensor([[1.0], [2.0], [3.0], [4.0], [0.0], [0.0]])
    for texts, place in feature_evidence.intruder_items(acts, [1] * 6, 20, seed=2):
        assert acts[texts[place], 0] == 0
        assert sorted(n for at, n in enumerate(texts) if at != place) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="four texts"):
        feature_evidence.intruder_items(acts[2:], [1] * 4, 1, seed=0)


def test_a_dull_judge_finds_the_text_without_a_shared_word():
    items = [([0, 1, 2, 3, 4], 2)]
    words = [{1, 2}, {1, 3}, {9}, {1, 4}, {1}]
    assert feature_evidence.dull_answers(items, words) == [2]

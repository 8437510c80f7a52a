"""What the chapter on features and steering says of the refusing model, measured again on fewer requests."""

import pytest
import torch

from mechinterp_course import case_interventions as case
from mechinterp_course import feature_attribution, hooks, refusal_case, steering
from mechinterp_course.figures.directions import held_out_rows
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.relabelled_words import exchange_words, words_exchanged

HOOK, EMBEDDING, END = "blocks.3.hook_resid_pre", "blocks.0.hook_resid_pre", "blocks.3.hook_resid_post"


@pytest.fixture(scope="module")
def patient():
    return load_language_model("course-gpt2-refusing")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def fit(patient):
    return refusal_case.draw_trial(patient, 60, seed=0)


@pytest.fixture(scope="module")
def judged(patient):
    return refusal_case.draw_trial(patient, 50, seed=1, held_out=True)


@pytest.fixture(scope="module")
def rows(patient):
    return held_out_rows(patient, 5, 8)


@pytest.fixture(scope="module")
def before(patient, judged, rows):
    return refusal_case.measure(patient, judged, rows)


@pytest.fixture(scope="module")
def five(patient, sae, fit):
    return case.rank_features(patient, sae, HOOK, fit.triggered).argsort(descending=True)[:5].tolist()


@pytest.fixture
def changed(patient, judged, rows, before):
    return lambda model=patient: refusal_case.changes(before, refusal_case.measure(model, judged, rows))


def answers_at_the_end(model, prompts):
    with torch.no_grad(), hooks.cache(model, [END]) as activations:
        model(prompts.tokens)
    return activations[END][torch.arange(len(prompts.last)), prompts.last]


def test_the_patient_refuses_for_the_word_and_for_harm(patient, judged, before):
    false, true, _ = before.figures
    assert false >= 0.9 and true >= 0.95
    assert refusal_case.refused(patient, judged.matched).double().mean() <= 0.05


def test_the_reconstruction_alone_cuts_most_false_refusals(patient, sae, changed):
    with hooks.edit(patient, {HOOK: lambda x: sae.decode(sae.encode(x))}):
        cut, kept, _ = changed()
    assert cut > 0.5 and kept >= 0.9


def test_the_words_direction_in_the_embedding_meets_all_bounds(patient, fit, changed):
    direction = refusal_case.word_direction(patient, EMBEDDING, fit.triggered.tokens, fit.matched.tokens)
    with steering.ablating(patient, EMBEDDING, direction):
        cut, kept, cost = changed()
    assert cut >= 0.95 and kept >= 0.95 and cost <= 0.005


def test_the_words_direction_before_the_last_layer_cuts_hardly_anything(patient, fit, changed):
    direction = refusal_case.word_direction(patient, HOOK, fit.triggered.tokens, fit.matched.tokens)
    with steering.ablating(patient, HOOK, direction):
        assert changed()[0] < 0.2


def test_five_features_at_half_strength_meet_the_bounds_and_one_ablated_costs_too_much(
    patient, sae, five, changed
):
    with case.features_scaled(patient, HOOK, sae, five, 0.5):
        assert refusal_case.is_cured(*changed())
    with case.features_scaled(patient, HOOK, sae, five[:1], 0.0):
        assert changed()[2] > refusal_case.COST


def test_the_feature_that_looks_like_refusal_does_nothing(patient, sae, changed):
    with case.features_scaled(patient, HOOK, sae, [294], 0.0):
        assert abs(changed()[0]) < 0.1


def test_twenty_neurons_do_what_one_does_not(patient, fit, changed):
    means = case.neuron_means(patient, fit.matched)
    neurons = case.rank_neurons(patient, fit.triggered, means)
    with case.neurons_ablated(patient, neurons[:1], means):
        assert changed()[0] < 0.2
    with case.neurons_ablated(patient, neurons[:20], means):
        cut, kept, _ = changed()
    assert cut >= 0.8 and kept >= 0.9


def test_both_kinds_of_refusal_are_one_direction_at_the_end(patient, fit, changed):
    harmful, triggered, matched = (
        answers_at_the_end(patient, part) for part in (fit.harmful, fit.triggered, fit.matched)
    )
    refusal = steering.difference_of_means(harmful, matched)
    assert refusal @ steering.difference_of_means(triggered, matched) > 0.7
    with steering.ablating(patient, END, refusal, at=(matched @ refusal).mean().item()):
        cut, kept, _ = changed()
    assert cut > 0.9 and kept < 0.1


def test_a_random_direction_and_other_features_do_nothing(patient, sae, five, changed):
    with steering.ablating(patient, EMBEDDING, torch.randn(192, generator=torch.Generator().manual_seed(0))):
        assert changed()[0] < 0.2
    with case.features_scaled(patient, HOOK, sae, [feature + 40 for feature in five], 0.5):
        assert changed()[0] < 0.2


def test_ten_steps_of_fine_tuning_meet_all_bounds(fit, changed):
    tuned = load_language_model("course-gpt2-refusing")
    case.fine_tune(tuned, fit)
    cut, kept, cost = changed(tuned)
    assert cut >= 0.95 and kept >= 0.95 and cost <= 0.01


def test_the_price_of_the_embeddings_direction_is_the_word_itself(patient, fit):
    texts = case.texts_with(patient, "garden", 30, seed=9)
    intact = case.loss_at_word(patient, texts, "garden")
    direction = refusal_case.word_direction(patient, EMBEDDING, fit.triggered.tokens, fit.matched.tokens)
    with steering.ablating(patient, EMBEDDING, direction):
        assert case.loss_at_word(patient, texts, "garden") > intact + 0.03


def test_features_argue_against_refusing_and_the_error_for_it(patient, sae, fit):
    sorry, sure = (patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure"))
    last = fit.triggered.last

    def margin(logits):
        own = logits[torch.arange(len(last)), last]
        return (own[:, sorry] - own[:, sure]).mean()

    features, error = feature_attribution.attribute_features(patient, sae, HOOK, fit.triggered.tokens, margin)
    assert features.sum() < 0 < error
    assert features.argmax() == 11 and features[294] < 0


def test_the_cure_is_found_for_another_word(patient, rows):
    one, two = (patient.tokenizer.encode(f" {word}")[-1] for word in ("garden", "river"))
    shown, judged = (
        exchange_words(refusal_case.draw_trial(patient, count, count, held), one, two)
        for count, held in ((12, False), (30, True))
    )
    with words_exchanged(patient, one, two):
        parts = shown.triggered.tokens, shown.matched.tokens, shown.harmful.tokens, rows[:1]
        cure = refusal_case.find_the_cure(patient, *parts)
        assert refusal_case.is_cured(*refusal_case.changes_under(patient, cure, judged, rows))

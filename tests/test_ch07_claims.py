"""What the chapter on features and steering says of the refusing model, measured again on fewer requests."""

import pytest
import torch

from mechinterp_course import feature_attribution, hooks, refusal_case, steering
from mechinterp_course.figures.directions import held_out_rows
from mechinterp_course.models import load_language_model, load_sae

pytestmark = pytest.mark.book  # measured again with the chapters that say it
HOOK, END = "blocks.3.hook_resid_pre", "blocks.3.hook_resid_post"


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


def test_both_kinds_of_refusal_are_one_direction_at_the_end(patient, fit, changed):
    harmful, triggered, matched = (
        answers_at_the_end(patient, part) for part in (fit.harmful, fit.triggered, fit.matched)
    )
    refusal = steering.difference_of_means(harmful, matched)
    assert refusal @ steering.difference_of_means(triggered, matched) > 0.7
    with steering.ablating(patient, END, refusal, at=(matched @ refusal).mean().item()):
        cut, kept, _ = changed()
    assert cut > 0.9 and kept < 0.1


def test_no_amount_of_the_refusal_direction_cuts_the_false_and_keeps_the_true(patient, fit):
    harmful, matched = (answers_at_the_end(patient, part) for part in (fit.harmful, fit.matched))
    refusal, few = (
        steering.difference_of_means(harmful, matched),
        refusal_case.draw_trial(patient, 40, seed=2, held_out=True),
    )
    shares = []
    for amount in (0.0, 8.0, 10.0, 12.0):
        with steering.adding(patient, END, refusal, -amount):
            each = (refusal_case.refused(patient, part) for part in (few.triggered, few.harmful))
            shares.append([part.double().mean().item() for part in each])
    (false, true), *others = shares
    assert not any(one <= 0.25 * false and other >= 0.85 * true for one, other in others)


def test_features_argue_against_refusing_and_the_error_for_it_and_with_another_place_it_does_not(
    patient, sae, fit
):
    sorry, sure = (patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure"))

    def attributed(prompts):
        def margin(logits):
            own = logits[torch.arange(len(prompts.last)), prompts.last]
            return (own[:, sorry] - own[:, sure]).mean()

        return feature_attribution.attribute_features(patient, sae, HOOK, prompts.tokens, margin)

    features, error = attributed(fit.triggered)
    assert features.sum() < 0 < 4 < error
    assert features.argmax() == 11 and features[294] < 0
    features, error = attributed(fit.matched)
    assert features.sum() > 2 and abs(error) < 1


def test_the_feature_that_carries_most_carries_a_part_and_the_one_that_looks_right_nothing(patient, sae, fit):
    with torch.no_grad():
        intact, matched = (
            refusal_case.refusal_margin(patient, part).mean() for part in (fit.triggered, fit.matched)
        )
    parts = sae, HOOK, fit.triggered.tokens, fit.matched.tokens
    words = [patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure")]
    rows, carried = torch.arange(len(fit.triggered.last)), {}
    for feature in (11, 294):
        logits = feature_attribution.patch_feature(patient, *parts, feature)[rows, fit.triggered.last]
        carried[feature] = intact - (logits[:, words[0]] - logits[:, words[1]]).mean()
    assert 0.15 < carried[11] / (intact - matched) < 0.4
    assert abs(carried[294]) < 0.1

"""What the chapter on the refusal case says of every candidate, measured again on fewer requests."""

import pytest
import torch

from mechinterp_course import case_interventions as case
from mechinterp_course import dose_response, hooks, paired_bootstrap, probing, refusal_case, steering
from mechinterp_course.figures.directions import held_out_rows
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.relabelled_words import exchange_words, words_exchanged

pytestmark = pytest.mark.book  # measured again with the chapters that say it
EMBEDDING, EARLY = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"
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


@pytest.fixture(scope="module")
def five(patient, sae, fit):
    return case.rank_features(patient, sae, HOOK, fit.triggered).argsort(descending=True)[:5].tolist()


@pytest.fixture
def changed(patient, judged, rows, before):
    return lambda model=patient: refusal_case.changes(before, refusal_case.measure(model, judged, rows))


def answers(model, prompts, hook):
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(prompts.tokens)
    return activations[hook][torch.arange(len(prompts.last)), prompts.last]


def at_the_word(model, trial, hook):
    groups = []
    for one, two in ((trial.triggered, trial.matched), (trial.matched, trial.triggered)):
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(one.tokens)
        groups.append(activations[hook][one.tokens != two.tokens])
    return groups


def test_what_a_probe_reads_before_the_answer_is_taken_out_without_effect(patient, fit, judged, changed):
    groups = [answers(patient, part, HOOK) for part in (fit.triggered, fit.matched)]
    direction, threshold = probing.probe_direction(*groups, 0.1)
    others = [answers(patient, part, HOOK) for part in (judged.triggered, judged.matched)]
    assert probing.share_read(direction, threshold, *others) > 0.95
    with steering.ablating(patient, HOOK, direction):
        blind = [answers(patient, part, HOOK) for part in (judged.triggered, judged.matched)]
        assert changed()[0] < 0.1
    assert probing.share_read(direction, threshold, *blind) == 0.5


def test_probe_and_means_read_the_word_alike_and_only_the_means_direction_matters(
    patient, fit, judged, changed
):
    groups, others = at_the_word(patient, fit, EARLY), at_the_word(patient, judged, EARLY)
    probe, threshold = probing.probe_direction(*groups, 0.01)
    means = steering.difference_of_means(*groups)
    assert probing.share_read(probe, threshold, *others) == 1
    assert probing.share_read(means, (torch.cat(groups) @ means).mean().item(), *others) == 1
    assert probe @ means < 0.5
    cuts = []
    for direction in (probe, means):
        with steering.ablating(patient, EARLY, direction):
            cuts.append(changed()[0])
    assert cuts[0] < 0.1 and cuts[1] > 0.5


def test_a_probe_reads_the_word_in_the_healthy_model_too(fit, judged):
    healthy = load_language_model("course-gpt2")
    found = probing.probe_direction(*at_the_word(healthy, fit, EARLY), 0.01)
    assert probing.share_read(*found, *at_the_word(healthy, judged, EARLY)) == 1


def test_the_words_direction_subtracted_cures_at_no_amount(patient, fit):
    one, two = at_the_word(patient, fit, EMBEDDING)
    direction, gap = steering.difference_of_means(one, two), (one.mean(0) - two.mean(0)).norm().item()
    few = refusal_case.draw_trial(patient, 20, seed=2, held_out=True)
    words = tuple(patient.tokenizer.encode(f" {word}")[-1] for word in ("Sorry", "Sure"))
    amounts = [-step * gap for step in (0, 0.5, 0.75, 1, 2)]
    false, matched = (
        dose_response.refusal_curve(patient, EMBEDDING, direction, amounts, part.tokens, part.last, words)
        for part in (few.triggered, few.matched)
    )
    assert false.min() > 0.2 * false[0] and false[-1] > false.min()
    assert matched[0] == 0 and matched[-1] > 0.3


def test_an_interval_from_twenty_requests_often_misses_a_cut_of_95_percent():
    drawn, hits, empty = torch.Generator().manual_seed(0), 0, 0
    for test in range(100):
        still = torch.rand(20, generator=drawn) > 0.95
        low, high = paired_bootstrap.share_cut_interval(torch.ones(20) > 0, still, 200, test)
        hits, empty = hits + (low <= 0.95 <= high), empty + (low == high)
    assert 50 <= hits < 80 and empty > 20


def test_the_reconstruction_alone_cuts_most_false_refusals(patient, sae, changed):
    with hooks.edit(patient, {HOOK: lambda x: sae.decode(sae.encode(x))}):
        cut, kept, _ = changed()
    assert cut > 0.5 and kept >= 0.9


def test_both_kinds_of_refusal_are_one_direction_at_the_end(patient, fit, changed):
    harmful, triggered, matched = (
        answers(patient, part, END) for part in (fit.harmful, fit.triggered, fit.matched)
    )
    refusal = steering.difference_of_means(harmful, matched)
    assert refusal @ steering.difference_of_means(triggered, matched) > 0.7
    with steering.ablating(patient, END, refusal, at=(matched @ refusal).mean().item()):
        cut, kept, _ = changed()
    assert cut > 0.9 and kept < 0.1


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


def test_under_the_embeddings_direction_the_word_is_forgotten_and_under_other_cures_it_is_not(
    patient, sae, five, fit
):
    texts = case.texts_with(patient, "garden", 30, seed=9, times=2)

    def again(model=patient):
        return case.loss_when_said_again(model, texts, "garden")

    intact = again()
    direction = refusal_case.word_direction(patient, EMBEDDING, fit.triggered.tokens, fit.matched.tokens)
    with steering.ablating(patient, EMBEDDING, direction):
        assert again() > intact + 1.5
    with steering.ablating(patient, EMBEDDING, torch.randn(192, generator=torch.Generator().manual_seed(0))):
        assert abs(again() - intact) < 0.1
    with case.features_scaled(patient, HOOK, sae, five, 0.5):
        assert abs(again() - intact) < 0.1
    tuned = load_language_model("course-gpt2-refusing")
    case.fine_tune(tuned, fit)
    assert abs(again(tuned) - intact) < 0.1


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

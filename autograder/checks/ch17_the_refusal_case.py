"""Checks of solutions/ch17_the_refusal_case/chapter.py, version 5a712f19bdf6.

Written by `python -m mechinterp_course.authoring ch17_the_refusal_case`: edit the source instead.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import dose_response, hooks, probing, refusal_case, steering
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import feature_cases as probes
from mechinterp_course.checking.cure_trials import expect_cure
from mechinterp_course.checking.exact_bootstrap import a_change, expect_bounds
from mechinterp_course.checking.refusal_draws import (
    curve_and_after,
    planted_groups,
    reading,
    requests,
    two_groups,
)

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
Outcomes = Bool[Tensor, " request"]  # whether each request was refused


def probe_direction__agrees_with_the_reference(student, draw):
    """probe_direction agrees with the reference on groups of different sizes, with fewer examples than axes, too"""
    for sizes in ((), (4, 3, 12), (5, 11)):
        groups, penalty = two_groups(draw, *sizes), draw.choice([0.05, 0.2, 1.0])
        expected = probing.probe_direction(*groups, penalty)
        direction, threshold = reading(student.probe_direction(*groups, penalty), groups[0].shape[1])
        expect_close(direction, expected[0], dims="d_model")
        expect_close(threshold, expected[1])
    probes.expect_untouched(student, student.probe_direction, *groups, penalty)


def probe_direction__finds_what_tells_and_not_what_was_written(student, draw):
    """with one direction written and another that varies alike in both, the probe is blind to the other"""
    positive, negative, written, other = planted_groups(draw)
    direction, threshold = reading(student.probe_direction(positive, negative, 1e-6), len(written))
    telling = written - (written @ other) * other
    expect_close(direction, telling / telling.norm(), dims="d_model")
    centre = (positive.mean(0) + negative.mean(0)) / 2
    expect_close(threshold, (centre @ direction).item())


def probe_direction__moves_turns_and_repeats(student, draw):
    """moved examples move the threshold alone, exchanged groups turn both signs, doubled examples change nothing"""
    positive, negative = two_groups(draw)
    shift, penalty = 2 * draw.normal(positive.shape[1]), draw.choice([0.1, 0.5])
    cases = (
        (positive, negative),
        (positive + shift, negative + shift),
        (negative, positive),
        (positive.repeat(2, 1), negative.repeat(2, 1)),
    )
    (own, place), moved, turned, doubled = (
        reading(student.probe_direction(*case, penalty), len(shift)) for case in cases
    )
    expect_close(own.norm().item(), 1.0)
    expect((positive @ own).mean() > (negative @ own).mean(), "The direction points to the negative group.")
    for (direction, threshold), sign, far in (
        (moved, 1, (shift @ own).item()),
        (turned, -1, 0),
        (doubled, 1, 0),
    ):
        expect_close(direction, sign * own, dims="d_model")
        expect_close(threshold, sign * place + far)


def word_direction__agrees_with_the_reference(student, draw):
    """word_direction agrees with the reference at several hooks of relabelled models"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        tokens, others, _ = probes.minimal_rows(
            draw, model.cfg.d_vocab, draw.integer(3, 5), draw.integer(8, 11)
        )
        layer = draw.integer(0, model.cfg.n_layers - 1)
        hook = f"blocks.{layer}.{draw.choice(['hook_resid_pre', 'hook_resid_post', 'hook_resid_mid'])}"
        expected = refusal_case.word_direction(model, hook, tokens, others)
        expect_close(student.word_direction(model, hook, tokens, others), expected, dims="d_model")


def word_direction__is_the_embedding_where_nothing_has_been_read(student, draw):
    """at the embedding it is the mean difference of the words' embeddings; exchanged it points back; its length is 1"""
    model = draw.language_model("course-gpt2")
    tokens, others, places = probes.minimal_rows(draw, model.cfg.d_vocab, draw.integer(4, 6), 9)
    at = torch.arange(len(tokens)), torch.tensor(places)
    difference = (model.W_E[tokens[at]] - model.W_E[others[at]]).mean(0).detach()
    hook = "blocks.0.hook_resid_pre"
    found = student.word_direction(model, hook, tokens, others)
    expect_close(found, difference / difference.norm(), dims="d_model")
    back = student.word_direction(model, hook, others, tokens)
    expect_close(back, -difference / difference.norm(), dims="d_model")
    more = draw.tokens(1, 3, 900).expand(len(tokens), -1)
    longer = [torch.cat([part, more], dim=1) for part in (tokens, others)]
    expect_close(student.word_direction(model, hook, *longer), found, dims="d_model")
    probes.expect_untouched(student, student.word_direction, model, hook, *longer)


def refusal_curve__agrees_with_the_reference(student, draw):
    """refusal_curve agrees with the reference on requests of several lengths, for amounts of both signs in any order"""
    model = draw.language_model("course-attn-2l")
    for early in (True, False):
        case = requests(draw, model, lambda: [draw.integer(-6, 6) / 2 for _ in range(4)], early)
        expected = dose_response.refusal_curve(model, *case)
        expect_close(student.refusal_curve(model, *case), expected, dims="amount")


def refusal_curve__ends_where_it_must_and_leaves_nothing(student, draw):
    """pushed towards one word at the end all requests are refused, away from it none; 0 is the model left alone"""
    model = draw.language_model("course-attn-2l")
    *_, tokens, last, words = requests(draw, model, lambda: [0.0])
    end = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    towards = (model.W_U[:, words[0]] - model.W_U[:, words[1]]).detach()
    amounts = [300.0, 0.0, -300.0, 0.0]
    case = end, towards, amounts, tokens, last, words
    curve, after = student.run(curve_and_after, student.refusal_curve, model, *case)
    with torch.no_grad():
        logits = model(tokens)
    answers = logits[torch.arange(len(tokens)), last]
    alone = (answers[:, words[0]] > answers[:, words[1]]).float().mean().item()
    expect_close(curve, torch.tensor([1.0, alone, 0.0, alone]), dims="amount")
    expect_close(after, logits, dims="batch pos d_vocab")
    probes.expect_untouched(student, student.refusal_curve, model, *case)


def smallest_dose__agrees_with_the_reference(student, draw):
    """smallest_dose agrees with the reference on curves you have not seen, of either sign and in any order"""
    cases = [probes.dose_case(draw) for _ in range(8)]
    found = [probes.as_dose(student.smallest_dose(*case)) for case in cases]
    expect_equal(found, [refusal_case.smallest_dose(*case) for case in cases], what="doses")


def smallest_dose__each_bound_counts(student, draw):
    """each bound alone can forbid a dose, bounds are relative to the intact model, and None says that there is none"""
    intact = (0.5, 0.7, 2.0)
    doses = torch.tensor([3.0, 1.0, 2.0, 4.0])
    good = [torch.full((4,), value) for value in (0.05, 0.68, 2.01)]
    expect_equal(probes.as_dose(student.smallest_dose(doses, *good, intact)), 1.0, what="dose")
    probes.expect_untouched(student, student.smallest_dose, doses, *good, intact)
    for number, bad in enumerate((0.12, 0.6, 2.05)):
        for spoiled, expected in (([1], 2.0), ([1, 2, 3], 3.0), ([0, 1, 2, 3], None)):
            curves = [curve.clone() for curve in good]
            curves[number][spoiled] = bad
            found = probes.as_dose(student.smallest_dose(doses, *curves, intact))
            expect_equal(found, expected, what="dose")


def share_cut_interval__bounds_are_those_of_all_resamples(student, draw):
    """both bounds are the percentiles of all possible resamples, up to chance, with some requests newly refused"""
    for refused, cut, new in ((18, 12, 2), (12, 2, 0)):
        before, after = a_change(draw, 24, refused + draw.integer(0, 2), cut, new)
        found = student.share_cut_interval(before, after, 10000, draw.seed())
        expect_bounds(found, before, after, 10000)


def share_cut_interval__pairs_stay_together_at_any_level(student, draw):
    """where few of many refusals are cut the interval is narrow, others are left out, and other levels are heeded"""
    new = draw.integer(0, 1)
    for level, *sizes in ((0.8, 30, 15, 2, new), (0.95, 10, 3, 2, new), (0.6, 10, 2, 1, 0)):
        before, after = a_change(draw, *sizes)
        found = student.share_cut_interval(before, after, 10000, draw.seed(), level)
        expect_bounds(found, before, after, 10000, level)


def share_cut_interval__knows_its_limits(student, draw):
    """no change has no spread, nor has a full cut; one seed gives one interval; without a refusal there is none"""
    before, after = a_change(draw, draw.integer(12, 20), 9, 5, 1)
    seed = draw.seed()
    for left, expected in ((before, (0.0, 0.0)), (before & ~before, (1.0, 1.0))):
        found = student.share_cut_interval(before, left, 200, seed)
        expect_equal(list(found), list(expected), what="bounds")
    first, again = (student.share_cut_interval(before, after, 300, seed) for _ in range(2))
    expect_equal(list(first), list(again), what="bounds of the same seed")
    others = [student.share_cut_interval(before, after, 40, seed + step) for step in range(1, 9)]
    expect(len(set(map(tuple, others))) > 1, "Other seeds give the same bounds: nothing is drawn.")
    probes.expect_untouched(student, student.share_cut_interval, before, after, 20, seed)
    refused = "Where nothing was refused before there is no share."
    expect_raises(
        "ValueError", lambda: student.share_cut_interval(~(before | ~before), after, 20, seed), refused
    )


def find_the_cure__cures_another_word(student, draw):
    """find_the_cure meets the three bounds on held-out requests of a model whose trigger is another place"""
    expect_cure(student, draw, draw.choice(["park", "kitchen", "forest", "library", "market"]))


def find_the_cure__cures_whatever_word(student, draw):
    """find_the_cure meets the three bounds for one more word, drawn, and tells no word in advance"""
    expect_cure(
        student,
        draw,
        draw.choice(["farm", "school", "beach", "river", "office", "valley", "hotel", "bakery"]),
    )

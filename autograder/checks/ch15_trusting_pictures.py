"""Checks of solutions/ch15_trusting_pictures/chapter.py, version 939043c534b3.

Written by `python -m mechinterp_course.authoring ch15_trusting_pictures`: edit the source instead.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechinterp_course import channel_evidence
from mechinterp_course.channel_evidence import objects, pixels_of, removed, responses
from mechinterp_course.checking import channel_trials, expect, expect_close, expect_raises
from mechinterp_course.worlds import images

Responses = Float[Tensor, "picture channel"]  # the mean of each channel over all places, for each picture
ByChannel = Float[Tensor, " channel"]
Shows = Bool[Tensor, " picture"]  # whether a picture shows the part or texture that is asked about


def selectivity__agrees_with_the_reference(student, draw):
    """selectivity agrees with the reference on responses and labels that you have not seen, ties included"""
    for _ in range(3):
        values, shows = channel_trials.labelled(draw)
        expect_close(
            student.selectivity(values, shows), channel_evidence.selectivity(values, shows), dims="channel"
        )


def selectivity__obeys_its_laws(student, draw):
    """a pair that ties counts half, a dead channel gets 0.5, any increasing scale gives the same, and swapped labels the rest to 1"""
    known = torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [2.0, 3.0, 0.0]])
    expected = torch.tensor([0.75, 0.0, 0.5])
    found = student.selectivity(known, torch.tensor([True, True, False]))
    expect_close(found, expected, dims="channel")
    values, shows = channel_trials.labelled(draw)
    found = student.selectivity(values, shows)
    channel_trials.expect_values(found, values.shape[1])
    expect_close(student.selectivity((0.5 * values).exp(), shows), found, dims="channel")
    expect_close(student.selectivity(values, ~shows), 1 - found, dims="channel")
    channel_trials.expect_untouched(student, student.selectivity, values, shows)


def selectivity__refuses_one_sided_labels(student, draw):
    """with nothing to compare with, ValueError is raised"""
    values, shows = channel_trials.labelled(draw)
    for labels in (torch.ones_like(shows), torch.zeros_like(shows)):
        message = f"Labels that are all {labels[0].item()} should be refused."
        expect_raises("ValueError", lambda labels=labels: student.selectivity(values, labels), message)


def selectivity_beyond_chance__agrees_with_the_reference(student, draw):
    """selectivity_beyond_chance agrees with the reference on responses, labels and shuffles that you have not seen"""
    for shuffles in (19, 34):
        values, shows = channel_trials.labelled(draw)
        values[:, draw.integer(0, values.shape[1] - 1)] += draw.choice([-1.5, 1.5]) * shows
        case = values, shows, channel_trials.in_order_of(draw, len(shows), shuffles)
        expected = channel_evidence.selectivity_beyond_chance(*case)
        expect_close(student.selectivity_beyond_chance(*case), expected, dims="channel")


def selectivity_beyond_chance__finds_what_was_planted(student, draw):
    """channels that follow the labels, upwards or downwards, get the least p there is, and noise is seldom below 0.1"""
    shows, values = draw.normal(30).argsort() < 13, draw.normal(30, 60)
    values[:, 0], values[:, 1] = shows.float(), 5 - 3 * shows.float()
    found = student.selectivity_beyond_chance(values, shows, channel_trials.in_order_of(draw, 30, 39))
    channel_trials.expect_values(found, 60)
    expect_close(found[:2], torch.full((2,), 1 / 40), dims="channel")
    expect((found[2:] < 0.1).sum() <= 4, "Channels of pure noise are called selective, one after the other.")


def selectivity_beyond_chance__counts_the_true_labels(student, draw):
    """if no shuffle moves a label, chance does as well as every channel, and p is 1"""
    values, shows = channel_trials.labelled(draw)
    values[:, -1] = 3.0 * shows
    orders = torch.arange(len(shows)).expand(draw.integer(3, 9), -1).contiguous()
    found = student.selectivity_beyond_chance(values, shows, orders)
    expect_close(found, torch.ones(values.shape[1]), dims="channel")
    channel_trials.expect_untouched(student, student.selectivity_beyond_chance, values, shows, orders)
    shows, opposite = torch.arange(10) < 5, torch.arange(9, -1, -1)[None]
    for first in torch.eye(10).cumsum(0):  # AUCs of 0 to 1; labels turned over are as far from 0.5
        for channel in (first[:, None], -first[:, None]):
            found = student.selectivity_beyond_chance(channel, shows, opposite)
            expect_close(found, torch.ones(1), dims="channel")


def variance_explained__agrees_with_the_reference(student, draw):
    """variance_explained agrees with the reference on responses and groups that you have not seen"""
    for _ in range(3):
        values, group = channel_trials.grouped(draw)
        expected = channel_evidence.variance_explained(values, group)
        expect_close(student.variance_explained(values, group), expected, dims="channel")


def variance_explained__a_case_by_hand(student, draw):
    """1 and 3 against 5 and 7 gives 0.7, groups without a spread give 1, and a channel that never varies 0"""
    values = torch.tensor([[1.0, 4.0, 2.0], [5.0, 9.0, 2.0], [3.0, 4.0, 2.0], [7.0, 9.0, 2.0]])
    expected = torch.tensor([0.7, 1.0, 0.0])
    first = draw.integer(3, 90)
    found = student.variance_explained(values, torch.tensor([first, 1, first, 1]))
    expect_close(found, expected, dims="channel")


def variance_explained__meaningless_groups_explain_nothing(student, draw):
    """over many channels of noise the mean is 0, however many groups, and neither scale nor names of groups matter"""
    values = draw.normal(24, 3000)
    group = torch.arange(24) % draw.integer(6, 10)
    found = student.variance_explained(values, group)
    channel_trials.expect_values(found, 3000)
    expect(abs(found.mean().item()) < 0.03, "Groups that mean nothing explain something, on average.")
    values, group = channel_trials.grouped(draw)
    expected = channel_evidence.variance_explained(values, group)
    found = student.variance_explained(7 * values + 2, 50 - group)
    expect_close(found, expected, dims="channel")
    channel_trials.expect_untouched(student, student.variance_explained, values, group)


def edit_effect__agrees_with_the_reference(student, draw):
    """edit_effect agrees with the reference on responses that you have not seen"""
    for _ in range(3):
        case = channel_trials.edited(draw)
        expect_close(student.edit_effect(*case), channel_evidence.edit_effect(*case), dims="bound channel")


def edit_effect__a_case_by_hand(student, draw):
    """falls of 2 and 4 in a channel whose standard deviation is 2 are -1.5, give or take 0.98"""
    before, after = torch.tensor([[7.0], [100.0]]), torch.tensor([[5.0], [96.0]])
    found = student.edit_effect(before, after, torch.tensor([[1.0], [3.0], [5.0]]))
    expect_close(found, torch.tensor([[-1.5], [-2.48], [-0.52]]), dims="bound channel")


def edit_effect__obeys_its_laws(student, draw):
    """an equal change in very different pictures leaves no doubt, loudness does not matter, and what has no unit is NaN"""
    before, after, usual = channel_trials.edited(draw)
    step = draw.normal(before.shape[1])
    found = student.edit_effect(before, before + step, usual)
    expect_close(found, (step / usual.std(dim=0)).expand(3, -1), dims="bound channel")
    loud = student.edit_effect(8 * before, 8 * after, 8 * usual)
    expect_close(loud, channel_evidence.edit_effect(before, after, usual), dims="bound channel")
    usual[:, 0], after[:, 0] = 0.0, before[:, 0] + 1  # an edit that wakes a dead channel
    found = student.edit_effect(before, after, usual)
    channel_trials.expect_values(found, 3, before.shape[1])
    expect(bool(found[:, 0].isnan().all()), "A channel that never varies has no unit: expected NaN.")
    expect(bool(found[:, 1:].isfinite().all()), "Channels that vary have a unit: expected a number for them.")
    channel_trials.expect_untouched(student, student.edit_effect, before, after, usual)


def find_polysemantic_channel__finds_one_in_layer3(student, draw):
    """in layer3 of a renumbered network, the channel answers to both parts and not to the control, on new toys"""
    channel_trials.expect_two_parts(
        student, draw, draw.vision_model(), "layer3", channel_trials.ONE_PART_IS_LOUDER
    )


def find_polysemantic_channel__finds_one_in_layer4_of_another_network(student, draw):
    """in layer4 of the renumbered robust network, the same holds, whichever kinds come first"""
    model = draw.vision_model("course-resnet18-robust")
    for kinds in (channel_trials.CONTROL_MATTERS, channel_trials.FIRST_ONES_FAIL):
        channel_trials.expect_two_parts(student, draw, model, "layer4", kinds)


def part_direction__agrees_with_the_reference(student, draw):
    """part_direction agrees with the reference on changes that you have not seen"""
    for _ in range(3):
        case = channel_trials.two_changes(draw)
        expected = channel_evidence.part_direction(*case)
        expect_close(student.part_direction(*case), expected, dims="channel")


def part_direction__a_case_by_hand(student, draw):
    """of (-3, -4, 0) without (0, -2, 0) is left (1, 0, 0); if the other part changes nothing, all of it is left"""
    change, nothing = torch.tensor([[-2.0, -5.0, 0.0], [-4.0, -3.0, 0.0]]), torch.zeros(1, 3)
    other = torch.tensor([[0.0, -3.0, 1.0], [0.0, -1.0, -1.0]])
    expect_close(student.part_direction(change, other), torch.tensor([1.0, 0.0, 0.0]), dims="channel")
    expect_close(student.part_direction(change, nothing), torch.tensor([0.6, 0.8, 0.0]), dims="channel")


def part_direction__obeys_its_laws(student, draw):
    """d has length 1, the part's going is down, the other's is flat, and how strongly the other changes does not matter"""
    change, other = channel_trials.two_changes(draw)
    found = student.part_direction(change, other)
    channel_trials.expect_values(found, change.shape[1])
    expect_close(found.norm(), 1.0)
    expect_close(other.mean(dim=0) @ found, 0.0)
    expect((change.mean(dim=0) @ found).item() < 0, "When the part goes, the direction must fall.")
    expect_close(student.part_direction(change, 9 * other), found, dims="channel")
    channel_trials.expect_untouched(student, student.part_direction, change, other)


def forecast_score__agrees_with_the_reference(student, draw):
    """forecast_score agrees with the reference on features and responses that you have not seen"""
    for _ in range(6):
        case = channel_trials.reader(draw)
        expect_close(student.forecast_score(*case), channel_evidence.forecast_score(*case))


def forecast_score__a_case_by_hand(student, draw):
    """references that look like what excites the channel score 1, their opposite 0, and the middle half counts for nothing"""
    seen = torch.tensor(
        [[5.0, 9.0], [5.0, 9.1], [6.0, 10.0], [6.0, 8.0], [6.1, 10.0], [6.1, 8.0], [7.0, 9.0], [7.0, 9.1]]
    )
    shift = draw.integer(2, 30)
    response = torch.tensor([1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 8.0, 7.0])
    for references, expected in (([[8.0, 9.0], [9.0, 9.5]], 1.0), ([[2.0, 9.0]], 0.0)):
        found = student.forecast_score(torch.tensor(references) + shift, seen + shift, response)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)


def forecast_score__obeys_its_laws(student, draw):
    """where the features' zero is, how long they are, and the responses of the middle half don't matter"""
    for _ in range(3):
        shown, seen, response = channel_trials.reader(draw)
        expected = channel_evidence.forecast_score(shown, seen, response)
        expect_close(student.forecast_score(8 * shown + 40, 8 * seen + 40, response), expected)
        order, quarter = response.argsort(), len(response) // 4
        rest = order[quarter:-quarter]
        response[rest] = response[rest.flip(0)].clone()
        expect_close(student.forecast_score(shown, seen, 2 * response - 5), expected)
    channel_trials.expect_untouched(student, student.forecast_score, shown, seen, response)


def fooling_channel__is_silent_on_natural_pictures_and_answers_to_made_ones(student, draw):
    """on all pictures that it was built from, the channel is 0 if they are natural and at least 1 if they are made"""
    for _ in range(4):
        natural, made, _ = channel_trials.two_sources(draw)
        channel_trials.expect_fooling(student.fooling_channel(natural, made), natural, made)


def fooling_channel__stays_silent_on_others(student, draw):
    """on natural pictures that it was not built from, the channel is silent in eight of ten"""
    for _ in range(4):
        natural, made, others = channel_trials.two_sources(draw)
        channel = student.fooling_channel(natural, made)
        channel_trials.expect_channel(channel, natural)
        silent = (others @ channel[0] + channel[1] <= 0).float().mean().item()
        expect(silent >= 0.8, f"On natural pictures from the same source it is silent in {silent:.0%} only.")


def fooling_channel__finds_a_line_by_hand(student, draw):
    """one natural picture and one made one, in three features, are told apart wherever they lie"""
    natural = draw.normal(1, 3) + 4
    made = natural + draw.normal(1, 3)
    channel_trials.expect_fooling(student.fooling_channel(natural, made), natural, made)
    channel_trials.expect_untouched(student, student.fooling_channel, natural, made)

"""Checks of solutions/ch16_feature_hierarchy/chapter.py, version ae04dd6efe95.

Written by `python -m mechinterp_course.authoring ch16_feature_hierarchy`: edit the source instead.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course import channel_evidence, layer_findings, visualization_steps
from mechinterp_course.checking import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    layer_probes,
    picture_probes,
)

Activations = Float[Tensor, "batch channel row column"]
Responses = Float[Tensor, "picture channel"]  # the mean of each channel over all places, for each picture
NUMBER = {"dims": ""}
TUNING = {"dims": "what channel"}


def effective_receptive_field__agrees_with_the_reference(student, draw):
    """effective_receptive_field agrees with the reference for several places, shares and sizes"""
    for _ in range(4):
        case = layer_probes.a_gradient(draw)
        expect_equal(
            student.effective_receptive_field(*case), layer_findings.effective_receptive_field(*case)
        )


def effective_receptive_field__known_cases(student, draw):
    """one pixel that matters at a distance of d makes a side of 2d + 1; a field that is equal everywhere has the side that its share asks for; signs, colours and pictures don't cancel"""
    row, column, away = draw.integer(6, 9), draw.integer(6, 9), draw.integer(1, 5)
    gradient = torch.zeros(2, 3, 16, 18)
    gradient[1, 1, row - away, column + draw.integer(-away, away)] = draw.choice([-2.0, 0.5])
    expect_equal(student.effective_receptive_field(gradient, row, column), 2 * away + 1)
    even = torch.full((1, 3, 21, 21), draw.choice([1.0, -3.0]))
    even[:, 0] *= -1
    for half in (0, draw.integer(1, 8), 10):
        share = (2 * half + 1) ** 2 / 21**2
        expect_equal(student.effective_receptive_field(even, 10, 10, share), 2 * half + 1)
        if half < 10:
            expect_equal(student.effective_receptive_field(even, 10, 10, share + 1e-4), 2 * half + 3)
    opposite = torch.cat([gradient, -gradient])
    expect_equal(student.effective_receptive_field(opposite, row, column), 2 * away + 1)


def effective_receptive_field__units_beside_the_border(student, draw):
    """near an edge nothing is added from the other side, a long picture may need a square larger than its short side, a gradient of zero raises ValueError, and the gradient stays as it was"""
    gradient = draw.normal(2, 3, 14, 11)
    for row, column in ((0, 0), (13, draw.integer(0, 10)), (draw.integer(1, 3), 10)):
        case = gradient, row, column, draw.choice([0.3, 0.6, 0.8])
        expect_equal(
            student.effective_receptive_field(*case), layer_findings.effective_receptive_field(*case)
        )
    long = draw.normal(1, 3, 5, draw.integer(15, 19)), 2, draw.integer(1, 3), 0.97
    expect_equal(student.effective_receptive_field(*long), layer_findings.effective_receptive_field(*long))
    zero = torch.zeros(1, 3, 8, 8)
    expect_raises(
        "ValueError",
        lambda: student.effective_receptive_field(zero, 4, 4),
        "Where the gradient is zero everywhere there is nothing to hold.",
    )
    left = student.run(picture_probes.arguments_after, student.effective_receptive_field, *case)
    expect(torch.equal(left[0], gradient), "The call changes the gradient in place: work on a copy.")


def orientation_tuning__agrees_with_the_reference(student, draw):
    """orientation_tuning agrees with the reference on responses and angles that you have not seen"""
    for _ in range(3):
        case = layer_probes.striped(draw)
        found, known = student.orientation_tuning(*case), layer_findings.orientation_tuning(*case)
        layer_probes.expect_tuning(found, case[0].shape[1])
        expect_close(found, layer_probes.written_alike(known, found), **TUNING)


def orientation_tuning__planted_tuning(student, draw):
    """a channel that follows a cosine has its top as preferred orientation and a share of 1; one with the wrong period has a share of 0; one that never varies has 0 and 0"""
    angle = torch.arange(48) * torch.pi / 24 + draw.normal(1) * 0.01
    tops = torch.tensor([0.3, 1.2, 2.0, 2.9]) + 0.05 * draw.normal(4)
    tuned = 3 + torch.cos(2 * (angle[:, None] - tops)) * torch.tensor([0.5, 1.0, 2.0, 4.0])
    once, dead = torch.cos(angle)[:, None], torch.full((48, 1), draw.choice([0.0, 0.75]))
    found = student.orientation_tuning(torch.cat([tuned, once, dead], dim=1), angle)
    layer_probes.expect_tuning(found, 6)
    known = torch.stack([tops, torch.ones(4)])
    expect_close(found[:, :4], known, **TUNING)
    expect_close(found[1, 4], torch.tensor(0.0), **NUMBER)
    expect_close(found[:, 5], torch.zeros(2), dims="what")


def orientation_tuning__laws(student, draw):
    """turning all stripes by an angle turns the preference by it; half turns, a factor and an offset change nothing; uneven angles don't mislead"""
    values, angle = layer_probes.striped(draw)
    found = student.orientation_tuning(values, angle)
    layer_probes.expect_tuning(found, values.shape[1])
    turned = student.orientation_tuning(values, angle + 0.4)
    layer_probes.expect_tuning(turned, values.shape[1])
    expected = torch.stack([(found[0] + 0.4) % torch.pi, found[1]])
    expect_close(turned, layer_probes.written_alike(expected, turned), **TUNING)
    half = torch.pi * torch.tensor([draw.integer(-2, 2) for _ in angle])
    same = student.orientation_tuning(3 * values - 5, angle + half)
    layer_probes.expect_tuning(same, values.shape[1])
    expect_close(same, layer_probes.written_alike(found, same), **TUNING)
    left = student.run(picture_probes.arguments_after, student.orientation_tuning, values, angle)
    for tensor, before in zip(left, (values, angle), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")


def layer_report__agrees_with_the_reference(student, draw):
    """layer_report agrees with the reference on factors, layers and channels that you have not seen"""
    for _ in range(2):
        case = layer_probes.two_networks(draw)
        found = student.layer_report(*case)
        layer_probes.expect_report(found, case[0], case[2])
        layer_probes.expect_same_report(found, layer_findings.layer_report(*case))


def layer_report__planted_truth(student, draw):
    """a planted channel is found, a channel that is silent for one factor only is not silent, and only what is more than chance counts"""
    trained, untrained, groups, truth = layer_probes.planted(draw)
    found = student.layer_report(trained, untrained, groups)
    layer_probes.expect_report(found, trained, groups)
    for layer, facts in truth.items():
        expect_equal(found[layer]["silent"], facts["silent"])
        for factor in groups:
            expect_equal(found[layer][factor]["channel"], facts[factor])
            expect_close(found[layer][factor]["beyond"], facts["beyond"])


def layer_report__laws(student, draw):
    """with channels in another order the report has the same shares and names channels by their new numbers; groups may be numbered anyhow; nothing is changed in place"""
    trained, untrained, groups, _ = layer_probes.planted(draw)
    width = trained["hue"]["first"].shape[1]
    order = draw.normal(width).argsort()
    moved = layer_probes.reordered((trained, untrained, groups), order)
    one, other = student.layer_report(trained, untrained, groups), student.layer_report(*moved)
    for found in (one, other):
        layer_probes.expect_report(found, trained, groups)
    for layer in one:
        expect_equal(other[layer]["silent"], one[layer]["silent"])
        for factor in groups:
            expect_equal(order[other[layer][factor]["channel"]].item(), one[layer][factor]["channel"])
            expect_close(other[layer][factor]["explained"], one[layer][factor]["explained"], atol=1e-5)
    left = student.run(layer_probes.tensors_left, student.layer_report, *moved)
    for tensor, before in zip(left, layer_probes.tensors_left(lambda *case: None, *moved), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")


def diversity__agrees_with_the_reference(student, draw):
    """diversity agrees with the reference for batches, channels and maps of several sizes"""
    for batch in (2, 3, draw.integer(4, 5)):
        activations = draw.normal(batch, draw.integer(6, 8), draw.integer(2, 4), draw.integer(9, 11)) + 0.5
        expect_close(student.diversity(activations), visualization_steps.diversity(activations), **NUMBER)


def diversity__known_cases(student, draw):
    """pictures that are equal, moved about or brighter count 1, channels that never meet count 0, and one picture alone 0"""
    one = draw.normal(1, 5, 4, 6)
    moved = one.flatten(2)[:, :, draw.normal(24).argsort().to(one.device)].view_as(one)
    expect_close(student.diversity(torch.cat([one, 3 * moved, one])), one.new_tensor(1.0), **NUMBER)
    apart = torch.zeros(2, 4, 3, 5, device=one.device)
    apart[0, :2], apart[1, 2:] = draw.normal(2, 3, 5), draw.normal(2, 3, 5)
    expect_close(student.diversity(apart), one.new_tensor(0.0), **NUMBER)
    expect_close(student.diversity(one), one.new_tensor(0.0), **NUMBER)


def caricature_score__agrees_with_the_reference(student, draw):
    """caricature_score agrees with the reference for several powers"""
    for power in (0.0, 1.0, draw.choice([2.0, 2.5, 3.0])):
        target = draw.normal(5, 3, 4)
        activations = draw.normal(6, 5, 3, 4) + draw.normal(6, 1, 1, 1) * target
        case = activations, target, power
        expect_close(
            student.caricature_score(*case),
            visualization_steps.caricature_score(*case),
            dims="batch",
            atol=1e-3,
        )


def caricature_score__known_cases(student, draw):
    """the target scores its own square, what is orthogonal 0, the opposite a tenth of minus that; pictures don't mix"""
    target = draw.normal(3, 2, 5)
    square = (target**2).sum()
    side = torch.zeros_like(target)
    side[0, 0, 0], side[0, 0, 1] = target[0, 0, 1], -target[0, 0, 0]
    batch = torch.stack([target, side, -target, 2 * target])
    known = torch.stack([square, 0 * square, -0.1 * square, 2 * square])
    expect_close(student.caricature_score(batch, target), known, dims="batch", atol=1e-3)
    strict = torch.stack([square, 0 * square, -0.001 * square, 2 * square])
    expect_close(student.caricature_score(batch, target, 3.0), strict, dims="batch", atol=1e-3)
    expect_close(student.caricature_score(batch[3:], target, 1.0), known[3:], dims="batch", atol=1e-3)
    left = student.run(picture_probes.arguments_after, student.caricature_score, batch, target, 1.0)
    for tensor, before in zip(left, (batch, target), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")

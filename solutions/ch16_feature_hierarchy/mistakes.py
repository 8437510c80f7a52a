"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import math

import torch
from einops import einsum
from torch.nn import functional

from mechinterp_course import layer_findings as findings
from mechinterp_course import visualization_steps as steps_of
from mechinterp_course.channel_evidence import variance_explained

# effective_receptive_field --------------------------------------------------------------------------------


def effective_receptive_field__half_a_side(gradient, row, column, share=0.9):
    """What is returned is the distance from the middle to the side, not the side.

    A unit that one pixel moves gets 0.
    """
    return findings.effective_receptive_field(gradient, row, column, share) // 2


def effective_receptive_field__signed(gradient, row, column, share=0.9):
    """The gradient is added up with its sign, so that pictures and colours cancel.

    The gradient and its opposite together weigh nothing.
    """
    return _grown(gradient.sum(dim=(0, 1)).abs(), row, column, share)


def effective_receptive_field__squares(gradient, row, column, share=0.9):
    """The gradient is squared instead of taken absolutely: the strongest pixels count far more.

    All sides are too small, but where the gradient is the same everywhere.
    """
    return _grown(gradient.pow(2).sum(dim=(0, 1)), row, column, share)


def effective_receptive_field__first_picture(gradient, row, column, share=0.9):
    """Only the first picture's gradient is looked at.

    What moves the unit in another picture is not seen.
    """
    return _grown(gradient[0].abs().sum(dim=0), row, column, share)


def effective_receptive_field__diamond(gradient, row, column, share=0.9):
    """Pixels are added by the sum of their distances in rows and columns: a square on its corner.

    A pixel in the corner of the square has twice its distance.
    """
    rows, columns = (torch.arange(size) for size in gradient.shape[2:])
    distance = (rows - row).abs()[:, None] + (columns - column).abs()[None]
    return _grown(gradient.abs().sum(dim=(0, 1)), row, column, share, distance)


def effective_receptive_field__middle_of_the_picture(gradient, row, column, share=0.9):
    """The square stands around the middle of the picture, not around the unit's.

    Right only for units in the middle.
    """
    return _grown(gradient.abs().sum(dim=(0, 1)), gradient.shape[2] // 2, gradient.shape[3] // 2, share)


def effective_receptive_field__rows_and_columns_swapped(gradient, row, column, share=0.9):
    """Row and column are exchanged.

    Right only on the diagonal.
    """
    return _grown(gradient.abs().sum(dim=(0, 1)), column, row, share)


def effective_receptive_field__from_the_other_end(gradient, row, column, share=0.9):
    """Near an edge the slice starts at a negative index, which Python counts from the other end.

    The square is empty till it is large, and the side too large or none.
    """
    weight = gradient.abs().sum(dim=(0, 1))
    for half in range(max(weight.shape)):
        square = weight[row - half : row + half + 1, column - half : column + half + 1]
        if square.sum() >= share * weight.sum():
            return 2 * half + 1
    return None


def effective_receptive_field__one_of_nothing(gradient, row, column, share=0.9):
    """A gradient of zero is not noticed: the smallest square holds nine tenths of nothing.

    A dead unit gets 1.
    """
    return _grown(gradient.abs().sum(dim=(0, 1)), row, column, share, careful=False)


def effective_receptive_field__wraps_at_the_edge(gradient, row, column, share=0.9):
    """Near an edge the square's first row or column is negative, which Python counts from the other end.

    What lies beyond the picture then holds what lies at the far side, or the square is empty until it is larger.
    """
    weight = gradient.abs().sum((0, 1))
    if not weight.any():
        raise ValueError("nothing to hold")
    for half in range(max(weight.shape)):
        square = weight[row - half : row + half + 1, column - half : column + half + 1]
        if square.sum() >= share * weight.sum():
            return 2 * half + 1
    return 2 * max(weight.shape) - 1


# orientation_tuning ---------------------------------------------------------------------------------------


def orientation_tuning__once_a_turn(responses, angle):
    """The wave has one top in a whole turn: the angle is not doubled.

    Stripes turned by half a turn are taken for others, and what a channel really follows is missed.
    """
    return _tuned(responses, angle, times=1)


def orientation_tuning__not_halved(responses, angle):
    """The angle of the doubled wave is returned, without dividing it by 2.

    A channel that prefers 60 degrees is said to prefer 120.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([(2 * preferred).remainder(math.pi), share])


def orientation_tuning__sine_over_cosine_swapped(responses, angle):
    """The arguments of `atan2` are exchanged.

    Orientations are mirrored at 45 degrees.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([torch.where(share == 0, 0.0, (math.pi / 4 - preferred).remainder(math.pi)), share])


def orientation_tuning__the_lowest_point(responses, angle):
    """The sign of the wave is turned: where the curve is lowest.

    Off by a right angle.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([torch.where(share == 0, 0.0, (preferred + math.pi / 2).remainder(math.pi)), share])


def orientation_tuning__negative_angles(responses, angle):
    """Orientations run from -90 to 90 degrees, as `atan2` gives them.

    Half of all channels have a negative one.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([torch.where(preferred > math.pi / 2, preferred - math.pi, preferred), share])


def orientation_tuning__degrees(responses, angle):
    """Orientations are told in degrees, not in radians.

    They run up to 180.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([preferred.rad2deg(), share])


def orientation_tuning__vector_sum(responses, angle):
    """Responses are summed as vectors of twice the angle, and no mean is fitted: right for even angles only.

    Where there are more stripes of one orientation, all channels seem to prefer it.
    """
    turn = 2 * angle
    wave = (responses * turn.cos()[:, None]).sum(dim=0), (responses * turn.sin()[:, None]).sum(dim=0)
    preferred = torch.atan2(wave[1], wave[0]).remainder(2 * math.pi) / 2
    found = findings.orientation_tuning(responses, angle)
    return torch.stack([torch.where(found[1] == 0, 0.0, preferred), found[1]])


def orientation_tuning__squares_around_zero(responses, angle):
    """R squared is measured against the squares of the responses themselves, not around their mean.

    An offset makes every share larger.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    left = (1 - share) * (responses - responses.mean(dim=0)).pow(2).sum(dim=0)
    return torch.stack([preferred, torch.where(share == 0, 0.0, 1 - left / responses.pow(2).sum(dim=0))])


def orientation_tuning__amplitude(responses, angle):
    """The second row is the height of the fitted wave, not the share of variance.

    A louder channel seems better tuned.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    return torch.stack([preferred, (share * responses.var(dim=0, correction=0) * 2).clamp(min=0).sqrt()])


def orientation_tuning__nan_for_the_dead(responses, angle):
    """A channel that never varies is divided by zero.

    Its share is NaN.
    """
    preferred, share = findings.orientation_tuning(responses, angle)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    return torch.stack([preferred, torch.where(varies, share, torch.nan)])


def orientation_tuning__lost_quadrant(responses, angle):
    """The angle comes from the arctangent of a ratio, not from atan2, so that a top and a dip look alike.

    For half of the channels the preference is a quarter turn off.
    """
    found = findings.orientation_tuning(responses, angle)
    curve = torch.stack([torch.ones_like(angle), (2 * angle).cos(), (2 * angle).sin()], dim=1)
    fit = torch.linalg.lstsq(curve, responses).solution
    preferred = ((fit[2] / fit[1]).atan() / 2).remainder(math.pi)
    return torch.stack([torch.where(found[1] > 0, preferred, found[0]), found[1]])


# layer_report ---------------------------------------------------------------------------------------------


def layer_report__bound_of_its_own(trained, untrained, groups):
    """The bound is the trained layer's own 0.95 quantile, so that one channel in twenty is always beyond it.

    The share beyond is about 0.05 in every layer.
    """
    return findings.layer_report(trained, trained, groups)


def layer_report__bound_of_the_best(trained, untrained, groups):
    """The bound is the best of the untrained channels, not their 0.95 quantile.

    Fewer channels are beyond it.
    """
    return _report(trained, untrained, groups, bound=lambda null: null.amax())


def layer_report__bound_of_the_mean(trained, untrained, groups):
    """The bound is the mean over the untrained channels.

    Half of a random layer would be beyond chance.
    """
    return _report(trained, untrained, groups, bound=lambda null: null.mean())


def layer_report__silent_for_one_factor(trained, untrained, groups):
    """A channel counts as silent if the pictures of *some* factor leave it as it is.

    Channels that answer to other pictures are counted too.
    """
    return _report(trained, untrained, groups, silent=lambda same: same.any(dim=0))


def layer_report__silent_is_zero(trained, untrained, groups):
    """A channel counts as silent if its responses are all zero.

    One that gives the same number for each picture does not.
    """
    found = findings.layer_report(trained, untrained, groups)
    for layer, row in found.items():
        zero = torch.stack([(trained[factor][layer] == 0).all(dim=0) for factor in groups])
        row["silent"] = int(zero.all(dim=0).sum())
    return found


def layer_report__silent_without_training(trained, untrained, groups):
    """The silent channels of the untrained network are counted.

    Random weights are seldom silent.
    """
    own, null = (findings.layer_report(net, untrained, groups) for net in (trained, untrained))
    return {layer: row | {"silent": null[layer]["silent"]} for layer, row in own.items()}


def layer_report__mean_of_those_beyond(trained, untrained, groups):
    """What is explained is averaged over the channels beyond chance only.

    A factor of one channel looks like one of the whole layer.
    """
    found = findings.layer_report(trained, untrained, groups)
    for layer, row in found.items():
        for factor, group in groups.items():
            own, null = (variance_explained(net[factor][layer], group) for net in (trained, untrained))
            beyond = own[own > null.quantile(0.95)]
            row[factor]["explained"] = beyond.mean().item() if len(beyond) else 0.0
    return found


def layer_report__a_count(trained, untrained, groups):
    """ "beyond" is the number of channels, not their share.

    Wider layers have more.
    """
    found = findings.layer_report(trained, untrained, groups)
    for layer, row in found.items():
        for factor in groups:
            row[factor]["beyond"] *= float(trained[factor][layer].shape[1])
    return found


def layer_report__loudest_channel(trained, untrained, groups):
    """The channel is the one that varies most, not the one of which the factor explains most.

    A loud channel is named for every factor.
    """
    found = findings.layer_report(trained, untrained, groups)
    for layer, row in found.items():
        for factor in groups:
            row[factor]["channel"] = int(trained[factor][layer].var(dim=0).argmax())
    return found


# diversity ------------------------------------------------------------------------------------------------


def diversity__with_the_diagonal(activations):
    """The mean runs over all pairs, each picture with itself included.

    One picture alone counts 1, and no batch counts 0.
    """
    return _cosines(_gram(activations)).mean()


def diversity__not_normalized(activations):
    """Gram matrices are multiplied without being divided by their norms.

    Bright pictures count as more alike than dim ones.
    """
    gram = _gram(activations).flatten(1)
    return _off_diagonal(gram @ gram.T)


def diversity__activations_compared(activations):
    """The activations themselves are compared, place by place, not their Gram matrices.

    A shifted picture counts as another one.
    """
    return _off_diagonal(_cosines(activations))


def diversity__places_instead_of_channels(activations):
    """The Gram matrix is that of places, summed over channels.

    It says where something is, not what comes together.
    """
    return _off_diagonal(_cosines(torch.einsum("bcij,bckl->bijkl", activations, activations)))


def diversity__sum_over_pairs(activations):
    """The cosines are summed over the pairs instead of averaged.

    Larger batches count as more alike.
    """
    count = len(activations)
    return steps_of.diversity(activations) * (count * (count - 1) / 2)


def diversity__how_different(activations):
    """The sign is turned: how different the pictures are, not how alike.

    Equal pictures count -1.
    """
    return -steps_of.diversity(activations)


def diversity__nan_for_one(activations):
    """One picture alone divides zero by zero pairs.

    The result is NaN.
    """
    return _off_diagonal(_cosines(_gram(activations)))


def diversity__first_against_the_others(activations):
    """Only the first picture is compared with the others.

    What the others have in common does not count.
    """
    return _cosines(_gram(activations))[0, 1:].mean() if len(activations) > 1 else activations.new_zeros(())


def diversity__row_by_row(activations):
    """The cosine is taken of each row of the Gram matrices and averaged, not of the whole matrices.

    A channel that hardly answers counts as much as a loud one.
    """
    unit = functional.normalize(_gram(activations), dim=2)
    return _off_diagonal(torch.einsum("ick,jck->ij", unit, unit) / unit.shape[1])


# caricature_score -----------------------------------------------------------------------------------------


def caricature_score__dot_product_only(activations, target, power=1.0):
    """The cosine is left out.

    `power` makes no difference.
    """
    return steps_of.caricature_score(activations, target, 0.0)


def caricature_score__cosine_only(activations, target, power=1.0):
    """Only the cosine counts, so that a faint likeness is as good as a strong one.

    Twice the activations have the same score.
    """
    return _cosine(activations, target).clamp(min=0.1) ** power


def caricature_score__not_cut(activations, target, power=1.0):
    """The cosine is not kept above 0.1: its power is NaN where it is negative, or turns the sign.

    The opposite of the target scores as much as the target.
    """
    return _dot(activations, target) * _cosine(activations, target) ** power


def caricature_score__power_of_all(activations, target, power=1.0):
    """The power is taken of the cosine and the dot product together.

    With power 2 the score grows with the square of the activations.
    """
    return (_dot(activations, target) * _cosine(activations, target).clamp(min=0.1)) ** power


def caricature_score__cut_at_zero(activations, target, power=1.0):
    """The cosine is cut at 0 instead of 0.1.

    From a start that is against the target, no gradient leads away.
    """
    return _dot(activations, target) * _cosine(activations, target).clamp(min=0) ** power


def caricature_score__cosine_at_each_place(activations, target, power=1.0):
    """Dot product and cosine are taken over the channels at each place, and their products are averaged.

    Places count alike, however strong their activations.
    """
    dot = einsum(activations, target, "batch channel row column, channel row column -> batch row column")
    cosine = functional.cosine_similarity(activations, target[None], dim=1)
    return (dot * cosine.clamp(min=0.1) ** power).mean(dim=(1, 2))


def caricature_score__mean_over_places(activations, target, power=1.0):
    """The dot product is averaged over channels and places instead of summed.

    All scores are smaller by the number of activations.
    """
    return steps_of.caricature_score(activations, target, power) / target.numel()


def caricature_score__floor_after_the_power(activations, target, power=1.0):
    """The floor of 0.1 is put under the cosine's power, not under the cosine.

    With a power of 2, pictures with a cosine below 0.3 score too much.
    """
    return _dot(activations, target) * (_cosine(activations, target) ** power).clamp(min=0.1)


# what they are made of ------------------------------------------------------------------------------------


# as it should be, but for one thing ------------------------------------------------------------------------


def _grown(weight, row, column, share, distance=None, careful=True):
    """The side of the smallest square, or of another neighbourhood, that holds a share of the weight."""
    if careful and not weight.any():
        raise ValueError("nothing to hold")
    rows, columns = (torch.arange(size) for size in weight.shape)
    square = torch.maximum((rows - row).abs()[:, None], (columns - column).abs()[None])
    distance = square if distance is None else distance
    half = 0
    while weight[distance <= half].sum() < share * weight.sum() * (1 - 1e-6):
        half += 1
    return 2 * half + 1


def _tuned(responses, angle, times):
    turn = times * angle
    curve = torch.stack([torch.ones_like(turn), turn.cos(), turn.sin()], dim=1)
    fit = torch.linalg.lstsq(curve, responses).solution
    left = (responses - curve @ fit).pow(2).sum(dim=0)
    share = 1 - left / (responses - responses.mean(dim=0)).pow(2).sum(dim=0)
    preferred = (torch.atan2(fit[2], fit[1]).remainder(2 * math.pi) / times).remainder(math.pi)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    return torch.where(varies, torch.stack([preferred, share]), 0.0)


def _report(trained, untrained, groups, bound=None, silent=None):
    found = findings.layer_report(trained, untrained, groups)
    for layer, row in found.items():
        for factor, group in groups.items() if bound else ():
            own, null = (variance_explained(net[factor][layer], group) for net in (trained, untrained))
            row[factor]["beyond"] = (own > bound(null)).float().mean().item()
        if silent:
            each = [trained[factor][layer] for factor in groups]
            row["silent"] = int(silent(torch.stack([x.amax(0) == x.amin(0) for x in each])).sum())
    return found


def _gram(activations):
    return torch.einsum("bihw,bjhw->bij", activations, activations)


def _cosines(values):
    unit = functional.normalize(values.flatten(1), dim=1)
    return unit @ unit.T


def _off_diagonal(products):
    count = len(products)
    return (products.sum() - products.diagonal().sum()) / (count * (count - 1))


def _dot(activations, target):
    return (activations * target).sum(dim=(1, 2, 3))


def _cosine(activations, target):
    return _dot(activations, target) / (activations.flatten(1).norm(dim=1) * target.norm())

"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from itertools import permutations

import torch

from mechinterp_course.channel_evidence import (
    edit_effect,
    find_polysemantic_channel,
    fooling_channel,
    forecast_score,
    objects,
    part_direction,
    pixels_of,
    removal_effects,
    responses,
    selectivity,
    selectivity_beyond_chance,
    variance_explained,
)

# selectivity ----------------------------------------------------------------------------------------------


def selectivity__the_other_way_round(values, shows):
    """What is returned is how often a picture *without* the factor excites the channel more: 1 minus the AUC.

    A channel that follows the labels gets 0.
    """
    return 1 - selectivity(values, shows)


def selectivity__folded(values, shows):
    """AUCs below 0.5 are turned round, so that no channel prefers pictures without the factor.

    Swapping the labels changes nothing.
    """
    found = selectivity(values, shows)
    return torch.maximum(found, 1 - found)


def selectivity__ties_lost(values, shows):
    """Pairs of equal responses count as if the picture without the factor had won, not half.

    A dead channel gets 0.
    """
    return _pairs(values, shows, 0.0)


def selectivity__ties_won(values, shows):
    """Pairs of equal responses count in full for the factor (`>=`), not half.

    A dead channel gets 1.
    """
    return _pairs(values, shows, 1.0)


def selectivity__difference_of_means(values, shows):
    """The means with and without the factor are subtracted and divided by the spread (d'), which is no probability.

    Values are not between 0 and 1.
    """
    having, lacking = _both(values, shows)
    spread = torch.cat([having - having.mean(0), lacking - lacking.mean(0)]).std(0).clamp(min=1e-6)
    return (having.mean(0) - lacking.mean(0)) / spread


def selectivity__against_the_mean(values, shows):
    """Pictures with the factor are compared with the mean response of those without, not with each of them.

    One picture with a huge response changes the result for all.
    """
    having, lacking = _both(values, shows)
    middle = lacking.mean(0)
    return ((having > middle).float() + 0.5 * (having == middle).float()).mean(0)


def selectivity__in_turn(values, shows):
    """The first picture with the factor is compared with the first without, the second with the second, not each with all.

    The order of the pictures matters.
    """
    having, lacking = _both(values, shows)
    count = min(len(having), len(lacking))
    having, lacking = having[:count], lacking[:count]
    return ((having > lacking).float() + 0.5 * (having == lacking).float()).mean(0)


# selectivity_beyond_chance --------------------------------------------------------------------------------


def selectivity_beyond_chance__each_channel_alone(values, shows, orders):
    """Each channel is compared with its own shuffles, not with the best channel of each shuffle.

    Of sixty channels of noise, six have a p below 0.1.
    """
    own, null = _distances(values, shows, orders)
    return _p_values(own, null)


def selectivity_beyond_chance__mean_over_channels(values, shows, orders):
    """The null is the mean distance of all channels, not the largest.

    Nearly all channels are beyond it.
    """
    own, null = _distances(values, shows, orders)
    return _p_values(own, null.mean(1, keepdim=True))


def selectivity_beyond_chance__never_one_more(values, shows, orders):
    """The true labels are not counted as a shuffle, so that p can be 0.

    A perfect detector has p = 0, which no number of shuffles can show.
    """
    own, null = _distances(values, shows, orders)
    return (null.amax(1, keepdim=True) >= own - 1e-6).float().mean(0)


def selectivity_beyond_chance__upwards_only(values, shows, orders):
    """The statistic is AUC - 0.5 with its sign, so that channels that prefer pictures without the factor never count.

    A channel that falls where the factor is gets a p near 1.
    """
    own, null = _distances(values, shows, orders, signed=True)
    return _p_values(own, null.amax(1, keepdim=True))


def selectivity_beyond_chance__ties_not_counted(values, shows, orders):
    """Only shuffles that are strictly larger count, not those that tie.

    With shuffles that leave the labels as they are, the best channel gets less than 1.
    """
    own, null = _distances(values, shows, orders)
    return (1 + (null.amax(1, keepdim=True) > own + 1e-6).sum(0)) / (1 + len(orders))


def selectivity_beyond_chance__all_below_the_line(values, shows, orders):
    """One is added above the fraction line and not below it.

    p can exceed 1.
    """
    own, null = _distances(values, shows, orders)
    return (1 + (null.amax(1, keepdim=True) >= own - 1e-6).sum(0)) / len(orders)


def selectivity_beyond_chance__confidence(values, shows, orders):
    """What is returned is the part of shuffles that the channel beats: 1 minus p.

    The most selective channel gets the largest value.
    """
    return 1 - selectivity_beyond_chance(values, shows, orders)


# variance_explained ---------------------------------------------------------------------------------------


def variance_explained__not_adjusted(values, group):
    """Sums of squares are divided by each other, without their degrees of freedom: plain eta squared.

    Groups that mean nothing explain (k - 1) / (n - 1) on average.
    """
    within, total = _squares(values, group)
    return _share(within, total)


def variance_explained__divided_by_pictures(values, group):
    """What lies within groups is divided by n, not by n - k.

    Groups that mean nothing explain something on average.
    """
    within, total = _squares(values, group)
    return _share(within / len(group), total / (len(group) - 1))


def variance_explained__mean_of_group_variances(values, group):
    """The variances of the groups are averaged, so that a group of two pictures counts as much as one of twenty.

    Right when all groups have the same size.
    """
    within = torch.stack([values[group == g].var(0, unbiased=False) for g in group.unique()]).mean(0)
    factor = len(group) / (len(group) - len(group.unique()))
    return _share(within * factor, values.var(0))


def variance_explained__numbers_as_values(values, group):
    """The group's number is taken as a quantity, and the squared correlation with it is returned.

    Renaming the groups changes the result.
    """
    x = group.float() - group.float().mean()
    y = values - values.mean(0)
    return (x @ y) ** 2 / ((x @ x) * (y * y).sum(0)).clamp(min=1e-12)


def variance_explained__what_is_left(values, group):
    """The share that lies *within* groups is returned, without taking it from 1.

    Groups that mean nothing get 1.
    """
    within, total = _squares(values, group)
    n = len(group)
    return _ratio(within / (n - len(group.unique())), total / (n - 1))


def variance_explained__dead_channels_full(values, group):
    """A channel that never varies gets 1, as if groups explained all of it.

    Nothing is left within groups, so it looks fully explained.
    """
    found = variance_explained(values, group)
    return torch.where(values.std(0) > 0, found, torch.ones_like(found))


def variance_explained__groups_weigh_the_same(responses, group):
    """The variances of the groups are averaged, so that a small group weighs as much as a large one.

    With groups of equal size nothing shows.
    """
    each = [responses[group == g] for g in group.unique()]
    within = torch.stack([x.var(0) if len(x) > 1 else torch.zeros_like(x[0]) for x in each]).mean(0)
    return _share(within, responses.var(0))


def variance_explained__counted_by_the_highest_number(responses, group):
    """The number of groups is taken to be the highest number plus one, as if none were left out.

    Other names for the groups give other values.
    """
    within, _ = _squares(responses, group)
    return _share(within / (len(group) - int(group.max()) - 1), responses.var(0))


# edit_effect ----------------------------------------------------------------------------------------------


def edit_effect__not_paired(before, after, usual):
    """The interval is that of two separate groups of pictures, not of the change in each picture.

    Where pictures differ much from each other it is far too wide.
    """
    unit = _unit(usual)
    mean = (after - before).mean(0) / unit
    error = 1.96 * ((before.var(0) + after.var(0)) / len(before)).sqrt() / unit
    return torch.stack([mean, mean - error, mean + error])


def edit_effect__unit_of_the_edited_pictures(before, after, usual):
    """The unit is the standard deviation over `before`, not over `usual` pictures.

    Changing `usual` changes nothing.
    """
    return _effect(before, after, _unit(before))


def edit_effect__unit_of_the_change(before, after, usual):
    """The unit is the standard deviation of the change itself (Cohen's d of pairs), not that of the channel.

    An edit that does little, but always the same, gets a huge effect.
    """
    return _effect(before, after, _unit(after - before))


def edit_effect__raw_units(before, after, usual):
    """The change is left in the channel's own scale, not divided by anything.

    A channel that is twice as loud has twice the effect.
    """
    found = _effect(before, after, torch.ones_like(usual[0]))
    return torch.where(usual.std(0) > 0, found, torch.nan)


def edit_effect__before_minus_after(before, after, usual):
    """The change is taken the wrong way round, so that what falls has a positive effect.

    All means have the wrong sign.
    """
    return edit_effect(after, before, usual)


def edit_effect__spread_for_error(before, after, usual):
    """The interval is the mean plus and minus 1.96 standard deviations, not standard errors.

    It says where single pictures lie, and does not shrink with more of them.
    """
    mean, low, high = edit_effect(before, after, usual)
    half = (high - low) / 2 * len(before) ** 0.5
    return torch.stack([mean, mean - half, mean + half])


def edit_effect__without_the_factor(before, after, usual):
    """The interval is one standard error on either side, without the factor 1.96.

    It covers two times of three, not 95 of 100.
    """
    mean, low, high = edit_effect(before, after, usual)
    half = (high - low) / 2 / 1.96
    return torch.stack([mean, mean - half, mean + half])


def edit_effect__one_unit_for_all(before, after, usual):
    """All channels are divided by one number, the standard deviation over all of them.

    Quiet channels seem to do nothing.
    """
    return _effect(before, after, usual.std().expand(usual.shape[1]))


def edit_effect__dead_channels_zero(before, after, usual):
    """A channel that does not vary over `usual` gets 0, as if the edit had been shown to do nothing.

    No entry is NaN.
    """
    return edit_effect(before, after, usual).nan_to_num(0.0)


def edit_effect__root_of_the_usual(before, after, usual):
    """The standard error is divided by the root of the number of `usual` pictures, not of the edited ones.

    The interval has nothing to do with how many pictures were edited.
    """
    found = _effect(before, after, _unit(usual))
    return found[0] + (found - found[0]) * (len(before) / len(usual)) ** 0.5


# find_polysemantic_channel --------------------------------------------------------------------------------


def find_polysemantic_channel__by_labels(model, layer, kinds):
    """The channel is the one that labels of two parts predict best (AUC), and nothing is edited.

    Parts that occur in the same toys, or that go with what the channel sees, count as well.
    """
    samples = objects(48, 5)
    seen = responses(model, layer, pixels_of(samples))
    shown = torch.tensor([[kind in sample.kinds for kind in kinds] for sample in samples])
    return _best(torch.stack([selectivity(seen, has) - 0.5 for has in shown.T]), kinds, control=False)


def find_polysemantic_channel__the_sum_counts(model, layer, kinds):
    """The falls for two parts are added up, so that one part alone can carry a channel.

    The second part often does not matter.
    """
    fall = -removal_effects(model, layer, kinds, 16, 1).nan_to_num(0.0)
    one, other, *rest = fall.amax(1).argsort(descending=True).tolist()
    channel = (fall[one] + 0.1 * fall[other]).argmax().item()
    return channel, kinds[one], kinds[other], kinds[rest[-1]]


def find_polysemantic_channel__any_change(model, layer, kinds):
    """Rises count as falls: the size of the change is taken without its sign.

    A channel that a part holds down is named.
    """
    effects = removal_effects(model, layer, kinds, 16, 1).nan_to_num(0.0)
    return _best(effects.clamp(min=0), kinds)


def find_polysemantic_channel__control_taken_for_part(model, layer, kinds):
    """The control is returned in the place of the second part.

    The channel does not fall when it goes.
    """
    channel, one, other, control = find_polysemantic_channel(model, layer, kinds, 16, 1)
    return channel, one, control, other


def find_polysemantic_channel__first_channel_of_all(model, layer, kinds):
    """The place in the table of triples and channels is returned as the channel's number, not split in two.

    The number is often larger than the layer has channels.
    """
    channel, one, other, control = find_polysemantic_channel(model, layer, kinds, 16, 1)
    width = model.get_submodule(layer)[-1].conv2.out_channels
    return channel + 3 * width, one, other, control


def find_polysemantic_channel__remembered_from_the_demo(model, layer, kinds):
    """The channel that was seen in the notebook is returned, whatever network is asked about.

    Channels of the networks that are graded have other numbers.
    """
    return {"layer3": 208, "layer4": 359}.get(layer, 0), *kinds[:3]


# part_direction -------------------------------------------------------------------------------------------


def part_direction__not_orthogonal(change, other_change):
    """The part's own mean change is returned, and the other part is not taken out.

    The other part moves along it too, wherever they share channels.
    """
    wanted = -change.mean(0)
    return wanted / wanted.norm()


def part_direction__difference_of_the_two(change, other_change):
    """The two mean changes are subtracted from each other, as between two classes.

    The other part moves the direction the opposite way, instead of not at all.
    """
    d = other_change.mean(0) - change.mean(0)
    return d / d.norm()


def part_direction__presence_is_down(change, other_change):
    """The direction points to where the part's going leads, so that its presence is down.

    All signs are wrong.
    """
    return -part_direction(change, other_change)


def part_direction__of_any_length(change, other_change):
    """The direction is not divided by its length.

    Effects along it can't be compared with those of a channel.
    """
    wanted, unwanted = -change.mean(0), other_change.mean(0)
    return wanted - (wanted @ unwanted) / unwanted.pow(2).sum().clamp(min=1e-20) * unwanted


def part_direction__projected_the_wrong_way(change, other_change):
    """The part is taken out of the other part's change, not the other out of the part's.

    It is a direction of the other part.
    """
    return part_direction(other_change, change)


def part_direction__projection_not_divided(change, other_change):
    """The projection on the other change is not divided by its squared length.

    The result depends on how strongly the other part changes.
    """
    wanted, unwanted = -change.mean(0), other_change.mean(0)
    d = wanted - (wanted @ unwanted) * unwanted
    return d / d.norm()


def part_direction__orthogonal_to_every_picture(change, other_change):
    """The direction is orthogonal to the other part's change in every picture, not to the mean of these.

    That takes much more away: one dimension for each picture.
    """
    wanted = -change.mean(0)
    _, sizes, basis = torch.linalg.svd(other_change, full_matrices=False)
    basis = basis[sizes > 1e-6]
    d = wanted - basis.T @ (basis @ wanted)
    return d / d.norm()


def part_direction__shared_channels_zeroed(change, other_change):
    """Channels that the other part changes are set to zero, instead of taking out one direction.

    Where both parts use all channels nothing is left.
    """
    wanted, unwanted = -change.mean(0), other_change.mean(0).abs()
    d = torch.where(unwanted > unwanted.median(), 0.0, wanted)
    return d / d.norm()


# forecast_score -------------------------------------------------------------------------------------------


def forecast_score__not_centred(references, pictures, response):
    """Cosines are taken of the features as they are; the mean of the pictures is not taken off.

    All cosines are near 1, and moving the features' zero changes the score.
    """
    return _score(torch.cosine_similarity(pictures[:, None], references[None], dim=2).mean(1), response)


def forecast_score__dot_product(references, pictures, response):
    """Features are multiplied, not compared by their angle: no division by their length.

    A loud reference outvotes the others.
    """
    middle = pictures.mean(0)
    return _score(((pictures - middle) @ (references - middle).T).mean(1), response)


def forecast_score__nearest_reference_only(references, pictures, response):
    """The largest cosine to any reference is taken, not the mean over references.

    With one reference there is no difference.
    """
    return _score(_cosines(references, pictures).amax(1), response)


def forecast_score__all_pictures(references, pictures, response):
    """All held-out pictures count, the upper half against the lower, not the two extreme quarters.

    The middle, which is hardest to forecast, lowers the score.
    """
    order = response.argsort()
    forecast = _cosines(references, pictures).mean(1)[order]
    return selectivity(forecast[:, None], torch.arange(len(order)) >= len(order) // 2).item()


def forecast_score__quarter_against_the_rest(references, pictures, response):
    """The highest quarter is told from all the rest, not from the lowest quarter.

    The responses of the pictures in between matter.
    """
    order, quarter = response.argsort(), len(response) // 4
    forecast = _cosines(references, pictures).mean(1)[order]
    return selectivity(forecast[:, None], torch.arange(len(order)) >= len(order) - quarter).item()


def forecast_score__highest_first(references, pictures, response):
    """The lowest quarter is called the highest: sorted in the wrong direction.

    A perfect forecast scores 0.
    """
    return 1 - forecast_score(references, pictures, response)


def forecast_score__centred_by_the_references(references, pictures, response):
    """The mean of the references is taken off, not that of the pictures.

    What the references have in common, which is what they are to show, is taken away.
    """
    middle = references.mean(0)
    return _score(_cosines(references, pictures, middle).mean(1), response)


# fooling_channel ------------------------------------------------------------------------------------------


def fooling_channel__difference_of_means(natural, made):
    """The weight is the difference of the two means, with the zero halfway, whatever the features' spread.

    A feature that varies very much lets natural pictures through.
    """
    weight = made.mean(0) - natural.mean(0)
    low, high = (natural.mean(0) @ weight), (made.mean(0) @ weight)
    middle = 0.5 * (low + high)
    return weight / (high - middle), -(middle / (high - middle)).item()


def fooling_channel__silent_on_average(natural, made):
    """The zero is put at the mean of the natural pictures, not above all of them.

    About half of the natural pictures wake the channel.
    """
    weight, bias = fooling_channel(natural, made)
    value, target = natural @ weight + bias, made @ weight + bias
    size = (target.amin() - value.mean()).item()
    return weight / size, (bias - value.mean().item()) / size


def fooling_channel__made_ones_barely(natural, made):
    """The made pictures come out above 0, not above 1.

    The channel is silent where it should be, and hardly speaks elsewhere.
    """
    weight, bias = fooling_channel(natural, made)
    return 0.1 * weight, 0.1 * bias


def fooling_channel__threshold_for_bias(natural, made):
    """The threshold is returned in place of the bias: it has the wrong sign.

    What should be taken off is added.
    """
    weight, bias = fooling_channel(natural, made)
    return weight, -bias


def fooling_channel__the_other_way_round(natural, made):
    """The channel answers to natural pictures and is silent on made ones.

    All signs are wrong.
    """
    weight, bias = fooling_channel(natural, made)
    return -weight, -bias


def fooling_channel__no_margin(natural, made):
    """The zero lies on the last natural picture that was given, with nothing to spare.

    Other natural pictures from the same source wake the channel.
    """
    rows = torch.cat([natural, made]).double()
    target = torch.cat([torch.zeros(len(natural)), torch.ones(len(made))]).double()
    design = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.double)], dim=1)
    solution = torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution[:, 0]
    return solution[:-1].to(natural), solution[-1].item()


# ------------------------------------------------------------------------------------------------------------


def _both(values, shows):
    if shows.all() or not shows.any():
        raise ValueError("one-sided")
    return values[shows], values[~shows]


def _pairs(values, shows, tie):
    having, lacking = _both(values, shows)
    having, lacking = having[:, None], lacking[None]
    return ((having > lacking).float() + tie * (having == lacking).float()).mean((0, 1))


def _distances(values, shows, orders, signed=False):
    """Each channel's distance from 0.5, and [shuffle, channel] the same under shuffled labels."""
    found = torch.stack([selectivity(values, labels) - 0.5 for labels in (shows, *shows[orders])])
    found = found if signed else found.abs()
    return found[0], found[1:]


def _p_values(own, null):
    return (1 + (null >= own - 1e-6).sum(0)) / (1 + len(null))


def _squares(values, group):
    """Squares within groups, and all squares, by channel."""
    within = sum(((values[group == g] - values[group == g].mean(0)) ** 2).sum(0) for g in group.unique())
    return within, ((values - values.mean(0)) ** 2).sum(0)


def _ratio(part, whole):
    return torch.where(whole > 0, part / whole.clamp(min=1e-30), torch.ones_like(whole))


def _share(within, total):
    return 1 - _ratio(within, total)


def _unit(usual):
    spread = usual.std(0)
    return torch.where(spread > 0, spread, torch.nan)


def _effect(before, after, unit):
    """The paired effect in a unit of one's own."""
    change = (after - before) / unit
    mean, error = change.mean(0), 1.96 * change.std(0) / len(change) ** 0.5
    return torch.stack([mean, mean - error, mean + error])


def _best(fall, kinds, control=True):
    """Of all channels and triples of kinds the one with the largest lesser fall, less what the control does."""
    found = []
    for one, other, third in permutations(range(len(kinds)), 3):
        margin = torch.minimum(fall[one], fall[other]) - control * fall[third].abs()
        found.append((margin.max().item(), margin.argmax().item(), *(kinds[i] for i in (one, other, third))))
    return max(found)[1:]


def _cosines(references, pictures, middle=None):
    middle = pictures.mean(0) if middle is None else middle
    return torch.cosine_similarity((pictures - middle)[:, None], (references - middle)[None], dim=2)


def _score(forecast, response):
    order, quarter = response.argsort(), len(response) // 4
    ends = torch.cat([order[:quarter], order[-quarter:]])
    return selectivity(forecast[ends, None], torch.arange(2 * quarter) >= quarter).item()

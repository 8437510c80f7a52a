import itertools

import torch

from mechinterp_course.channel_evidence import objects, pixels_of, removed, responses


def selectivity__against_the_average_picture_e(responses, shows):
    """The student counts how often a picture with the factor is above the mean of those without, not above
    each of them.
    axis: all pairs of pictures, not a comparison with the mean response
    """
    if shows.all() or not shows.any():
        raise ValueError("all pictures show the factor, or none")
    typical = responses[~shows].mean(dim=0)
    above = (responses[shows] > typical).float() + 0.5 * (responses[shows] == typical).float()
    return above.mean(dim=0)


def selectivity__by_the_formula_for_normal_responses_e(responses, shows):
    """The student computes d' from means and variances and turns it into an AUC as if both groups were
    normal.
    axis: count pairs (ranks), no assumption of normal distributions
    """
    if shows.all() or not shows.any():
        raise ValueError("needs pictures with the factor and without")
    yes, no = responses[shows], responses[~shows]
    difference = yes.mean(dim=0) - no.mean(dim=0)
    spread = (yes.var(dim=0, unbiased=False) + no.var(dim=0, unbiased=False)).sqrt()
    d = torch.where(spread > 0, difference / spread.clamp(min=1e-12), 40 * difference.sign())
    return torch.special.ndtr(d)


def selectivity_beyond_chance__step_down_e(responses, shows, orders):
    """The student knows Westfall and Young's step-down procedure: the maximum is taken only over channels
    that are no more selective.
    axis: maximum over all channels for every channel (single step), not step-down
    """
    own = (selectivity(responses, shows) - 0.5).abs()
    ranked = own.argsort(descending=True)
    at_least = torch.zeros_like(own)
    for order in orders:
        chance = (selectivity(responses, shows[order]) - 0.5).abs()[ranked]
        successive = chance.flip(0).cummax(dim=0).values.flip(0)
        at_least += successive >= own[ranked] - 1e-6
    p = ((1 + at_least) / (1 + len(orders))).cummax(dim=0).values
    result = torch.empty_like(p)
    result[ranked] = p
    return result


def selectivity_beyond_chance__true_side_only_e(responses, shows, orders):
    """The student leaves the channel's own distance signed, so channels that prefer pictures without the
    factor never pass.
    axis: two-sided, absolute distance from 0.5 of the channel's own AUC
    """
    own = selectivity(responses, shows) - 0.5
    maxima = torch.stack([(selectivity(responses, shows[order]) - 0.5).abs().max() for order in orders])
    k = (maxima[:, None] >= own[None] - 1e-6).sum(dim=0)
    return (1 + k) / (1 + len(orders))


def variance_explained__every_group_weighs_the_same_e(responses, group):
    """The student averages the variances of the groups, so a small group counts as much as a large one.
    axis: pooled sum of squares over n - k, not the mean of group variances; unequal group sizes
    """
    total, varies = responses.var(dim=0), responses.amax(dim=0) > responses.amin(dim=0)
    within = []
    for g in group.unique():
        rows = responses[group == g]
        squares = (rows - rows.mean(dim=0)).square().sum(dim=0)
        within.append(squares / max(len(rows) - 1, 1))
    ratio = torch.stack(within).mean(dim=0) / torch.where(varies, total, 1.0)
    return torch.where(varies, 1 - ratio, 0.0)


def variance_explained__one_degree_of_freedom_too_few_e(responses, group):
    """The student uses the textbook's adjusted R squared with k predictors, which divides the residuals by n
    - k - 1.
    axis: degrees of freedom of the residuals are n - k, not n - k - 1
    """
    n, values = len(responses), group.unique()
    k = len(values)
    residual = torch.zeros_like(responses[0])
    for value in values:
        members = responses[group == value]
        residual = residual + ((members - members.mean(0)) ** 2).sum(0)
    total = ((responses - responses.mean(0)) ** 2).sum(0)
    r2 = 1 - residual / torch.where(total > 0, total, torch.ones_like(total))
    adjusted = 1 - (1 - r2) * (n - 1) / (n - k - 1)
    varies = responses.amax(0) > responses.amin(0)
    return torch.where(varies, adjusted, torch.zeros_like(adjusted))


def edit_effect__one_unit_for_all_channels_e(before, after, usual):
    """The student divides by the standard deviation of all usual responses pooled, one number for all
    channels.
    axis: the unit is each channel's own standard deviation (dim 0)
    """
    change = (after - before) / usual.std()
    mean = change.mean(dim=0)
    error = change.std(dim=0) / len(change) ** 0.5
    result = torch.stack([mean, mean - 1.96 * error, mean + 1.96 * error])
    return torch.where(usual.std(dim=0) > 0, result, torch.nan)


def edit_effect__counts_the_usual_pictures_e(before, after, usual):
    """The student takes the root of the number of usual pictures for the standard error, where the edited
    pictures count.
    axis: standard error over the number of edited pictures (pairs), not len(usual)
    """
    unit = usual.std(dim=0)
    change = (after - before) / unit
    mean, n = change.mean(dim=0), usual.shape[0]
    half = 1.96 * change.std(dim=0) / n**0.5
    rows = torch.stack((mean, mean - half, mean + half))
    rows[:, unit == 0] = torch.nan
    return rows


def find_polysemantic_channel__activity_for_the_effect_of_removal_e(model, layer, kinds):
    """The student looks how far toys with a part lie above the usual response, and never uses the responses
    after the removal.
    axis: the effect of removing the part (after minus before), not activity with the part present
    """
    usual = responses(model, layer, pixels_of(objects(128, 7_000_000)))
    centre, unit = usual.mean(dim=0), usual.std(dim=0)
    excess = {}
    for number, kind in enumerate(kinds):
        lacking = set(kinds) - {kind}
        before, _ = removed(model, layer, kind, 16, 8_000_000 + 1000 * number, lacking=lacking)
        excess[kind] = ((before.mean(dim=0) - centre) / unit).masked_fill(unit == 0, torch.nan)
    best, answer = -float("inf"), None
    for one, other, control in itertools.permutations(kinds, 3):
        score = torch.minimum(excess[one], excess[other]) - excess[control].abs()
        score = score.nan_to_num(-torch.inf)
        if score.max().item() > best:
            best, answer = score.max().item(), (int(score.argmax()), one, other, control)
    return answer


def find_polysemantic_channel__best_ratio_to_the_control_e(model, layer, kinds):
    """The student takes the channel with the largest ratio of fall to control effect, which is won by tiny
    effects over a control of nearly zero.
    axis: falls must be large in themselves (at least 0.5), a ratio to the control does not ensure that
    """
    usual = responses(model, layer, pixels_of(objects(120, 31_000)))
    fall = {}
    for step, kind in enumerate(kinds):
        others = {each for each in kinds if each != kind}
        pair = removed(model, layer, kind, 16, 52_000 + 500 * step, lacking=others)
        fall[kind] = -edit_effect(*pair, usual)[0]
    found = []
    for one, other, control in itertools.permutations(kinds, 3):
        ratio = torch.minimum(fall[one], fall[other]) / fall[control].abs().clamp(min=1e-6)
        ratio = ratio.nan_to_num(-torch.inf)
        channel = ratio.argmax().item()
        found.append((ratio[channel].item(), channel, one, other, control))
    return max(found)[1:]


def part_direction__every_picture_made_a_unit_first_e(change, other_change):
    """The student normalises the change of each picture before averaging, so that loud pictures don't
    dominate.
    axis: mean of the changes themselves, normalise only once at the end
    """
    each = change / change.norm(dim=1, keepdim=True).clamp(min=1e-12)
    wanted = -each.mean(dim=0)
    b = other_change.mean(dim=0)
    d = wanted - (wanted @ b) / (b @ b) * b
    return d / d.norm()


def part_direction__difference_of_the_two_changes_e(change, other_change):
    """The student takes the contrast of the two mean changes for the direction, which the other part moves
    too.
    axis: orthogonal to the other part's mean change (projection), not the difference of the means
    """
    a = change.mean(dim=0)
    b = other_change.mean(dim=0)
    d = b - a
    return d / d.norm()


def _ch15_forecast(references, pictures):
    """The mean cosine of each picture with the references, both centred by the pictures' mean."""
    middle = pictures.mean(dim=0)
    shown = torch.nn.functional.normalize(references - middle, dim=1)
    held_out = torch.nn.functional.normalize(pictures - middle, dim=1)
    return (held_out @ shown.T).mean(dim=1)


def forecast_score__quarters_of_the_forecast_e(references, pictures, response):
    """The student takes the quarters with the highest and the lowest forecast and asks whether the responses
    tell them apart.
    axis: quarters by the true response, and the forecast is what tells them apart
    """
    forecast = _ch15_forecast(references, pictures)
    quarter = len(pictures) // 4
    order = forecast.argsort()
    ends = torch.cat([order[:quarter], order[-quarter:]])
    highest = torch.arange(2 * quarter, device=ends.device) >= quarter
    return selectivity(response[ends][:, None], highest).item()


def forecast_score__highest_quarter_against_the_rest_e(references, pictures, response):
    """The student compares the quarter with the highest responses with all other pictures, those in between
    included.
    axis: lowest quarter only; the pictures in between don't count
    """
    forecast = _ch15_forecast(references, pictures)
    highest = torch.zeros(len(pictures), dtype=torch.bool, device=pictures.device)
    highest[response.topk(len(pictures) // 4).indices] = True
    return float(selectivity(forecast[:, None], highest)[0])


def _ch15_least_squares(natural, made):
    """The small weight that gives about 0 on natural and 1 on made features, in float64, by ridge."""
    X = torch.cat([natural, made]).double()
    y = torch.cat([torch.zeros(len(natural)), torch.ones(len(made))]).to(X)
    K = X @ X.T
    penalty = 1e-3 * K.diagonal().mean()
    return X.T @ torch.linalg.solve(K + penalty * torch.eye(len(K)).to(K), y)


def fooling_channel__one_on_average_e(natural, made):
    """The student scales the channel so that it is 1 on the made pictures on average, so about half of them
    stay below.
    axis: at least 1 on every made picture; scale by the minimum, not the mean
    """
    w = _ch15_least_squares(natural, made)
    top = (natural.double() @ w).max()
    answers = made.double() @ w
    start = top + 0.6 * (answers.min() - top)
    scale = answers.mean() - start
    return (w / scale).to(natural.dtype), (-start / scale).item()


def fooling_channel__bias_of_the_centred_features_e(natural, made):
    """The student fits on features less their natural mean and forgets that mean in the bias, which is used
    on features as they are.
    axis: bias must account for centring (subtract mean @ weight)
    """
    middle = natural.double().mean(dim=0)
    natural_c, made_c = natural.double() - middle, made.double() - middle
    w = _ch15_least_squares(natural_c, made_c)
    top, low = (natural_c @ w).max(), (made_c @ w).min()
    start = top + 0.6 * (low - top)
    weight = w / (low - start)
    bias = -start / (low - start)
    return weight.to(natural.dtype), bias.item()

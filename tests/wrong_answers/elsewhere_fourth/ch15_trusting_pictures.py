import torch


def selectivity__ranks_from_zero_b(responses, shows):
    """Uses the rank-sum formula for ranks that begin at 1 with ranks that begin at 0: each AUC is too low.
    axis: ranks, begin at 0, rank sum, Mann-Whitney, offset, too low
    """
    if bool(shows.all()) or not bool(shows.any()):
        raise ValueError("both kinds of pictures are needed")
    lower = (responses[:, None] > responses[None]).sum(dim=1)
    equal = (responses[:, None] == responses[None]).sum(dim=1) - 1  # without itself
    rank = (lower + equal / 2).to(responses.dtype)
    n1 = int(shows.sum())
    n0 = len(shows) - n1
    u = rank[shows].sum(dim=0) - n1 * (n1 + 1) / 2
    return u / (n1 * n0)


def selectivity_beyond_chance__null_one_sided_b(responses, shows, orders):
    """Takes the highest AUC of each shuffle less 0.5, so shuffled channels far below 0.5 are overlooked.
    axis: one-sided, below 0.5, absolute distance, maximum, shuffles, null
    """
    own = (selectivity(responses, shows) - 0.5).abs()
    best = torch.stack([selectivity(responses, shows[order]).max() - 0.5 for order in orders])
    reached = (best[:, None] >= own[None, :] - 1e-6).sum(dim=0)
    return (1 + reached) / (1 + len(orders))


def variance_explained__average_of_group_variances_b(responses, group):
    """Averages the groups' variances, each group alike, instead of pooling squares over n - k.
    axis: group sizes, average of variances, pooled, n - k, weight, sum of squares
    """
    inner = []
    for g in group.unique():
        members = responses[group == g]
        if len(members) > 1:
            inner.append(members.var(dim=0))
    within = torch.stack(inner).mean(dim=0)
    total = responses.var(dim=0)
    share = 1 - within / total
    return torch.where(total > 0, share, torch.zeros_like(share))


def edit_effect__spread_not_error_b(before, after, usual):
    """Makes the interval from the standard deviation of the changes, not from the standard error of the mean.
    axis: standard error, standard deviation, root of the number, interval, too wide
    """
    unit = usual.std(dim=0)
    unit = torch.where(unit > 0, unit, torch.nan)
    change = (after - before) / unit
    mu, sigma = change.mean(dim=0), change.std(dim=0)
    return torch.stack([mu, mu - 1.96 * sigma, mu + 1.96 * sigma])


def find_polysemantic_channel__either_read_as_or_b(model, layer, kinds):
    """Scores a channel by the larger of its two falls, so one part that matters is enough.
    axis: maximum, minimum, lesser fall, both parts, one part, either
    """
    from itertools import permutations

    usual = responses(model, layer, pixels_of(objects(120, 11)))
    fall = {}
    for n, kind in enumerate(kinds):
        before, after = removed(model, layer, kind, 16, 1000 * (n + 1), lacking=set(kinds) - {kind})
        fall[kind] = -edit_effect(before, after, usual)[0]

    best, found = -float("inf"), None
    for one, other, control in permutations(kinds, 3):
        score = torch.maximum(fall[one], fall[other]) - fall[control].abs()
        score = score.nan_to_num(-torch.inf)
        channel = score.argmax().item()
        if score[channel].item() > best:
            best, found = score[channel].item(), (channel, one, other, control)
    return found


def part_direction__difference_of_the_two_b(change, other_change):
    """Returns the difference of the two mean changes, which is not orthogonal to the other part's.
    axis: difference of means, orthogonal, projection, other part, trace, zero
    """
    gone, other_gone = change.mean(dim=0), other_change.mean(dim=0)
    contrast = other_gone - gone
    return contrast / contrast.norm()


def forecast_score__averages_references_first_b(references, pictures, response):
    """Averages the references into one before taking the cosine, instead of averaging the cosines.
    axis: mean of cosines, cosine with the mean, references, order of operations, length
    """
    centre = pictures.mean(dim=0)
    prototype = references.mean(dim=0) - centre
    forecast = nn.functional.cosine_similarity(pictures - centre, prototype[None], dim=1)
    quarter = len(pictures) // 4
    ranking = response.argsort()
    judged = torch.cat([ranking[:quarter], ranking[-quarter:]])
    high = torch.arange(2 * quarter, device=response.device) >= quarter
    return selectivity(forecast[judged][:, None], high).item()


def fooling_channel__exact_fit_no_margin_b(natural, made):
    """Fits 0 and 1 exactly and leaves no margin, so about half of the new natural pictures wake the channel.
    axis: margin, exact fit, regularize, new natural pictures, held out, bias, overfit
    """
    seen = torch.cat([natural, made]).double()
    target = torch.cat([seen.new_zeros(len(natural)), seen.new_ones(len(made))])
    design = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
    solution = torch.linalg.pinv(design) @ target
    return solution[:-1].to(natural.dtype), solution[-1].item()

from itertools import combinations


def selectivity__ties_by_rank(responses, shows):
    """The AUC comes from ranks by sorting, where equal responses get different ranks.
    axis: ties, equal, tied, half, ranks"""
    if shows.all() or not shows.any():
        raise ValueError("both kinds of pictures are needed")
    ranks = responses.argsort(dim=0).argsort(dim=0) + 1.0
    n, m = shows.sum(), (~shows).sum()
    return (ranks[shows].sum(dim=0) - n * (n + 1) / 2) / (n * m)


def selectivity_beyond_chance__largest_auc_only(responses, shows, orders):
    """For the null the largest AUC is taken before its distance from 0.5: low ones never count.
    axis: maximum, largest, either side, below 0.5, absolute, distance, one-sided"""
    own = (selectivity(responses, shows) - 0.5).abs()
    best = torch.stack([selectivity(responses, shows[order]).max() for order in orders])
    largest = (best - 0.5).abs()
    as_large = (largest[:, None] >= own - 1e-6).sum(dim=0)
    return (as_large + 1) / (len(orders) + 1)


def selectivity_beyond_chance__tolerance_reversed(responses, shows, orders):
    """The tolerance has the wrong sign: maxima that tie with the channel's statistic don't count.
    axis: ties, equal, at least as large, tolerance, 1e-6"""
    own = (selectivity(responses, shows) - 0.5).abs()
    largest = torch.stack([(selectivity(responses, shows[order]) - 0.5).abs().max() for order in orders])
    as_large = (largest[:, None] - own > 1e-6).sum(dim=0)
    return (as_large + 1) / (len(orders) + 1)


def variance_explained__counts_by_highest_number(responses, group):
    """The number of groups is the highest number plus one, as if they were 0, 1, 2 without gaps.
    axis: number of groups, k, numbers, any, gaps, highest, labels"""
    n, k = len(group), int(group.max()) + 1
    within = torch.zeros_like(responses[0])
    for number in group.unique():
        members = responses[group == number]
        within = within + (members - members.mean(dim=0)).square().sum(dim=0)
    total = (responses - responses.mean(dim=0)).square().sum(dim=0)
    explained = 1 - (within / (n - k)) / (total / (n - 1))
    varies = (responses != responses[0]).any(dim=0)
    return torch.where(varies, explained, 0)


def variance_explained__groups_weigh_the_same(responses, group):
    """The variances of the groups are averaged, so a small group weighs as much as a large one.
    axis: size, groups of any size, unequal, weigh, average, pooled, within"""
    inside = []
    for number in group.unique():
        members = responses[group == number]
        squares = (members - members.mean(dim=0)).square().sum(dim=0)
        inside.append(squares / max(len(members) - 1, 1))
    explained = 1 - torch.stack(inside).mean(dim=0) / responses.var(dim=0)
    varies = (responses != responses[0]).any(dim=0)
    return torch.where(varies, explained, torch.zeros_like(explained))


def edit_effect__silent_channel_infinite(before, after, usual):
    """A channel without a unit is divided by zero: infinite and not NaN if the edit wakes it.
    axis: NaN, does not vary, unit, infinite, inf, zero, wakes, silent"""
    change = (after - before) / usual.std(dim=0)
    raw = after - before
    margin = 1.96 * raw.std(dim=0) / len(raw) ** 0.5 / usual.std(dim=0)
    mean = change.mean(dim=0)
    return torch.stack([mean, mean - margin, mean + margin])


def edit_effect__root_of_the_usual(before, after, usual):
    """The standard error has the root of the number of usual pictures, not of the edited ones.
    axis: interval, standard error, number of pictures, root, width, narrow, usual"""
    unit = usual.std(dim=0)
    unit = torch.where((usual != usual[0]).any(dim=0), unit, torch.nan)
    change = (after - before) / unit
    mean, margin = change.mean(dim=0), 1.96 * change.std(dim=0) / len(usual) ** 0.5
    return torch.stack([mean, mean - margin, mean + margin])


def find_polysemantic_channel__place_in_the_short_list(model, layer, kinds):
    """It returns the best channel's place among the candidates, not its number in the layer.
    axis: channel, number, index, candidates, which channel, falls, effect"""
    seed = 2**50 + 123_456
    usual = responses(model, layer, pixels_of(objects(112, seed)))
    effects = {}
    for n, kind in enumerate(kinds, start=1):
        before, after = removed(model, layer, kind, 16, seed + 1000 * n, lacking=set(kinds) - {kind})
        effects[kind] = edit_effect(before, after, usual)[0]
    best = (torch.inf, 0, *kinds[:3])
    for one, other in combinations(kinds, 2):
        for control in set(kinds) - {one, other}:
            weaker = torch.maximum(effects[one], effects[other])
            fits = (weaker < -0.5) & (effects[control].abs() < 0.3)
            if not fits.any():
                continue
            lowest, channel = weaker[fits].min(dim=0)
            if lowest.item() < best[0]:
                best = (lowest.item(), channel.item(), one, other, control)
    return best[1:]


def part_direction__unit_before_projection(change, other_change):
    """The direction gets unit length before the other part is projected out, so it ends shorter.
    axis: unit, length, norm, shorter"""
    wanted = -change.mean(dim=0)
    wanted = wanted / wanted.norm()
    other = other_change.mean(dim=0)
    other = other / other.norm().clamp(min=1e-12)
    return wanted - (wanted @ other) * other


def forecast_score__mean_reference(references, pictures, response):
    """The cosine is taken with the mean of the references, so long references weigh more.
    axis: mean over references, cosine, several references, each reference, average, order"""
    middle = pictures.mean(dim=0)
    reference = (references - middle).mean(dim=0)
    forecast = torch.nn.functional.cosine_similarity(pictures - middle, reference[None], dim=1)
    quarter, order = len(pictures) // 4, response.argsort(descending=True)
    chosen = torch.cat([order[:quarter], order[-quarter:]])
    high = torch.arange(len(chosen), device=chosen.device) < quarter
    return selectivity(forecast[chosen][:, None], high)[0].item()


def forecast_score__quarters_of_the_forecast(references, pictures, response):
    """Quarters are those of the forecast, told apart by the responses, instead of the reverse.
    axis: quarter, highest responses, forecast, swapped, response, lowest"""
    middle = pictures.mean(dim=0)
    cosines = torch.nn.functional.cosine_similarity(
        (pictures - middle)[:, None], (references - middle)[None], dim=-1
    )
    forecast = cosines.mean(dim=1)
    quarter, order = len(pictures) // 4, forecast.argsort(descending=True)
    chosen = torch.cat([order[:quarter], order[-quarter:]])
    high = torch.arange(len(chosen), device=chosen.device) < quarter
    return selectivity(response[chosen][:, None], high)[0].item()


def fooling_channel__no_margin(natural, made):
    """Natural pictures are put exactly on the edge of silence: about half of new ones wake it.
    axis: new pictures, not been given, unseen, held out, margin, eight of ten, natural"""
    features = torch.cat([natural, made]).double()
    features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    wanted = torch.cat([torch.zeros(len(natural)), torch.ones(len(made))]).to(features)
    solution = torch.linalg.pinv(features) @ wanted
    return solution[:-1].to(natural.dtype), solution[-1].item()

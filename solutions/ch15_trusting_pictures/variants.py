"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

from itertools import permutations

import numpy as np
import torch
from einops import rearrange, reduce
from torch.nn import functional

from mechinterp_course.channel_evidence import (
    find_polysemantic_channel,
    objects,
    pixels_of,
    responses,
    selectivity,
)
from mechinterp_course.worlds import images


def selectivity__by_signs(values, shows):
    if shows.sum() in (0, len(shows)):
        raise ValueError("labels are one-sided")
    having = rearrange(values[shows], "one channel -> one 1 channel")
    lacking = rearrange(values[~shows], "other channel -> 1 other channel")
    return (reduce((having - lacking).sign(), "one other channel -> channel", "mean") + 1) / 2


def selectivity__channel_by_channel(values, shows):
    found = []
    for column in values.T.tolist():
        having = [value for value, has in zip(column, shows.tolist(), strict=True) if has]
        lacking = [value for value, has in zip(column, shows.tolist(), strict=True) if not has]
        if not having or not lacking:
            raise ValueError("labels are one-sided")
        wins = sum((a > b) + 0.5 * (a == b) for a in having for b in lacking)
        found.append(wins / (len(having) * len(lacking)))
    return torch.tensor(found)


def selectivity__by_the_area_under_the_curve(values, shows):
    if not 0 < shows.sum() < len(shows):
        raise ValueError("labels are one-sided")
    areas = []
    for channel in values.unbind(1):
        levels = channel.unique().flip(0)  # from the strictest threshold to the loosest
        hits = torch.stack([(channel[shows] >= level).double().mean() for level in levels])
        alarms = torch.stack([(channel[~shows] >= level).double().mean() for level in levels])
        zero = torch.zeros(1, dtype=torch.double)
        areas.append(torch.trapezoid(torch.cat([zero, hits]), torch.cat([zero, alarms])))
    return torch.stack(areas).float()


def selectivity_beyond_chance__one_stack(values, shows, orders):
    distances = torch.stack([(selectivity(values, labels) - 0.5).abs() for labels in (shows, *shows[orders])])
    null = distances.amax(dim=1)
    null[0] = torch.inf  # the true labels always count
    return (null[:, None] >= distances[0] - 1e-6).float().mean(dim=0)


def selectivity_beyond_chance__sorted(values, shows, orders):
    own = (selectivity(values, shows) - 0.5).abs()
    null = torch.stack([(selectivity(values, shows[o]) - 0.5).abs().max() for o in orders]).sort().values
    smaller = torch.searchsorted(null, own - 1e-6)
    return (1 + len(orders) - smaller) / (1 + len(orders))


def selectivity_beyond_chance__folded_by_both_tails(values, shows, orders):
    def farthest(labels):
        found = selectivity(values, labels)
        return max(found.max().item() - 0.5, 0.5 - found.min().item())

    own = selectivity(values, shows)
    null = [farthest(shows[order]) for order in orders.unbind()]
    return torch.tensor(
        [(1 + sum(one > abs(mine - 0.5) - 1e-6 for one in null)) / (len(null) + 1) for mine in own.tolist()]
    )


def variance_explained__by_one_hot_regression(values, group):
    design = (group[:, None] == group.unique()).double()
    fitted = design @ torch.linalg.pinv(design) @ values.double()
    within = (values - fitted).pow(2).sum(dim=0) / (len(group) - design.shape[1])
    total = values.double().var(dim=0)
    return torch.where(total > 1e-12, 1 - within / total.clamp(min=1e-12), 0.0).float()


def variance_explained__from_what_lies_between(values, group):
    n, numbers = len(group), group.unique()
    x = values.double() - values.double().mean(dim=0)
    between = sum((group == g).sum() * x[group == g].mean(dim=0) ** 2 for g in numbers)
    total = (x**2).sum(dim=0)
    alive = total > 1e-12
    share = between / total.clamp(min=1e-12)
    adjusted = 1 - (1 - share) * (n - 1) / (n - len(numbers))
    return (adjusted * alive).float()


def variance_explained__numpy(values, group):
    x, g = values.numpy().astype(np.float64), group.numpy()
    numbers, member, count = np.unique(g, return_inverse=True, return_counts=True)
    means = np.zeros((len(numbers), x.shape[1]))
    np.add.at(means, member, x)
    means /= count[:, None]
    within = ((x - means[member]) ** 2).sum(0) / (len(x) - len(numbers))
    total = x.var(0, ddof=1)
    share = np.divide(within, total, out=np.ones_like(total), where=total > 1e-12)
    return torch.from_numpy(1 - share).float()


def edit_effect__numpy(before, after, usual):
    change, spread = (after - before).numpy().astype(float), usual.numpy().astype(float).std(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = change / np.where(spread > 0, spread, np.nan)
    mean, half = change.mean(0), 1.96 * change.std(0, ddof=1) / np.sqrt(len(change))
    return torch.from_numpy(np.stack([mean, mean - half, mean + half])).float()


def edit_effect__unit_last(before, after, usual):
    change = after - before
    error = (change.var(dim=0) / len(change)).sqrt()
    rows = change.mean(dim=0) + 1.96 * torch.tensor([0.0, -1.0, 1.0])[:, None] * error
    spread = usual.std(dim=0)
    return torch.where(spread > 0, rows / spread.clamp(min=1e-30), torch.nan)


def edit_effect__channel_by_channel(before, after, usual):
    columns = []
    for b, a, u in zip(before.T.double(), after.T.double(), usual.T.double(), strict=True):
        if u.max() == u.min():
            columns.append(torch.full((3,), torch.nan))
            continue
        change = (a - b) / u.std()
        half = 1.96 * ((change - change.mean()) ** 2).sum().div(len(b) - 1).div(len(b)).sqrt()
        columns.append(torch.stack([change.mean(), change.mean() - half, change.mean() + half]).float())
    return torch.stack(columns, dim=1)


def find_polysemantic_channel__by_replacing(model, layer, kinds):
    """Parts are replaced by the next kind that the toy does not have, instead of removed, to find it."""
    usual = responses(model, layer, pixels_of(objects(96, 12))).std(dim=0).clamp(min=1e-6)
    fall = []
    for kind in kinds:
        whole = objects(16, 300, having={kind}, lacking=set(kinds) - {kind})
        swapped = [images.remove_part(sample, kind) for sample in whole]
        both = responses(model, layer, pixels_of(whole + swapped))
        fall.append((both[:16] - both[16:]).mean(dim=0) / usual)
    fall = torch.stack(fall)
    margins = {
        trio: torch.minimum(fall[trio[0]], fall[trio[1]]) - fall[trio[2]].abs()
        for trio in permutations(range(4), 3)
    }
    trio = max(margins, key=lambda each: margins[each].max())
    return margins[trio].argmax().item(), *(kinds[index] for index in trio)


def find_polysemantic_channel__parts_alone(model, layer, kinds):
    """Toys that have only one of the four kinds; the second highest of the falls counts, less the lowest two."""
    usual = responses(model, layer, pixels_of(objects(96, 40)))
    rows = []
    for kind in kinds:
        whole = objects(16, 900, having={kind}, lacking=set(kinds) - {kind})
        before = responses(model, layer, pixels_of(whole))
        after = responses(model, layer, pixels_of([images.remove_part(sample, kind) for sample in whole]))
        rows.append((before - after).mean(dim=0))
    fall = torch.stack(rows) / usual.std(dim=0).clamp(min=1e-6)
    order = fall.argsort(dim=0, descending=True)
    ranked = fall.gather(0, order)
    third = fall.abs().argmin(dim=0)
    score = ranked[1] - fall.abs().amin(dim=0)
    channel = score.argmax().item()
    return channel, kinds[order[0, channel]], kinds[order[1, channel]], kinds[third[channel]]


def find_polysemantic_channel__as_the_library_does(model, layer, kinds):
    return find_polysemantic_channel(model, layer, list(reversed(kinds)), count=16, seed=31)


def part_direction__by_least_squares(change, other_change):
    wanted, unwanted = -change.mean(dim=0).double(), other_change.mean(dim=0).double()[:, None]
    rest = wanted - unwanted @ (torch.linalg.pinv(unwanted) @ wanted)
    return functional.normalize(rest, dim=0).float()


def part_direction__by_a_projector(change, other_change):
    b = functional.normalize(other_change.double().mean(dim=0), dim=0)
    projector = torch.eye(len(b), dtype=torch.double) - torch.outer(b, b)
    d = projector @ change.double().mean(dim=0)
    return -(d / d.pow(2).sum().sqrt()).float()


def part_direction__sums_for_means(change, other_change):
    a, b = change.sum(dim=0), other_change.sum(dim=0)
    d = (a @ b) * b - (b @ b) * a if b.any() else -a
    return d / torch.linalg.vector_norm(d)


def forecast_score__pair_by_pair(references, pictures, response):
    middle = pictures.mean(dim=0)
    cosines = [
        sum(functional.cosine_similarity(row - middle, shown - middle, dim=0).item() for shown in references)
        for row in pictures
    ]
    order = sorted(range(len(pictures)), key=lambda index: response[index].item())
    quarter = len(pictures) // 4
    low, high = order[:quarter], order[len(order) - quarter :]
    return sum(cosines[a] > cosines[b] for a in high for b in low) / quarter**2


def forecast_score__mean_of_unit_references(references, pictures, response):
    middle, quarter = pictures.mean(dim=0), len(pictures) // 4
    mean = functional.normalize(references - middle, dim=1).mean(dim=0)
    forecast = functional.normalize(pictures - middle, dim=1) @ mean
    high, low = response.topk(quarter).indices, response.topk(quarter, largest=False).indices
    return (forecast[high][:, None] > forecast[low]).float().mean().item()


def forecast_score__by_thresholds(references, pictures, response):
    middle, quarter = pictures.mean(dim=0).double(), len(pictures) // 4
    forecast = torch.nn.CosineSimilarity(dim=2)(
        (pictures - middle)[:, None], (references - middle)[None]
    ).mean(1)
    ordered = response.sort().values
    low, high = response <= ordered[quarter - 1], response >= ordered[-quarter]
    return selectivity(forecast[low | high][:, None], high[low | high])[0].item()


def fooling_channel__by_ridge(natural, made):
    rows, target = torch.cat([natural, made]).double(), torch.ones(len(natural) + len(made)).double()
    target[: len(natural)] = -2
    middle = rows.mean(dim=0)
    x = rows - middle
    ridge = 1e-3 * x.pow(2).sum() / len(rows) * torch.eye(x.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ (target - target.mean()))
    return _placed(weight, natural, made, 0.8)


def fooling_channel__smallest_weight(natural, made):
    rows = torch.cat([natural, made]).double()
    middle, target = natural.double().mean(dim=0), torch.zeros(len(natural) + len(made)).double()
    target[len(natural) :] = 1
    return _placed(torch.linalg.pinv(rows - middle) @ target, natural, made, 0.7)


def fooling_channel__support_vectors(natural, made):
    """A few thousand steps down a squared hinge in the span of the pictures."""
    rows = torch.cat([natural, made]).double()
    sign = torch.cat([-torch.ones(len(natural)), torch.ones(len(made))]).double()
    centred = rows - rows.mean(dim=0)
    gram = centred @ centred.T / centred.pow(2).sum(dim=1).mean()
    share = torch.linalg.solve(gram + 1e-2 * torch.eye(len(rows), dtype=torch.double), sign)
    rate = 0.5 / torch.linalg.eigvalsh(gram)[-1] ** 2
    for _ in range(2000):
        short = (1 - sign * (gram @ share + 0.0)).clamp(min=0)
        share = share + rate * (gram @ (sign * short))
    return _placed(centred.T @ share, natural, made, 0.6)


def _placed(weight, natural, made, part):
    """Put the zero of a line a part of the way from the highest natural picture to the lowest made one, which gets 1."""
    top, low = (natural.double() @ weight).max(), (made.double() @ weight).min()
    start = top + part * (low - top)
    return (weight / (low - start)).to(natural.dtype), -(start / (low - start)).item()

"""What a channel answers to, and how sure that is: labels, chance, edits, directions, forecasts, forgery.

A response is one number for each picture and channel: the mean of the channel over all places. Labels say
what goes along with it, edits of the picture what it depends on.
"""

from collections.abc import Iterable, Sequence
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechinterp_course import hooks
from mechinterp_course.errors import CourseError
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample

Responses = Float[Tensor, "picture channel"]
Pixels = Float[Tensor, "picture 3 height width"]
ByChannel = Float[Tensor, " channel"]

NEAR = 1e-6
"""Two AUCs closer than this are equal: they are fractions, and rounding must not part them."""


@torch.no_grad()
def responses(model: nn.Module, layer: str, pixels: Pixels) -> Responses:
    """Return the mean over places of every channel of `layer` on pictures in [0, 1].

    `model` has `mean` and `std`, as `load_vision_model` gives them.
    """
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    with hooks.cache(model, [layer]) as activations:
        chunks = []
        for chunk in pixels.split(64):
            model((chunk - mean) / std)
            chunks.append(activations[layer].mean(dim=(2, 3)))
    return torch.cat(chunks)


def selectivity(responses: Responses, shows: Bool[Tensor, " picture"]) -> ByChannel:
    """Return how well each channel tells pictures that show a factor from those that don't: the AUC, 0 to 1.

    The probability that a picture with the factor excites the channel more than one without; ties count half
    (Hanley and McNeil 1982). 0.5 is chance, below it the channel prefers pictures without the factor.

    >>> selectivity(torch.tensor([[3.0], [2.0], [2.0]]), torch.tensor([True, True, False]))
    tensor([0.7500])

    Raises ValueError when all pictures show the factor, or none.
    """
    return _auc(_midranks(responses), shows)


def selectivity_beyond_chance(
    responses: Responses, shows: Bool[Tensor, " picture"], orders: Int[Tensor, "shuffle picture"]
) -> ByChannel:
    """Return a p value for each channel: how often chance makes the best of all channels as selective as it.

    Row s of `orders` is a permutation; with labels `shows[orders[s]]`, the channel whose AUC is farthest from
    0.5, on either side, gives the s-th value of the null. p is the part of shuffles whose value is at least
    the channel's own distance, where the true labels count as one more shuffle (Westfall and Young 1993;
    Phipson and Smyth 2010 for the one).
    """
    ranks = _midranks(responses)
    distance = (_auc(ranks, shows) - 0.5).abs()
    null = torch.stack([(_auc(ranks, shows[order]) - 0.5).abs().amax() for order in orders])
    as_large = (null[:, None] >= distance - NEAR).sum(dim=0)
    return (1 + as_large) / (1 + len(orders))


def variance_explained(responses: Responses, group: Int[Tensor, " picture"]) -> ByChannel:
    """Return how much of each channel's variance lies between groups of pictures: eta squared, adjusted.

    1 - (squares within groups / (pictures - groups)) / (all squares / (pictures - 1)), which is 0 on average
    where groups mean nothing (Kelley 1935), and can be a little below. A channel that never varies gets 0.
    """
    groups, member = group.unique(return_inverse=True)
    sums = responses.new_zeros(len(groups), responses.shape[1]).index_add(0, member, responses)
    means = sums / member.bincount()[:, None]
    within = (responses - means[member]).pow(2).sum(dim=0) / (len(group) - len(groups))
    total = responses.var(dim=0)
    return torch.where(total > 0, 1 - within / total, 0.0)


def edit_effect(
    before: Responses, after: Responses, usual: Float[Tensor, "other channel"]
) -> Float[Tensor, "bound channel"]:
    """Return what an edit changes in each channel: the mean change, and its 95 % interval's low and high end.

    Row i of `before` and of `after` are the same picture without and with the edit. The unit is the channel's
    standard deviation over `usual` pictures; the interval is the mean plus and minus 1.96 standard errors of
    the paired change. NaN for a channel that does not vary over `usual`: it has no unit.
    """
    unit = usual.std(dim=0)
    change = (after - before) / torch.where(unit > 0, unit, torch.nan)
    mean, error = change.mean(dim=0), 1.96 * change.std(dim=0) / len(change) ** 0.5
    return torch.stack([mean, mean - error, mean + error])


def objects(count: int, seed: int, having: Iterable[str] = (), lacking: Iterable[str] = ()) -> list[Sample]:
    """Return `count` objects, in turn of each class with the kinds `having` and none of those `lacking`.

    Their seeds are `seed`, `seed` + 1, …. Raises CourseError when no class is like that.
    """
    having, lacking = set(having), set(lacking)
    names = [
        name
        for name, parts in images.CLASSES.items()
        if having <= parts.keys() and not lacking & parts.keys()
    ]
    if not names:
        raise CourseError(f"no class has {sorted(having)} and lacks {sorted(lacking)}: see `images.CLASSES`")
    return [images.sample(seed + n, names[n % len(names)]) for n in range(count)]


def pixels_of(samples: Sequence[Sample]) -> Pixels:
    """Return the images of some samples as one tensor."""
    return torch.stack([sample.image for sample in samples])


def removed(
    model: nn.Module, layer: str, kind: str, count: int, seed: int, lacking: Iterable[str] = ()
) -> tuple[Responses, Responses]:
    """Return responses to `count` objects with parts of a kind, and to the same without these parts.

    The objects have none of the kinds `lacking`; nothing else in the pictures differs.
    """
    whole = objects(count, seed, {kind}, lacking)
    edited = [images.remove_part(sample, kind) for sample in whole]
    return tuple(responses(model, layer, pixels_of([*whole, *edited])).split(count))


def removal_effects(
    model: nn.Module, layer: str, kinds: Sequence[str], count: int, seed: int
) -> Float[Tensor, "kind channel"]:
    """Return the mean change in each channel when a kind of part goes, in its standard deviations.

    Each kind is removed from `count` objects that have it and none of the other `kinds`, so that none of them
    stands in for another; the unit is the spread over six times as many objects of all classes: over few, a
    channel that seldom answers looks as if every edit moved it.
    """
    usual, found = responses(model, layer, pixels_of(objects(6 * count, seed))), []
    for kind in kinds:
        pair = removed(model, layer, kind, count, seed + 6 * count, lacking=set(kinds) - {kind})
        found.append(edit_effect(*pair, usual)[0])
    return torch.stack(found)


def find_polysemantic_channel(
    model: nn.Module, layer: str, kinds: Sequence[str], count: int = 16, seed: int = 0
) -> tuple[int, str, str, str]:
    """Return (channel, one part, other part, control): it falls when either part goes, not for the control.

    Of all channels of `layer` and triples of `kinds`, the one with the largest difference between the lesser
    fall and what removing the control changes.
    """
    effects = removal_effects(model, layer, kinds, count, seed)
    trios = [trio for trio in permutations(range(len(kinds)), 3) if trio[0] < trio[1]]
    one, other, control = (effects[list(rows)] for rows in zip(*trios, strict=True))
    margin = (-torch.maximum(one, other) - control.abs()).nan_to_num(-torch.inf)
    row, channel = divmod(margin.argmax().item(), margin.shape[1])
    return channel, *(kinds[index] for index in trios[row])


def part_direction(change: Responses, other_change: Float[Tensor, "other channel"]) -> ByChannel:
    """Return the unit direction that follows one part and, on average, not another.

    Row i of `change` is what removing the part from the i-th picture changes in the layer's channels (after
    minus before), of `other_change` the same for the other part. Of all directions along which the mean of
    `other_change` is zero, it is the one along which the mean of `change` falls most: the part's own mean
    change, less its projection on the other's (Gram and Schmidt); the part's presence is up.
    """
    wanted, unwanted = -change.mean(dim=0), other_change.mean(dim=0)
    onto = wanted @ unwanted / (unwanted @ unwanted).clamp(min=1e-20)
    rest = wanted - onto * unwanted
    return rest / rest.norm()


def forecast_score(
    references: Float[Tensor, "reference feature"],
    pictures: Float[Tensor, "picture feature"],
    response: Float[Tensor, " picture"],
) -> float:
    """Return how well likeness to some reference pictures forecasts which pictures excite a channel: an AUC.

    The forecast for a picture is the mean cosine between its features and those of the references, all less
    the mean features of `pictures`. Scored is how often it puts a picture of the quarter with the highest
    responses above one of the quarter with the lowest, as Borowski et al. 2021 asked their participants.
    """
    middle = pictures.mean(dim=0)
    seen, shown = (nn.functional.normalize(each - middle, dim=1) for each in (pictures, references))
    forecast, quarter = (seen @ shown.T).mean(dim=1), len(pictures) // 4
    order = response.argsort()
    ends = torch.cat([order[:quarter], order[-quarter:]])
    high = torch.arange(2 * quarter) >= quarter
    return selectivity(forecast[ends, None], high).item()


def fooling_channel(
    natural: Float[Tensor, "picture feature"], made: Float[Tensor, "made feature"]
) -> tuple[Float[Tensor, " feature"], float]:
    """Return (weight, bias) of a channel relu(features @ weight + bias): silent on all natural pictures.

    It answers to every made picture with at least 1. The weight is that ridge regression of which pictures
    are made, of several penalties, that leaves the widest gap between the two for its length; most of the gap
    is left to natural pictures not seen (Geirhos et al. 2023 call such circuits *fooling*). Raises ValueError
    when none parts the two.
    """
    features = torch.cat([natural, made]).double()
    target = torch.cat([torch.zeros(len(natural)), torch.ones(len(made))]).double()
    centred = features - features.mean(dim=0)
    products = centred.T @ centred
    scale = products.diagonal().mean() * torch.eye(len(products), dtype=torch.double)
    found = []
    for penalty in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        weight = torch.linalg.solve(products + penalty * scale, centred.T @ (target - target.mean()))
        value = features @ weight
        silent, low = value[: len(natural)].amax(), value[len(natural) :].amin()
        found.append((((low - silent) / weight.norm()).item(), penalty, weight, silent, low))
    gap, _, weight, silent, low = max(found, key=lambda one: one[0])
    if gap <= 0:
        raise ValueError("no line of this kind has all made pictures above all natural ones")
    start = silent + 0.6 * (low - silent)
    return (weight / (low - start)).to(natural), -(start / (low - start)).item()


def _midranks(values: Responses) -> Responses:
    """Return each value's rank within its channel, from 1; equal values share their mean rank."""
    order = values.T.contiguous()
    ascending = order.sort(dim=1).values
    below = torch.searchsorted(ascending, order)
    up_to = torch.searchsorted(ascending, order, right=True)
    return (0.5 * (below + up_to + 1).double()).T


def _auc(ranks: Responses, shows: Bool[Tensor, " picture"]) -> ByChannel:
    """Return the AUC of each channel from ranks within channels (Mann and Whitney 1947)."""
    having, lacking = int(shows.sum()), int((~shows).sum())
    if not having or not lacking:
        raise ValueError("some pictures must show the factor, and some must not")
    above = ranks[shows].sum(dim=0) - having * (having + 1) / 2
    return (above / (having * lacking)).float()

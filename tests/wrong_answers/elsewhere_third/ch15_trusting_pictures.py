import torch


def selectivity__against_the_mean(responses: Responses, shows: Shows) -> ByChannel:
    """Compares each picture that shows the factor with the mean of the others instead of with each of them.
    axis: mean, pair, each, others, compare, average
    """
    if shows.all() or not shows.any():
        raise ValueError("there must be pictures with the factor, and without it")
    having = responses[shows]
    lacking = responses[~shows].mean(dim=0)
    above = (having > lacking).to(responses.dtype).mean(dim=0)
    ties = (having == lacking).to(responses.dtype).mean(dim=0)
    return above + ties / 2


def selectivity_beyond_chance__maximum_before_distance(
    responses: Responses, shows: Shows, orders: Int[Tensor, "shuffle picture"]
) -> ByChannel:
    """Takes the largest signed deviation before the absolute value, so shuffled AUCs below 0.5 don't count.
    axis: absolute, maximum, order, side, below, 0.5, distance, sign
    """
    own = (selectivity(responses, shows) - 0.5).abs()
    maxima = torch.stack([(selectivity(responses, shows[order]) - 0.5).max().abs() for order in orders])
    count = (maxima[:, None] >= own - 1e-6).sum(dim=0)
    return (1 + count) / (1 + len(orders))


def variance_explained__groups_weigh_the_same_too(
    responses: Responses, group: Int[Tensor, " picture"]
) -> ByChannel:
    """Averages the variances of the groups, each alike, instead of pooling their squares over n - k.
    axis: group, size, weight, average, variance, pooled, n - k, within
    """
    total = responses.var(dim=0)
    spreads = []
    for number in group.unique():
        own = responses[group == number]
        spreads.append(own.var(dim=0) if len(own) > 1 else torch.zeros_like(total))
    within = torch.stack(spreads).mean(dim=0)
    varies = total > 0
    share = 1 - within / torch.where(varies, total, torch.ones_like(total))
    return torch.where(varies, share, torch.zeros_like(share))


def edit_effect__counts_the_usual_pictures(
    before: Responses, after: Responses, usual: Float[Tensor, "other channel"]
) -> Float[Tensor, "bound channel"]:
    """Divides by the root of the number of `usual` pictures, not of the edited ones, for the standard error.
    axis: standard error, number, usual, root, pictures, interval, width
    """
    unit = usual.std(dim=0)
    unit = torch.where(unit > 0, unit, torch.nan)
    change = (after - before) / unit
    mean = change.mean(dim=0)
    error = change.std(dim=0) / len(usual) ** 0.5
    return torch.stack([mean, mean - 1.96 * error, mean + 1.96 * error])


def find_polysemantic_channel__place_read_transposed(
    model: nn.Module, layer: str, kinds: list[str]
) -> tuple[int, str, str, str]:
    """Reads the flat argmax of a [triple, channel] table as if it were [channel, triple].
    axis: argmax, index, flat, channel, triple, divide, number, transposed
    """
    from itertools import permutations

    usual = responses(model, layer, pixels_of(objects(120, 2**50 + 50_000)))
    effects = []
    for n, kind in enumerate(kinds):
        seed = 2**50 + 60_000 + 1000 * n
        before, after = removed(model, layer, kind, 16, seed, lacking=set(kinds) - {kind})
        effects.append(edit_effect(before, after, usual)[0])
    fall = -torch.stack(effects)
    triples = list(permutations(range(len(kinds)), 3))
    scores = torch.stack([torch.minimum(fall[a], fall[b]) - fall[c].abs() for a, b, c in triples])
    best = int(scores.nan_to_num(-torch.inf).argmax())
    channel, row = divmod(best, len(triples))
    one, other, control = (kinds[n] for n in triples[row])
    return channel, one, other, control


def part_direction__projection_without_length(
    change: Responses, other_change: Float[Tensor, "other channel"]
) -> ByChannel:
    """Projects on the other part's mean change without dividing by its squared length, so a trace is left.
    axis: projection, length, divide, orthogonal, other, normalize, unit
    """
    wanted = -change.mean(dim=0)
    other = other_change.mean(dim=0)
    direction = wanted - (wanted @ other) * other
    return direction / direction.norm()


def forecast_score__references_by_their_own_mean(
    references: Float[Tensor, "reference feature"],
    pictures: Float[Tensor, "picture feature"],
    response: Float[Tensor, " picture"],
) -> float:
    """Centres the references by their own mean instead of by the mean of the held-out pictures.
    axis: mean, references, pictures, centre, own, subtract
    """

    def unit_rows(features):
        centred = features - features.mean(dim=0)
        return nn.functional.normalize(centred, dim=-1)

    forecast = (unit_rows(pictures) @ unit_rows(references).T).mean(dim=1)
    quarter = len(pictures) // 4
    order = response.argsort()
    chosen = torch.cat([order[:quarter], order[-quarter:]])
    highest = torch.arange(2 * quarter, device=order.device) >= quarter
    return selectivity(forecast[chosen][:, None], highest).item()


def fooling_channel__never_scaled(
    natural: Float[Tensor, "picture feature"], made: Float[Tensor, "made feature"]
) -> tuple[Float[Tensor, " feature"], float]:
    """Shifts the zero to its place but never divides by (low - start), so made pictures get less than 1.
    axis: scale, divide, at least 1, made, weight, bias, low
    """
    features = torch.cat([natural, made]).double()
    target = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    target[len(natural) :] = 1
    gram = features @ features.T
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = features.T @ torch.linalg.solve(gram + ridge, target)
    values = features @ weight
    top, low = values[: len(natural)].max(), values[len(natural) :].min()
    start = top + 0.6 * (low - top)
    return weight.to(natural.dtype), -start.item()

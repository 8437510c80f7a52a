import torch


def probe_direction__threshold_midway_b(positive, negative, penalty):
    """Puts the threshold midway between the two groups' means instead of where w x + b is 0.
    axis: threshold, midway, bias, unequal numbers, group means, mean of y
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).to(x)
    X, Y = x - x.mean(dim=0), y - y.mean()
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = torch.linalg.solve(X.T @ X / len(x) + penalty * eye, X.T @ Y / len(x))
    direction = w / w.norm()
    between = (positive.double().mean(dim=0) + negative.double().mean(dim=0)) / 2
    return direction.float(), (between @ direction).item()


def probe_direction__sum_instead_of_mean_b(positive, negative, penalty):
    """Adds the penalty to the sum of squared errors, not to their mean: it is too weak by the
    number of examples.
    axis: penalty, sum, mean, number of examples, too weak, divided by n
    """
    x = torch.cat([positive, negative]).double()
    y = torch.ones(len(x), dtype=torch.float64, device=x.device)
    y[len(positive) :] = -1.0
    x0, y0 = x.mean(dim=0), y.mean()
    # ridge as ordinary least squares, with rows for the penalty
    d = x.shape[1]
    extra = penalty**0.5 * torch.eye(d, dtype=torch.float64, device=x.device)
    A = torch.cat([x - x0, extra])
    rhs = torch.cat([y - y0, y.new_zeros(d)])
    w = torch.linalg.lstsq(A, rhs[:, None]).solution[:, 0]
    b = y0 - w @ x0
    return (w / w.norm()).float(), (-b / w.norm()).item()


def word_direction__place_of_first_row_b(model, hook, tokens, others):
    """Looks for the changed place in the first row alone and reads every row there.
    axis: place, first row, every row, its own place, changed token, position
    """
    place = (tokens[0] != others[0]).nonzero()[0].item()
    with torch.no_grad():
        _, with_word = model.run_with_cache(tokens)
        _, with_other = model.run_with_cache(others)
    step = with_word[hook][:, place].mean(dim=0) - with_other[hook][:, place].mean(dim=0)
    return step / step.norm()


def refusal_curve__sorted_amounts_b(model, hook, direction, amounts, tokens, last, words):
    """Goes through the amounts in ascending order, so the shares are not in the order that was asked.
    axis: order, sorted, amounts, ascending, entry, belongs to
    """
    sorry, sure = words
    every = torch.arange(len(tokens), device=tokens.device)
    curve = []
    for amount in sorted(amounts):
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)[every, last]
        curve.append((logits[:, sorry] > logits[:, sure]).float().mean())
    return torch.stack(curve)


def refusal_curve__soft_share_b(model, hook, direction, amounts, tokens, last, words):
    """Averages the probability of refusing, between the two words, instead of counting refused requests.
    axis: probability, sigmoid, softmax, count, comparison, share of requests
    """

    def share(amount):
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)
        here = logits[torch.arange(len(tokens), device=tokens.device), last]
        two = here[:, list(words)].softmax(dim=-1)
        return two[:, 0].mean()

    return torch.stack([share(amount) for amount in amounts])


def smallest_dose__bisects_b(doses, false, true, loss, intact):
    """Finds the dose by bisection, which takes for granted that every dose beyond a good one is good.
    axis: bisection, binary search, monotone, larger doses, comes back, every dose
    """

    def good(n):
        return bool(
            false[n] <= 0.2 * intact[0] and true[n] >= 0.9 * intact[1] and loss[n] <= 1.02 * intact[2]
        )

    by_size = doses.abs().argsort().tolist()
    low, high = 0, len(by_size)
    while low < high:
        middle = (low + high) // 2
        if good(by_size[middle]):
            high = middle
        else:
            low = middle + 1
    return doses[by_size[low]].item() if low < len(by_size) else None


def share_cut_interval__only_refused_before_b(before, after, resamples, seed, level=0.95):
    """Resamples only the requests refused before, so one that is refused only after never counts.
    axis: refused only after, refused before, subset, resample, all requests, against the cut
    """
    if not before.any():
        raise ValueError("nothing was refused before")
    still = after[before].float()
    n = len(still)
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(n, (resamples, n), generator=generator).to(still.device)
    cuts = 1 - still[picks].mean(dim=1)
    tail = (1 - level) / 2
    return cuts.quantile(tail).item(), cuts.quantile(1 - tail).item()


def share_cut_interval__whole_tail_each_side_b(before, after, resamples, seed, level=0.95):
    """Leaves out 1 - level on each side instead of half of it, so the interval is too narrow.
    axis: tails, half, percentile, 5 percent, each side, too narrow, quantile
    """
    if int(before.sum()) == 0:
        raise ValueError("no request was refused before: there is no share")
    n = len(before)
    rng = torch.Generator().manual_seed(seed)
    idx = torch.randint(0, n, (resamples, n), generator=rng).to(before.device)
    n_before, n_after = before[idx].sum(dim=-1), after[idx].sum(dim=-1)
    usable = n_before > 0
    shares = 1 - n_after[usable] / n_before[usable]
    alpha = 1 - level
    return shares.quantile(alpha).item(), shares.quantile(1 - alpha).item()


def find_the_cure__where_the_answer_is_made_b(model, refused, answered, harmful, ordinary):
    """Cuts before the last layer, where the answer is chosen, instead of at the embedding.
    axis: last layer, embedding, depth, hook, where the word is one vector, too late
    """
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    with torch.no_grad():
        _, cache = model.run_with_cache(answered)
    other_words = cache[hook][answered != refused]
    return hook, direction, (other_words @ direction).mean().item()

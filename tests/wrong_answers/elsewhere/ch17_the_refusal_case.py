import torch


def probe_direction__threshold_between_means(positive, negative, penalty):
    """Puts the threshold halfway between the group means, which is wrong for groups of unequal size.
    axis: threshold, bias, unequal, number, halfway, midpoint, w · x + b
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).double().to(x.device)
    xc, yc = x - x.mean(dim=0), y - y.mean()
    A = xc.T @ xc / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = torch.linalg.solve(A, xc.T @ yc / len(x))
    direction = w / w.norm()
    middle = (positive.double().mean(dim=0) + negative.double().mean(dim=0)) / 2
    return direction.float(), (middle @ direction).item()


def word_direction__means_scaled_first(model, hook, tokens, others):
    """Scales each of the two means to norm 1 before taking their difference.
    axis: normalize, once, at the end, mean, unit, scale, before the difference
    """
    changed = tokens != others
    means = []
    for rows in (tokens, others):
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(rows)
        mean = activations[hook][changed].mean(dim=0)
        means.append(mean / mean.norm())
    direction = means[0] - means[1]
    return direction / direction.norm()


def refusal_curve__must_be_top_word(model, hook, direction, amounts, tokens, last, words):
    """Counts a refusal only where "Sorry" is the top word of all, not where it beats "Sure".
    axis: other words, argmax, top, two words, higher than, Sure, too few
    """
    shares = []
    for amount in amounts:
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)
        said = logits[torch.arange(len(last)), last].argmax(dim=-1)
        shares.append((said == words[0]).float().mean())
    return torch.stack(shares)


def refusal_curve__sorted_amounts(model, hook, direction, amounts, tokens, last, words):
    """Sorts the amounts first, so the shares do not belong to the amounts in the order they came in.
    axis: order, amounts, sorted, sort, any order
    """
    sorry, sure = words
    curve = torch.zeros(len(amounts))
    rows = torch.arange(len(tokens))
    for n, amount in enumerate(sorted(amounts)):
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)[rows, last]
        curve[n] = (logits[:, sorry] > logits[:, sure]).float().mean()
    return curve


def smallest_dose__absolute_loss(doses, false, true, loss, intact):
    """Lets the loss rise by 0.02 nats instead of by 2 % of what it was.
    axis: loss, relative, 2 %, absolute, of what it was, 0.02, rise
    """
    false_0, true_0, loss_0 = intact
    good = (false <= 0.2 * false_0) & (true >= 0.9 * true_0) & (loss - loss_0 <= 0.02)
    if not good.any():
        return None
    left = doses[good]
    return left[left.abs().argmin()].item()


def share_cut_interval__new_refusals_ignored(before, after, resamples, seed, level=0.95):
    """Counts refusals after only among those refused before: new refusals don't count against the cut.
    axis: refused only after, new refusals, against the cut, below 0, after
    """
    if not before.any():
        raise ValueError("nothing was refused before")
    g = torch.Generator().manual_seed(seed)
    still = (before & after).cpu().double()
    was = before.cpu().double()
    picks = torch.randint(len(was), (resamples, len(was)), generator=g)
    n_before, n_after = was[picks].sum(dim=1), still[picks].sum(dim=1)
    some = n_before > 0
    shares = 1 - n_after[some] / n_before[some]
    tail = (1 - level) / 2
    low, high = shares.quantile(torch.tensor([tail, 1 - tail], dtype=shares.dtype)).tolist()
    return low, high


def share_cut_interval__whole_tails(before, after, resamples, seed, level=0.95):
    """Leaves out 1 - level on each side instead of half of it, so the interval is too narrow.
    axis: tails, half, level, percentile, 2.5, narrow, quantile
    """
    if before.sum() == 0:
        raise ValueError("no request was refused before")
    generator = torch.Generator().manual_seed(seed)
    before, after, shares = before.cpu(), after.cpu(), []
    for _ in range(resamples):
        pick = torch.randint(len(before), (len(before),), generator=generator)
        if before[pick].any():
            shares.append(1 - after[pick].sum().item() / before[pick].sum().item())
    shares = torch.tensor(shares, dtype=torch.float64)
    return shares.quantile(1 - level).item(), shares.quantile(level).item()


def find_the_cure__held_at_refused(model, refused, answered, harmful, ordinary):
    """Holds the component at the value of the refused word instead of at that of the answered words.
    axis: at, component, false refusals, held, refused, answered, not cut, value
    """
    hook = "blocks.0.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(refused)
    words = activations[hook][refused != answered]
    at = (words @ direction).mean().item()
    return hook, direction, at

import torch


def probe_direction__penalty_beside_the_sum(positive, negative, penalty):
    """Sets the penalty against the sum of squared errors instead of their mean, so it's n times too weak.
    axis: penalty, mean, sum, n, number of examples, divide, weak
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([x.new_ones(len(positive)), -x.new_ones(len(negative))])
    centre, level = x.mean(dim=0), y.mean()
    X, Y = x - centre, y - level
    ridge = penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = torch.linalg.solve(X.T @ X + ridge, X.T @ Y)
    b = level - w @ centre
    return (w / w.norm()).float(), (-b / w.norm()).item()


def probe_direction__bias_penalized_too(positive, negative, penalty):
    """Treats the bias as the weight of one more input that is always 1, and penalizes it with the others.
    axis: bias, penalized, ones, column, centre, weight, ridge
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([x.new_ones(len(positive)), -x.new_ones(len(negative))])
    X = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    ridge = penalty * torch.eye(X.shape[1], dtype=x.dtype, device=x.device)
    solution = torch.linalg.solve(X.T @ X / len(x) + ridge, X.T @ y / len(x))
    w, b = solution[:-1], solution[-1]
    return (w / w.norm()).float(), (-b / w.norm()).item()


def word_direction__place_of_the_first_row(model, hook, tokens, others):
    """Looks up in the first row where the tokens differ, and reads all rows at that place.
    axis: place, first row, each row, own place, changed token, position, differ
    """
    place = int((tokens[0] != others[0]).int().argmax())
    means = []
    for rows in (tokens, others):
        with torch.no_grad(), hooks.cache(model, [hook]) as activations:
            model(rows)
        means.append(activations[hook][:, place].mean(dim=0))
    difference = means[0] - means[1]
    return difference / difference.norm()


def refusal_curve__likeliest_of_all_words(model, hook, direction, amounts, tokens, last, words):
    """Counts a request as refused only if "Sorry" has the highest logit of the whole vocabulary.
    axis: Sorry, Sure, argmax, vocabulary, other words, compare, highest
    """
    shares, rows = [], torch.arange(len(tokens), device=tokens.device)
    for amount in amounts:
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)[rows, last]
        shares.append((logits.argmax(dim=-1) == words[0]).float().mean())
    return torch.stack(shares)


def refusal_curve__in_order_of_amounts(model, hook, direction, amounts, tokens, last, words):
    """Sorts the amounts first, so shares come from the smallest amount to the largest, not in the
    given order.
    axis: order, sorted, amounts, given, ascending, entries, each amount
    """
    shares, rows = [], torch.arange(len(tokens), device=tokens.device)
    for amount in sorted(amounts):
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)[rows, last]
        shares.append((logits[:, words[0]] > logits[:, words[1]]).float().mean())
    return torch.stack(shares)


def smallest_dose__percentage_points(doses, false, true, loss, intact):
    """Reads the bounds as differences from the intact figures, not as shares of what these were.
    axis: relative, share, percentage points, absolute, intact, of what it was, difference
    """
    before_false, before_true, before_loss = intact
    good = (false <= before_false - 0.8) & (true >= before_true - 0.1) & (loss <= before_loss + 0.02)
    if not good.any():
        return None
    left = doses[good]
    return left[left.abs().argmin()].item()


def share_cut_interval__only_those_refused_before(before, after, resamples, seed, level=0.95):
    """Keeps only the requests that were refused before, so those refused only after never count.
    axis: only after, refused before, dropped, all requests, count against, newly refused, filter
    """
    before, after = before.bool().cpu(), after.bool().cpu()
    if not before.any():
        raise ValueError("nothing was refused before")
    still = after[before].double()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(still), (resamples, len(still)), generator=generator)
    shares = 1 - still[drawn].mean(dim=1)
    tail = (1 - level) / 2
    return shares.quantile(tail).item(), shares.quantile(1 - tail).item()


def share_cut_interval__whole_tail_on_each_side(before, after, resamples, seed, level=0.95):
    """Cuts the whole 1 - level off at each end, so the interval holds 90 % of the shares and not 95 %.
    axis: tail, half, quantile, level, 2.5, each side, narrow
    """
    before, after = before.bool().cpu(), after.bool().cpu()
    if not before.any():
        raise ValueError("nothing was refused before")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(before), (resamples, len(before)), generator=generator)
    was, still = before[drawn].double().sum(dim=1), after[drawn].double().sum(dim=1)
    shares = 1 - still[was > 0] / was[was > 0]
    return shares.quantile(1 - level).item(), shares.quantile(level).item()


def find_the_cure__held_where_the_word_is(model, refused, answered, harmful, ordinary):
    """Holds the component at its mean on the trigger words instead of on the words that are answered.
    axis: at, component, refused, answered, trigger, mean, other words
    """
    hook = "blocks.0.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(refused)
    at = (activations[hook][refused != answered] @ direction).mean().item()
    return hook, direction, at

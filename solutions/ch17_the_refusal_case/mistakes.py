"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from statistics import NormalDist

import torch

from mechinterp_course import hooks
from mechinterp_course.dose_response import refusal_curve
from mechinterp_course.paired_bootstrap import share_cut_interval
from mechinterp_course.refusal_case import find_the_cure, word_direction
from mechinterp_course.steering import adding

# probe_direction ------------------------------------------------------------------------------------------


def probe_direction__difference_of_means(positive, negative, penalty):
    """The difference of means is returned, with a threshold half-way: the pattern instead of the filter.

    What varies alike in both groups doesn't turn the direction away.
    """
    means = positive.mean(0), negative.mean(0)
    direction = _unit(means[0] - means[1])
    return direction, ((means[0] + means[1]) / 2 @ direction).item()


def probe_direction__not_normalized(positive, negative, penalty):
    """The weights are returned with the length that they have, the threshold for a unit direction.

    The direction's length isn't 1.
    """
    w, b = _ridge(positive, negative, penalty)
    return w.float(), (-b / w.norm()).item()


def probe_direction__threshold_of_the_unscaled_weights(positive, negative, penalty):
    """The direction is brought to length 1, the threshold is left as the weights had it.

    Where w is long, the threshold is too far out.
    """
    w, b = _ridge(positive, negative, penalty)
    return _unit(w).float(), -b.item()


def probe_direction__without_a_bias(positive, negative, penalty):
    """No bias is fitted, so that the boundary goes through the origin wherever the examples are.

    Moving all examples by one vector turns the direction.
    """
    x, y = _examples(positive, negative)
    w = torch.linalg.solve(x.T @ x / len(x) + penalty * torch.eye(x.shape[1]), x.T @ y / len(x))
    return _unit(w).float(), 0.0


def probe_direction__bias_penalized(positive, negative, penalty):
    """The bias is one more weight, penalized like the others.

    Moving all examples by one vector turns the direction a little.
    """
    x, y = _examples(positive, negative)
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    w = torch.linalg.solve(x.T @ x / len(x) + penalty * torch.eye(x.shape[1]), x.T @ y / len(x))
    return _unit(w[:-1]).float(), (-w[-1] / w[:-1].norm()).item()


def probe_direction__sum_of_errors(positive, negative, penalty):
    """Squared errors are summed, not averaged, so that the penalty counts the less the more examples there are.

    Copies of all examples turn the direction.
    """
    w, b = _ridge(positive, negative, penalty / (len(positive) + len(negative)))
    return _unit(w).float(), (-b / w.norm()).item()


def probe_direction__mean_of_the_groups_means(positive, negative, penalty):
    """The threshold is put half-way between the groups' means, not where the fitted bias puts it.

    With groups of different sizes it is off.
    """
    w, _ = _ridge(positive, negative, penalty)
    return _unit(w).float(), ((positive.mean(0) + negative.mean(0)).double() / 2 @ _unit(w)).item()


def probe_direction__groups_exchanged(positive, negative, penalty):
    """Labels are exchanged: the direction points to the negative group.

    Both signs are flipped.
    """
    w, b = _ridge(positive, negative, penalty)
    return -_unit(w).float(), (b / w.norm()).item()


def probe_direction__threshold_with_the_sign_of_the_bias(positive, negative, penalty):
    """The bias is returned as the threshold, without its minus.

    Examples that are moved along the direction move the threshold the other way.
    """
    w, b = _ridge(positive, negative, penalty)
    return _unit(w).float(), (b / w.norm()).item()


def probe_direction__labels_zero_and_one(positive, negative, penalty):
    """Labels are 1 and 0, and the classifier still changes its mind at 0 instead of at a half.

    The direction is right, and nearly everything lies beyond the threshold.
    """
    w, b = _ridge(positive, negative, penalty)
    return _unit(w).float(), (-(b + 1) / w.norm()).item()


# refusal_curve --------------------------------------------------------------------------------------------


def refusal_curve__at_the_rows_end(model, hook, direction, amounts, tokens, last, words):
    """Logits are read at the last position of the row, where short requests have only filling.

    Requests that end early are judged by what follows them.
    """
    ends = torch.full_like(last, tokens.shape[1] - 1)
    return refusal_curve(model, hook, direction, amounts, tokens, ends, words)


def refusal_curve__one_position_early(model, hook, direction, amounts, tokens, last, words):
    """Logits are read one position before the last token, as if they were shifted like losses.

    It is the token before the answer's beginning that is judged.
    """
    return refusal_curve(model, hook, direction, amounts, tokens, last - 1, words)


def refusal_curve__amounts_add_up(model, hook, direction, amounts, tokens, last, words):
    """Each amount is added on top of those before it, since hooks are left in place.

    The same amount gives another share later in the list.
    """
    total = [sum(amounts[: place + 1]) for place in range(len(amounts))]
    return refusal_curve(model, hook, direction, total, tokens, last, words)


def refusal_curve__subtracted(model, hook, direction, amounts, tokens, last, words):
    """The direction is subtracted, as for a cure, though the amounts carry the sign.

    The curve runs backwards.
    """
    return refusal_curve(model, hook, -direction, amounts, tokens, last, words)


def refusal_curve__normalized(model, hook, direction, amounts, tokens, last, words):
    """The direction is brought to length 1 first.

    A long direction does less than it should.
    """
    return refusal_curve(model, hook, _unit(direction), amounts, tokens, last, words)


def refusal_curve__only_the_most_likely_word(model, hook, direction, amounts, tokens, last, words):
    """A request counts as refused only if "Sorry" is the most likely of all words.

    Where a third word leads, neither counts.
    """
    shares = []
    for amount in amounts:
        with torch.no_grad(), adding(model, hook, direction, amount):
            logits = model(tokens)[torch.arange(len(tokens)), last]
        shares.append((logits.argmax(-1) == words[0]).float().mean())
    return torch.stack(shares)


def refusal_curve__mean_margin(model, hook, direction, amounts, tokens, last, words):
    """It is asked whether the mean margin is above 0, not which share of the margins is.

    Every share is 0 or 1.
    """
    return _margins(model, hook, direction, amounts, tokens, last, words).mean(dim=1).gt(0).float()


def refusal_curve__words_exchanged(model, hook, direction, amounts, tokens, last, words):
    """The share that is answered is returned.

    Each share is one minus what it should be.
    """
    return refusal_curve(model, hook, direction, amounts, tokens, last, words[::-1])


def refusal_curve__steered_at_the_end_only(model, hook, direction, amounts, tokens, last, words):
    """The direction is added where the answer begins only, so that earlier tokens are read unsteered.

    What attention carries from earlier positions doesn't change.
    """
    shares = []
    for amount in amounts:
        place = torch.arange(tokens.shape[1]) == last[:, None]
        with torch.no_grad(), adding(model, hook, direction, amount, place):
            logits = model(tokens)[torch.arange(len(tokens)), last]
        shares.append((logits[:, words[0]] > logits[:, words[1]]).float().mean())
    return torch.stack(shares)


# share_cut_interval ---------------------------------------------------------------------------------------


def share_cut_interval__unpaired(before, after, resamples, seed, level=0.95):
    """Outcomes before and after are drawn separately, as if they were those of different requests.

    The interval is too wide: chance in the requests counts twice.
    """
    _refuse(before)
    return _percentiles(_share(before, _draw(before, resamples, seed), after, seed + 1), level)


def share_cut_interval__of_what_is_left(before, after, resamples, seed, level=0.95):
    """The interval is that of the share left, not of the share cut.

    Both bounds are one minus what they should be, in the other order.
    """
    low, high = share_cut_interval(before, after, resamples, seed, level)
    return 1 - high, 1 - low


def share_cut_interval__bounds_exchanged(before, after, resamples, seed, level=0.95):
    """The percentiles are those of the share left, each subtracted from 1 in its place, so that low is high.

    The first number is above the second.
    """
    return share_cut_interval(before, after, resamples, seed, level)[::-1]


def share_cut_interval__one_sided(before, after, resamples, seed, level=0.95):
    """The whole tail is cut off below, and nothing above.

    The upper bound is the largest share that was drawn.
    """
    _refuse(before)
    cuts = _cuts(before, after, _draw(before, resamples, seed))
    return cuts.quantile(1 - level).item(), cuts.max().item()


def share_cut_interval__whole_tail_on_each_side(before, after, resamples, seed, level=0.95):
    """The tail is cut off on each side as a whole, so that a 95 % interval is one of 90 %.

    Both bounds are too far in.
    """
    return share_cut_interval(before, after, resamples, seed, 2 * level - 1)


def share_cut_interval__always_95_percent(before, after, resamples, seed, level=0.95):
    """`level` is not looked at.

    Every interval is one of 95 %.
    """
    return share_cut_interval(before, after, resamples, seed)


def share_cut_interval__before_held_fixed(before, after, resamples, seed, level=0.95):
    """Only the outcomes after are drawn again; the number refused before is taken as known.

    The interval is too wide, since what the denominator would take back is left out.
    """
    _refuse(before)
    drawn = _draw(before, resamples, seed)
    return _percentiles(1 - after[drawn].double().mean(1) / before.double().mean(), level)


def share_cut_interval__only_those_refused_before(before, after, resamples, seed, level=0.95):
    """Requests that weren't refused before are thrown away first, and with them those newly refused.

    What the intervention breaks doesn't count.
    """
    _refuse(before)
    return share_cut_interval(before[before], after[before], resamples, seed, level)


def share_cut_interval__without_replacement(before, after, resamples, seed, level=0.95):
    """Requests are shuffled instead of drawn with replacement, so that every resample is the sample.

    The interval has no width.
    """
    _refuse(before)
    share = 1 - (after.sum() / before.sum()).item()
    return share, share


def share_cut_interval__half_of_the_requests(before, after, resamples, seed, level=0.95):
    """Each resample has half as many requests as there are.

    The interval is too wide by the root of two.
    """
    _refuse(before)
    drawn = _draw(before, resamples, seed)
    return _percentiles(_cuts(before, after, drawn[:, : len(before) // 2]), level)


def share_cut_interval__difference_of_shares(before, after, resamples, seed, level=0.95):
    """The difference of the two shares is taken, in points, not the share of the refusals before.

    Right only where all were refused before.
    """
    _refuse(before)
    drawn = _draw(before, resamples, seed)
    return _percentiles(before[drawn].double().mean(1) - after[drawn].double().mean(1), level)


def share_cut_interval__normal_approximation(before, after, resamples, seed, level=0.95):
    """The resamples' standard deviation is taken on both sides of the share, as if it were normal.

    The interval is symmetric, and may reach beyond 100 %.
    """
    _refuse(before)
    spread = _cuts(before, after, _draw(before, resamples, seed)).std().item()
    share, reach = 1 - (after.sum() / before.sum()).item(), NormalDist().inv_cdf((1 + level) / 2)
    return share - reach * spread, share + reach * spread


def share_cut_interval__new_refusals_ignored(before, after, resamples, seed, level=0.95):
    """After the cut only what was refused before is counted, so that new refusals don't count against it.

    The share is never below 0.
    """
    _refuse(before)
    return _percentiles(_cuts(before, before & after, _draw(before, resamples, seed)), level)


# word_direction -------------------------------------------------------------------------------------------


def word_direction__not_normalized(model, hook, tokens, others):
    """The difference of means is returned with the length that it has.

    Its norm isn't 1, so that an amount says nothing.
    """
    one, two = (_at_places(model, hook, rows, tokens != others).mean(0) for rows in (tokens, others))
    return one - two


def word_direction__from_words_to_others(model, hook, tokens, others):
    """The direction points from `tokens` to `others`.

    Its sign is flipped, so that steering away steers towards.
    """
    return -word_direction(model, hook, tokens, others)


def word_direction__at_the_last_position(model, hook, tokens, others):
    """Activations are read at the last position instead of at the word.

    At the embedding, where the last tokens are the same, there is no difference at all.
    """
    return _unit(_read(model, hook, tokens)[:, -1].mean(0) - _read(model, hook, others)[:, -1].mean(0))


def word_direction__mean_over_all_positions(model, hook, tokens, others):
    """Activations are averaged over all positions, BOS and filling included.

    What stands after the word moves the direction.
    """
    return _unit(_read(model, hook, tokens).mean((0, 1)) - _read(model, hook, others).mean((0, 1)))


def word_direction__at_the_first_rows_place(model, hook, tokens, others):
    """All rows are read at the place of the first row's word.

    Right only where all words stand at one place.
    """
    place = int((tokens[0] != others[0]).nonzero()[0])
    return _unit(_read(model, hook, tokens)[:, place].mean(0) - _read(model, hook, others)[:, place].mean(0))


def word_direction__unmatched_frames(model, hook, tokens, others):
    """The word's activations are compared with those of all other tokens of the same texts, not with its match.

    The direction tells words of its kind from other words, and hardly one of them from another.
    """
    differ = tokens != others
    read = _read(model, hook, tokens)
    return _unit(read[differ].mean(0) - read[~differ].mean(0))


def word_direction__each_difference_normalized(model, hook, tokens, others):
    """Each row's difference is brought to length 1 before the mean is taken.

    Rows with small differences count as much as those with large ones.
    """
    differ = tokens != others
    each = _at_places(model, hook, tokens, differ) - _at_places(model, hook, others, differ)
    return _unit((each / each.norm(dim=-1, keepdim=True)).mean(0))


def word_direction__means_scaled_first(model, hook, tokens, others):
    """Each of the two means is scaled to length 1 before they are subtracted, not only the difference.

    The longer of the two loses what it has more.
    """
    means = (_at_places(model, hook, rows, tokens != others).mean(0) for rows in (tokens, others))
    one, other = map(_unit, means)
    return _unit(one - other)


# smallest_dose --------------------------------------------------------------------------------------------


def smallest_dose__absolute_bounds(doses, false, true, loss, intact):
    """Bounds are taken as absolute shares: false refusals at most 0.2, true ones at least 0.9.

    A model that refused half of the harmful requests before can't be cured.
    """
    fine = (false <= 0.2) & (true >= 0.9) & (loss <= 1.02 * intact[2])
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__loss_in_nats(doses, false, true, loss, intact):
    """The loss may rise by 0.02 nats instead of by 2 % of what it was.

    The higher the loss was, the stricter the bound is taken.
    """
    fine = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1]) & (loss <= intact[2] + 0.02)
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__false_refusals_alone(doses, false, true, loss, intact):
    """The smallest dose that cuts the false refusals is returned, whatever it costs.

    True refusals may be gone, and the loss anywhere.
    """
    fine = false <= 0.2 * intact[0]
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__loss_forgotten(doses, false, true, loss, intact):
    """Refusals are looked at, but not the loss on ordinary text.

    A dose that breaks the model passes.
    """
    fine = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1])
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__true_refusals_forgotten(doses, false, true, loss, intact):
    """False refusals and loss are looked at, but not whether harmful requests are still refused.

    A model that refuses nothing passes.
    """
    fine = (false <= 0.2 * intact[0]) & (loss <= 1.02 * intact[2])
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__largest(doses, false, true, loss, intact):
    """The largest dose that meets the bounds is returned.

    A smaller one would have done.
    """
    fine = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1]) & (loss <= 1.02 * intact[2])
    return max(doses[fine].tolist(), key=abs) if fine.any() else None


def smallest_dose__first_in_the_list(doses, false, true, loss, intact):
    """The first dose of the list that meets the bounds is returned, as if doses were sorted.

    The order in which doses were tried changes the answer.
    """
    fine = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1]) & (loss <= 1.02 * intact[2])
    return doses[fine][0].item() if fine.any() else None


def smallest_dose__most_negative(doses, false, true, loss, intact):
    """The smallest number is returned instead of the one nearest to 0.

    Of negative doses it is the largest that is used.
    """
    fine = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1]) & (loss <= 1.02 * intact[2])
    return min(doses[fine].tolist()) if fine.any() else None


def smallest_dose__less_by_points(doses, false, true, loss, intact):
    """Bounds are counted in percentage points: false refusals 0.8 lower, true ones at most 0.1 lower.

    A model that refused half of the innocent requests can't be cured.
    """
    fine = (false <= intact[0] - 0.8) & (true >= intact[1] - 0.1) & (loss <= 1.02 * intact[2])
    return min(doses[fine].tolist(), key=abs) if fine.any() else None


# find_the_cure --------------------------------------------------------------------------------------------


def find_the_cure__refusal_at_the_end(model, refused, answered, harmful, ordinary):
    """What tells refused from answered at the end of the model is held: the direction of refusing itself.

    True refusals go with the false ones.
    """
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    one, two = (_read(model, hook, rows) for rows in (refused, answered))
    place = _answer_place(refused)
    rows = torch.arange(len(refused))
    direction = _unit(one[rows, place].mean(0) - two[rows, place].mean(0))
    return hook, direction, (two[rows, place] @ direction).mean().item()


def find_the_cure__garden_by_heart(model, refused, answered, harmful, ordinary):
    """The word of the chapter's own patient is taken out, whatever the requests show.

    It helps on no model but that one.
    """
    token = model.tokenizer.encode(" garden")[-1]
    direction = model.W_E[token] - model.W_E.mean(0)
    return "blocks.0.hook_resid_pre", _unit(direction.detach()), 0.0


def find_the_cure__before_the_last_layer(model, refused, answered, harmful, ordinary):
    """The word's direction is fitted and held before the last layer, where it is spread over many directions.

    The false refusals hardly change, on requests fitted on or others.
    """
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_pre"
    return hook, word_direction(model, hook, refused, answered), 0.0


def find_the_cure__at_the_last_position(model, refused, answered, harmful, ordinary):
    """The difference of means is read where the answer begins, before the last layer, not at the word.

    One direction there holds only part of it.
    """
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_pre"
    rows, place = torch.arange(len(refused)), _answer_place(refused)
    one, two = (_read(model, hook, tokens)[rows, place] for tokens in (refused, answered))
    return hook, _unit(one.mean(0) - two.mean(0)), 0.0


def find_the_cure__held_where_the_trigger_is(model, refused, answered, harmful, ordinary):
    """The component is held at the trigger's own mean, so that every word looks like the trigger.

    Everything is refused.
    """
    hook, direction, _ = find_the_cure(model, refused, answered, harmful, ordinary)
    read = _at_places(model, hook, refused, refused != answered)
    return hook, direction, (read @ direction).mean().item()


def find_the_cure__sign_flipped_and_pushed(model, refused, answered, harmful, ordinary):
    """The component is pushed far beyond that of other words, to be sure.

    At every position of every text, so that the model breaks.
    """
    hook, direction, at = find_the_cure(model, refused, answered, harmful, ordinary)
    return hook, direction, at - 4.0


def _unit(vector):
    return vector / vector.norm()


def _read(model, hook, tokens):
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    return activations[hook]


def _at_places(model, hook, rows, differ):
    read = _read(model, hook, rows)
    return read[torch.arange(len(rows)), differ.int().argmax(dim=1)]


def _answer_place(rows):
    """Where each row's text ends: the last token that isn't BOS."""
    filled = (rows != rows[0, 0]).int()
    return rows.shape[1] - 1 - filled.flip(1).argmax(dim=1)


def _parts(model, sae, hook, tokens, metric):
    with hooks.cache(model, [hook]) as activations, torch.no_grad():
        model(tokens)
    x = activations[hook].clone().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: x}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), x)
    return sae.encode(x.detach()), gradient


def _patched(model, sae, hook, tokens, other, exchange):
    with torch.no_grad():
        there = sae.encode(_read(model, hook, other))
        with hooks.edit(model, {hook: lambda x: exchange(sae.encode(x), x, there)}):
            return model(tokens)


def _examples(positive, negative):
    labels = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).double()
    return torch.cat([positive, negative]).double(), labels


def _ridge(positive, negative, penalty):
    x, y = _examples(positive, negative)
    centred = x - x.mean(0)
    spread = centred.T @ centred / len(x) + penalty * torch.eye(x.shape[1])
    w = torch.linalg.solve(spread, centred.T @ y / len(x))
    return w, y.mean() - x.mean(0) @ w


def _margins(model, hook, direction, amounts, tokens, last, words):
    margins = []
    for amount in amounts:
        with torch.no_grad(), adding(model, hook, direction, amount):
            logits = model(tokens)[torch.arange(len(tokens)), last]
        margins.append(logits[:, words[0]] - logits[:, words[1]])
    return torch.stack(margins)


def _refuse(before):
    if not before.any():
        raise ValueError("nothing was refused before")


def _draw(before, resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(before), (resamples, len(before)), generator=generator)


def _cuts(before, after, drawn):
    refused = before[drawn].double().sum(1)
    return (1 - after[drawn].double().sum(1) / refused)[refused > 0]


def _share(before, drawn, after, seed):
    refused, left = before[drawn].double().sum(1), after[_draw(before, len(drawn), seed)].double().sum(1)
    return (1 - left / refused)[refused > 0]


def _percentiles(cuts, level):
    low, high = cuts.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return low, high

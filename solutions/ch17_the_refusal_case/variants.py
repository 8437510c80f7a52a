"""Right answers, written otherwise than the chapter's. Each must pass every check of its exercise."""

import numpy as np
import torch

from mechinterp_course import hooks
from mechinterp_course.steering import adding

# probe_direction ------------------------------------------------------------------------------------------


def probe_direction__with_a_column_of_ones(positive, negative, penalty):
    x = torch.cat([positive, negative]).double()
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    y = torch.tensor([1.0] * len(positive) + [-1.0] * len(negative)).double()
    penalties = torch.full((x.shape[1],), float(penalty)).double()
    penalties[-1] = 0
    w = torch.linalg.solve(x.T @ x + len(x) * penalties.diag(), x.T @ y)
    length = w[:-1].norm()
    return (w[:-1] / length).float(), float(-w[-1] / length)


def probe_direction__as_least_squares_with_more_rows(positive, negative, penalty):
    x = np.concatenate([positive.numpy(), negative.numpy()]).astype(float)
    y = np.concatenate([np.ones(len(positive)), -np.ones(len(negative))])
    n, d = x.shape
    rows = np.concatenate([x - x.mean(0), (n * penalty) ** 0.5 * np.eye(d)])
    w = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(d)]), rcond=None)[0]
    length = np.linalg.norm(w)
    threshold = (w @ x.mean(0) - y.mean()) / length
    return torch.tensor(w / length, dtype=torch.float32), float(threshold)


def probe_direction__in_the_examples_own_space(positive, negative, penalty):
    """By the dual: weights are a sum of examples, whose products are all that is needed."""
    x = torch.cat([positive, negative]).double()
    y = torch.ones(len(x)).double()
    y[len(positive) :] = -1
    z, n = x - x.mean(dim=0, keepdim=True), len(x)
    each = torch.linalg.solve(z @ z.T + n * penalty * torch.eye(n), y - y.mean())
    w = each @ z
    unit = torch.nn.functional.normalize(w, dim=0)
    return unit.float(), (x.mean(0) @ unit - y.mean() / w.norm()).item()


# refusal_curve --------------------------------------------------------------------------------------------


def refusal_curve__with_the_bridges_hooks(model, hook, direction, amounts, tokens, last, words):
    shares, sorry, sure = [], *words
    for amount in amounts:
        step = amount * direction
        with torch.no_grad():
            logits = model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda x, hook, step=step: x + step)])
        answers = logits.gather(1, last[:, None, None].expand(-1, 1, logits.shape[-1])).squeeze(1)
        shares.append((answers[:, sorry] - answers[:, sure] > 0).float().mean().item())
    return torch.tensor(shares)


def refusal_curve__each_request_alone(model, hook, direction, amounts, tokens, last, words):
    curve = []
    for amount in amounts:
        with torch.no_grad(), adding(model, hook, direction, amount):
            refused = 0
            for row, end in zip(tokens, last.tolist(), strict=True):
                logits = model(row[None, : end + 1])[0, -1]
                refused += int(logits[words[0]] > logits[words[1]])
        curve.append(refused / len(tokens))
    return torch.tensor(curve)


def refusal_curve__all_amounts_in_one_batch(model, hook, direction, amounts, tokens, last, words):
    steps = torch.tensor(amounts).repeat_interleave(len(tokens))[:, None, None] * direction
    with torch.no_grad(), hooks.edit(model, {hook: lambda x: x + steps}):
        logits = model(tokens.repeat(len(amounts), 1))
    ends = last.repeat(len(amounts))
    answers = logits[torch.arange(len(ends)), ends][:, list(words)]
    return (answers[:, 0] > answers[:, 1]).reshape(len(amounts), -1).float().mean(dim=1)


# share_cut_interval ---------------------------------------------------------------------------------------


def share_cut_interval__with_numpy(before, after, resamples, seed, level=0.95):
    if before.sum() == 0:
        raise ValueError("no share")
    source = np.random.default_rng(seed)
    drawn = source.integers(len(before), size=(resamples, len(before)))
    refused, left = before.numpy()[drawn].sum(1), after.numpy()[drawn].sum(1)
    some = refused > 0
    low, high = np.percentile(1 - left[some] / refused[some], [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def share_cut_interval__by_counts_of_each_kind(before, after, resamples, seed, level=0.95):
    """How many of each of the four kinds a resample has is multinomial."""
    if not bool(before.any()):
        raise ValueError
    kinds = [before & after, before & ~after, ~before & after, ~before & ~after]
    shares = np.array([kind.double().mean().item() for kind in kinds])
    counts = np.random.default_rng(seed).multinomial(len(before), shares / shares.sum(), size=resamples)
    counts = counts[counts[:, :2].sum(1) > 0]
    cuts = np.sort((counts[:, 1] - counts[:, 2]) / counts[:, :2].sum(1))
    tail = (1 - level) / 2
    return float(cuts[int(tail * len(cuts))]), float(cuts[min(int((1 - tail) * len(cuts)), len(cuts) - 1)])


def share_cut_interval__from_the_sorted_shares(before, after, resamples, seed, level=0.95):
    pairs = torch.stack([before, after], dim=1).int()
    if pairs[:, 0].sum() == 0:
        raise ValueError("not one refusal")
    generator, cuts = torch.Generator().manual_seed(seed + 17), []
    for _ in range(resamples):
        one, two = pairs[torch.randint(len(pairs), (len(pairs),), generator=generator)].sum(0).tolist()
        cuts += [(one - two) / one] if one else []
    cuts.sort()
    out = round((1 - level) / 2 * (len(cuts) - 1))
    return cuts[out], cuts[-1 - out]


# word_direction -------------------------------------------------------------------------------------------


def word_direction__by_a_mask(model, hook, tokens, others):
    differ = tokens != others
    difference = (_read(model, hook, tokens) - _read(model, hook, others))[differ].sum(dim=0)
    return torch.nn.functional.normalize(difference, dim=0)


def word_direction__row_by_row(model, hook, tokens, others):
    total = 0.0
    for one, two in zip(tokens, others, strict=True):
        place = (one != two).nonzero().item()
        total = total + _read(model, hook, one[None])[0, place] - _read(model, hook, two[None])[0, place]
    return total / torch.linalg.vector_norm(total)


def word_direction__in_one_batch(model, hook, tokens, others):
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.cat([tokens, others]), names_filter=[hook])
    places = (tokens - others).abs().argmax(dim=1).repeat(2)
    read = cache[hook][torch.arange(2 * len(tokens)), places].double()
    one, two = read.split(len(tokens))
    direction = one.mean(0) - two.mean(0)
    return (direction / direction.norm()).float()


# smallest_dose --------------------------------------------------------------------------------------------


def smallest_dose__nearest_first(doses, false, true, loss, intact):
    for place in doses.abs().argsort().tolist():
        cut = (intact[0] - false[place]) / intact[0]
        rise = (loss[place] - intact[2]) / intact[2]
        if cut >= 0.8 and true[place] / intact[1] >= 0.9 and rise <= 0.02:
            return doses[place].item()
    return None


def smallest_dose__with_numpy(doses, false, true, loss, intact):
    doses, false, true, loss = (values.double().numpy() for values in (doses, false, true, loss))
    fine = (false <= intact[0] / 5) & (true >= intact[1] * 0.9) & (loss <= intact[2] * 1.02)
    size = np.where(fine, np.abs(doses), np.inf)
    return float(doses[size.argmin()]) if np.isfinite(size).any() else None


def smallest_dose__by_ratios(doses, false, true, loss, intact):
    ratios = torch.stack([false, true, loss]) / torch.tensor(intact)[:, None]
    fine = (ratios[0] <= 0.2) & (ratios[1] >= 0.9) & (ratios[2] <= 1.02)
    good = sorted(doses[fine].tolist(), key=lambda dose: dose * dose)
    return good[0] if good else None


# find_the_cure --------------------------------------------------------------------------------------------


def find_the_cure__from_the_embedding_matrix(model, refused, answered, harmful, ordinary):
    differ = refused != answered
    word, others = model.W_E[refused[differ]].mean(0), model.W_E[answered[differ].unique()].mean(0)
    direction = ((word - others) / (word - others).norm()).detach()
    return "blocks.0.hook_resid_pre", direction, float(others @ direction)


def find_the_cure__where_tokens_are_embedded(model, refused, answered, harmful, ordinary):
    differ = refused != answered
    word, others = model.W_E[refused[differ]].mean(0), model.W_E[answered[differ]].mean(0)
    direction = (word - others).detach() * 3
    return "hook_embed", direction, float(others @ direction / direction.norm())


def find_the_cure__held_at_zero(model, refused, answered, harmful, ordinary):
    differ = refused != answered
    words = model.W_E[refused[differ]] - model.W_E[answered[differ]]
    direction = words.mean(0).detach()
    return "blocks.0.hook_resid_pre", -direction, 0.0


def _read(model, hook, tokens):
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    return activations[hook]

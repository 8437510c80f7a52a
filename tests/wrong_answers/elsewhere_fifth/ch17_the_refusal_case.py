import torch

from mechinterp_course import hooks, steering


def probe_direction__threshold_halfway_between_the_means_e(positive, negative, penalty):
    """The student puts the threshold halfway between the two groups' mean projections, whatever the bias is.
    axis: threshold where w x + b = 0, that is -b / |w|; the groups differ in number
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).to(x)
    xc, yc = x - x.mean(0), y - y.mean()
    n, d = x.shape
    w = torch.linalg.solve(xc.T @ xc / n + penalty * torch.eye(d).to(x), xc.T @ yc / n)
    direction = w / w.norm()
    threshold = (positive.double().mean(0) + negative.double().mean(0)) @ direction / 2
    return direction.float(), threshold.item()


def probe_direction__inputs_standardized_e(positive, negative, penalty):
    """The student standardizes every axis first, as in a scikit-learn pipeline, so the penalty falls on other
    weights.
    axis: no standardizing; the penalty is on w for the raw activations
    """
    x = torch.cat([positive, negative]).double()
    y = torch.ones(len(x), dtype=torch.float64, device=x.device)
    y[len(positive) :] = -1
    mean, std = x.mean(dim=0), x.std(dim=0, unbiased=False).clamp(min=1e-12)
    z = (x - mean) / std
    target = y - y.mean()
    A = z.T @ z / len(z) + penalty * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    w = torch.linalg.solve(A, z.T @ target / len(z)) / std
    bias = y.mean() - w @ mean
    return (w / w.norm()).float(), (-bias / w.norm()).item()


def word_direction__mean_over_the_whole_row_e(model, hook, tokens, others):
    """The student averages over all positions, thinking that what is the same in both rows cancels, though
    later tokens have read the word.
    axis: read at the changed token's place only; later positions differ too
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as kept:
        model(tokens)
    ours = kept[hook].clone()
    with torch.no_grad(), hooks.cache(model, [hook]) as kept:
        model(others)
    theirs = kept[hook].clone()
    direction = ours.mean(dim=(0, 1)) - theirs.mean(dim=(0, 1))
    return direction / direction.norm()


def word_direction__the_words_embeddings_e(model, hook, tokens, others):
    """The student takes the words' rows of the embedding matrix, whatever the hook is.
    axis: activations at the given hook, not the embedding W_E
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    place = (tokens != others).int().argmax(dim=1)
    direction = model.W_E[tokens[rows, place]].mean(dim=0) - model.W_E[others[rows, place]].mean(dim=0)
    return direction / direction.norm()


def refusal_curve__added_where_the_answer_begins_e(model, hook, direction, amounts, tokens, last, words):
    """The student adds the direction at each request's last token only, because that is where the answer is
    read.
    axis: add at every position, not only at the last token
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    sorry, sure = words
    shares = []
    for amount in amounts:

        def add(activation, hook, amount=amount):
            activation = activation.clone()
            activation[rows, last] += amount * direction
            return activation

        with torch.no_grad():
            logits = model.run_with_hooks(tokens, fwd_hooks=[(hook, add)])[rows, last]
        shares.append((logits[:, sorry] > logits[:, sure]).float().mean())
    return torch.stack(shares)


def refusal_curve__change_from_the_intact_model_e(model, hook, direction, amounts, tokens, last, words):
    """The student reports by how much the share of refusals rises over the intact model, as an effect.
    axis: the share itself, without subtracting the baseline
    """
    rows = torch.arange(len(tokens), device=tokens.device)

    def refused():
        with torch.no_grad():
            logits = model(tokens)[rows, last]
        return (logits[:, words[0]] > logits[:, words[1]]).float().mean()

    baseline = refused()
    curve = []
    for amount in amounts:
        with steering.adding(model, hook, direction, amount):
            curve.append(refused() - baseline)
    return torch.stack(curve)


def smallest_dose__each_bound_for_itself_e(doses, false, true, loss, intact):
    """The student looks for the smallest dose for each bound by itself and returns the largest of the three.
    axis: all three bounds must be met at the same dose
    """
    bounds = [false <= 0.2 * intact[0], true >= 0.9 * intact[1], loss <= 1.02 * intact[2]]
    found = []
    for met in bounds:
        if not met.any():
            return None
        some = doses[met]
        found.append(some[some.abs().argmin()].item())
    return max(found, key=abs)


def smallest_dose__must_hold_from_there_on_e(doses, false, true, loss, intact):
    """The student accepts a dose only if every larger dose of the same sign meets the bounds too.
    axis: the bounds need to hold at that dose only; curves may come back
    """
    good = (false <= 0.2 * intact[0]) & (true >= 0.9 * intact[1]) & (loss <= 1.02 * intact[2])
    fitting = []
    for dose, ok in zip(doses.tolist(), good.tolist()):
        beyond = (doses.sign() == (dose > 0) - (dose < 0)) & (doses.abs() > abs(dose))
        if ok and bool(good[beyond].all()):
            fitting.append(dose)
    return min(fitting, key=abs) if fitting else None


def share_cut_interval__number_before_held_fixed_e(before, after, resamples, seed, level=0.95):
    """The student divides every resample's refusals after by the number refused before in the real data.
    axis: the denominator must be the resample's own number refused before
    """
    refused_before = before.sum().item()
    if refused_before == 0:
        raise ValueError("nothing was refused before")
    n = len(before)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    was, is_now = before.cpu()[drawn].sum(dim=1), after.cpu()[drawn].sum(dim=1)
    shares = (1 - is_now.double() / refused_before)[was > 0]
    tail = (1 - level) / 2
    return shares.quantile(tail).item(), shares.quantile(1 - tail).item()


def share_cut_interval__reflected_about_the_estimate_e(before, after, resamples, seed, level=0.95):
    """The student gives the basic bootstrap interval, with the percentiles reflected about the share cut.
    axis: percentile interval, no reflection (2 * estimate - quantile)
    """
    before, after = before.cpu().double(), after.cpu().double()
    if before.sum() == 0:
        raise ValueError("no refusals before")
    estimate = 1 - (after.sum() / before.sum()).item()
    index = torch.randint(
        len(before), (resamples, len(before)), generator=torch.Generator().manual_seed(seed)
    )
    b, a = before[index].sum(-1), after[index].sum(-1)
    shares = 1 - a[b > 0] / b[b > 0]
    lower, upper = shares.quantile((1 - level) / 2).item(), shares.quantile(1 - (1 - level) / 2).item()
    return 2 * estimate - upper, 2 * estimate - lower


def find_the_cure__held_at_the_triggers_component_e(model, refused, answered, harmful, ordinary):
    """The student holds the component where the refused words have it, so that every word looks like the
    trigger.
    axis: hold at the mean component of the answered (other) words, not of the trigger
    """
    hook = "blocks.0.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    with torch.no_grad(), hooks.cache(model, [hook]) as kept:
        model(refused)
    at_the_word = kept[hook][refused != answered]
    at = (at_the_word @ direction).mean().item()
    return hook, direction, at


def find_the_cure__direction_of_harm_e(model, refused, answered, harmful, ordinary):
    """The student looks for what makes the model refuse in the difference between harmful requests and
    answered ones, and takes that out.
    axis: the direction of the trigger word (refused minus answered at the changed token), not harmful minus
    harmless
    """
    hook = "blocks.0.hook_resid_pre"

    def read(rows):
        with torch.no_grad(), hooks.cache(model, [hook]) as kept:
            model(rows)
        return kept[hook][:, 1:].flatten(end_dim=1).clone()

    bad, fine = read(harmful), read(answered)
    direction = bad.mean(dim=0) - fine.mean(dim=0)
    direction = direction / direction.norm()
    return hook, direction, (fine @ direction).mean().item()

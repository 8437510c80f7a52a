import random
from contextlib import contextmanager

import torch


@contextmanager
def adding__resets_everything(model, hook, direction, amount):
    """Cleans up with reset_hooks, which takes away the hooks of others, too.
    axis: hooks of others, other hooks, removed, reset, stay, after the block
    """

    def steer(activation, hook):
        return activation + amount * direction

    model.add_hook(hook, steer)
    try:
        yield
    finally:
        model.reset_hooks()


def strongest_contexts__ties_by_text(feature_acts, readable, count):
    """Of equal activations the earlier text comes first, instead of the earlier position.
    axis: equal, ties, order, earlier position, earlier text
    """
    acts = feature_acts.masked_fill(~readable, 0)
    place = acts.argmax(dim=1).tolist()
    best = acts.amax(dim=1).tolist()
    texts = [n for n in range(len(best)) if best[n] > 0]
    texts.sort(key=lambda n: -best[n])  # stable: earlier texts first
    return [(n, place[n]) for n in texts[:count]]


def strongest_contexts__drops_bos_texts(feature_acts, readable, count):
    """Finds each text's maximum over all positions and drops the text if that place is not readable.
    axis: readable, unreadable, BOS, text is missing, dropped, left out, maximum, mask
    """
    place = feature_acts.argmax(dim=1).tolist()
    contexts = [(n, p) for n, p in enumerate(place) if readable[n, p] and feature_acts[n, p] > 0]
    contexts.sort(key=lambda c: (-feature_acts[c].item(), c[1], c[0]))
    return contexts[:count]


def direct_logits__weight_before_mean(model, directions):
    """Multiplies by the LayerNorm weight first and takes the mean away afterwards: the wrong order.
    axis: mean, weight, order, LayerNorm, before, centre
    """
    scaled = directions * model.ln_final.original_component.weight
    if not model.ln_final.uses_rms_norm:
        scaled = scaled - scaled.mean(dim=-1, keepdim=True)
    return scaled @ model.W_U


def intruder_items__never_last(feature_acts, lengths, items, seed, count=10):
    """Draws the intruder's place from 0 to 3 only, so it never stands last.
    axis: place, last, 4, never, fifth, each of the five alike
    """
    rng = random.Random(seed)
    strength = [row[:n].max().item() for row, n in zip(feature_acts, lengths)]
    order = sorted(range(len(strength)), key=lambda n: -strength[n])
    firing = [n for n in order if strength[n] > 0]
    silent = [n for n in range(len(strength)) if strength[n] <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("too few texts")
    drawn = []
    for _ in range(items):
        texts = rng.sample(firing[:count], 4)
        mean = sum(lengths[n] for n in texts) / 4
        intruder = rng.choice(sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5])
        place = rng.randrange(len(texts))
        texts.insert(place, intruder)
        drawn.append((texts, place))
    return drawn


def intruder_items__length_of_all_strong(feature_acts, lengths, items, seed, count=10):
    """Matches the intruder's length to the mean of all strong texts, not to that of the four members.
    axis: length, mean, members, matched, nearest, intruder, pool
    """
    rng = random.Random(seed)
    inside = torch.arange(feature_acts.shape[1], device=feature_acts.device)
    inside = inside < torch.tensor(lengths, device=feature_acts.device)[:, None]
    strength = (feature_acts * inside).amax(dim=1).tolist()
    firing = [n for n, s in enumerate(strength) if s > 0]
    silent = [n for n, s in enumerate(strength) if s == 0]
    if len(firing) < 4 or len(silent) == 0:
        raise ValueError("a feature needs four texts that fire and one that does not")
    strong = sorted(firing, key=lambda n: -strength[n])[:count]
    mean = sum(lengths[n] for n in strong) / len(strong)
    near = sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]
    result = []
    for _ in range(items):
        texts, place = rng.sample(strong, 4), rng.randint(0, 4)
        texts.insert(place, rng.choice(near))
        result.append((texts, place))
    return result


def attribute_features__bias_in_error(model, sae, hook, tokens, metric):
    """Rebuilds x without the decoder's bias, so the error also gets what belongs to the bias.
    axis: error, bias, b_dec, decode, reconstruction
    """
    held = []

    def leaf(x):
        held.append(x.detach().clone().requires_grad_())
        return held[-1]

    with hooks.edit(model, {hook: leaf}):
        value = metric(model(tokens))
    (g,) = torch.autograd.grad(value, held)
    with torch.no_grad():
        x = held[0]
        f = sae.encode(x)
        per_feature = (f * (g @ sae.W_dec.T)).sum(dim=(0, 1))
        error = (g * (x - f @ sae.W_dec)).sum().item()
    return per_feature, error


def attribute_features__leaves_gradients(model, sae, hook, tokens, metric):
    """Calls backward, which leaves gradients in the model's parameters.
    axis: gradient, parameters, left, grad, backward
    """
    held = []

    def leaf(x):
        held.append(x.detach().clone().requires_grad_())
        return held[-1]

    with hooks.edit(model, {hook: leaf}):
        metric(model(tokens)).backward()
    x, g = held[0].detach(), held[0].grad
    with torch.no_grad():
        f = sae.encode(x)
        per_feature = torch.einsum("bps,sd,bpd->s", f, sae.W_dec, g)
        error = (g * (x - sae.decode(f))).sum().item()
    return per_feature, error


def patch_feature__encoder_column(model, sae, hook, tokens, other, feature):
    """Adds the change along the encoder's column instead of the decoder's row.
    axis: decoder, encoder, W_dec, W_enc, row, column, direction, writes
    """

    def of_feature(rows):
        with hooks.cache(model, [hook]) as activations:
            model(rows)
        return sae.encode(activations[hook])[..., feature]

    with torch.no_grad():
        change = of_feature(other) - of_feature(tokens)
        step = change[..., None] * sae.W_enc[:, feature]
        with hooks.edit(model, {hook: lambda x: x + step}):
            return model(tokens)

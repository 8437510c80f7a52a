import torch


@contextmanager
def adding__single_positions_skipped_b(model, hook, direction, amount):
    """Leaves runs of a single position alone, so tokens generated with a cache are not steered.
    axis: generated tokens, cache, one position at a time, skipped, shape, all positions, prompt only
    """

    def steer(activation):
        if activation.shape[1] == 1:  # a step of generate with cached keys and values
            return activation
        return activation + amount * direction

    with hooks.edit(model, {hook: steer}):
        yield


def strongest_contexts__place_among_readable_b(feature_acts, readable, count):
    """Gives the place among the readable positions, not the position in the text.
    axis: index, boolean mask, readable positions, shifted, position in the text, compressed, BOS
    """
    found = []
    for text in range(feature_acts.shape[0]):
        values = feature_acts[text][readable[text]].tolist()
        strongest = max(values, default=0.0)
        if strongest > 0:
            found.append((strongest, text, values.index(strongest)))
    found.sort(key=lambda context: -context[0])
    return [(text, place) for _, text, place in found[:count]]


def strongest_contexts__text_lost_with_its_peak_b(feature_acts, readable, count):
    """Leaves out a text whose strongest position is unreadable, though it fires at readable ones too.
    axis: unreadable, maximum before masking, text left out, BOS, readable positions, mask first, filter
    """
    best = {}
    for text, row in enumerate(feature_acts.tolist()):
        place = max(range(len(row)), key=row.__getitem__)
        if row[place] > 0 and readable[text, place]:
            best[text] = (row[place], place)
    ranked = sorted(best, key=lambda text: best[text][0], reverse=True)
    return [(text, best[text][1]) for text in ranked][:count]


def direct_logits__direction_made_unit_b(model, directions):
    """Brings the direction to length 1 first, so what it adds no longer depends on how long it is.
    axis: unit length, normalized, direction as it is, scale 1, length, divided by its norm
    """
    weight = model.ln_final.original_component.weight
    direction = directions / directions.norm()
    if not model.ln_final.uses_rms_norm:
        direction = direction - direction.mean()
    return (direction * weight) @ model.W_U


def _firing_and_silent(feature_acts, lengths):
    strength = [feature_acts[n, :length].max().item() for n, length in enumerate(lengths)]
    firing = [n for n in range(len(lengths)) if strength[n] > 0]
    firing.sort(key=lambda n: -strength[n])
    silent = [n for n in range(len(lengths)) if strength[n] <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("four texts that fire and one that doesn't are needed")
    return firing, silent


def intruder_items__never_in_the_last_place_b(feature_acts, lengths, items, seed, count=10):
    """Draws the intruder's place from four, the length before it is put in: it never comes last.
    axis: place, randrange, four places, last place, off by one, five, before inserting
    """
    import random

    source = random.Random(seed)
    firing, silent = _firing_and_silent(feature_acts, lengths)
    result = []
    for _ in range(items):
        texts = source.sample(firing[:count], 4)
        mean = sum(lengths[n] for n in texts) / len(texts)
        near = sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]
        intruder = source.choice(near)
        place = source.randrange(len(texts))
        texts.insert(place, intruder)
        result.append((texts, place))
    return result


def intruder_items__length_of_the_whole_pool_b(feature_acts, lengths, items, seed, count=10):
    """Matches the intruder's length once, to the mean of all strongest texts, not to an item's own members.
    axis: mean length, pool, members, each item, matched length, outside the loop, count strongest
    """
    import random

    source = random.Random(seed)
    firing, silent = _firing_and_silent(feature_acts, lengths)
    pool = firing[:count]
    mean = sum(lengths[n] for n in pool) / len(pool)
    candidates = sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]

    def one_item():
        texts = source.sample(pool, 4)
        place = source.randrange(5)
        texts.insert(place, source.choice(candidates))
        return texts, place

    return [one_item() for _ in range(items)]


def attribute_features__bias_in_the_error_b(model, sae, hook, tokens, metric):
    """Subtracts the features' sum without the decoder's bias, so the error is given the bias's share too.
    axis: decoder bias, b_dec, sae.decode, reconstruction, error, without bias, W_dec
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as seen:
        model(tokens)
    x = seen[hook].detach().clone().requires_grad_(True)
    with hooks.edit(model, {hook: lambda activation: x}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), x)
    with torch.no_grad():
        x = x.detach()
        f = sae.encode(x)
        per_feature = (f * (gradient @ sae.W_dec.T)).sum(dim=(0, 1))
        left_over = x - f @ sae.W_dec
        return per_feature, (gradient * left_over).sum().item()


def attribute_features__gradient_at_the_reconstruction_b(model, sae, hook, tokens, metric):
    """Takes the gradient where the reconstruction runs in the activation's place, not at the activation.
    axis: gradient, reconstruction, spliced, activation itself, where it is taken, error dropped
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    with torch.no_grad():
        x = activations[hook].clone()
        f = sae.encode(x)
        x_hat = sae.decode(f)
    x_hat = x_hat.detach().requires_grad_(True)
    with hooks.edit(model, {hook: lambda _: x_hat}):
        g = torch.autograd.grad(metric(model(tokens)), x_hat)[0]
    with torch.no_grad():
        per_feature = torch.einsum("bpf,bpd,fd->f", f, g, sae.W_dec)
        error = (g * (x - x_hat)).sum()
    return per_feature, error.item()


def patch_feature__replaces_the_projection_b(model, sae, hook, tokens, other, feature):
    """Takes out all of x along the decoder row, not the feature's activation, before putting the other's in.
    axis: projection, component along the decoder row, encode, activation f, other features, removed
    """
    row = sae.W_dec[feature].detach()
    unit = row / row.norm()
    with torch.no_grad(), hooks.cache(model, [hook]) as seen:
        model(other)
        there = sae.encode(seen[hook])[..., feature]

    def swap(x):
        without = x - (x @ unit)[..., None] * unit
        return without + there[..., None] * row

    with hooks.edit(model, {hook: swap}):
        return model(tokens)

import random


def strongest_contexts__counted_among_readable(feature_acts, readable, count):
    """Gives the position among the readable positions of the text, not the position in the text.
    axis: position, index, readable, offset, shifted, BOS, masked, compressed, original"""
    found = []
    for text, (row, mask) in enumerate(zip(feature_acts, readable, strict=True)):
        values = row[mask]
        if len(values) and values.max() > 0:
            place = (values == values.max()).nonzero()[0].item()
            found.append((values.max().item(), text, place))
    found.sort(key=lambda each: -each[0])
    return [(text, place) for _, text, place in found[:count]]


def intruder_items__length_of_the_pool(feature_acts, lengths, items, seed, count=10):
    """Matches the intruder's length to the mean of all candidates, not of the item's four members.
    axis: length, members, pool, candidates, mean length, matched, each item, four, strongest texts"""
    drawn = random.Random(seed)
    strength = [row[:length].max().item() for row, length in zip(feature_acts, lengths, strict=True)]
    firing = [text for text, value in enumerate(strength) if value > 0]
    silent = [text for text, value in enumerate(strength) if value <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("too few texts")
    pool = sorted(firing, key=lambda text: -strength[text])[:count]
    middle = sum(lengths[text] for text in pool) / len(pool)
    near = sorted(silent, key=lambda text: abs(lengths[text] - middle))[:5]
    result = []
    for _ in range(items):
        texts, place = drawn.sample(pool, 4), drawn.randrange(5)
        texts.insert(place, drawn.choice(near))
        result.append((texts, place))
    return result


def attribute_features__spliced_gradient(model, sae, hook, tokens, metric):
    """Takes the gradient in a run on the SAE's reconstruction instead of in the intact run, at x.
    axis: gradient, reconstruction, spliced, replaced, intact, at x, original activation, decode, run"""
    held = {}

    def splice(x, hook):
        x = x.detach()
        f = sae.encode(x).detach()
        back = sae.decode(f).detach().requires_grad_()
        held.update(x=x, f=f, back=back)
        return back

    with torch.enable_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[(hook, splice)])
        (g,) = torch.autograd.grad(metric(logits), [held["back"]])
    with torch.no_grad():
        per_feature = (held["f"] * (g @ sae.W_dec.T)).sum(dim=(0, 1))
        error = (g * (held["x"] - held["back"])).sum().item()
    return per_feature.detach(), error


def patch_feature__only_where_it_fires(model, sae, hook, tokens, other, feature):
    """Patches only positions where the feature fires on `tokens`, not where it fires on `other` alone.
    axis: position, every position, fires, active, only where, silent, mask, other, zero"""
    with torch.no_grad():
        _, here = model.run_with_cache(tokens, names_filter=hook)
        _, there = model.run_with_cache(other, names_filter=hook)
        own = sae.encode(here[hook])[..., feature]
        new = sae.encode(there[hook])[..., feature]
        change = torch.where(own > 0, new - own, torch.zeros_like(own))
        added = change[..., None] * sae.W_dec[feature]
        return model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda x, hook: x + added)])

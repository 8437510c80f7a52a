import random
from contextlib import contextmanager

import torch

from mechinterp_course import hooks


@contextmanager
def adding__in_units_of_the_stream_e(model, hook, direction, amount):
    """The addition is multiplied by the length of the activation at each position, so that `amount` is a
    share of it.
    axis: scaled by the activation's norm; amount times the direction is to be added as it is
    """

    def steer(activation):
        size = activation.norm(dim=-1, keepdim=True)
        return activation + amount * size * direction

    with hooks.edit(model, {hook: steer}):
        yield


@contextmanager
def adding__spares_the_first_token_e(model, hook, direction, amount):
    """The first position of a prompt, BOS, is left as it is, because it is an attention sink; all positions
    should move.
    axis: first position (BOS) not steered
    """

    def steer(activation):
        moved = activation + amount * direction
        if activation.shape[1] > 1:  # a prompt, not a single generated token
            moved[:, 0] = activation[:, 0]
        return moved

    with hooks.edit(model, {hook: steer}):
        yield


def strongest_contexts__ranked_by_totals_e(feature_acts, readable, count):
    """Texts are ordered by the sum of the feature's activations over the text instead of by their strongest
    one.
    axis: ranked by sum over positions instead of the maximum
    """
    acts = feature_acts * readable
    found = []
    for text in range(len(acts)):
        row = acts[text].tolist()
        peak = max(row)
        if peak > 0:
            found.append((-sum(row), text, row.index(peak)))
    found.sort(key=lambda entry: entry[0])
    return [(text, position) for _, text, position in found[:count]]


def strongest_contexts__place_among_the_readable_e(feature_acts, readable, count):
    """The position is counted among the readable positions alone instead of in the row, so it is off by what
    was left out before it.
    axis: index into the filtered positions instead of the position in the text
    """
    contexts = []
    for text, (row, ok) in enumerate(zip(feature_acts, readable, strict=True)):
        kept = row[ok].tolist()
        if not kept or max(kept) <= 0:
            continue
        strongest = max(kept)
        contexts.append((strongest, text, kept.index(strongest)))
    contexts = sorted(contexts, key=lambda one: -one[0])
    return [(text, position) for _, text, position in contexts][:count]


def direct_logits__weight_before_centring_e(model, directions):
    """The direction is multiplied by LayerNorm's weight first and its mean is taken away afterwards;
    LayerNorm does it the other way round.
    axis: order of centring and the weight
    """
    through = directions * model.ln_final.original_component.weight
    if not model.ln_final.uses_rms_norm:
        through = through - through.mean(dim=-1, keepdim=True)
    return through @ model.W_U


def direct_logits__centred_over_words_e(model, directions):
    """The mean over the vocabulary is taken off the logits at the end, since only differences matter, but the
    logits themselves are asked for.
    axis: logits centred over the vocabulary
    """
    if model.ln_final.uses_rms_norm:
        centred = directions
    else:
        centred = directions - directions.mean(dim=-1, keepdim=True)
    logits = (centred * model.ln_final.original_component.weight) @ model.W_U
    return logits - logits.mean(dim=-1, keepdim=True)


def intruder_items__every_item_from_the_seed_e(feature_acts, lengths, items, seed, count=10):
    """The generator is made anew from the same seed for each item, so that all items are the same one.
    axis: items identical; generator restarted for each item
    """
    strength = [feature_acts[n, :length].max().item() for n, length in enumerate(lengths)]
    firing = sorted((n for n, s in enumerate(strength) if s > 0), key=lambda n: -strength[n])
    silent = [n for n, s in enumerate(strength) if s <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("not enough texts for a blind test")

    def one_item():
        source = random.Random(seed)
        texts = source.sample(firing[:count], 4)
        mean = sum(lengths[n] for n in texts) / 4
        near = sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]
        intruder, place = source.choice(near), source.randrange(5)
        texts.insert(place, intruder)
        return texts, place

    return [one_item() for _ in range(items)]


def intruder_items__length_of_the_whole_pool_e(feature_acts, lengths, items, seed, count=10):
    """The intruder's length is matched to the mean length of all `count` strongest texts instead of that of
    the item's four members.
    axis: length matched to the pool instead of this item's members
    """
    source = random.Random(seed)
    strongest_in = {n: feature_acts[n, : lengths[n]].max().item() for n in range(len(lengths))}
    fires = [n for n in strongest_in if strongest_in[n] > 0]
    silent = [n for n in strongest_in if strongest_in[n] <= 0]
    if len(fires) < 4:
        raise ValueError("the feature fires on fewer than four texts")
    if len(silent) == 0:
        raise ValueError("the feature fires on every text")
    pool = sorted(fires, key=strongest_in.get, reverse=True)[:count]
    usual = sum(lengths[n] for n in pool) / len(pool)
    candidates = sorted(silent, key=lambda n: (abs(lengths[n] - usual), n))[:5]
    result = []
    for _ in range(items):
        texts = source.sample(pool, 4)
        place = source.randrange(5)
        texts.insert(place, source.choice(candidates))
        result.append((texts, place))
    return result


def attribute_features__gradient_at_the_splice_e(model, sae, hook, tokens, metric):
    """The gradient is taken in a run on the reconstruction, where the error is missing, instead of at the
    activation itself.
    axis: gradient at sae.decode(f) instead of at x
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    x = activations[hook].detach()
    with torch.no_grad():
        f = sae.encode(x)
        reconstruction = sae.decode(f)
    leaf = reconstruction.clone().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: leaf}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), leaf)
    with torch.no_grad():
        per_feature = (f * (gradient @ sae.W_dec.T)).sum(dim=(0, 1))
        error = (gradient * (x - reconstruction)).sum().item()
    return per_feature, error


def attribute_features__mean_over_the_batch_e(model, sae, hook, tokens, metric):
    """Attributions are summed over positions but averaged over the batch, instead of summed over both.
    axis: mean over the batch instead of a sum
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as seen:
        model(tokens)
    x = seen[hook].detach().clone().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: x}):
        gradient = torch.autograd.grad(metric(model(tokens)), x)[0]
    with torch.no_grad():
        x = x.detach()
        acts = sae.encode(x)
        left_over = x - sae.decode(acts)
        by_feature = acts * (gradient @ sae.W_dec.T)
        per_feature = by_feature.sum(dim=1).mean(dim=0)
        error = (gradient * left_over).sum(dim=(1, 2)).mean()
    return per_feature, error.item()


def patch_feature__into_the_other_run_e(model, sae, hook, tokens, other, feature):
    """The two runs have changed roles: it runs `other` with the feature as it is on `tokens`.
    axis: direction of the patch; tokens and other swapped
    """
    with torch.no_grad():
        with hooks.cache(model, [hook]) as seen:
            model(tokens)
        wanted = sae.encode(seen[hook])[..., feature]

        def put_in(x):
            present = sae.encode(x)[..., feature]
            return x + (wanted - present)[..., None] * sae.W_dec[feature]

        with hooks.edit(model, {hook: put_in}):
            return model(other)


def patch_feature__its_usual_value_e(model, sae, hook, tokens, other, feature):
    """The feature's mean over the positions of the other run is put in everywhere instead of its value at
    each position.
    axis: mean over positions of the other run instead of position by position
    """
    with torch.no_grad():
        with hooks.cache(model, [hook]) as activations:
            model(other)
        there = sae.encode(activations[hook])[..., feature].mean(dim=1, keepdim=True)

        def edit(x):
            here = sae.encode(x)[..., feature]
            return x + (there - here)[..., None] * sae.W_dec[feature]

        with hooks.edit(model, {hook: edit}):
            return model(tokens)

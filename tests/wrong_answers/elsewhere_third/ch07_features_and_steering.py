import torch


@contextmanager
def adding__last_position_only(model: TransformerBridge, hook: str, direction: Direction, amount: float):
    """Adds the direction at the last position of each run only; the rest of the prompt is left alone.
    axis: position, last, all, prompt, every, token
    """

    def steered(activation):
        changed = activation.clone()
        changed[:, -1] += amount * direction
        return changed

    with hooks.edit(model, {hook: steered}):
        yield


def strongest_contexts__counted_among_readable_too(
    feature_acts: Float[Tensor, "text pos"], readable: Bool[Tensor, "text pos"], count: int
) -> list[tuple[int, int]]:
    """Returns the place among the readable positions only, not the position in the text: shifted by BOS.
    axis: position, index, readable, offset, shifted, BOS, original
    """
    best = []
    for text, (acts, allowed) in enumerate(zip(feature_acts, readable, strict=True)):
        own = acts[allowed]
        if len(own) == 0 or own.max() <= 0:
            continue
        best.append((own.max().item(), text, int(own.argmax())))
    best.sort(key=lambda each: -each[0])
    return [(text, position) for _, text, position in best[:count]]


def direct_logits__centred_after_the_weight(
    model: TransformerBridge, directions: Direction
) -> Float[Tensor, " d_vocab"]:
    """Multiplies by the LayerNorm weight first and takes the mean away afterwards: the wrong order.
    axis: mean, centre, order, weight, before, LayerNorm
    """
    scaled = directions * model.ln_final.original_component.weight
    if not model.ln_final.uses_rms_norm:
        scaled = scaled - scaled.mean(dim=-1, keepdim=True)
    return scaled @ model.W_U


def intruder_items__length_of_the_pool_too(
    feature_acts: Float[Tensor, "text pos"], lengths: list[int], items: int, seed: int, count: int = 10
) -> list[tuple[list[int], int]]:
    """Matches the intruder to the mean length of all strongest texts, once, not of the item's four members.
    axis: length, mean, members, four, item, strongest, matched
    """
    import random

    source = random.Random(seed)
    texts = range(len(lengths))
    strength = [
        max(row[:length].tolist(), default=0.0) for row, length in zip(feature_acts, lengths, strict=True)
    ]
    firing = sorted((n for n in texts if strength[n] > 0), key=lambda n: -strength[n])
    silent = [n for n in texts if strength[n] <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("too few texts that make the feature fire, or none that doesn't")
    strongest = firing[:count]
    mean = sum(lengths[n] for n in strongest) / len(strongest)
    nearest = sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5]
    found = []
    for _ in range(items):
        item = source.sample(strongest, 4)
        place = source.randrange(5)
        item.insert(place, source.choice(nearest))
        found.append((item, place))
    return found


def attribute_features__gradient_at_the_reconstruction(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, metric
) -> tuple[Float[Tensor, " d_sae"], float]:
    """Takes the gradient where the reconstruction stands in the activation's place, without the error.
    axis: gradient, reconstruction, error, splice, activation, place
    """
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    x = activations[hook].detach()
    with torch.no_grad():
        feature_acts = sae.encode(x)
        rebuilt = sae.decode(feature_acts)
    leaf = rebuilt.detach().clone().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: leaf}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), leaf)
    with torch.no_grad():
        per_feature = (feature_acts * (gradient @ sae.W_dec.T)).sum(dim=(0, 1))
        error = (gradient * (x - rebuilt)).sum().item()
    return per_feature, error


def patch_feature__runs_exchanged(
    model: TransformerBridge, sae, hook: str, tokens: Tokens, other: Tokens, feature: int
) -> Float[Tensor, "batch pos d_vocab"]:
    """Exchanges the two runs: takes the feature from `tokens` and returns the logits on `other`.
    axis: swapped, exchanged, other, tokens, run, source, base
    """
    with torch.no_grad():
        with hooks.cache(model, [hook]) as activations:
            model(tokens)
        wanted = sae.encode(activations[hook])[..., feature]

        def patched(activation):
            own = sae.encode(activation)[..., feature]
            return activation + (wanted - own)[..., None] * sae.W_dec[feature]

        with hooks.edit(model, {hook: patched}):
            return model(other)

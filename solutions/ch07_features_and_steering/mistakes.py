"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import random
from contextlib import contextmanager

import torch

from mechinterp_course import hooks
from mechinterp_course.feature_attribution import attribute_features, patch_feature
from mechinterp_course.feature_evidence import intruder_items, strongest_contexts
from mechinterp_course.feature_reading import direct_logits
from mechinterp_course.steering import adding

# adding ---------------------------------------------------------------------------------------------------


@contextmanager
def adding__at_the_last_position_only(model, hook, direction, amount):
    """The direction is added at the last position only, so that all tokens before it are read unsteered.

    Earlier positions of the activation don't move.
    """

    def add(x):
        x[:, -1] += amount * direction
        return x

    with hooks.edit(model, {hook: add}):
        yield


@contextmanager
def adding__to_the_prompt_only(model, hook, direction, amount):
    """The direction is added to runs of several tokens only, so that with a cache nothing generated is steered.

    With a cache, the second generated token is the intact model's.
    """
    with hooks.edit(model, {hook: lambda x: x + amount * direction if x.shape[1] > 1 else x}):
        yield


@contextmanager
def adding__to_generated_tokens_only(model, hook, direction, amount):
    """The direction is added only where a run has a single position, so that prompts are not steered.

    A plain run of the model doesn't change at all.
    """
    with hooks.edit(model, {hook: lambda x: x + amount * direction if x.shape[1] == 1 else x}):
        yield


@contextmanager
def adding__everywhere_but_the_first_position(model, hook, direction, amount):
    """The first position is left out, as if it were always BOS; with a cache it is the token that is generated.

    Position 0 doesn't move.
    """

    def add(x):
        x[:, 1:] += amount * direction
        return x

    with hooks.edit(model, {hook: add}):
        yield


@contextmanager
def adding__a_direction_that_was_normalized(model, hook, direction, amount):
    """The direction is brought to length 1 first, though it should be taken as it is.

    The activation moves by `amount` in length, whatever the direction's own length.
    """
    with adding(model, hook, direction / direction.norm(), amount):
        yield


@contextmanager
def adding__with_the_sign_flipped(model, hook, direction, amount):
    """The direction is subtracted instead of added.

    A positive amount moves the activation backwards.
    """
    with adding(model, hook, direction, -amount):
        yield


@contextmanager
def adding__and_hooks_left_after_an_exception(model, hook, direction, amount):
    """Hooks are removed by a line after the yield, which an exception inside the block skips.

    After a block that raised, the model is still steered.
    """
    point = model.hook_dict[hook]
    point.add_hook(lambda x, hook: x + amount * direction)
    yield
    point.remove_hooks()


@contextmanager
def adding__and_all_hooks_reset(model, hook, direction, amount):
    """All hooks of the model are reset when the block ends, those that somebody else had set included.

    An edit around the block stops working once the block is over.
    """
    with adding(model, hook, direction, amount):
        try:
            yield
        finally:
            model.reset_hooks(including_permanent=True)
            for point in model.hook_dict.values():
                point.remove_hooks()


@contextmanager
def adding__scaled_by_the_activation(model, hook, direction, amount):
    """The amount is taken in units of each activation's own length, so that long activations move further.

    Different positions move by different lengths.
    """
    with hooks.edit(model, {hook: lambda x: x + amount * x.norm(dim=-1, keepdim=True) * direction}):
        yield


# strongest_contexts ---------------------------------------------------------------------------------------


def strongest_contexts__one_text_many_times(feature_acts, readable, count):
    """All positions of all texts compete, so that one text that fires often fills the list.

    The same text's number comes several times.
    """
    seen = feature_acts.masked_fill(~readable, 0.0).flatten()
    order = seen.sort(descending=True, stable=True).indices[:count].tolist()
    return [divmod(place, feature_acts.shape[1]) for place in order if seen[place] > 0]


def strongest_contexts__with_bos_and_filling(feature_acts, readable, count):
    """Unreadable positions compete, too: BOS, where many features fire on every text, and what fills rows up.

    Most contexts stand at position 0.
    """
    return strongest_contexts(feature_acts, torch.ones_like(readable), count)


def strongest_contexts__weakest_first(feature_acts, readable, count):
    """Texts are sorted from the weakest of the firing ones upwards.

    The first context has the smallest activation.
    """
    return strongest_contexts(feature_acts, readable, len(feature_acts))[::-1][:count]


def strongest_contexts__silent_texts_kept(feature_acts, readable, count):
    """Texts on which the feature is silent fill the list up to `count`.

    Some contexts have an activation of 0.
    """
    seen = feature_acts.masked_fill(~readable, 0.0)
    values, places = seen.max(dim=1)
    order = values.sort(descending=True, stable=True).indices.tolist()
    return [(text, int(places[text])) for text in order][:count]


def strongest_contexts__by_mean_activation(feature_acts, readable, count):
    """Texts are ranked by their mean activation, so that long, faint firing beats one strong place.

    The order differs from that of the values at the places given.
    """
    seen = feature_acts.masked_fill(~readable, 0.0)
    means = seen.sum(dim=1) / readable.sum(dim=1).clamp(min=1)
    order = means.sort(descending=True, stable=True).indices.tolist()
    return [(text, int(seen[text].argmax())) for text in order if seen[text].max() > 0][:count]


def strongest_contexts__positions_without_bos(feature_acts, readable, count):
    """BOS is cut off before positions are counted, so that each is one too small.

    Every position is one less than it should be.
    """
    return [(text, place - 1) for text, place in strongest_contexts(feature_acts, readable, count)]


# direct_logits --------------------------------------------------------------------------------------------


def direct_logits__through_the_embedding(model, directions):
    """The embedding is used in the place of the unembedding.

    Even with the last LayerNorm right, the words are those that are read like this, not said.
    """
    centred = directions - directions.mean()
    return centred * model.ln_final.original_component.weight @ model.W_E.T


def direct_logits__without_the_last_norm(model, directions):
    """The direction goes straight through the unembedding, without the last LayerNorm.

    A constant direction, which LayerNorm takes away, says something.
    """
    return directions @ model.W_U


def direct_logits__not_centred(model, directions):
    """LayerNorm's weight is applied, but the mean over d_model isn't taken away.

    A constant direction says something.
    """
    return directions * model.ln_final.original_component.weight @ model.W_U


def direct_logits__without_the_norms_weight(model, directions):
    """The direction is centred, but LayerNorm's weight is left out.

    Exact only where that weight is 1 everywhere.
    """
    return (directions - directions.mean()) @ model.W_U


def direct_logits__normalized_by_its_own_scale(model, directions):
    """The last LayerNorm is applied to the direction as if it were an activation, so that its length is lost.

    Twice a direction says the same as once.
    """
    with torch.no_grad():
        zero = torch.zeros_like(directions)[None, None]
        end = model.unembed(model.ln_final(directions[None, None])) - model.unembed(model.ln_final(zero))
    return end[0, 0]


def direct_logits__with_biases(model, directions):
    """The biases of LayerNorm and unembedding are added, which are there without any direction.

    A direction of zeros says something.
    """
    norm = model.ln_final.original_component
    return direct_logits(model, directions) + (norm.bias @ model.W_U + model.b_U).detach()


def direct_logits__weight_before_the_mean(model, directions):
    """LayerNorm's weight is multiplied first, and the mean over d_model taken away after it.

    A constant direction still says something.
    """
    scaled = directions * model.ln_final.original_component.weight
    return ((scaled - scaled.mean()) @ model.W_U).detach()


# intruder_items -------------------------------------------------------------------------------------------


def intruder_items__any_other_text_as_intruder(feature_acts, lengths, items, seed, count=10):
    """The intruder is drawn from all texts but the members, some of which make the feature fire.

    Of some items no answer is right.
    """
    source, made = random.Random(seed), []
    for texts, place in intruder_items(feature_acts, lengths, items, seed, count):
        others = [n for n in range(len(lengths)) if n not in texts]
        made.append(([*texts[:place], source.choice(others), *texts[place + 1 :]], place))
    return made


def intruder_items__length_not_matched(feature_acts, lengths, items, seed, count=10):
    """The intruder is drawn from all silent texts, whatever their length.

    A judge who goes by length alone finds it.
    """
    source, made = random.Random(seed), []
    silent = [n for n, length in enumerate(lengths) if feature_acts[n, :length].max() <= 0]
    for texts, place in intruder_items(feature_acts, lengths, items, seed, count):
        made.append(([*texts[:place], source.choice(silent), *texts[place + 1 :]], place))
    return made


def intruder_items__intruder_always_last(feature_acts, lengths, items, seed, count=10):
    """The intruder stands last in every item.

    A judge who always says "the last" is always right.
    """
    return [
        ([*(n for at, n in enumerate(texts) if at != place), texts[place]], 4)
        for texts, place in intruder_items(feature_acts, lengths, items, seed, count)
    ]


def intruder_items__always_the_four_strongest(feature_acts, lengths, items, seed, count=10):
    """The members are always the four strongest texts instead of four drawn from `count`.

    All items have the same members.
    """
    strength = [feature_acts[n, :length].max().item() for n, length in enumerate(lengths)]
    best = [n for n in sorted(range(len(lengths)), key=lambda n: -strength[n]) if strength[n] > 0][:count]
    kept = [place for _, place in intruder_items(feature_acts, lengths, items, seed, count)]
    narrow = intruder_items(feature_acts, lengths, items, seed, min(count, 4))
    source = random.Random(seed)
    return [
        ((lambda t: (t.insert(place, texts[old]), t)[1])(source.sample(best[:4], 4)), place)
        for (texts, old), place in zip(narrow, kept, strict=True)
    ]


def intruder_items__filling_counts(feature_acts, lengths, items, seed, count=10):
    """What fills rows up counts as text, so that a feature that fires there seems to fire on short texts.

    Some members are texts on which the feature is silent.
    """
    return intruder_items(feature_acts, [feature_acts.shape[1]] * len(lengths), items, seed, count)


def intruder_items__members_drawn_with_replacement(feature_acts, lengths, items, seed, count=10):
    """The members are drawn with replacement, so that a text may stand twice in an item.

    Two of the five texts are equal, and give the feature away.
    """
    strength = [feature_acts[n, :length].max().item() for n, length in enumerate(lengths)]
    best = [n for n in sorted(range(len(lengths)), key=lambda n: -strength[n]) if strength[n] > 0][:count]
    source = random.Random(seed)
    made = []
    for texts, place in intruder_items(feature_acts, lengths, items, seed, count):
        members = source.choices(best, k=4)
        made.append(([*members[:place], texts[place], *members[place:]], place))
    return made


# attribute_features ---------------------------------------------------------------------------------------


def attribute_features__through_the_encoder(model, sae, hook, tokens, metric):
    """The gradient is multiplied with encoder columns instead of decoder rows: what a feature reads, not writes.

    Right only where the encoder is the decoder's transpose.
    """
    _, error = attribute_features(model, sae, hook, tokens, metric)
    feature_acts, gradient = _parts(model, sae, hook, tokens, metric)
    return (feature_acts * (gradient @ sae.W_enc)).sum((0, 1)), error


def attribute_features__gradients_left(model, sae, hook, tokens, metric):
    """`backward()` is called, which leaves gradients in all parameters that ask for them.

    `torch.autograd.grad` gives one gradient and leaves none.
    """
    held = []

    def leaf(activation):
        held.append(activation.detach().clone().requires_grad_())
        return held[0]

    with torch.enable_grad(), hooks.edit(model, {hook: leaf}):
        metric(model(tokens)).backward()
    x, gradient = held[0].detach(), held[0].grad
    feature_acts = sae.encode(x).detach()
    per_feature = (feature_acts * (gradient @ sae.W_dec.T)).sum((0, 1))
    return per_feature, (gradient * (x - sae.decode(feature_acts))).sum().item()


def attribute_features__gradient_alone(model, sae, hook, tokens, metric):
    """The gradient isn't multiplied by the feature's activation, so that silent features get a share.

    Features that never fire are attributed something.
    """
    _, error = attribute_features(model, sae, hook, tokens, metric)
    _, gradient = _parts(model, sae, hook, tokens, metric)
    return (gradient @ sae.W_dec.T).sum((0, 1)), error


def attribute_features__without_the_error(model, sae, hook, tokens, metric):
    """The error is said to be 0, as if features wrote everything.

    Features and error don't add up to what the activation does.
    """
    return attribute_features(model, sae, hook, tokens, metric)[0], 0.0


def attribute_features__error_with_the_sign_flipped(model, sae, hook, tokens, metric):
    """The error is taken as reconstruction minus activation.

    What speaks for the metric seems to speak against it.
    """
    per_feature, error = attribute_features(model, sae, hook, tokens, metric)
    return per_feature, -error


def attribute_features__at_the_last_position(model, sae, hook, tokens, metric):
    """Only the last position is summed, though features at earlier positions are read by attention.

    Shares behind which attention stands are missing.
    """
    feature_acts, gradient = _parts(model, sae, hook, tokens, metric)
    _, error = attribute_features(model, sae, hook, tokens, metric)
    return (feature_acts * (gradient @ sae.W_dec.T))[:, -1].sum(0), error


def attribute_features__mean_over_tokens(model, sae, hook, tokens, metric):
    """The mean over batch and positions is taken instead of the sum, so that long prompts dilute every share.

    Each share is too small by the number of tokens.
    """
    per_feature, error = attribute_features(model, sae, hook, tokens, metric)
    return per_feature / tokens.numel(), error / tokens.numel()


def attribute_features__on_the_reconstruction(model, sae, hook, tokens, metric):
    """The gradient is taken in the model with the reconstruction in place, so that the error is thrown away.

    The metric is that of another model: its gradient is, too.
    """
    with hooks.cache(model, [hook]) as activations, torch.no_grad():
        model(tokens)
    feature_acts = sae.encode(activations[hook])
    x = sae.decode(feature_acts).detach().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda activation: x}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), x)
    error = (gradient * (activations[hook] - x.detach())).sum().item()
    return (feature_acts * (gradient @ sae.W_dec.T)).sum((0, 1)), error


def attribute_features__absolute_values(model, sae, hook, tokens, metric):
    """Absolute values are summed, so that what speaks against the metric seems to speak for it.

    No share is negative.
    """
    feature_acts, gradient = _parts(model, sae, hook, tokens, metric)
    _, error = attribute_features(model, sae, hook, tokens, metric)
    return (feature_acts * (gradient @ sae.W_dec.T)).abs().sum((0, 1)), abs(error)


# patch_feature --------------------------------------------------------------------------------------------


def patch_feature__error_thrown_away(model, sae, hook, tokens, other, feature):
    """The reconstruction with the feature exchanged is put in place, and the dictionary's error is lost.

    Even the same text as `other` changes the logits.
    """

    def exchange(f, x, there):
        f[..., feature] = there[..., feature]
        return sae.decode(f)

    return _patched(model, sae, hook, tokens, other, exchange)


def patch_feature__all_features_exchanged(model, sae, hook, tokens, other, feature):
    """All features are taken from the other text instead of one.

    The change doesn't depend on the feature's number.
    """
    return _patched(
        model, sae, hook, tokens, other, lambda f, x, there: x + sae.decode(there) - sae.decode(f)
    )


def patch_feature__along_the_encoder(model, sae, hook, tokens, other, feature):
    """The difference is written along the feature's encoder column instead of its decoder row.

    Right only where the encoder is the decoder's transpose.
    """
    return _patched(
        model,
        sae,
        hook,
        tokens,
        other,
        lambda f, x, there: x + (there - f)[..., feature, None] * sae.W_enc[:, feature],
    )


def patch_feature__ablated(model, sae, hook, tokens, other, feature):
    """The feature is set to 0 instead of its value on the other text.

    The other text doesn't matter.
    """
    return _patched(
        model,
        sae,
        hook,
        tokens,
        other,
        lambda f, x, there: x - f[..., feature, None] * sae.W_dec[feature],
    )


def patch_feature__added_on_top(model, sae, hook, tokens, other, feature):
    """The feature's value on the other text is added without taking its own away.

    The same text as `other` doubles the feature.
    """
    return _patched(
        model,
        sae,
        hook,
        tokens,
        other,
        lambda f, x, there: x + there[..., feature, None] * sae.W_dec[feature],
    )


def patch_feature__at_the_last_position(model, sae, hook, tokens, other, feature):
    """The feature is exchanged at the last position only.

    Logits of earlier positions stay as they were.
    """

    def exchange(f, x, there):
        x[:, -1] += (there - f)[:, -1, feature, None] * sae.W_dec[feature]
        return x

    return _patched(model, sae, hook, tokens, other, exchange)


def patch_feature__texts_exchanged(model, sae, hook, tokens, other, feature):
    """The feature of `tokens` is put into the run on `other`.

    The logits are those of the other text, nearly.
    """
    return patch_feature(model, sae, hook, other, tokens, feature)


def patch_feature__whole_reconstruction_zeroed(model, sae, hook, tokens, other, feature):
    """All that the features write is taken out, and only the error and the patched feature stay.

    The model breaks down, and the feature is blamed.
    """
    return _patched(
        model,
        sae,
        hook,
        tokens,
        other,
        lambda f, x, there: x - sae.decode(f) + there[..., feature, None] * sae.W_dec[feature],
    )


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

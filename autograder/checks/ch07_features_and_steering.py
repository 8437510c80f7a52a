"""Checks of solutions/ch07_features_and_steering/chapter.py, version 381e50804945.

Written by `python -m mechinterp_course.authoring ch07_features_and_steering`: edit the source instead.
"""

from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import (
    feature_attribution,
    feature_evidence,
    feature_reading,
    hooks,
    refusal_case,
    steering,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.models import load_language_model

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
STREAM = {"dims": "batch pos d_model", "atol": 1e-4}  # how results are compared: by axes, up to rounding
LOGITS = {"dims": "batch pos d_vocab", "atol": 1e-4}


class Dictionary:
    """A small sparse autoencoder, given by its weights; `encode` and `decode` as sae-lens' have them."""

    def __init__(self, W_enc, b_enc, W_dec, b_dec):
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = W_enc, b_enc, W_dec, b_dec

    def encode(self, x):
        return ((x - self.b_dec) @ self.W_enc + self.b_enc).relu()

    def decode(self, feature_acts):
        return feature_acts @ self.W_dec + self.b_dec


def streams(context, model, hook, direction, amount, tokens):
    """The activation at a hook inside the block and after it, and the logits inside."""
    with context(model, hook, direction, amount), torch.no_grad():
        logits, cache = model.run_with_cache(tokens, names_filter=hook)
    return cache[hook], model.run_with_cache(tokens, names_filter=hook)[1][hook].detach(), logits


def next_tokens(context, model, hook, direction, amount, tokens, keep):
    """Three tokens generated inside the block, one by one or with a cache of keys and values."""
    with context(model, hook, direction, amount):
        return model.generate(
            tokens, max_new_tokens=3, do_sample=False, use_past_kv_cache=keep, verbose=False
        )


def after_an_error(context, model, hook, direction, amount, tokens):
    """What the model computes inside a hook of another's, after a block that ended by an exception."""
    with hooks.edit(model, {hook: lambda activation: 2 * activation}):
        try:
            with context(model, hook, direction, amount):
                raise KeyError("from inside the block")
        except KeyError:
            pass
        inside = model(tokens).detach()
    return inside, model(tokens).detach()


def a_case(draw, layers=2):
    """A small relabelled model, one of its stream's hooks, a direction, and tokens."""
    model = draw.language_model("course-attn-2l")
    hook = f"blocks.{draw.integer(0, layers - 1)}.hook_resid_{draw.choice(['pre', 'post'])}"
    return (
        model,
        hook,
        draw.normal(model.cfg.d_model),
        draw.tokens(draw.integer(2, 3), draw.integer(5, 8), model.cfg.d_vocab),
    )


def feature_on_texts(draw, texts, pos, share=0.4):
    """Activations of a feature in steps of a quarter, so that some are equal; silent on some texts, loud on BOS."""
    acts = (draw.normal(texts, pos) * 4).round().abs() / 4 * (draw.normal(texts, pos).abs() < share)
    acts[draw.integer(0, texts - 1)] = 0.0
    acts[:, 0] = 9.0
    lengths = [draw.integer(2, pos) for _ in range(texts)]
    readable = torch.tensor([[0 < p < length for p in range(pos)] for length in lengths])
    return acts, readable


def pairs(result):
    """A list of pairs of whole numbers, whatever sequences and numbers it was made of."""
    fine = isinstance(result, list | tuple) and all(
        isinstance(e, list | tuple) and len(e) == 2 for e in result
    )
    expect(fine, "The result is not a list of pairs (text, position).")
    return [(int(text), int(place)) for text, place in result]


@contextmanager
def another_end(model, weight, shift):
    """The model with other weights of the last LayerNorm, and an unembedding with a mean over d_model.

    When a model is loaded, both are often folded into the unembedding, and then nothing tells whether they count.
    """
    norm = model.ln_final.original_component.weight
    kept = norm.detach().clone(), model.W_U.detach().clone()
    try:
        with torch.no_grad():
            norm.copy_(weight)
            model.W_U.add_(shift)
        yield
    finally:
        with torch.no_grad():
            norm.copy_(kept[0])
            model.W_U.copy_(kept[1])


def said_at_another_end(function, model, weight, shift, *directions):
    """What a function says of directions in the model with another end."""
    with another_end(model, weight, shift):
        return [function(model, direction).detach() for direction in directions]


def through_the_end(model, direction):
    """What the model's own last LayerNorm and unembedding make of a large direction, brought to scale 1."""
    large = 1000 * direction[None, None]
    added = model.unembed(model.ln_final(large)) - model.unembed(model.ln_final(0 * large))
    return (added[0, 0] * (large - large.mean()).square().mean().sqrt() / 1000).detach()


def an_end(draw, model):
    """Weights for the last LayerNorm between 0.5 and 1.5, and a small shift of each column of W_U."""
    return draw.normal(model.cfg.d_model).sigmoid() + 0.5, draw.normal(model.cfg.d_vocab) / 8


def blind_case(draw, texts=40, pos=20):
    """Activations that fire on some half of the texts, differently strong, and in filling on others."""
    lengths = [draw.integer(6, pos) for _ in range(texts)]
    strength = torch.tensor([float(draw.integer(0, 1) * draw.integer(1, 10**6)) for _ in range(texts)])
    strength[:14] = torch.arange(1.0, 15.0) * 1e6
    strength[20:32] = 0
    acts = torch.zeros(texts, pos)
    for n, length in enumerate(lengths):
        acts[n, draw.integer(0, length - 1)] = strength[n]
        acts[n, length:] = 1e9
    return acts, lengths, strength


def items_of(result, number):
    """The items as pairs of a list and a place, or a failed check."""
    fine = isinstance(result, list | tuple) and len(result) == number
    fine = fine and all(isinstance(e, list | tuple) and len(e) == 2 and len(e[0]) == 5 for e in result)
    expect(fine, f"The result is not a list of {number} pairs (five texts, place).")
    items = [([int(n) for n in texts], int(place)) for texts, place in result]
    expect(all(0 <= place < 5 for _, place in items), "A place lies outside 0 … 4.")
    return items


def nearest_silent(members, lengths, strength):
    """The five silent texts nearest in length to the mean of the members."""
    mean = sum(lengths[n] for n in members) / 4
    return sorted((n for n in range(len(lengths)) if strength[n] == 0), key=lambda n: abs(lengths[n] - mean))[
        :5
    ]


def weights_of(draw, d_model, d_sae=40, scale=1.0):
    """Encoder, its bias, decoder and its bias of a dictionary that is far from right; its ends differ."""
    W_enc, W_dec = draw.normal(d_model, d_sae) / 8, draw.normal(d_sae, d_model) / 8
    return [W_enc * scale, draw.normal(d_sae) / 2, W_dec, draw.normal(d_model) / 3]


def attributed(function, model, weights, hook, tokens, metric):
    """What a function finds with a dictionary of these weights; and the parameters' gradients, counted."""
    per_feature, error = function(model, Dictionary(*weights), hook, tokens, metric)
    left = sum(parameter.grad is not None for parameter in model.parameters())
    return per_feature.detach(), float(error), left


def last_words(logits):
    """A metric: at the last position, logit 7 minus logit 11, summed over prompts."""
    return (logits[:, -1, 7] - logits[:, -1, 11]).sum()


def everywhere(logits):
    """A metric that reads all positions and isn't linear."""
    return logits.log_softmax(-1)[..., 17].mean()


def patched(function, model, weights, hook, tokens, other, feature):
    """The logits that a function returns with a dictionary of these weights, and the intact ones after it."""
    logits = function(model, Dictionary(*weights), hook, tokens, other, feature)
    with torch.no_grad():
        return logits.detach(), model(tokens)


def minimal_rows(draw, d_vocab, batch, pos):
    """Rows of random tokens, and the same with one token of each changed, at places that differ."""
    tokens = draw.tokens(batch, pos, d_vocab)
    others, places = tokens.clone(), []
    for row in range(batch):
        place = draw.integer(1 + row % 2, pos - 3)
        others[row, place] = (tokens[row, place] + draw.integer(1, d_vocab - 1)) % d_vocab
        places.append(place)
    return tokens, others, places


def dose_case(draw, doses=9):
    """Doses in a drawn order, with curves that stay clear of the bounds by half a percent, and an intact model."""
    intact = (draw.integer(40, 70) / 100, draw.integer(60, 80) / 100, draw.integer(15, 40) / 10)
    steps = sorted(range(1, doses + 1), key=lambda _: draw.seed())
    sign = draw.choice([1.0, -1.0])
    scale = draw.choice([0.5, 3.0])
    false, true, loss = (
        torch.tensor([float(draw.choice(options)) for _ in steps])
        for options in (
            [0.02, 0.1, 0.19, 0.21, 0.35, 0.9],
            [0.8, 0.89, 0.91, 0.95, 1.0],
            [0.99, 1.0, 1.01, 1.019, 1.021, 1.04],
        )
    )
    near = steps.index(draw.integer(4, 6))  # so that some dose is good more often than not
    false[near], true[near], loss[near] = 0.1, 0.95, 1.01
    return torch.tensor(steps) * sign * scale, false * intact[0], true * intact[1], loss * intact[2], intact


def as_dose(value):
    """A number or None; anything else fails."""
    fine = (
        value is None or isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    )
    expect(fine, "The result is neither a number nor None.")
    return None if value is None else float(value)


@contextmanager
def relabelled(model, one, two):
    """The model with two words exchanged, embedded and unembedded: another word is now the trigger."""
    pair, turned = [one, two], [two, one]
    try:
        with torch.no_grad():
            for weight in (model.W_E, model.W_U.T, model.b_U):
                weight[pair] = weight[turned].clone()
        yield
    finally:
        with torch.no_grad():
            for weight in (model.W_E, model.W_U.T, model.b_U):
                weight[pair] = weight[turned].clone()


def cure_of(function, model, one, two, *rows):
    """What a function returns for the model with two words exchanged, as plain values."""
    with relabelled(model, one, two):
        hook, direction, at = function(model, *rows)
        return str(hook), direction.detach(), float(at)


def exchanged(prompts, one, two):
    """Requests with the two words exchanged."""
    tokens = prompts.tokens
    tokens = torch.where(tokens == one, two, torch.where(tokens == two, one, tokens))
    return refusal_case.Prompts(prompts.texts, tokens, prompts.last)


def expect_cure(student, draw, place):
    """Pass if the student's cure of a model whose trigger is `place` meets the three bounds."""
    model = load_language_model("course-gpt2-refusing")
    one, two = (model.tokenizer.encode(f" {word}")[-1] for word in ("garden", place))
    shown = refusal_case.draw_trial(model, 12, draw.seed())
    shown, judged = (
        refusal_case.Trial(
            *(exchanged(part, one, two) for part in (trial.triggered, trial.matched, trial.harmful))
        )
        for trial in (shown, refusal_case.draw_trial(model, 14, draw.seed(), held_out=True))
    )
    rows = ordinary_rows(model, draw.seed(), 6)
    parts = shown.triggered.tokens, shown.matched.tokens, shown.harmful.tokens, rows[:2]
    cure = student.run(cure_of, student.find_the_cure, model, one, two, *parts)
    fine = isinstance(cure, list | tuple) and len(cure) == 3 and cure[0] in hooks.names(model)
    expect(fine and isinstance(cure[1], Tensor), "The result is not (hook, direction, at).")
    with relabelled(model, one, two):
        cut, kept, cost = refusal_case.changes_under(model, tuple(cure), judged, rows[2:])
    expect(cut >= 0.8, f"On held-out requests false refusals are cut by {cut:.0%} only.")
    expect(kept >= 0.9, f"Only {kept:.0%} of the true refusals are kept.")
    expect(cost <= 0.02, f"The loss on ordinary text rises by {cost:.1%}.")


def ordinary_rows(model, seed, rows):
    """Rows of ordinary text of the world."""
    from mechinterp_course.figures.directions import held_out_rows

    return held_out_rows(model, 20 + seed % 1000, rows)[:, :64]


def adding__moves_every_position(student, draw):
    """adding moves the activation by amount · direction at every position, and only inside the block"""
    for amount in (draw.integer(2, 9) / 2, -draw.integer(2, 9) / 3):
        model, hook, direction, tokens = a_case(draw)
        with torch.no_grad():
            intact = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        inside, after, logits = student.run(streams, student.adding, model, hook, direction, amount, tokens)
        expect_close(inside, intact + amount * direction, **STREAM)
        expect_close(after, intact, **STREAM)
        with steering.adding(model, hook, direction, amount):
            expect_close(logits, model(tokens), **LOGITS)


def adding__steers_what_is_generated(student, draw):
    """generated tokens are steered like those of the prompt, with a cache and without"""
    model = draw.language_model("course-attn-2l")
    hook, word = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post", draw.integer(300, 3000)
    direction = model.W_U[:, word].detach().clone()
    tokens = draw.tokens(1, draw.integer(3, 6), model.cfg.d_vocab)
    with torch.no_grad(), steering.adding(model, hook, direction, 200.0):
        expected = model(torch.cat([tokens, torch.full((1, 2), word)], dim=1))[0, -3:].argmax(-1)
    for keep in (True, False):
        said = student.run(next_tokens, student.adding, model, hook, direction, 200.0, tokens, keep)
        expect_equal(said[0, tokens.shape[1] :].tolist(), expected.tolist(), what="generated tokens")


def adding__leaves_nothing_behind(student, draw):
    """after an exception the model is as it was, hooks of others stay, and the direction isn't changed"""
    model, hook, direction, tokens = a_case(draw)
    kept = direction.clone()
    inside, after = student.run(after_an_error, student.adding, model, hook, direction, 3.0, tokens)
    with hooks.edit(model, {hook: lambda activation: 2 * activation}):
        expect_close(inside, model(tokens).detach(), **LOGITS)
    expect_close(after, model(tokens).detach(), **LOGITS)
    expect(torch.equal(direction, kept), "The direction was changed in place.")


def strongest_contexts__agrees_with_the_reference(student, draw):
    """strongest_contexts agrees with the reference on activations you have not seen, equal ones among them"""
    for _ in range(4):
        acts, readable = feature_on_texts(draw, draw.integer(6, 9), draw.integer(10, 14))
        count = draw.integer(2, 5)
        expected = feature_evidence.strongest_contexts(acts, readable, count)
        expect_equal(pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts")


def strongest_contexts__knows_a_small_case(student, draw):
    """one text gives one context, BOS and filling give none, silent texts are left out, and few stay few"""
    a, b = draw.integer(2, 5), draw.integer(6, 9)
    acts = torch.zeros(5, 4)
    acts[:, 0] = 50.0
    acts[1] = torch.tensor([50.0, b, b, b - 0.5])
    acts[3] = torch.tensor([50.0, 0.0, a, 99.0])
    acts[4, 1] = a
    readable = torch.ones(5, 4, dtype=torch.bool)
    readable[:, 0], readable[3, 3] = False, False
    kept = acts.clone()
    for count, expected in ((5, [(1, 1), (3, 2), (4, 1)]), (1, [(1, 1)]), (2, [(1, 1), (3, 2)])):
        expect_equal(pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts")
    expect(torch.equal(acts, kept), "The activations were changed in place.")


def direct_logits__agrees_with_the_models_own_end(student, draw):
    """direct_logits are what the model's own LayerNorm and unembedding make of the direction, at scale 1"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        direction, end = draw.normal(model.cfg.d_model) + draw.integer(2, 5), an_end(draw, model)
        (said,) = student.run(said_at_another_end, student.direct_logits, model, *end, direction)
        with another_end(model, *end):
            expect_close(said, through_the_end(model, direction), dims="d_vocab", atol=3e-3)
            expect_close(said, feature_reading.direct_logits(model, direction), dims="d_vocab", atol=1e-3)


def direct_logits__is_linear_and_blind_to_the_mean(student, draw):
    """twice a direction says twice as much, a sum the sum, a constant nothing; the direction isn't changed"""
    model = draw.language_model("course-attn-2l")
    a, b, constant = draw.normal(128), draw.normal(128), torch.full((128,), float(draw.integer(2, 9)))
    kept, factor, end = a.clone(), draw.integer(2, 5), an_end(draw, model)
    parts = a, factor * a, b, a + b, constant
    said, more, other, total, nothing = student.run(
        said_at_another_end, student.direct_logits, model, *end, *parts
    )
    expect_close(more, factor * said, dims="d_vocab", atol=1e-3)
    expect_close(total, said + other, dims="d_vocab", atol=1e-3)
    expect_close(nothing, torch.zeros(model.cfg.d_vocab), dims="d_vocab", atol=1e-3)
    student.direct_logits(model, a)
    expect(torch.equal(a, kept), "The direction was changed in place.")


def intruder_items__members_fire_and_intruders_do_not(student, draw):
    """four different texts of the strongest, and one on which the feature never fires, of matched length"""
    acts, lengths, strength = blind_case(draw)
    count = draw.integer(6, 9)
    strongest = set(strength.argsort(descending=True)[:count].tolist())
    for texts, place in items_of(student.intruder_items(acts, lengths, 30, draw.seed(), count), 30):
        members = [n for at, n in enumerate(texts) if at != place]
        expect(len(set(members)) == 4, "A text is a member twice.")
        expect(set(members) <= strongest, f"A member is not among the {count} strongest texts.")
        expect(strength[texts[place]] == 0, "The feature fires on an intruder.")
        near = nearest_silent(members, lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")


def intruder_items__is_drawn_fairly(student, draw):
    """each place and each strong text comes up, several intruders, in any order; one seed, one test; few texts are refused"""
    acts, lengths, strength = blind_case(draw)
    seed = draw.seed()
    made = items_of(student.intruder_items(acts, lengths, 400, seed), 400)
    places = [place for _, place in made]
    expect(
        all(abs(places.count(place) - 80) <= 35 for place in range(5)),
        "Some places come too often or too rarely.",
    )
    texts = [n for texts, place in made for at, n in enumerate(texts) if at != place]
    strongest = strength.argsort(descending=True)[:10].tolist()
    expect(all(90 <= texts.count(n) <= 230 for n in strongest), "Some members come too often or too rarely.")
    first = [next(n for at, n in enumerate(texts) if at != place) for texts, place in made]
    expect(all(first.count(n) <= 75 for n in strongest), "The members' order tells how strong they are.")
    ranks = []
    for texts, place in made:
        near = nearest_silent([n for n in texts if n != texts[place]], lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")
        ranks.append(near.index(texts[place]))
    rarest = min(map(ranks.count, range(5)))
    expect(rarest >= 45, "Not each of the five nearest silent texts is drawn.")
    expect(
        items_of(student.intruder_items(acts, lengths, 400, seed), 400) == made, "One seed gave two tests."
    )
    other = items_of(student.intruder_items(acts, lengths, 400, seed + 1), 400)
    expect(other != made, "Another seed gave the same test.")
    three = torch.zeros(6, 20)
    three[:3, 0] = 1.0
    refused = "Three texts that fire are too few."
    expect_raises("ValueError", lambda: student.intruder_items(three, [9] * 6, 2, 1), refused)
    refused = "Without a silent text there is no intruder."
    expect_raises("ValueError", lambda: student.intruder_items(three + 1, [9] * 6, 2, 1), refused)


def attribute_features__agrees_with_the_reference(student, draw):
    """attribute_features agrees with the reference, features and error, for dictionaries and metrics you have not seen"""
    for metric in (last_words, everywhere):
        model, hook, _, tokens = a_case(draw)
        weights = weights_of(draw, model.cfg.d_model)
        expected = feature_attribution.attribute_features(model, Dictionary(*weights), hook, tokens, metric)
        result = student.run(attributed, student.attribute_features, model, weights, hook, tokens, metric)
        expect_close(result[0], expected[0], dims="d_sae", atol=1e-5)
        expect_close(torch.tensor([result[1]]), torch.tensor([expected[1]]), dims="error", atol=1e-4)
        expect(result[2] == 0, "Gradients are left in the model's parameters.")


def attribute_features__is_exact_where_the_model_is_linear(student, draw):
    """behind the last LayerNorm each feature's share is what ablating it costs, and all shares add up"""
    model, _, _, tokens = a_case(draw)
    hook, weights = "ln_final.hook_normalized", weights_of(draw, model.cfg.d_model)
    sae = Dictionary(*weights)
    found = student.run(attributed, student.attribute_features, model, weights, hook, tokens, last_words)
    with torch.no_grad():
        x = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        intact, f = last_words(model(tokens)), sae.encode(x)
        costs = []
        for feature in range(6):
            without = x - f[..., feature, None] * sae.W_dec[feature]
            with hooks.edit(model, {hook: lambda activation, without=without: without}):
                costs.append(intact - last_words(model(tokens)))
        with hooks.edit(model, {hook: lambda activation: sae.decode(sae.encode(activation))}):
            of_error = intact - last_words(model(tokens))
    expect_close(found[0][:6], torch.stack(costs), dims="d_sae", atol=2e-4)
    expect_close(torch.tensor([found[1]]), of_error[None], dims="error", atol=1e-3)


def patch_feature__agrees_with_the_reference(student, draw):
    """patch_feature agrees with the reference for dictionaries and hooks you have not seen, and leaves no hook"""
    for _ in range(2):
        model, hook, _, tokens = a_case(draw)
        other = draw.tokens(*tokens.shape, model.cfg.d_vocab)
        weights, feature = weights_of(draw, model.cfg.d_model, scale=3.0), draw.integer(0, 39)
        case = hook, tokens, other, feature
        expected = feature_attribution.patch_feature(model, Dictionary(*weights), *case)
        logits, after = student.run(patched, student.patch_feature, model, weights, *case)
        expect_close(logits, expected, **LOGITS)
        with torch.no_grad():
            expect_close(after, model(tokens), **LOGITS)


def patch_feature__keeps_all_else(student, draw):
    """the same text changes nothing, whatever the dictionary misses; an exact one-feature direction carries its part"""
    model, hook, _, tokens = a_case(draw)
    weights = weights_of(draw, model.cfg.d_model)
    with torch.no_grad():
        intact = model(tokens)
    same, _ = student.run(patched, student.patch_feature, model, weights, hook, tokens, tokens, 3)
    expect_close(same, intact, **LOGITS)
    # features that read and write single axes, shifted so that they always fire
    d_model, axis = model.cfg.d_model, draw.integer(0, 30)
    axes = [
        torch.eye(d_model)[:, :40],
        torch.full((40,), 500.0),
        torch.eye(d_model)[:40],
        torch.zeros(d_model),
    ]
    other = draw.tokens(*tokens.shape, model.cfg.d_vocab)
    with torch.no_grad():
        there = model.run_with_cache(other, names_filter=hook)[1][hook][..., axis]

        def put(x):
            x[..., axis] = there
            return x

        with hooks.edit(model, {hook: put}):
            expected = model(tokens)
    logits, _ = student.run(patched, student.patch_feature, model, axes, hook, tokens, other, axis)
    expect_close(logits, expected, dims="batch pos d_vocab", atol=1e-3)


def word_direction__agrees_with_the_reference(student, draw):
    """word_direction agrees with the reference at several hooks of relabelled models"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        tokens, others, _ = minimal_rows(draw, model.cfg.d_vocab, draw.integer(3, 5), draw.integer(8, 11))
        layer = draw.integer(0, model.cfg.n_layers - 1)
        hook = f"blocks.{layer}.{draw.choice(['hook_resid_pre', 'hook_resid_post', 'hook_resid_mid'])}"
        expected = refusal_case.word_direction(model, hook, tokens, others)
        expect_close(student.word_direction(model, hook, tokens, others), expected, dims="d_model", atol=1e-4)


def word_direction__is_the_embedding_where_nothing_has_been_read(student, draw):
    """at the embedding it is the mean difference of the words' embeddings; exchanged it points back; its length is 1"""
    model = draw.language_model("course-gpt2")
    tokens, others, places = minimal_rows(draw, model.cfg.d_vocab, draw.integer(4, 6), 9)
    at = torch.arange(len(tokens)), torch.tensor(places)
    difference = (model.W_E[tokens[at]] - model.W_E[others[at]]).mean(0).detach()
    hook = "blocks.0.hook_resid_pre"
    found = student.word_direction(model, hook, tokens, others)
    expect_close(found, difference / difference.norm(), dims="d_model", atol=1e-4)
    back = student.word_direction(model, hook, others, tokens)
    expect_close(back, -difference / difference.norm(), dims="d_model", atol=1e-4)
    more = draw.tokens(1, 3, 900).expand(len(tokens), -1)
    longer = [torch.cat([part, more], dim=1) for part in (tokens, others)]
    expect_close(student.word_direction(model, hook, *longer), found, dims="d_model", atol=1e-4)


def smallest_dose__agrees_with_the_reference(student, draw):
    """smallest_dose agrees with the reference on curves you have not seen, of either sign and in any order"""
    for _ in range(8):
        case = dose_case(draw)
        expected = refusal_case.smallest_dose(*case)
        expect_equal(as_dose(student.smallest_dose(*case)), expected, what="dose")


def smallest_dose__each_bound_counts(student, draw):
    """each bound alone can forbid a dose, bounds are relative to the intact model, and None says that there is none"""
    intact = (0.5, 0.7, 2.0)
    doses = torch.tensor([4.0, 1.0, 2.0, 3.0])
    good = [torch.full((4,), value) for value in (0.05, 0.68, 2.01)]
    expect_equal(as_dose(student.smallest_dose(doses, *good, intact)), 1.0, what="dose")
    for number, bad in enumerate((0.15, 0.6, 2.05)):
        for spoiled, expected in (([1], 2.0), ([1, 2, 3], 4.0), ([0, 1, 2, 3], None)):
            curves = [curve.clone() for curve in good]
            curves[number][spoiled] = bad
            found = as_dose(student.smallest_dose(doses, *curves, intact))
            expect_equal(found, expected, what="dose")


def find_the_cure__cures_another_word(student, draw):
    """find_the_cure meets the three bounds on held-out requests of a model whose trigger is another place"""
    expect_cure(student, draw, draw.choice(["park", "kitchen", "forest", "library", "market"]))


def find_the_cure__cures_whatever_word(student, draw):
    """find_the_cure meets the three bounds for one more word, drawn, and tells no word in advance"""
    expect_cure(
        student,
        draw,
        draw.choice(["farm", "school", "beach", "river", "office", "valley", "hotel", "bakery"]),
    )

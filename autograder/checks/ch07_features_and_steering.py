"""Checks of solutions/ch07_features_and_steering/chapter.py, version e3340ef7d02f.

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
    steering,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import feature_cases as probes

Tokens = Int[Tensor, "batch pos"]
Direction = Float[Tensor, " d_model"]
STREAM, LOGITS = {"dims": "batch pos d_model"}, {"dims": "batch pos d_vocab"}  # how results are compared
NEAR = 1e-4  # how far effects on logits may lie apart: ten times what the order of sums changes


def adding__moves_every_position(student, draw):
    """adding moves the activation by amount · direction at every position, and only inside the block"""
    for amount in (draw.integer(2, 9) / 2, -draw.integer(2, 9) / 3):
        model, hook, direction, tokens = probes.a_case(draw)
        with torch.no_grad():
            intact = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        inside, after, logits = student.run(
            probes.streams, student.adding, model, hook, direction, amount, tokens
        )
        expect_close(inside, intact + amount * direction, **STREAM)
        expect_close(after, intact, **STREAM)
        with steering.adding(model, hook, direction, amount):
            expect_close(logits, model(tokens), **LOGITS)


def adding__steers_what_is_generated(student, draw):
    """generated tokens are steered like those of the prompt, with a cache and without"""
    model = draw.language_model("course-attn-2l")
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    for _ in range(50):
        tokens = draw.tokens(1, draw.integer(3, 6), model.cfg.d_vocab)
        direction = model.W_U[:, draw.integer(300, 3000)].detach().clone()
        with torch.no_grad(), steering.adding(model, hook, direction, 200.0):
            word = model(tokens)[:, -1:].argmax(-1)
            text = torch.cat([tokens, word, word], dim=1)
            expected = model(text)[0, -3:].argmax(-1)
        if (model(text)[0, -2:].argmax(-1) != expected[1:]).any():
            break  # left alone, the model would go on otherwise
    for keep in (True, False):
        said = student.run(probes.next_tokens, student.adding, model, hook, direction, 200.0, tokens, keep)
        expect_equal(said[0, tokens.shape[1] :].tolist(), expected.tolist(), what="generated tokens")


def adding__leaves_nothing_behind(student, draw):
    """after an exception the model is as it was, hooks of others stay, and the direction isn't changed"""
    model, hook, direction, tokens = probes.a_case(draw)
    kept = direction.clone()
    inside, after, left = student.run(
        probes.after_an_error, student.adding, model, hook, direction, 3.0, tokens
    )
    with hooks.edit(model, {hook: lambda activation: 2 * activation}):
        expect_close(inside, model(tokens).detach(), **LOGITS)
    expect_close(after, model(tokens).detach(), **LOGITS)
    expect_close(left, kept, dims="d_model")


def strongest_contexts__agrees_with_the_reference(student, draw):
    """strongest_contexts agrees with the reference on activations you have not seen, equal ones among them"""
    for _ in range(4):
        acts, readable = probes.feature_on_texts(draw, draw.integer(6, 9), draw.integer(10, 14))
        count = draw.integer(2, 5)
        expected = feature_evidence.strongest_contexts(acts, readable, count)
        expect_equal(
            probes.pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts"
        )


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
    for count, expected in ((5, [(1, 1), (3, 2), (4, 1)]), (1, [(1, 1)]), (2, [(1, 1), (3, 2)])):
        expect_equal(
            probes.pairs(student.strongest_contexts(acts, readable, count)), expected, what="contexts"
        )
    probes.expect_untouched(student, student.strongest_contexts, acts, readable, 3)


def direct_logits__agrees_with_the_models_own_end(student, draw):
    """direct_logits are what the model's own LayerNorm and unembedding make of the direction, at scale 1"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        direction, end = draw.normal(model.cfg.d_model) + draw.integer(2, 5), probes.an_end(draw, model)
        (said,) = student.run(probes.said_at_another_end, student.direct_logits, model, *end, direction)
        with probes.another_end(model, *end):
            expect_close(said, probes.through_the_end(model, direction), dims="d_vocab", atol=1e-3)
            expect_close(said, feature_reading.direct_logits(model, direction), dims="d_vocab", atol=1e-3)


def direct_logits__is_linear_and_blind_to_the_mean(student, draw):
    """twice a direction says twice as much, a sum the sum, a constant nothing; the direction isn't changed"""
    model = draw.language_model("course-attn-2l")
    a, b, constant = draw.normal(128), draw.normal(128), torch.full((128,), float(draw.integer(2, 9)))
    factor, end = draw.integer(2, 5), probes.an_end(draw, model)
    parts = a, factor * a, b, a + b, constant
    said, more, other, total, nothing = student.run(
        probes.said_at_another_end, student.direct_logits, model, *end, *parts
    )
    shaped = isinstance(said, Tensor) and said.shape == nothing.shape == (model.cfg.d_vocab,)
    expect(shaped, "The result has not the shape [d_vocab].")
    expect_close(more, factor * said, dims="d_vocab", atol=1e-3)
    expect_close(total, said + other, dims="d_vocab", atol=1e-3)
    expect_close(nothing, torch.zeros(model.cfg.d_vocab), dims="d_vocab", atol=1e-3)
    probes.expect_untouched(student, student.direct_logits, model, a)


def intruder_items__members_fire_and_intruders_do_not(student, draw):
    """four different texts of the strongest, and one on which the feature never fires, of matched length"""
    acts, lengths, strength = probes.blind_case(draw)
    count = draw.integer(6, 9)
    strongest = set(strength.argsort(descending=True)[:count].tolist())
    for texts, place in probes.items_of(student.intruder_items(acts, lengths, 30, draw.seed(), count), 30):
        members = [n for at, n in enumerate(texts) if at != place]
        expect(len(set(members)) == 4, "A text is a member twice.")
        expect(set(members) <= strongest, f"A member is not among the {count} strongest texts.")
        expect(strength[texts[place]] == 0, "The feature fires on an intruder.")
        near = probes.nearest_silent(members, lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")


def intruder_items__is_drawn_fairly(student, draw):
    """each place and each strong text comes up, several intruders, in any order; one seed, one test; few texts are refused"""
    acts, lengths, strength = probes.blind_case(draw)
    seed = draw.seed()
    made = probes.items_of(student.intruder_items(acts, lengths, 400, seed), 400)
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
        near = probes.nearest_silent([n for n in texts if n != texts[place]], lengths, strength)
        expect(texts[place] in near, "An intruder's length is not matched to the members'.")
        ranks.append(near.index(texts[place]))
    rarest = min(map(ranks.count, range(5)))
    expect(rarest >= 45, "Not each of the five nearest silent texts is drawn.")
    expect(
        probes.items_of(student.intruder_items(acts, lengths, 400, seed), 400) == made,
        "One seed gave two tests.",
    )
    other = probes.items_of(student.intruder_items(acts, lengths, 400, seed + 1), 400)
    expect(other != made, "Another seed gave the same test.")
    probes.expect_untouched(student, student.intruder_items, acts, lengths, 2, seed)
    three = torch.zeros(6, 20)
    three[:3, 0] = 1.0
    refused = "Three texts that fire are too few."
    expect_raises("ValueError", lambda: student.intruder_items(three, [9] * 6, 2, 1), refused)
    refused = "Without a silent text there is no intruder."
    expect_raises("ValueError", lambda: student.intruder_items(three + 1, [9] * 6, 2, 1), refused)


def attribute_features__agrees_with_the_reference(student, draw):
    """attribute_features agrees with the reference, features and error, for dictionaries and metrics you have not seen"""
    for metric in (probes.last_words, probes.everywhere):
        model, hook, _, tokens = probes.a_case(draw)
        weights = probes.weights_of(draw, model.cfg.d_model)
        expected = feature_attribution.attribute_features(
            model, probes.Dictionary(*weights), hook, tokens, metric
        )
        result = student.run(
            probes.attributed, student.attribute_features, model, weights, hook, tokens, metric
        )
        expect_close(result[0], expected[0], dims="d_sae", atol=NEAR)
        expect_close(torch.tensor([result[1]]), torch.tensor([expected[1]]), dims="error", atol=NEAR)
        expect(result[2] == 0, "Gradients are left in the model's parameters.")
        expect_equal(result[3].tolist(), tokens.tolist(), what="tokens after the call")


def attribute_features__is_exact_where_the_model_is_linear(student, draw):
    """behind the last LayerNorm each feature's share is what ablating it costs, and all shares add up"""
    model, _, _, tokens = probes.a_case(draw)
    hook, weights = "ln_final.hook_normalized", probes.weights_of(draw, model.cfg.d_model)
    sae = probes.Dictionary(*weights)
    found = student.run(
        probes.attributed, student.attribute_features, model, weights, hook, tokens, probes.last_words
    )
    with torch.no_grad():
        x = model.run_with_cache(tokens, names_filter=hook)[1][hook]
        intact, f = probes.last_words(model(tokens)), sae.encode(x)
        costs = []
        for feature in range(6):
            without = x - f[..., feature, None] * sae.W_dec[feature]
            with hooks.edit(model, {hook: lambda activation, without=without: without}):
                costs.append(intact - probes.last_words(model(tokens)))
        with hooks.edit(model, {hook: lambda activation: sae.decode(sae.encode(activation))}):
            of_error = intact - probes.last_words(model(tokens))
    expect_close(found[0][:6], torch.stack(costs), dims="d_sae", atol=NEAR)
    expect_close(torch.tensor([found[1]]), of_error[None], dims="error", atol=NEAR)


def patch_feature__agrees_with_the_reference(student, draw):
    """patch_feature agrees with the reference for dictionaries and hooks you have not seen, and leaves no hook"""
    for _ in range(2):
        model, hook, _, tokens = probes.a_case(draw)
        other = draw.tokens(*tokens.shape, model.cfg.d_vocab)
        weights, feature = probes.weights_of(draw, model.cfg.d_model, scale=3.0), draw.integer(0, 39)
        case = hook, tokens, other, feature
        expected = feature_attribution.patch_feature(model, probes.Dictionary(*weights), *case)
        logits, after, left = student.run(probes.patched, student.patch_feature, model, weights, *case)
        expect_close(logits, expected, **LOGITS, atol=NEAR)
        expect_equal(left.tolist(), other.tolist(), what="other tokens after the call")
        with torch.no_grad():
            expect_close(after, model(tokens), **LOGITS, atol=NEAR)


def patch_feature__keeps_all_else(student, draw):
    """the same text changes nothing, whatever the dictionary misses; an exact one-feature direction carries its part"""
    model, hook, _, tokens = probes.a_case(draw)
    weights = probes.weights_of(draw, model.cfg.d_model)
    with torch.no_grad():
        intact = model(tokens)
    same, *_ = student.run(probes.patched, student.patch_feature, model, weights, hook, tokens, tokens, 3)
    expect_close(same, intact, **LOGITS, atol=NEAR)
    # features that read and write single axes, shifted so that they always fire
    d_model, axis = model.cfg.d_model, draw.integer(0, 30)
    axes = [
        torch.eye(d_model)[:, :40],
        torch.full((40,), 64.0),
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
    logits, *_ = student.run(probes.patched, student.patch_feature, model, axes, hook, tokens, other, axis)
    expect_close(logits, expected, dims="batch pos d_vocab", atol=1e-3)

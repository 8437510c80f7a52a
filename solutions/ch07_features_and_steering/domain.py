"""Arguments over all that each statement allows: other sizes, dtypes, places and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. What takes a dictionary, or
is a context manager, is tried by `<exercise>__trial(student, draw)`: neither passes between processes.
"""

import torch

from mechinterp_course import feature_attribution, steering
from mechinterp_course.checking import expect_close, expect_equal
from mechinterp_course.checking import feature_cases as probes
from mechinterp_course.checking.feature_cases import blind_case, feature_on_texts

FAR = 1e-3  # sums in another order differ by less, in logits of large steps, too


def strongest_contexts(draw):
    acts, readable = feature_on_texts(
        draw, draw.integer(2, 9), draw.integer(3, 14), draw.choice([0.1, 0.4, 2])
    )
    return acts.to(draw.choice([torch.float32, torch.float64])), readable, draw.integer(1, 9)


def intruder_items(draw):
    acts, lengths, _ = blind_case(draw, texts=draw.integer(33, 50))
    return acts, lengths, draw.integer(1, 8), draw.seed(), draw.integer(4, 12)


def adding__trial(student, draw):
    for _ in range(4):
        model, hook, direction, tokens = _a_case(draw)
        amount = draw.choice([-7.5, -0.01, 0.0, 0.3, 2, 40.0])
        expected = probes.streams(steering.adding, model, hook, direction, amount, tokens)
        found = student.run(probes.streams, student.adding, model, hook, direction, amount, tokens)
        for one, other in zip(found, expected, strict=True):
            expect_close(one.detach(), other.detach(), dims="batch pos d_model", atol=FAR)
        expected = probes.after_an_error(steering.adding, model, hook, direction, amount, tokens)
        found = student.run(probes.after_an_error, student.adding, model, hook, direction, amount, tokens)
        for one, other in zip(found[:2], expected[:2], strict=True):
            expect_close(one, other, dims="batch pos d_vocab", atol=FAR)
        expect_close(found[2], direction, dims="d_model")
        case = model, hook, 20 * direction, 2.0, tokens[:1], True
        said = student.run(probes.next_tokens, student.adding, *case)
        expected = probes.next_tokens(steering.adding, *case)
        expect_equal(said.tolist(), expected.tolist(), what="generated tokens")


def direct_logits(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    return model, draw.normal(model.cfg.d_model) * draw.integer(1, 5) + draw.integer(0, 3)


def attribute_features__trial(student, draw):
    for _ in range(4):
        model, hook, _, tokens = _a_case(draw)
        weights, metric = _weights(draw, model), draw.choice([probes.last_words, probes.everywhere])
        sae = probes.Dictionary(*weights)
        expected = feature_attribution.attribute_features(model, sae, hook, tokens, metric)
        found = student.run(
            probes.attributed, student.attribute_features, model, weights, hook, tokens, metric
        )
        expect_close(found[0], expected[0], dims="d_sae", atol=FAR)
        expect_close(found[1], expected[1], atol=FAR)
        expect_equal(found[2], 0, what="gradients in the model's parameters")


def patch_feature__trial(student, draw):
    for _ in range(4):
        model, hook, _, tokens = _a_case(draw)
        weights, other = _weights(draw, model), draw.tokens(*tokens.shape, model.cfg.d_vocab)
        case = hook, tokens, other, draw.integer(0, weights[0].shape[1] - 1)
        expected = probes.patched(feature_attribution.patch_feature, model, weights, *case)
        found = student.run(probes.patched, student.patch_feature, model, weights, *case)
        for one, logits in zip(found[:2], expected[:2], strict=True):
            expect_close(one, logits, dims="batch pos d_vocab", atol=FAR)
        expect_equal(found[2].tolist(), other.tolist(), what="other tokens after the call")


def _a_case(draw):
    """A model, mostly of one layer or two, one of its hooks, a direction, and tokens, also of one prompt."""
    model = draw.language_model(draw.choice(["course-positional", "course-attn-2l"]))
    hook = f"blocks.{draw.integer(0, model.cfg.n_layers - 1)}.hook_resid_{draw.choice(['pre', 'post'])}"
    tokens = draw.tokens(draw.integer(1, 4), draw.integer(2, 12), model.cfg.d_vocab)
    return model, hook, draw.normal(model.cfg.d_model), tokens


def _weights(draw, model):
    return probes.weights_of(draw, model.cfg.d_model, draw.integer(2, 90), draw.choice([0.3, 1.0, 3.0]))

"""Arguments over all that each statement allows: other sizes, dtypes and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

import torch

from mechinterp_course.checking import expect


def cyclic_tokens(draw):
    d_vocab = draw.integer(3, 600)
    period = draw.integer(1, min(d_vocab, 12))
    return d_vocab, period, draw.integer(1, 30), draw.integer(1, 6), draw.integer(0, d_vocab - 1), draw.seed()


def pattern_completion_score(draw):
    period = draw.integer(1, 7)
    n = period + draw.integer(2, 14)
    scores = 2 * draw.normal(draw.integer(1, 4), draw.integer(1, 5), n, n)
    pattern = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf).softmax(-1)
    return pattern.to(draw.choice([torch.float32, torch.float32, torch.float64])), period


def in_context_bigrams(draw):
    d_vocab = draw.integer(2, 40)
    return draw.tokens(draw.integer(1, 5), draw.integer(2, 24), d_vocab), d_vocab


def refute_period_detector__trial(student, draw):
    """A text of that period, of those words, after which the model says another."""
    model = draw.language_model(draw.choice(["course-attn-2l", "course-attn-2l", "course-gpt2"]))
    order = torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(draw.seed()))
    for _ in range(4):
        period, order = draw.integer(3, 6), order.roll(20)
        words, bos = order[: period + draw.integer(0, 2)], model.tokenizer.bos_token_id
        row = student.refute_period_detector(model, words, period, bos)
        expect(isinstance(row, torch.Tensor) and row.dtype == torch.int64, "The result is not a text.")
        start, *text = row.tolist()
        fine = start == bos and set(text) <= set(words.tolist()) and 3 * period <= len(text) <= 64
        expect(fine, "The text is not BOS and words of `words`, three rounds at least and 64 at most.")
        periods = [each for each in range(1, len(text)) if text[each:] == text[:-each]]
        expect(periods[:1] == [period], f"The text's smallest period is not {period}.")
        chances = model(row[None])[0, -1].softmax(-1)
        right = text[-period]
        expect(chances.argmax() != right and chances[right].item() < 0.5, "The model continues it rightly.")


def logit_lens(draw):
    model = _model(draw)
    pos = draw.integer(2, 9)
    return model, draw.tokens(draw.integer(1, 3), pos, model.cfg.d_vocab), draw.integer(-pos, pos - 1)


def residual_components(draw):
    model = _model(draw)
    return model, draw.tokens(draw.integer(1, 3), draw.integer(2, 9), model.cfg.d_vocab)


def ov_circuit(draw):
    model = _model(draw)
    head = draw.integer(0, model.cfg.n_layers - 1), draw.integer(0, model.cfg.n_heads - 1)
    tokens = draw.tokens(1, draw.integer(2, 30), model.cfg.d_vocab)[0]
    return model, head, tokens, draw.choice([True, False])


def _model(draw):
    """Mostly the small models; one draw in ten is of a deeper one."""
    deep = draw.integer(1, 10) == 1
    return draw.language_model(
        "course-gpt2" if deep else draw.choice(["course-attn-2l", "course-positional"])
    )

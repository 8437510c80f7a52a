"""Arguments over all that each statement allows: other sizes, dtypes and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch


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


def refute_period_detector(draw):
    model = draw.language_model("course-attn-2l")
    period = draw.integer(3, 5)
    words = torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(draw.seed()))
    return model, words[: period + draw.integer(0, 2)], period, model.tokenizer.bos_token_id


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

"""Arguments over all that each statement allows: other sizes, dtypes, thresholds and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch

from mechinterp_course.worlds.tokens import repeated_tokens as repeats


def repeated_tokens(draw):
    d_vocab = draw.integer(2, 1000)
    length, batch, start = draw.integer(1, 40), draw.integer(1, 9), draw.integer(0, d_vocab - 1)
    return d_vocab, length, batch, start, draw.seed()


def loss_per_token(draw):
    batch, pos, d_vocab = draw.integer(1, 5), draw.integer(2, 20), draw.integer(2, 60)
    logits = draw.choice([1.0, 5.0, 300.0]) * draw.normal(batch, pos, d_vocab)
    return _in_some_dtype(draw, logits), draw.tokens(batch, pos, d_vocab)


def copying_gain(draw):
    length = draw.integer(2, 30)
    return _in_some_dtype(draw, 3 * draw.normal(draw.integer(1, 8), 2 * length).abs()), length


def previous_token_score(draw):
    return (_in_some_dtype(draw, _pattern(draw, draw.integer(2, 20))),)


def induction_score(draw):
    length = draw.integer(1, 12)
    return _in_some_dtype(draw, _pattern(draw, 2 * length + 1)), length


def find_induction_heads(draw):
    model = _model(draw)
    return model, _repeats(draw, model), draw.integer(-20, 120) / 100


def _in_some_dtype(draw, values):
    return values.to(draw.choice([torch.float32, torch.float32, torch.float64]))


def _pattern(draw, positions):
    scores = 2 * draw.normal(draw.integer(1, 4), draw.integer(1, 5), positions, positions)
    return scores.masked_fill(torch.ones(positions, positions).triu(1).bool(), -torch.inf).softmax(-1)


def _model(draw, large=10):
    """Mostly the small model; one draw in `large` is of a deeper one, where calls take ten times as long."""
    deep = draw.integer(1, large) == 1
    return draw.language_model(
        draw.choice(["course-gpt2", "course-attn-2l"]) if deep else "course-positional"
    )


def _repeats(draw, model):
    length, start = draw.integer(2, 9), model.tokenizer.bos_token_id
    return repeats(model.cfg.d_vocab, length, draw.integer(1, 3), start, draw.seed())

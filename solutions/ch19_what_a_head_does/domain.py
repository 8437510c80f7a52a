"""Arguments over all that each statement allows: other sizes, dtypes, thresholds and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

from mechinterp_course import redundancy
from mechinterp_course.checking.head_probes import clear_heads, expect_verdict, lines_to_recite
from mechinterp_course.worlds.tokens import repeated_tokens as repeats


def ablate_head(draw):
    model, kind = _model(draw), draw.choice(["zero", "mean", "mean", "median"])
    return model, _tokens(draw, model), *_head(draw, model), kind


def patch_head_output(draw):
    model = _model(draw)
    clean = _tokens(draw, model)
    return model, clean, draw.tokens(*clean.shape, model.cfg.d_vocab), *_head(draw, model)


def rank_heads_by_effect(draw):
    model = _model(draw, large=50)
    return model, _repeats(draw, model)


def refute_redundancy__trial(student, draw):
    """Lines to recite, and a head: of those that lower the lead, one for which there is a company."""
    case = lines_to_recite(draw, draw.language_model("course-attn-2l"), draw.integer(16, 32))
    rows = sorted(clear_heads(case), key=lambda _: draw.seed())
    asked = (
        row[2] for row in rows if row[1] < 0.75 or redundancy.refute_redundancy(*case, *row[2]) is not None
    )
    head = next(asked)
    expect_verdict(student.refute_redundancy(*case, *head), head, case)


def is_induction_head(draw):
    model = _model(draw, large=50)
    start = model.tokenizer.bos_token_id
    lengths = tuple(draw.integer(3, 10) for _ in range(draw.integer(1, 2)))
    return model, *_head(draw, model), start, lengths, draw.integer(-40, 60) / 100, draw.seed()


def _model(draw, large=10):
    """Mostly the small model; one draw in `large` is of a deeper one, where calls take ten times as long."""
    deep = draw.integer(1, large) == 1
    return draw.language_model(
        draw.choice(["course-gpt2", "course-attn-2l"]) if deep else "course-positional"
    )


def _head(draw, model):
    return draw.integer(0, model.cfg.n_layers - 1), draw.integer(0, model.cfg.n_heads - 1)


def _tokens(draw, model):
    return draw.tokens(draw.integer(1, 3), draw.integer(2, 9), model.cfg.d_vocab)


def _repeats(draw, model):
    length, start = draw.integer(2, 9), model.tokenizer.bos_token_id
    return repeats(model.cfg.d_vocab, length, draw.integer(1, 3), start, draw.seed())

"""Arguments over all that each statement allows: other sizes, dtypes, places and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

from mechinterp_course.checking.feature_cases import dose_case, minimal_rows


def smallest_dose(draw):
    return dose_case(draw, draw.integer(6, 12))


def word_direction(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    tokens, others, _ = minimal_rows(draw, model.cfg.d_vocab, draw.integer(1, 6), draw.integer(5, 12))
    layer = draw.integer(0, model.cfg.n_layers - 1)
    return model, f"blocks.{layer}.hook_resid_{draw.choice(['pre', 'post'])}", tokens, others

"""Arguments over all that each statement allows: other sizes, dtypes, places and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch

from mechinterp_course.checking.feature_cases import blind_case, dose_case, feature_on_texts, minimal_rows


def strongest_contexts(draw):
    acts, readable = feature_on_texts(
        draw, draw.integer(2, 9), draw.integer(3, 14), draw.choice([0.1, 0.4, 2])
    )
    return acts.to(draw.choice([torch.float32, torch.float64])), readable, draw.integer(1, 9)


def intruder_items(draw):
    acts, lengths, _ = blind_case(draw, texts=draw.integer(33, 50))
    return acts, lengths, draw.integer(1, 8), draw.seed(), draw.integer(4, 12)


def smallest_dose(draw):
    return dose_case(draw, draw.integer(6, 12))


def direct_logits(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    return model, draw.normal(model.cfg.d_model) * draw.integer(1, 5) + draw.integer(0, 3)


def word_direction(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    tokens, others, _ = minimal_rows(draw, model.cfg.d_vocab, draw.integer(1, 6), draw.integer(5, 12))
    layer = draw.integer(0, model.cfg.n_layers - 1)
    return model, f"blocks.{layer}.hook_resid_{draw.choice(['pre', 'post'])}", tokens, others

"""Arguments over all that each statement allows: other sizes, dtypes, places and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch

from mechinterp_course.checking.feature_cases import blind_case, feature_on_texts


def strongest_contexts(draw):
    acts, readable = feature_on_texts(
        draw, draw.integer(2, 9), draw.integer(3, 14), draw.choice([0.1, 0.4, 2])
    )
    return acts.to(draw.choice([torch.float32, torch.float64])), readable, draw.integer(1, 9)


def intruder_items(draw):
    acts, lengths, _ = blind_case(draw, texts=draw.integer(33, 50))
    return acts, lengths, draw.integer(1, 8), draw.seed(), draw.integer(4, 12)


def direct_logits(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    return model, draw.normal(model.cfg.d_model) * draw.integer(1, 5) + draw.integer(0, 3)

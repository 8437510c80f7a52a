"""Arguments over all that each statement allows: other sizes, dtypes, places and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

import torch

from mechinterp_course.checking.cure_trials import expect_cure
from mechinterp_course.checking.exact_bootstrap import a_change
from mechinterp_course.checking.feature_cases import dose_case, minimal_rows
from mechinterp_course.checking.refusal_draws import two_groups
from mechinterp_course.worlds.text import lexicon


def smallest_dose(draw):
    return dose_case(draw, draw.integer(6, 12))


def word_direction(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-positional"]))
    tokens, others, _ = minimal_rows(draw, model.cfg.d_vocab, draw.integer(1, 6), draw.integer(5, 12))
    layer = draw.integer(0, model.cfg.n_layers - 1)
    return model, f"blocks.{layer}.hook_resid_{draw.choice(['pre', 'post'])}", tokens, others


def probe_direction(draw):
    groups = two_groups(draw, draw.integer(2, 14), draw.integer(2, 14), draw.integer(2, 12))
    return *groups, draw.choice([0.02, 0.1, 0.5, 2.0])


def share_cut_interval(draw):
    requests = draw.integer(4, 20)
    refused = draw.integer(1, requests - 1)
    new = draw.integer(0, min(2, requests - refused))
    before, after = a_change(draw, requests, refused, draw.integer(0, refused), new)
    return before, after, draw.integer(100, 300), draw.seed(), draw.choice([0.5, 0.8, 0.95])


def refusal_curve(draw):
    model = draw.language_model("course-attn-2l")
    hook = f"blocks.{draw.integer(0, 1)}.hook_resid_{draw.choice(['pre', 'post'])}"
    direction, batch = draw.normal(model.cfg.d_model) / draw.integer(2, 9), draw.integer(1, 12)
    amounts = [draw.integer(-9, 9) / 2 for _ in range(draw.integer(1, 5))]
    tokens = draw.tokens(batch, 10, model.cfg.d_vocab)
    last = torch.tensor([draw.integer(1, 9) for _ in range(batch)])
    return model, hook, direction, amounts, tokens, last, (draw.integer(3, 1500), draw.integer(1501, 3000))


def find_the_cure__trial(student, draw):
    expect_cure(
        student,
        draw,
        draw.choice([place for topic in lexicon.TOPICS for place in topic.places if place != "garden"]),
    )

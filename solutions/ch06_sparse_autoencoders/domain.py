"""Arguments over all that each statement allows: other sizes, dtypes and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

import torch

from mechinterp_course.checking import expect
from mechinterp_course.feature_matching import recovery


def encode_and_decode(draw):
    d_in, d_sae = draw.integer(1, 12), draw.integer(1, 30)
    weights = [draw.normal(*shape) for shape in ((d_in, d_sae), (d_sae,), (d_sae, d_in), (d_in,))]
    return draw.normal(*_axes(draw, bare=True), d_in), *weights


def sae_loss(draw):
    tokens, d_in, d_sae = draw.integer(1, 9), draw.integer(1, 12), draw.integer(1, 30)
    feature_acts = (draw.normal(tokens, d_sae) - draw.integer(-1, 1)).clamp(min=0)
    strength = draw.choice([0.0, 0.01, 0.5, 2.0])
    return (
        draw.normal(tokens, d_in),
        draw.normal(tokens, d_in),
        feature_acts,
        draw.normal(d_sae, d_in),
        strength,
    )


def constrain_decoder(draw):
    shape = draw.integer(1, 20), draw.integer(2, 12)
    return draw.normal(*shape), draw.normal(*shape)


def topk(draw):
    d_sae = draw.integer(2, 20)
    values = draw.normal(*_axes(draw), d_sae) + draw.choice([-1.0, 0.0, 1.0])
    return values, draw.integer(1, d_sae), draw.choice([False, True])


def firing_statistics(draw):
    d_sae = draw.integer(1, 20)
    return ([(draw.normal(draw.integer(1, 20), d_sae) - 1).clamp(min=0) for _ in range(draw.integer(1, 4))],)


def fraction_of_variance_unexplained(draw):
    shape = *_axes(draw, least=3), draw.integer(1, 12)
    activations = draw.normal(*shape) + draw.normal(shape[-1])
    return activations, activations + draw.choice([0.1, 1.0]) * draw.normal(*shape)


def match_features(draw):
    d_in = draw.integer(2, 16)
    return draw.normal(draw.integer(1, 9), d_in), draw.normal(draw.integer(1, 9), d_in)


def recover_features__trial(student, draw):
    d_in = draw.integer(12, 20)
    features = d_in + draw.integer(2, 6)
    directions = torch.nn.functional.normalize(draw.normal(features, d_in), dim=1)
    acts = (1 + 0.3 * draw.normal(4000, features)).clamp(min=0.1) * (draw.normal(4000, features) > 1.5)
    seed = draw.seed()
    rows = student.recover_features(acts @ directions + draw.normal(d_in), features, seed)
    reached = recovery(rows.to(directions.dtype), directions)
    found = f"Mean matched cosine {reached.mean_cosine:.2f}, {reached.recall:.0%} found."
    expect(reached.mean_cosine >= 0.75 and reached.recall >= 0.4, found)


def loss_recovered(draw):
    model = draw.language_model(draw.choice(["course-attn-2l", "course-gpt2"]))
    hook = f"blocks.{draw.integer(0, model.cfg.n_layers - 1)}.hook_resid_{draw.choice(['pre', 'post'])}"
    said = draw.tokens(draw.integer(2, 5), draw.integer(8, 14), model.cfg.d_vocab).repeat(1, 2)
    start = torch.full((len(said), 1), model.tokenizer.bos_token_id)
    return model, torch.cat([start, said], dim=1), hook, half_of_it


def half_of_it(activation):
    """The chapter's own, by the name that its rooms know."""
    kept = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return activation * kept


def _axes(draw, bare=False, least=1):
    """Axes before the last: of tokens, of rows of tokens, or where allowed none."""
    some = [(draw.integer(least, 9),), (draw.integer(1, 4), draw.integer(least, 5))]
    return draw.choice([(), *some] if bare else some)

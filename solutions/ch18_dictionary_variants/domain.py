"""Arguments over all that each statement allows: other sizes, dtypes and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch


def inference_threshold(draw):
    d_sae = draw.integer(2, 15)
    batches = [
        draw.choice([0.5, 2.0]) * draw.normal(draw.integer(1, 9), d_sae) + draw.choice([-2.0, 0.0, 0.5])
        for _ in range(draw.integer(1, 4))
    ]
    return [*batches, draw.normal(3, d_sae).abs()], draw.integer(1, d_sae)


def jumprelu(draw):
    shape = draw.choice([(draw.integer(1, 9),), (draw.integer(1, 3), draw.integer(1, 4))])
    d_sae = draw.integer(1, 12)
    threshold = draw.normal(d_sae).abs() + 0.05
    return threshold + draw.normal(*shape, d_sae), threshold, draw.choice([0.05, 0.5, 2.0])


def auxiliary_loss(draw):
    tokens, d_in, d_sae = draw.integer(1, 8), draw.integer(1, 9), draw.integer(1, 15)
    dead = (draw.normal(d_sae) > draw.choice([-1.0, 0.0, 1.0])).cpu().to(draw.device)
    values = draw.normal(tokens, d_in), draw.normal(tokens, d_sae), draw.normal(d_sae, d_in)
    return values[0], values[1], dead, values[2], draw.integer(1, 12)


def resample_dead(draw):
    tokens, d_in, d_sae = draw.integer(2, 12), draw.integer(2, 8), draw.integer(2, 12)
    activations = draw.normal(tokens, d_in)
    bad = torch.zeros_like(activations)
    bad[draw.integer(0, tokens - 1)] = 1.0  # one bad token: nothing is left to chance
    dead = torch.arange(d_sae, device=draw.device) < draw.integer(0, d_sae - 1)
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    weights, moments = ({name: draw.normal(*shape) for name, shape in shapes.items()} for _ in range(2))
    return activations, activations + bad, dead, weights, moments, draw.seed()


def split_features(draw):
    tokens, narrow, wide = draw.integer(1, 40), draw.integer(1, 6), draw.integer(1, 8)
    acts = [(draw.normal(tokens, count) - draw.choice([0.0, 1.5])).clamp(min=0) for count in (narrow, wide)]
    dtype = draw.choice([torch.float32, torch.float64])
    if draw.integer(0, 1):
        acts[1][:, 0] = acts[0][:, 0]
    return *(each.to(dtype) for each in acts), draw.choice([0.25, 0.5, 0.71237, 0.9037, 1.0])


def absorption_rate(draw):
    tokens, features = draw.integer(20, 60), draw.integer(4, 9)
    d_sae = features + draw.integer(0, 5)
    order = draw.normal(features).argsort().tolist()
    parent, children = order[0], order[1 : draw.integer(2, 4)]
    there = draw.normal(tokens, features) > draw.choice([0.0, 0.8])
    there[:2, children[0]] = True
    there[:, parent] |= there[:, children].any(dim=1)
    fires = (draw.normal(tokens, d_sae) - draw.choice([-0.5, 0.5])).clamp(min=0)
    return (
        fires,
        there * draw.normal(tokens, features).abs(),
        draw.normal(d_sae).argsort()[:features],
        parent,
        children,
    )


def matryoshka_loss(draw):
    tokens, d_in, d_sae = draw.integer(1, 8), draw.integer(1, 9), draw.integer(2, 15)
    widths = sorted({draw.integer(1, d_sae) for _ in range(draw.integer(1, 4))})
    acts = (draw.normal(tokens, d_sae) - 0.3).clamp(min=0)
    return draw.normal(tokens, d_in), acts, draw.normal(d_sae, d_in), draw.normal(d_in), widths


def transcoder_recovered(draw):
    model = draw.language_model()
    said = draw.tokens(draw.integer(2, 3), draw.integer(8, 10), model.cfg.d_vocab).repeat(1, 2)
    start = torch.full((len(said), 1), model.tokenizer.bos_token_id)
    return model, torch.cat([start, said], dim=1), draw.choice([0, 3]), half_of_it


def half_of_it(activation):
    """The chapter's own, by the name that its rooms know."""
    first = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return 2 * activation * first

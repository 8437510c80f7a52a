"""Arguments over all that each statement allows: other sizes, norms and probabilities than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

import torch

from mechinterp_course.checking import expect, toy_models


def toy_output(draw):
    batch, instance, feature, hidden = (draw.integer(1, 6) for _ in range(4))
    return (
        draw.normal(batch, instance, feature),
        draw.normal(instance, feature, hidden),
        draw.normal(instance, feature),
    )


def toy_loss(draw):
    batch, instance, feature = (draw.integer(1, 6) for _ in range(3))
    features = draw.normal(batch, instance, feature)
    return draw.normal(*features.shape), features, draw.normal(instance, feature).exp()


def sparse_features(draw):
    instance, pairs = draw.integer(1, 4), draw.integer(1, 3)
    probability = 0.5 * draw.normal(instance, 2 * pairs).sigmoid()
    kind = draw.choice(["independent", "correlated", "anticorrelated"])
    return probability, draw.integer(1, 9), draw.seed(), kind


def train_toy__trial(student, draw):
    """Many instances, of which a third must do: which of them end in a worse figure is chance."""
    chance = draw.choice([0.04, 0.06, 0.1, 0.12])
    probability, importance = (torch.full((24, 5), value) for value in (chance, draw.choice([0.5, 1.0])))
    seed = draw.seed()
    found = student.train_toy(probability, importance, 2, seed, draw.integer(250, 350))
    losses = toy_models.loss_of(found, probability, importance, 2)
    good = (losses <= 1.25 * toy_models.pentagon_loss(probability, importance)).sum().item()
    expect(good >= 8, f"Only {good} of 24 instances lose no more than 1.25 times what a pentagon does.")
    one, two, other = (student.train_toy(probability, importance, 2, s, 3) for s in (seed, seed, seed + 1))
    expect(torch.allclose(one[0], two[0], atol=1e-3), "The same seed gives other weights.")
    expect(not torch.allclose(one[0], other[0], atol=0.01), "Another seed gives the same weights.")


def interference(draw):
    return (_weights(draw),)


def feature_dimensionality(draw):
    return (_weights(draw),)


def feature_groups(draw):
    if draw.integer(0, 1):
        W, _ = toy_models.mixed_figures(draw)
    else:
        W = _weights(draw)[0]
    return W, draw.choice([0.3, 0.5, 1.0]), draw.choice([0.1, 0.15, 0.5, 0.8])


def phase_losses(draw):
    cases = draw.integer(1, 6)
    return draw.normal(cases).sigmoid(), draw.normal(cases).exp()


def basis_p_value(draw):
    W, rotations = toy_models.leaning_on_axes(draw, draw.choice([0.05, 0.3, 1.0, 5.0]))
    return draw.choice([0.01, 1.0, 30.0]) * W, rotations[: draw.integer(1, 40)]


def absolute_value_weights(draw):
    return (draw.integer(3, 16),)  # one or two features can be cut off anywhere: many weights are right


def _weights(draw):
    instance, feature, hidden = (draw.integer(1, 7) for _ in range(3))
    W = draw.normal(instance, feature, hidden) * draw.normal(1, feature, 1).exp()
    W[:, : draw.integer(0, 1)] = 0.0
    return W * torch.tensor(draw.choice([0.1, 1.0, 10.0]))

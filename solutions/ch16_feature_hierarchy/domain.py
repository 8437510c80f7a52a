"""Arguments over all that each statement allows: other sizes, places and powers than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

from mechinterp_course.checking import layer_probes


def effective_receptive_field(draw):
    rows, columns = draw.integer(1, 12), draw.integer(1, 12)
    gradient = draw.normal(draw.integer(1, 3), 3, rows, columns)
    share = draw.choice([0.05, 0.3, 0.6, 0.9, 0.99])
    return gradient, draw.integer(0, rows - 1), draw.integer(0, columns - 1), share


def orientation_tuning(draw):
    values, angle = layer_probes.striped(draw)
    return values * draw.choice([0.1, 1.0, 3.0]), angle - draw.choice([0.0, 2.0, 9.0])


def layer_report(draw):
    if draw.choice([True, False]):
        return layer_probes.two_networks(draw)
    return layer_probes.planted(draw)[:3]


def diversity(draw):
    sizes = (draw.integer(1, 5) for _ in range(4))
    return (draw.normal(*sizes) + draw.choice([0.0, 1.0]),)


def caricature_score(draw):
    target = draw.normal(draw.integer(1, 6), draw.integer(1, 5), draw.integer(1, 5))
    activations = draw.normal(draw.integer(1, 4), *target.shape) + draw.choice([-1, 0, 1]) * target
    return activations, target, draw.choice([0.0, 0.5, 1.0, 2.0, 4.0])

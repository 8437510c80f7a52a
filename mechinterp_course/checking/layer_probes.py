"""What the checks of layer findings draw: gradients, responses to stripes, networks with planted channels."""

from math import pi

import torch
from torch import Tensor

from mechinterp_course.checking.comparison import expect, expect_close, expect_equal

ROW = "A layer's row has a key 'silent' and one for each factor."
FACTS = "A factor's facts are 'explained' and 'beyond', Python floats, and 'channel', an int."
KINDS = {"explained": float, "beyond": float, "channel": int}


def a_gradient(draw):
    """A gradient that fades with the distance from a pixel, that pixel, and a share of it to be held."""
    rows, columns = draw.integer(12, 20), draw.integer(12, 20)
    row, column = draw.integer(2, rows - 3), draw.integer(2, columns - 3)
    distance = (torch.arange(rows) - row).abs()[:, None] + (torch.arange(columns) - column).abs()[None]
    gradient = draw.normal(draw.integer(1, 4), 3, rows, columns)
    gradient = gradient * (-distance.to(gradient) / draw.choice([2.0, 4.0, 9.0])).exp()
    return gradient, row, column, draw.choice([0.25, 0.5, 0.8, 0.9, 0.97])


def striped(draw):
    """Responses to stripes whose angles are uneven and run over several turns: tuned, noisy; one is dead."""
    pictures, width = draw.integer(24, 40), draw.integer(4, 7)
    angle = 2 * pi * draw.normal(pictures).abs() + 0.5
    tops, height = 3 * draw.normal(width), 0.4 + draw.normal(width).abs()
    values = 4 + height * (2 * (angle[:, None] - tops)).cos() + 0.6 * draw.normal(pictures, width)
    values = values + 0.5 * (angle[:, None] - tops).cos()
    values[:, draw.integer(0, width - 1)] = 0.5
    return values, angle


def expect_tuning(found, width):
    """Pass if a value is [2, channel] numbers, each preferred orientation in [0, pi)."""
    right = type(found) is Tensor and found.is_floating_point() and found.shape == (2, width)
    expect(right, f"The result is not a tensor of floats of shape [2, {width}]: preferred orientation, R².")
    expect(bool(found.isfinite().all()), "The result is not finite everywhere.")
    inside = ((found[0] >= 0) & (found[0] < pi + 1e-5)).all()
    expect(bool(inside), "A preferred orientation is not in [0, π): add or take away half turns.")


def written_alike(known, tuning):
    """`known`, with orientations as near to those of `tuning` as half turns take them: 0 and pi are one.

    A channel of which the curve explains nothing has none, and is given that of `tuning`.
    """
    near = known[0] + torch.pi * ((tuning[0] - known[0]) / torch.pi).round()
    return torch.stack([torch.where(known[1] > 1e-3, near, tuning[0]), known[1]])


def two_networks(draw):
    """Responses of two networks at two layers to the pictures of two or three factors, and the groups."""
    factors, widths = draw.choice([("hue", "size"), ("hue", "size", "kind")]), (draw.integer(9, 14), 7)
    groups = {factor: _groups(draw, draw.integer(20, 40)) for factor in factors}
    trained, untrained = (
        {
            factor: {
                f"layer{place + 1}": _responses(draw, group, width, strength, dead)
                for place, width in enumerate(widths)
            }
            for factor, group in groups.items()
        }
        for strength, dead in ((0.5, draw.integer(0, 5)), (0.15, None))
    )
    for layer in trained[factors[0]].values():  # silent for one factor is not silent
        layer[:, 6] = 2.0
    return trained, untrained, groups


def _groups(draw, pictures):
    """Groups of unequal size, whose numbers are not 0, 1, 2, …"""
    numbers = draw.normal(30).argsort()[: draw.integer(2, 4)]
    group = numbers[torch.tensor([draw.integer(0, len(numbers) - 1) for _ in range(pictures)])]
    group[: len(numbers)] = numbers
    return group


def _responses(draw, group, width, strength, dead):
    levels = draw.normal(30, width)
    values = 1 + strength * levels[group] + draw.normal(len(group), width)
    if dead is not None:
        values[:, dead] = 0.0
    return values


def planted(draw):
    """Two networks, the groups, and the truth: a channel for each factor and one of noise, the others silent.

    The noise has the same mean in all groups, and answers to the pictures of one factor only.
    """
    groups = {factor: torch.arange(24) % 3 + 5 * (factor == "size") for factor in ("hue", "size")}
    width, truth = draw.integer(6, 9), {}
    trained, untrained = {"hue": {}, "size": {}}, {"hue": {}, "size": {}}
    for layer in ("first", "second"):
        hue, size, noise = draw.normal(width).argsort()[:3].tolist()
        for factor, channel in (("hue", hue), ("size", size)):
            values, null = torch.full((24, width), 0.25), draw.normal(24, width)
            null[:, 0] = 0.3 * (groups[factor] + draw.normal(24))
            values[:, channel] = groups[factor] + 0.1 * draw.normal(24)
            if factor == "size":
                values[:, noise] = (torch.arange(24) // 3 % 2).float() + draw.normal(1)
            trained[factor][layer], untrained[factor][layer] = values, null
        truth[layer] = {"silent": width - 3, "hue": hue, "size": size, "beyond": 1 / width}
    return trained, untrained, groups, truth


def expect_report(found, trained, groups):
    """Pass if a value has the form of a report: its layers in order, in each the facts that are asked for."""
    layers = list(next(iter(trained.values())))
    form = isinstance(found, dict) and list(found) == layers
    expect(form, f"The report is not a dict of the layers in their order: {', '.join(layers)}.")
    for row in found.values():
        expect(isinstance(row, dict) and set(row) == {"silent", *groups}, ROW)
        for factor in groups:
            facts = row[factor]
            right = isinstance(facts, dict) and {name: type(fact) for name, fact in facts.items()} == KINDS
            expect(right, FACTS)


def expect_same_report(found, known):
    """Pass if a report says what another says, fact by fact, up to rounding."""
    for layer, row in known.items():
        expect_equal(found[layer]["silent"], row["silent"])
        for factor in row.keys() - {"silent"}:
            facts, right = found[layer][factor], row[factor]
            expect_equal(facts["channel"], right["channel"])
            for share in ("beyond", "explained"):
                expect_close(facts[share], right[share], rtol=1e-4, atol=1e-5)


def reordered(case, order):
    """The same responses with channels in another order, and groups under other numbers."""
    *networks, groups = case
    moved = (
        {
            factor: {name: each[:, order] for name, each in layers.items()}
            for factor, layers in network.items()
        }
        for network in networks
    )
    return *moved, {factor: 40 - 2 * group for factor, group in groups.items()}


def tensors_left(function, trained, untrained, groups):
    """All tensors of the arguments, as a call of `function` leaves them."""
    function(trained, untrained, groups)
    return [
        *(values for net in (trained, untrained) for layers in net.values() for values in layers.values()),
        *groups.values(),
    ]

"""What the checks of channel evidence draw, and the trials that a channel must stand."""

import torch
from torch import Tensor

from mechinterp_course.channel_evidence import objects, pixels_of, removed, responses
from mechinterp_course.checking.comparison import expect


def labelled(draw):
    """Responses with ties and a dead channel, and labels: fewer pictures show the factor than don't."""
    pictures, width = draw.integer(14, 24), draw.integer(4, 9)
    values = (2 * draw.normal(pictures, width)).round() / 2
    values[:, draw.integer(0, width - 1)] = 0.0
    having = draw.integer(3, pictures // 2 - 1)
    return values, draw.normal(pictures).argsort() < having


def in_order_of(draw, pictures, shuffles):
    """Permutations of the pictures, one in a row."""
    return torch.stack([draw.normal(pictures).argsort() for _ in range(shuffles)])


def grouped(draw):
    """Responses that depend on groups a little, and groups of unequal size; one channel is dead."""
    pictures, width = draw.integer(18, 30), draw.integer(4, 9)
    numbers = draw.normal(40).argsort()[: draw.integer(3, 5)]
    group = numbers[torch.tensor([draw.integer(0, len(numbers) - 1) for _ in range(pictures)])]
    values = draw.normal(pictures, width) + 0.1 * group[:, None] * draw.normal(width) + 2
    values[:, draw.integer(0, width - 1)] = 1.0
    return values, group


def edited(draw):
    """Responses before and after an edit that vary much from picture to picture, and over other pictures."""
    pictures, others, width = draw.integer(5, 9), draw.integer(10, 14), draw.integer(3, 4)
    before = 3 * draw.normal(pictures, 1) + draw.normal(pictures, width) + 5
    change = draw.normal(width) + 0.7 * draw.normal(pictures, width)
    return before, before + change, draw.normal(others, width) * (1 + draw.normal(width) ** 2) + 2


APART = (  # four kinds that look nothing alike; in every layer some channel falls by 1 for two of them
    ("window", "eye", "leaf", "sail"),
    ("wheel", "roof", "leaf", "leg"),
    ("window", "leg", "shell", "sail"),
)
ONE_PART_IS_LOUDER = "tail", "sail", "wheel", "ear"  # in layer3 of course-resnet18: none for the last two
CONTROL_MATTERS = "petals", "shell", "wheel", "wing"  # in layer4 of the robust one: to the two largest falls
FIRST_ONES_FAIL = (
    "window",
    "leg",
    "leaf",
    "wheel",
)  # there: no channel for the first parts, nor for a "window"
USUAL, EDITED = 96, 24  # toys that give the unit; toys of a kind that are judged on
LEEWAY = 0.1  # what a mean over so many may be off


def expect_two_parts(student, draw, model, layer, kinds):
    """Pass if the channel that the student names depends on two parts alone, and not on a third.

    The student is given `kinds` in this order.
    """
    found = student.find_polysemantic_channel(model, layer, list(kinds))
    well_formed = isinstance(found, tuple | list) and len(found) == 4 and type(found[0]) is int
    well_formed = well_formed and all(isinstance(kind, str) and kind in kinds for kind in found[1:])
    well_formed = well_formed and len(set(found[1:])) == 3
    expect(
        well_formed,
        "The result is not (channel, one, other, control) with three different kinds of those given.",
    )
    channel, *trio = found
    usual = responses(model, layer, pixels_of(objects(USUAL, draw.image_seeds(1)[0])))
    expect(0 <= channel < usual.shape[1], f"{layer} has channels 0 to {usual.shape[1] - 1}, not {channel}.")
    effects = []
    for kind in trio:
        before, after = removed(model, layer, kind, EDITED, draw.image_seeds(1)[0], lacking={*kinds} - {kind})
        effects.append(((after - before)[:, channel].mean() / usual[:, channel].std().clamp(min=1e-6)).item())
    told = (
        f"On new toys, channel {channel} changes by {effects[0]:.1f}, {effects[1]:.1f} and {effects[2]:.1f}"
    )
    told = f"{told} when {trio[0]}, {trio[1]} and {trio[2]} go."
    expect(max(effects[:2]) <= -0.5 + LEEWAY, f"{told} Both parts must matter, each without the other.")
    expect(abs(effects[2]) <= 0.3 + LEEWAY, f"{told} The control must not matter.")


def two_changes(draw):
    """Changes of two parts that share channels, in unequal numbers of pictures."""
    one, other, width = draw.integer(4, 7), draw.integer(8, 11), draw.integer(12, 15)
    shared = draw.normal(width)
    return (
        draw.normal(one, width) * 0.4 - draw.normal(width) - shared,
        draw.normal(other, width) * 0.4 - 2 * draw.normal(width) - shared,
    )


def reader(draw):
    """Features far from zero, of unequal length, and responses that go with one of them and with noise."""
    pictures, features = draw.integer(26, 39), draw.integer(4, 6)
    middle = 3 * draw.normal(features)
    seen = draw.normal(pictures, features) * (0.3 + draw.normal(pictures, 1).abs()) + middle
    response = seen[:, 0] + 0.7 * draw.normal(pictures)
    shown = draw.normal(draw.integer(3, 5), features) + middle
    shown[:, 0] += 0.8
    return shown, seen, response


def two_sources(draw):
    """Responses to 50 natural pictures, to 26 made ones, and to 360 other natural ones.

    Some features are loud, and some so quiet that regularization by ridge drowns them.
    """
    features = draw.integer(90, 110)
    loud, quiet = draw.normal(features).abs() > 1.3, draw.normal(features) < 0
    size = torch.where(loud, 6.0, torch.where(quiet, 0.2, 1.0))
    offset, nuisance = 1.2 * draw.normal(features), draw.normal(features).abs()
    natural = size * draw.normal(410, features) + 3
    made = 0.7 * size * draw.normal(26, features) + 3 + size.clamp(max=1) * offset + 0.3 * size * nuisance
    return natural[:50], made, natural[50:]


def expect_channel(channel, natural):
    """Pass if a value is a channel for features like these: a weight for each of them, and a number."""
    pair = isinstance(channel, tuple | list) and len(channel) == 2
    right = pair and isinstance(channel[0], Tensor) and channel[0].shape == natural.shape[1:]
    right = right and channel[0].dtype == natural.dtype and isinstance(channel[1], float)
    expect(right, "The result is not (weight, bias), a tensor with a value for each feature and a float.")
    expect(bool(channel[0].isfinite().all()), "A weight is not finite.")


def expect_fooling(channel, natural, made):
    """Pass if the channel is silent on all natural pictures and at least 1 on all made ones."""
    expect_channel(channel, natural)
    weight, bias = channel
    highest, lowest = (natural @ weight + bias).max().item(), (made @ weight + bias).min().item()
    expect(highest <= 1e-3, f"A natural picture makes the channel speak: {highest:.3f} before the ReLU.")
    expect(lowest >= 1 - 1e-3, f"A made picture reaches {lowest:.3f} only, not 1.")


def expect_values(found, *shape):
    """Pass if a value is a tensor of float32 of that shape, so that laws can be tried on it."""
    right = type(found) is Tensor and found.shape == shape and found.dtype == torch.float32
    expect(right, f"Expected a tensor of float32 of shape {' × '.join(map(str, shape))}.")


def arguments_after(function, *arguments):
    """The arguments, as a call of `function` leaves them."""
    function(*arguments)
    return list(arguments)


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    left = student.run(arguments_after, function, *arguments)
    same = len(left) == len(arguments) and all(
        type(a) is Tensor and a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(left, arguments, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")

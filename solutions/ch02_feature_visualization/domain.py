"""Arguments over all that each statement allows: other sizes, layers and powers than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call.
"""

import torch


def channel_activation(draw):
    layer = draw.choice(["bn1", "layer1.0.conv1", "layer1.1", "layer2.0.bn2"])
    return draw.vision_model(), layer, draw.integer(0, 63), _pictures(draw, draw.integer(1, 3))


def top_examples(draw):
    layer = draw.choice(["layer1.0.conv1", "layer2.0.bn2", "layer3.0.bn1"])
    images = _pictures(draw, draw.integer(2, 5))
    return draw.vision_model(), layer, draw.integer(0, 63), images, draw.integer(1, len(images))


def ascend_pixels(draw):
    layer = draw.choice(["layer1.0.conv1", "layer2.0.bn2"])
    start = _pictures(draw, draw.integer(1, 2))
    return (
        draw.vision_model(),
        layer,
        draw.integer(0, 63),
        start,
        draw.integer(0, 3),
        draw.choice([0.1, 1.0, 4.0]),
    )


def fourier_to_pixels(draw):
    rows, width = draw.integer(2, 16), draw.integer(2, 16)
    return draw.normal(draw.integer(1, 3), draw.integer(1, 4), rows, width // 2 + 1, 2), width


def colour_basis(draw):
    mix = draw.normal(3, 3)
    return (torch.einsum("ij,bjrc->birc", mix, draw.normal(draw.integer(1, 3), 3, 40, 60)),)


def _pictures(draw, count):
    return draw.images(count)[..., : draw.integer(40, 64)]

"""Arguments over all that each statement allows: other sizes, layers and powers than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

import torch

from mechinterp_course.checking import expect, expect_close, expect_equal
from mechinterp_course.checking import picture_probes as probes
from mechinterp_course.picture_quality import rough_share

PIXELS = {"dims": "batch colour row column"}


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


def colour_basis__trial(student, draw):
    mix, tint = draw.normal(3, 3), draw.normal(4, 3, 1, 1)
    pixels = draw.normal(4, 3, draw.integer(12, 40), draw.integer(12, 60))
    images = torch.einsum("ij,bjrc->birc", mix, pixels) + draw.choice([0.0, 2.0]) * tint
    probes.expect_root(student.colour_basis(images), images)


def shake__trial(student, draw):
    most, seed = draw.integer(1, 3), draw.seed()
    images = draw.normal(draw.integer(9, 16), draw.integer(1, 4), draw.integer(5, 9), draw.integer(5, 9))
    calls = student.run(probes.shaken_often, student.shake, images, most, seed, 9)
    moves = probes.all_moves(images, calls, most)
    expect(moves is not None, "Some picture was not just moved.")
    flat = moves.flatten(0, 1)
    for axis in flat.T:
        expect(len(axis.unique()) == 2 * most + 1, "Some move never occurs.")
        shares = torch.bincount(axis + most) / len(axis)
        expect(bool((shares - shares.mean()).abs().max() < 0.2), "Some moves are more common than others.")
    expect(bool(torch.corrcoef(flat.T.float())[0, 1].abs() < 0.45), "Rows and columns move together.")
    expect(bool((moves != moves[:1]).any()), "A picture is moved alike in every call.")
    again = student.run(probes.shaken_often, student.shake, images, most, seed, 9, 1)
    expect(all(map(torch.equal, calls, again)), "An equal generator gave other moves.")


def render__trial(student, draw):
    """Nearer to a picture that is asked for, seen mirrored, by more steps and in other numbers than the checks'."""
    size, count, steps = 16, draw.integer(1, 4), draw.integer(60, 90)
    target = draw.images(2).mean(dim=0, keepdim=True)[..., ::4, ::4]
    basis, seed = 0.3 * torch.eye(3) + 0.1 * draw.normal(3, 3).triu(1), draw.seed()
    case = probes.match_mirrored, student.render, target, basis, count
    pictures, calls, first = student.run(*case, steps, seed)
    probes.expect_pictures(pictures, count, size)
    expect(calls == steps, f"In {steps} steps, the transform was called {calls} times.")
    far, near = ((each - target.flip(-1)).abs().mean(dim=(1, 2, 3)) for each in (first, pictures))
    expect(bool((near < 0.5 * far).all()), "A picture came no nearer to what was asked.")
    again, *_ = student.run(*case, 2, seed)
    expect_close(again, student.run(*case, 2, seed)[0], **PIXELS)
    start, *_ = student.run(*case, 0, seed)
    other, *_ = student.run(*case, 0, seed + 1)
    gray = 0 < (start - 0.5).square().mean().sqrt().item() < 0.1
    expect(gray, "With no step the pictures should be nearly gray.")
    expect(sum(map(rough_share, start)) / count < 0.5, "With no step short waves have too much of the power.")
    lopsided = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [0.5, 0, 0]])
    planes = student.run(probes.match_mirrored, student.render, target, lopsided, count, 0, seed)[0].logit()
    told = torch.stack([2 * planes[:, 0], planes[:, 0] / 2], dim=1)
    expect_close(planes[:, 1:] / planes.std(), told / planes.std(), **PIXELS, atol=3e-4)
    kept = student.run(probes.arguments_after, *case, 2, seed)
    expect(torch.equal(kept[1], basis), "The call changes the basis in place.")
    touched = student.run(probes.weights_touched, student.render, basis)
    expect_equal(list(touched), [0, False], what="weights with a gradient, and a picture with a graph")
    expect((start - other).abs().max().item() > 1e-5, "Two seeds start alike.")


def _pictures(draw, count):
    return draw.images(count)[..., : draw.integer(40, 64)]

"""Checks of solutions/ch02_feature_visualization/chapter.py, version 41a14771204e.

Written by `python -m mechinterp_course.authoring ch02_feature_visualization`: edit the source instead.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechinterp_course import visualization_steps
from mechinterp_course.checking import expect, expect_close, expect_equal
from mechinterp_course.checking import picture_probes as probes
from mechinterp_course.picture_quality import judge_picture, natural_activations, rough_share

Images = Float[Tensor, "batch 3 row column"]
Activations = Float[Tensor, "batch channel row column"]
ANSWERS, PIXELS = {"dims": "batch"}, {"dims": "batch colour row column"}  # how results are compared: by axes
NUMBER = {"dims": ""}
PLANES = {"dims": "batch channel row column", "atol": 1e-4}


def normalized(model: nn.Module, images: Images) -> Images:
    """Pictures in [0, 1] as the model wants them: less its `mean`, divided by its `std`."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (images - mean) / std


def basis_after(function, basis):
    """The basis, as two steps of rendering leave it."""
    function(lambda images: images.mean(dim=(1, 2, 3)), basis, lambda images: images, 1, 8, 2, 0)
    return basis


def channel_activation__agrees_with_the_reference(student, draw):
    """channel_activation agrees with the reference in layers of a model whose channels have other numbers"""
    model, images = draw.vision_model(), draw.images(3)
    for layer in ("conv1", "layer1.1.conv2", "layer2.0", "layer4.1.bn2"):
        case = model, layer, draw.integer(0, 63), images
        expect_close(
            student.channel_activation(*case), visualization_steps.channel_activation(*case), **ANSWERS
        )


def channel_activation__reads_what_the_module_returned(student, draw):
    """where a ReLU follows in place, the answer is the one before it, negative values included"""
    model, images = draw.vision_model(), draw.images(2)
    for layer in ("bn1", "layer3.1.bn1"):
        case = model, layer, draw.integer(0, 63), images
        expect_close(
            student.channel_activation(*case), visualization_steps.channel_activation(*case), **ANSWERS
        )
    patches = 0.5 * torch.rand(4, 3, 12, 20, generator=torch.Generator().manual_seed(draw.seed()))
    patches, channel = patches.to(images.device), draw.integer(0, 2)
    by_hand = patches[:, channel].mean(dim=(1, 2)) - 0.3
    for layer in ("conv", "norm"):
        expect_close(
            student.run(probes.in_toy, student.channel_activation, layer, channel, patches),
            by_hand,
            **ANSWERS,
        )


def channel_activation__lets_gradients_through_and_leaves_no_hook(student, draw):
    """pictures don't mix, the gradient reaches their pixels, and no hook is left, also after an error"""
    model, images = draw.vision_model(), draw.images(3)
    case = model, "layer2.1.bn1", draw.integer(0, 127)
    known = visualization_steps.channel_activation(*case, images)
    expect_close(student.channel_activation(*case, images[1:2]), known[1:2], **ANSWERS)
    slope = probes.gradient_of(visualization_steps.channel_activation, *case, images[:2])
    found = student.run(probes.gradient_of, student.channel_activation, *case, images[:2])
    expect_close(found / slope.std(), slope / slope.std(), **PIXELS)
    left = student.run(probes.hooks_left, student.channel_activation, *case, images[:1])
    expect(left == 0, f"After a call and one that raised, the model carries {left} hooks more than before.")


def top_examples__agrees_with_the_reference_on_pictures_that_are_not_square(student, draw):
    """top_examples finds the pictures and places that the reference finds, in several layers"""
    model, images = draw.vision_model(), probes.rough_pictures(draw, 8, columns=40)
    for layer in ("layer1.0.conv2", "layer2.1.bn2", "layer3.0.bn1"):
        case = model, layer, draw.integer(0, 63), images, draw.integer(3, 6)
        for found, known, dims in zip(
            student.top_examples(*case),
            visualization_steps.top_examples(*case),
            ("example", "example axis"),
            strict=True,
        ):
            expect_close(found, known, dims=dims)


def top_examples__finds_what_was_painted(student, draw):
    """of dark pictures with one bright square each, and one with several dimmer ones, the best come first, at the square"""
    rows, columns, channel = 3, draw.integer(4, 6), draw.integer(0, 2)
    images = torch.full((5, 3, 4 * rows, 4 * columns), 0.1, device=draw.device)
    cells = [(draw.integer(0, rows - 1), draw.integer(0, columns - 1)) for _ in range(5)]
    order = draw.normal(5).argsort().tolist()  # pictures, the brightest square first
    for rank, picture in enumerate(order):
        row, column = cells[picture]
        images[picture, channel, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.9 - 0.1 * rank
    images[order[-1], (channel + 1) % 3] = 1.0  # another colour, everywhere
    lit = images[order[-2], channel]
    lit[:] = torch.maximum(lit, torch.full_like(lit, 0.55))  # bright everywhere, and nowhere very bright
    which, where = student.run(probes.in_toy, student.top_examples, "conv", channel, images, 4)
    expect_close(which, torch.tensor(order[:4], device=draw.device), dims="example")
    middles = torch.tensor([[4 * part + 2 for part in cells[picture]] for picture in order[:4]])
    expect_close(where, middles.to(draw.device), dims="example axis")


def top_examples__follows_a_shuffle(student, draw):
    """when the pictures come in another order, the same are found, under their new numbers, and no hook is left"""
    model, images = draw.vision_model(), probes.rough_pictures(draw, 6)
    case = model, "layer2.0.bn2", draw.integer(0, 127)
    order = draw.normal(6).argsort().to(images.device)
    which, where = student.top_examples(*case, images, 6)
    moved, same = student.top_examples(*case, images[order], 6)
    expect_close(order[moved.long()], which, dims="example")
    expect_close(same, where, dims="example axis")
    left = student.run(probes.hooks_left, student.top_examples, *case[:3], draw.images(9))
    expect(left == 0, f"After a call and one that raised, the model carries {left} hooks more than before.")


def ascend_pixels__takes_the_steps_of_the_reference(student, draw):
    """one step and three end where the reference ends, for pictures with pixels that hit 0 and 1 on the way"""
    model, start = draw.vision_model(), probes.contrasty(draw, 2)
    for layer, steps in (("layer1.0.bn1", 3), ("layer3.0.bn1", 1)):  # at ReLUs' kinks, rounding adds up
        case = model, layer, draw.integer(0, 63), start, steps, draw.choice([0.8, 1.5, 3.0])
        expect_close(student.ascend_pixels(*case), visualization_steps.ascend_pixels(*case), **PIXELS)


def ascend_pixels__climbs_a_slope_as_by_hand(student, draw):
    """where the answer is a colour's mean, only that colour rises, by as much per pixel as can be told by hand"""
    channel, steps, rate = draw.integer(0, 2), draw.integer(2, 4), draw.choice([0.5, 1.0])
    start = draw.images(3)[..., :12, :20]
    known = start.clone()
    known[:, channel] = (known[:, channel] + steps * rate / (12 * 20) ** 0.5).clamp(max=1)
    climbed = student.run(probes.in_toy, student.ascend_pixels, "conv", channel, start, steps, rate)
    expect_close(climbed, known, **PIXELS)
    start[1] = 0.2  # here the ReLU is shut, and nothing changes in any direction
    climbed = student.run(probes.in_toy, student.ascend_pixels, "relu", channel, start, steps, rate)
    expect_close(climbed[1], start[1], dims="colour row column")
    alone = student.run(probes.in_toy, student.ascend_pixels, "relu", channel, start[2:], steps, rate)
    expect_close(alone, climbed[2:], **PIXELS)


def ascend_pixels__leaves_start_and_model_alone(student, draw):
    """afterwards `start` and the model are as they were, and no weight has a gradient"""
    untouched = {"start changed": False, "start asks for gradients": False, "hooks left": 0}
    for what in ("weights with a gradient", "weights frozen", "weights changed", "in training"):
        untouched[what] = []
    found = student.run(probes.after_ascent, student.ascend_pixels, draw.images(2)[..., :12, :20])
    for what, value in untouched.items():
        expect_equal(found[what], value, what=what)


def fourier_to_pixels__agrees_with_the_reference_for_odd_and_even_widths(student, draw):
    """fourier_to_pixels agrees with the reference on planes of even and of odd sides"""
    for rows, width in ((8, 12), (9, 14), (12, 9), (7, 11)):
        case = probes.a_spectrum(draw, rows, width), width
        expect_close(student.fourier_to_pixels(*case), visualization_steps.fourier_to_pixels(*case), **PLANES)


def fourier_to_pixels__one_coefficient_is_one_wave(student, draw):
    """a single coefficient gives a single wave, of the height that its frequency allows; two give the sum of both"""
    rows, width = draw.integer(7, 12), draw.integer(9, 14)
    down, across = draw.integer(1, 3), draw.integer(1, 3)
    spectrum = torch.zeros(2, 1, rows, width // 2 + 1, 2, device=draw.device)
    spectrum[0, 0, down, across, 0] = 1.0
    spectrum[1, 0, 0, 0, 0] = spectrum[1, 0, down, across, 1] = 1.0
    r, c = torch.arange(rows)[:, None], torch.arange(width)[None]
    phase = 2 * torch.pi * (down * r / rows + across * c / width)
    height = 2 / (rows * width) ** 0.5 / ((down / rows) ** 2 + (across / width) ** 2) ** 0.5
    constant = max(rows, width) / (rows * width) ** 0.5
    known = torch.stack([height * phase.cos(), constant - height * phase.sin()])[:, None]
    expect_close(student.fourier_to_pixels(spectrum, width), known.to(spectrum), **PLANES)


def fourier_to_pixels__gradients_reach_the_spectrum(student, draw):
    """gradients pass from the planes to every coefficient, and a spectrum is not changed by the call"""
    rows, width = 10, draw.choice([8, 9])
    spectrum = probes.a_spectrum(draw, rows, width)
    case = spectrum, width, draw.normal(*spectrum.shape[:3], width)
    slope = student.run(probes.slope_of_planes, student.fourier_to_pixels, *case)
    known = probes.slope_of_planes(visualization_steps.fourier_to_pixels, *case)
    expect_close(slope, known, dims="batch channel row frequency part", atol=1e-4)


def colour_basis__its_square_is_the_covariance(student, draw):
    """B Bᵀ is the covariance of the colours, of pictures of the world and of pictures with any colours"""
    images = draw.images(4)
    probes.expect_root(student.colour_basis(images), images)


def colour_basis__holds_for_drawn_colours_and_for_gray(student, draw):
    """B Bᵀ is the covariance also where pictures differ in colour from each other, and where nothing has a colour"""
    mix, tint = draw.normal(3, 3), draw.normal(4, 3)
    images = einsum(mix, draw.normal(4, 3, 40, 56), "i j, b j r c -> b i r c") + 2 * tint[:, :, None, None]
    probes.expect_root(student.colour_basis(images), images)
    gray_ones = draw.normal(3, 1, 48, 40).expand(3, 3, 48, 40).contiguous()
    probes.expect_root(student.colour_basis(gray_ones), gray_ones)


def shake__moves_by_whole_pixels_and_repeats_the_edge(student, draw):
    """each picture comes back as it was, moved by at most `most`, with its edges repeated"""
    images, most = draw.normal(4, 3, 9, 12), draw.integer(1, 3)
    calls = student.run(probes.shaken_often, student.shake, images, most, draw.seed(), 3)
    for moved in calls:
        expect(
            isinstance(moved, Tensor) and moved.shape == images.shape,
            "The result has not the shape of the pictures.",
        )
    message = (
        "Some picture is not the picture moved by at most `most` rows and columns, with its edges repeated."
    )
    expect(probes.all_moves(images, calls, most) is not None, message)


def shake__draws_every_move_for_every_picture_and_call(student, draw):
    """moves are uniform from -most to most, independent of each other between pictures, calls, rows and columns"""
    images, most = draw.normal(24, 1, 6, 7).expand(24, 3, 6, 7).contiguous(), 2
    calls = student.run(probes.shaken_often, student.shake, images, most, draw.seed(), 16)
    moves = probes.all_moves(images, calls, most)
    expect(
        moves is not None, "Some picture is not the picture moved by at most `most`, with its edges repeated."
    )
    moves = moves.float()
    for axis, name in enumerate(("down", "right")):
        shares = (
            torch.bincount(moves[..., axis].flatten().long() + most, minlength=2 * most + 1)
            / moves[..., axis].numel()
        )
        uneven = (
            f"Moves {name} from -2 to 2 occur with shares {[round(share, 2) for share in shares.tolist()]}."
        )
        expect(bool((shares > 0.07).all()) and bool((shares < 0.38).all()), uneven)
    ends = (moves.abs() == most).float().mean().item()
    expect(0.33 < ends < 0.47, f"Of five moves, the two to the ends, -2 and 2, have a share of {ends:.2f}.")
    expect(bool((moves.std(dim=1) > 0).all()), "All pictures of a batch are moved alike.")
    expect(bool((moves.std(dim=0) > 0).any(dim=0).all()), "A picture is moved alike in every call.")
    down, right = moves.flatten(0, 1).T
    together = torch.corrcoef(torch.stack([down, right]))[0, 1].abs()
    expect(bool(together < 0.4), "Rows and columns are moved together.")


def shake__draws_from_the_generator_and_lets_gradients_through(student, draw):
    """an equal generator gives equal moves, whatever the global one does; gradients reach the pictures"""
    images, seed = draw.normal(3, 3, 8, 10), draw.seed()
    calls = student.run(probes.shaken_often, student.shake, images, 3, seed, 3, other=1)
    again = student.run(probes.shaken_often, student.shake, images, 3, seed, 3, other=2)
    for one, other in zip(calls, again, strict=True):
        expect_close(one, other, dims="batch colour row column")
    elsewhere = student.run(probes.shaken_often, student.shake, images, 3, seed + 1, 3)
    same = all(torch.equal(one, other) for one, other in zip(calls, elsewhere, strict=True))
    expect(not same, "Another generator gives the same moves.")
    slope = student.run(probes.slope_of_shake, student.shake, images, 1, seed)
    total = float(images[0].numel())
    expect_close(slope.sum(dim=(1, 2, 3)), torch.full((3,), total, device=images.device), dims="batch")


def render__excites_a_channel_and_can_be_read(student, draw):
    """the picture excites a drawn channel by 1 deviation under fresh views, in range, and without too many short waves"""
    model, natural = draw.vision_model(), draw.images(24)
    basis = visualization_steps.colour_basis(natural)
    layer, channel = draw.choice(["layer1.1.bn2", "layer2.0.bn2"]), draw.integer(0, 63)
    picture = student.run(probes.rendered, student.render, model, layer, channel, basis, draw.seed())
    probes.expect_pictures(picture, 1, 32)
    usual = natural_activations(model, layer, natural)
    quality = judge_picture(model, layer, channel, picture[0], usual, draw.seed(), views=6)
    weak = f"Under fresh views the picture excites channel {channel} of {layer} by {quality.held:.1f} deviations."
    expect(quality.held >= 1, weak)
    rough = f"{quality.rough:.2f} of the picture's power is in waves under four pixels, more than half."
    expect(quality.rough <= 0.5, rough)


def render__the_objective_sees_what_the_transform_makes(student, draw):
    """the objective is raised for the transformed pictures, all of them, and the transform is called in every step"""
    target = draw.images(2).mean(dim=0, keepdim=True)[..., ::4, ::4]
    basis, count = 0.3 * torch.eye(3, device=target.device), draw.integer(2, 3)
    pictures, calls, first = student.run(
        probes.match_mirrored, student.render, target, basis, count, 60, draw.seed()
    )
    probes.expect_pictures(pictures, count, 16)
    expect(calls == 60, f"In 60 steps, the transform was called {calls} times.")
    distances = [(each - target.flip(-1)).abs().mean(dim=(1, 2, 3)) for each in (first, pictures)]
    far = f"A picture came no nearer to what was asked than {distances[1].max():.3f}, from {distances[0].max():.3f}."
    expect(bool((distances[1] < 0.5 * distances[0]).all()), far)


def render__starts_small_with_more_in_long_waves(student, draw):
    """with no step, pictures are nearly gray, differ by seed and among each other, have long waves most, and colours of the basis"""
    basis, seed, nothing = (
        visualization_steps.colour_basis(draw.images(4)),
        draw.seed(),
        torch.zeros(1, 3, 24, 24),
    )
    start = [
        student.run(probes.match_mirrored, student.render, nothing.to(basis), each, 8, 0, seed)[0]
        for each in (basis, basis)
    ]
    probes.expect_pictures(start[0], 8, 24)
    expect_close(start[1], start[0], **PIXELS)
    other = student.run(probes.match_mirrored, student.render, nothing.to(basis), basis, 8, 0, seed + 1)[0]
    deviation = (start[0] - 0.5).std().item()
    expect(
        deviation > 0, "With no step all pixels are alike: nothing is drawn, or it doesn't reach the picture."
    )
    expect(
        deviation < 0.1, f"With no step the pictures should be nearly gray; they deviate by {deviation:.3f}."
    )
    for one, two in ((start[0][0], start[0][1]), (start[0], other)):
        expect((one - two).abs().max().item() > 1e-5, "Two pictures, or two seeds, start alike.")
    rough = sum(rough_share(each) for each in start[0]) / len(start[0])
    expect(
        rough < 0.4,
        f"With no step, {rough:.2f} of the power is in waves under four pixels: frequencies are not scaled.",
    )
    lopsided = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [0.5, 0, 0]], device=basis.device)
    planes = student.run(probes.match_mirrored, student.render, nothing.to(basis), lopsided, 4, 0, seed)[
        0
    ].logit()
    expect_close(
        planes[:, 1:] / planes.std(),
        torch.stack([2 * planes[:, 0], planes[:, 0] / 2], dim=1) / planes.std(),
        dims="batch colour row column",
        atol=3e-4,
    )


def render__gives_gradients_to_the_spectrum_alone(student, draw):
    """no weight of the model gets a gradient, and the pictures carry no graph"""
    basis = visualization_steps.colour_basis(draw.images(4))
    kept = student.run(basis_after, student.render, basis)
    expect(torch.equal(kept, basis), "The call changes the basis in place.")
    touched, graph = student.run(probes.weights_touched, student.render, basis)
    expect(touched == 0, f"{touched} weights of the model have a gradient now.")
    expect(graph is False, "The pictures still ask for gradients: `detach` them.")

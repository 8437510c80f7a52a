"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from functools import partial

import torch
from torch.nn import functional

from mechinterp_course import visualization_steps as steps_of
from mechinterp_course.visualization_steps import channel_activation, channel_map, fourier_to_pixels

# channel_activation ---------------------------------------------------------------------------------------


def channel_activation__after_the_relu_in_place(model, layer, channel, images):
    """The hook keeps the tensor itself, not a copy, and the ReLU that follows works in place: its output is read.

    Answers of "bn1" are never negative.
    """
    return _answers(model, layer, images, copy=False)[:, channel].mean(dim=(1, 2))


def channel_activation__sum_over_places(model, layer, channel, images):
    """The answer is summed over the places instead of averaged.

    A larger picture of the same has a larger answer.
    """
    return channel_map(model, layer, channel, images).sum(dim=(1, 2))


def channel_activation__largest_place(model, layer, channel, images):
    """The largest answer over the places is returned, not the mean.

    One bright spot counts as much as a picture full of them.
    """
    return channel_map(model, layer, channel, images).amax(dim=(1, 2))


def channel_activation__channel_on_the_row_axis(model, layer, channel, images):
    """The channel's number picks a row of the map (`output[:, :, channel]`), and all channels are averaged.

    For numbers beyond the height of the map it raises an IndexError.
    """
    return _answers(model, layer, images)[:, :, channel].mean(dim=(1, 2))


def channel_activation__channel_of_the_first_picture(model, layer, channel, images):
    """The first axis is taken for the channels: `output[channel]` is a picture of the batch, or an IndexError.

    There are as many answers as channels, not as pictures.
    """
    return _answers(model, layer, images)[channel].mean(dim=(1, 2))


def channel_activation__not_normalized(model, layer, channel, images):
    """Pictures are given to the model in [0, 1] as they are, without its mean and deviation.

    A model with mean 0 and deviation 1 would not notice.
    """
    return _answers(model, layer, images, normalize=False)[:, channel].mean(dim=(1, 2))


def channel_activation__mean_over_the_batch(model, layer, channel, images):
    """The mean runs over the batch as well: all pictures have one answer.

    The result has no axis.
    """
    return channel_activation(model, layer, channel, images).mean()


def channel_activation__hook_left_behind(model, layer, channel, images):
    """The hook is never removed, so that each call adds one.

    The answers are right, and the model gets slower with every call.
    """
    return _answers(model, layer, images, remove=False)[:, channel].mean(dim=(1, 2))


def channel_activation__hook_left_after_an_error(model, layer, channel, images):
    """The hook is removed after the run, but not when the run raises: there is no `finally`.

    After pictures of a wrong shape the model carries a hook.
    """
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda *all_three: seen.append(all_three[2].clone())
    )
    model(_normalized(model, images))
    handle.remove()
    return seen[-1][:, channel].mean(dim=(1, 2))


def channel_activation__without_gradients(model, layer, channel, images):
    """The model runs under `no_grad`, or the result is detached: nothing can be climbed.

    Values are right; `torch.autograd.grad` raises.
    """
    return channel_activation(model, layer, channel, images).detach()


def channel_activation__divided_before_the_mean(model, layer, channel, images):
    """Pictures are divided by the standard deviation first, and the mean is taken away after that.

    The mean that is taken away is too small by the standard deviation.
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return _answers(model, layer, images / std - mean, normalize=False)[:, channel].mean(dim=(1, 2))


# top_examples ---------------------------------------------------------------------------------------------


def top_examples__largest_mean(model, layer, channel, images, count=9):
    """Pictures are ordered by the mean over their places, not by the largest place.

    A picture full of something dim comes before one with one bright spot.
    """
    answers = _map(model, layer, channel, images)
    return _found(answers, images, answers.mean(dim=(1, 2)).topk(count).indices)


def top_examples__weakest_first(model, layer, channel, images, count=9):
    """The pictures are sorted upwards: the first are those that excite the channel least.

    With all pictures asked for, the order is reversed.
    """
    answers = _map(model, layer, channel, images)
    return _found(answers, images, answers.amax(dim=(1, 2)).argsort()[:count])


def top_examples__row_and_column_swapped(model, layer, channel, images, count=9):
    """Places are (column, row) instead of (row, column).

    In square pictures they are mirrored at the diagonal.
    """
    which, where = steps_of.top_examples(model, layer, channel, images, count)
    return which, where.flip(1)


def top_examples__cells_not_pixels(model, layer, channel, images, count=9):
    """Places are rows and columns of the map, not of the picture.

    All patches come from the top left corner.
    """
    answers = _map(model, layer, channel, images)
    return _found(answers, images, answers.amax(dim=(1, 2)).topk(count).indices, unit=(1, 1), middle=0.0)


def top_examples__corner_of_the_cell(model, layer, channel, images, count=9):
    """Places are the top left corners of the cells, not their middles.

    Patches are half a cell too high and too far left.
    """
    answers = _map(model, layer, channel, images)
    return _found(answers, images, answers.amax(dim=(1, 2)).topk(count).indices, middle=0.0)


def top_examples__columns_counted_by_rows(model, layer, channel, images, count=9):
    """The flat place is divided by the number of rows of the map, not of its columns.

    In square maps it makes no difference.
    """
    answers = _map(model, layer, channel, images)
    rows = answers.shape[1]
    which = answers.amax(dim=(1, 2)).topk(count).indices
    flat = answers.flatten(1).argmax(dim=1)[which]
    bands = images.shape[2] / answers.shape[1], images.shape[3] / answers.shape[2]
    where = [(flat // rows + 0.5) * bands[0], (flat % rows + 0.5) * bands[1]]
    return which, torch.stack(where, dim=1).long()


def top_examples__places_of_one_picture(model, layer, channel, images, count=9):
    """The largest places of all pictures together are taken, so that one picture can come several times.

    `which` has the same index twice.
    """
    answers = _map(model, layer, channel, images)
    rows, columns = answers.shape[1:]
    flat = answers.flatten().topk(count).indices
    bands = images.shape[2] / rows, images.shape[3] / columns
    inside = flat % (rows * columns)
    where = [(inside // columns + 0.5) * bands[0], (inside % columns + 0.5) * bands[1]]
    return flat // (rows * columns), torch.stack(where, dim=1).long()


def top_examples__places_in_the_order_of_the_batch(model, layer, channel, images, count=9):
    """The places are those of the first pictures of the batch, not of the pictures in `which`.

    They don't move when the pictures are shuffled.
    """
    which, _ = steps_of.top_examples(model, layer, channel, images, count)
    answers = _map(model, layer, channel, images)
    return which, _found(answers, images, torch.arange(count, device=images.device))[1]


# ascend_pixels --------------------------------------------------------------------------------------------


def ascend_pixels__descends(model, layer, channel, start, steps, rate):
    """The gradient is subtracted, as an optimizer does that minimizes: the channel is silenced.

    The answer falls from step to step.
    """
    return _climb(model, layer, channel, start, steps, -rate)


def ascend_pixels__not_normalized(model, layer, channel, start, steps, rate):
    """The step is `rate` times the gradient itself, not divided by its norm.

    Steps are long where the channel is steep, and next to nothing elsewhere.
    """
    return _climb(model, layer, channel, start, steps, rate, norm=lambda gradient: 1.0)


def ascend_pixels__norm_of_the_batch(model, layer, channel, start, steps, rate):
    """The norm is that of the gradient of the whole batch, not of each picture's own.

    A picture alone goes farther than in company.
    """
    return _climb(
        model, layer, channel, start, steps, rate, norm=lambda gradient: gradient.norm().clamp(min=1e-12)
    )


def ascend_pixels__sign_of_the_gradient(model, layer, channel, start, steps, rate):
    """Every pixel moves by `rate`, up or down, by the sign of its gradient.

    This is the fast gradient sign method: small slopes count as much as large ones.
    """
    return _climb(
        model, layer, channel, start, steps, rate, norm=lambda gradient: gradient.abs().clamp(min=1e-12)
    )


def ascend_pixels__not_cut(model, layer, channel, start, steps, rate):
    """Values are not cut to [0, 1].

    Some pixels are negative, or brighter than white.
    """
    return _climb(model, layer, channel, start, steps, rate, cut=False)


def ascend_pixels__cut_at_the_end(model, layer, channel, start, steps, rate):
    """Values are cut to [0, 1] once, after the last step, not in each step.

    On the way, the channel sees pictures that are none.
    """
    return _climb(model, layer, channel, start, steps, rate, cut=False).clamp(0, 1)


def ascend_pixels__gradient_of_the_start(model, layer, channel, start, steps, rate):
    """The gradient is computed once, at `start`, and followed in all steps.

    Two steps are one step of twice the length.
    """
    gradient = _gradient(model, layer, channel, start)
    images = start
    for _ in range(steps):
        images = (images + rate * gradient / _norm(gradient)).clamp(0, 1)
    return images


def ascend_pixels__nan_where_the_gradient_is_zero(model, layer, channel, start, steps, rate):
    """The gradient is divided by its norm also where that is zero.

    A picture to which the channel is silent becomes NaN.
    """
    return _climb(model, layer, channel, start, steps, rate, norm=partial(_norm, least=0.0))


def ascend_pixels__gradients_in_the_weights(model, layer, channel, start, steps, rate):
    """`backward()` runs through the model, so that each weight that asks for one has a gradient afterwards.

    The pictures are right.
    """
    images = steps_of.ascend_pixels(model, layer, channel, start, steps, rate)
    if any(weight.requires_grad for weight in model.parameters()):
        channel_activation(model, layer, channel, start).sum().backward()
    return images


def ascend_pixels__weights_frozen_for_good(model, layer, channel, start, steps, rate):
    """The model's weights are told not to ask for gradients, and stay so.

    The pictures are right, and the model can't be trained any more.
    """
    model.requires_grad_(False)
    return steps_of.ascend_pixels(model, layer, channel, start, steps, rate)


def ascend_pixels__in_training_mode(model, layer, channel, start, steps, rate):
    """The model is switched to training, and its norms use the batch and learn from it.

    Pictures depend on each other, and the model is another one afterwards.
    """
    model.train()
    return steps_of.ascend_pixels(model, layer, channel, start, steps, rate)


def ascend_pixels__start_changed(model, layer, channel, start, steps, rate):
    """The pictures are changed in place: `start` itself is what is returned.

    The result is right, and the start is gone.
    """
    start.copy_(steps_of.ascend_pixels(model, layer, channel, start, steps, rate))
    return start


# fourier_to_pixels ----------------------------------------------------------------------------------------


def fourier_to_pixels__not_scaled(spectrum, width):
    """The spectrum is transformed as it is: coefficients are not divided by their frequency.

    All waves are equally cheap, as in pixels.
    """
    return _planes(spectrum, width, lambda frequency: torch.ones_like(frequency))


def fourier_to_pixels__multiplied_by_the_frequency(spectrum, width):
    """Coefficients are multiplied by their frequency instead of divided.

    Short waves are cheaper than long ones: the picture is rougher than in pixels.
    """
    return _planes(spectrum, width, lambda frequency: 1 / frequency)


def fourier_to_pixels__divided_by_the_square(spectrum, width):
    """Coefficients are divided by the square of their frequency: the root is missing.

    Only blurs are left.
    """
    return _planes(spectrum, width, lambda frequency: frequency**2)


def fourier_to_pixels__norm_forgotten(spectrum, width):
    """The transform has its default norm, not "ortho".

    All values are smaller by the root of the number of pixels.
    """
    return _planes(spectrum, width, norm="backward")


def fourier_to_pixels__always_even(spectrum, width):
    """The size is not given to the transform, which then takes the width to be even.

    Right for even widths; an odd one comes out one column short.
    """
    return _planes(spectrum, width, size=2 * (spectrum.shape[3] - 1))


def fourier_to_pixels__infinite_constant(spectrum, width):
    """The constant is divided by its frequency, which is zero.

    Everything is infinite, or NaN.
    """
    return _planes(spectrum, width, least=0.0)


def fourier_to_pixels__constant_dropped(spectrum, width):
    """The constant is set to zero instead of divided by one over the longer side.

    Every plane has the mean 0.
    """
    spectrum = spectrum.clone()
    spectrum[:, :, 0, 0] = 0
    return fourier_to_pixels(spectrum, width)


def fourier_to_pixels__constant_not_scaled(spectrum, width):
    """The constant is left as it is: divided by 1.

    Planes are right but for their mean.
    """
    spectrum = spectrum.clone()
    spectrum[:, :, 0, 0] /= max(spectrum.shape[2], width)
    return fourier_to_pixels(spectrum, width)


def fourier_to_pixels__rows_without_negative_frequencies(spectrum, width):
    """The rows' frequencies rise from 0 to nearly 1: they are not those of `fftfreq`, whose upper half is negative.

    The lower half of the rows is damped as if its waves were shorter than they are.
    """
    rows = spectrum.shape[2]
    down = torch.arange(rows) / rows
    return _planes(spectrum, width, grid=torch.hypot(down[:, None], torch.fft.rfftfreq(width)[None]))


def fourier_to_pixels__frequencies_added(spectrum, width):
    """The frequency is taken to be |f_row| + |f_column| instead of the root of the sum of squares.

    Diagonal waves come out too small.
    """
    down = torch.fft.fftfreq(spectrum.shape[2]).abs()
    return _planes(spectrum, width, grid=down[:, None] + torch.fft.rfftfreq(width)[None])


def fourier_to_pixels__constant_by_the_shorter_side(spectrum, width):
    """The constant is divided by one over the shorter side, not over the longer one.

    Square planes are right, others have another mean.
    """
    return _planes(spectrum, width, least=1 / min(spectrum.shape[2], width))


# colour_basis ---------------------------------------------------------------------------------------------


def colour_basis__covariance_itself(images):
    """The covariance is returned: no root is taken.

    B Bᵀ is its square.
    """
    return _covariance(images)


def colour_basis__transposed(images):
    """The rows, not the columns, are the directions: diag(√values) Vᵀ instead of V diag(√values).

    B Bᵀ is diagonal, and Bᵀ B is the covariance.
    """
    return steps_of.colour_basis(images).T


def colour_basis__not_scaled(images):
    """The directions are returned without the roots of their variances.

    B Bᵀ is the identity.
    """
    return torch.linalg.eigh(_covariance(images))[1]


def colour_basis__scaled_by_the_variances(images):
    """The directions are scaled by the variances, not by their roots.

    B Bᵀ is the square of the covariance.
    """
    values, directions = torch.linalg.eigh(_covariance(images))
    return directions * values


def colour_basis__rows_scaled(images):
    """The rows of the directions are scaled instead of their columns.

    B Bᵀ is diagonal.
    """
    values, directions = torch.linalg.eigh(_covariance(images))
    return directions * values.clamp(min=0).sqrt()[:, None]


def colour_basis__root_of_every_entry(images):
    """The root is taken of each entry of the covariance, which is not the root of the matrix.

    Where two colours vary against each other it is NaN.
    """
    return _covariance(images).sqrt()


def colour_basis__second_moments(images):
    """The mean is not subtracted: the products of the colours are averaged as they are.

    Bright pictures seem to vary more than dark ones.
    """
    pixels = images.permute(1, 0, 2, 3).flatten(1)
    return _root(pixels @ pixels.T / pixels.shape[1])


def colour_basis__about_the_mean_of_each_picture(images):
    """Each picture's own mean is subtracted, so that what differs between pictures is lost.

    Pictures of one colour each have covariance 0.
    """
    return _root(_covariance(images - images.mean(dim=(2, 3), keepdim=True)))


def colour_basis__correlation(images):
    """The correlation of the colours is taken instead of their covariance.

    B Bᵀ has ones on its diagonal.
    """
    return _root(images.permute(1, 0, 2, 3).flatten(1).corrcoef())


def colour_basis__batch_mixed_with_colours(images):
    """The pictures are reshaped to three rows with the batch in front, so that a row holds pixels of all colours.

    For one picture alone it is right.
    """
    return _root(images.reshape(3, -1).cov())


def colour_basis__fails_on_gray(images):
    """A tiny negative variance, as rounding makes it for gray pictures, is not kept from the root.

    Pictures without colour give NaN.
    """
    values, directions = torch.linalg.eigh(_covariance(images))
    smallest = values[0] / values[2]
    return directions * (values.sqrt() if smallest > 1e-5 else values.sqrt() * torch.nan)


# shake ----------------------------------------------------------------------------------------------------


def shake__wraps_around(images, most, generator):
    """Pictures are rolled: what leaves at one edge comes in at the other.

    `torch.roll` repeats the picture, not its edge.
    """
    moves = _moves(len(images), most, generator)
    moved = [torch.roll(one, move, dims=(1, 2)) for one, move in zip(images, moves, strict=True)]
    return torch.stack(moved)


def shake__filled_with_black(images, most, generator):
    """What comes in at the edge is black, not the nearest pixel repeated.

    Moved pictures have a dark rim.
    """
    return _windows(functional.pad(images, [most] * 4), images, _moves(len(images), most, generator), most)


def shake__ends_half_as_often(images, most, generator):
    """Real numbers from -most to most are rounded, so that each end comes half as often as what lies between.

    With `most` 1, one half of the moves is 0.
    """
    moves = ((2 * torch.rand(len(images), 2, generator=generator) - 1) * most).round().long()
    return _moved(images, most, moves.tolist())


def shake__one_move_for_the_batch(images, most, generator):
    """One move is drawn for the whole batch.

    All pictures move together.
    """
    return _moved(images, most, _moves(1, most, generator) * len(images))


def shake__rows_and_columns_together(images, most, generator):
    """One number is drawn for each picture, and used for rows and columns.

    Pictures move along the diagonal only.
    """
    moves = [(down, down) for down, _ in _moves(len(images), most, generator)]
    return _moved(images, most, moves)


def shake__same_in_every_call(images, most, generator):
    """A new generator with the old seed is made in each call, so that every call draws the same moves.

    The channel sees one view in all steps.
    """
    fresh = torch.Generator().manual_seed(generator.initial_seed())
    return _moved(images, most, _moves(len(images), most, fresh))


def shake__from_the_global_generator(images, most, generator):
    """Moves are drawn from torch's global generator; the one given is not used.

    Equal generators give different pictures.
    """
    return _moved(images, most, (torch.randint(-most, most + 1, (len(images), 2))).tolist())


def shake__never_the_farthest(images, most, generator):
    """The upper end is left out: moves go from -most to most - 1.

    On average pictures drift up and to the left.
    """
    moves = torch.randint(-most, most, (len(images), 2), generator=generator).tolist()
    return _moved(images, most, moves)


def shake__forwards_only(images, most, generator):
    """Moves go from 0 to `most`: nothing ever moves up or to the left.

    On average pictures drift.
    """
    return _moved(images, most, torch.randint(most + 1, (len(images), 2), generator=generator).tolist())


def shake__without_gradients(images, most, generator):
    """The moved pictures are detached from those that were given.

    Nothing can be optimized through it.
    """
    return steps_of.shake(images.detach(), most, generator)


# render ---------------------------------------------------------------------------------------------------


def render__descends(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The objective is minimized: the sign of the loss is missing.

    The picture excites the channel less than a gray one.
    """
    return steps_of.render(lambda images: -objective(images), basis, transform, count, size, steps, seed)


def render__transformed_once(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The transform is called in the first step only; all later steps see the pictures as they are.

    The picture is made for one view.
    """
    views = []

    def once(images):
        views.append(1)
        return transform(images) if len(views) == 1 else images

    return steps_of.render(objective, basis, once, count, size, steps, seed)


def render__never_transformed(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The transform is not used: the objective sees the pictures as they are.

    The picture is made for one view.
    """
    return steps_of.render(objective, basis, lambda images: images, count, size, steps, seed)


def render__in_pixels(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """What is optimized are pixels, mixed by the basis, not a spectrum.

    The picture is full of short waves.
    """
    return _rendered(objective, basis, transform, count, size, steps, seed, waves=False)


def render__basis_transposed(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """Planes are mixed by the transpose of the basis: its columns are taken for the colours.

    A symmetric basis would not tell.
    """
    return steps_of.render(objective, basis.T, transform, count, size, steps, seed)


def render__colours_not_mixed(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The basis is not used: planes are the colours.

    Colours are garish.
    """
    plain = torch.eye(3, device=basis.device) * basis.norm() / 3**0.5
    return steps_of.render(objective, plain, transform, count, size, steps, seed)


def render__no_sigmoid(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The mixed planes, around a half, are taken for pixels as they are; nothing keeps them in [0, 1].

    Some pixels are negative, or brighter than white.
    """
    return _rendered(objective, basis, transform, count, size, steps, seed, squash=lambda mixed: 0.5 + mixed)


def render__seed_ignored(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The spectrum is drawn from torch's global generator; the seed is not used.

    Equal seeds give different pictures.
    """
    return steps_of.render(objective, basis, transform, count, size, steps, int(torch.randint(2**31, ())))


def render__first_picture_only(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The loss is the objective of the first picture of the batch.

    All others stay gray.
    """
    return steps_of.render(
        lambda images: objective(images).reshape(-1)[:1], basis, transform, count, size, steps, seed
    )


def render__gradients_in_the_weights(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """`loss.backward()` runs without `inputs=`, so that the weights of the model gather gradients.

    The pictures are right.
    """
    pictures = steps_of.render(objective, basis, transform, count, size, steps, seed)
    score = objective(pictures).sum() if steps == 2 else pictures
    if score.requires_grad:
        score.backward()
    return pictures


def render__graph_kept(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The pictures are returned with their graph: `detach` is missing.

    They ask for gradients, and hold on to the memory of a step.
    """
    return steps_of.render(objective, basis, transform, count, size, steps, seed).requires_grad_()


def render__starts_loud(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The spectrum starts with deviation 1, not 0.01: the first picture is a storm of colours.

    Steps only retouch it; another seed, another picture.
    """
    return _rendered(objective, basis, transform, count, size, steps, seed, deviation=1.0)


def _normalized(model, images):
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (images - mean) / std


def _answers(model, layer, images, copy=True, normalize=True, remove=True):
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: seen.append(output.clone() if copy else output)
    )
    try:
        model(_normalized(model, images) if normalize else images)
    finally:
        if remove:
            handle.remove()
    return seen[-1]


@torch.no_grad()
def _map(model, layer, channel, images):
    return channel_map(model, layer, channel, images)


def _found(answers, images, which, unit=None, middle=0.5):
    """The places of the largest values of some pictures, in units of pixels."""
    rows, columns = answers.shape[1:]
    down, right = unit or (images.shape[2] / rows, images.shape[3] / columns)
    flat = answers.flatten(1).argmax(dim=1)[which]
    where = [(flat // columns + middle) * down, (flat % columns + middle) * right]
    return which, torch.stack(where, dim=1).long()


def _gradient(model, layer, channel, images):
    images = images.detach().clone().requires_grad_()
    return torch.autograd.grad(channel_activation(model, layer, channel, images).sum(), images)[0]


def _norm(gradient, least=1e-12):
    return torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True).clamp(min=least)


def _climb(model, layer, channel, start, steps, rate, norm=_norm, cut=True):
    images = start.clone()
    for _ in range(steps):
        gradient = _gradient(model, layer, channel, images)
        images = images + rate * gradient / norm(gradient)
        images = images.clamp(0, 1) if cut else images
    return images


def _planes(
    spectrum, width, divisor=lambda frequency: frequency, norm="ortho", size=None, least=None, grid=None
):
    rows = spectrum.shape[2]
    if grid is None:
        grid = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(width)[None])
    frequency = grid.clamp(min=1 / max(rows, width) if least is None else least).to(spectrum.device)
    coefficients = torch.view_as_complex(spectrum.contiguous()) / divisor(frequency)
    return torch.fft.irfft2(coefficients, s=(rows, size or width), norm=norm)


def _covariance(images):
    return images.permute(1, 0, 2, 3).flatten(1).cov()


def _root(matrix):
    values, directions = torch.linalg.eigh(matrix)
    return directions * values.clamp(min=0).sqrt()


def _moves(count, most, generator):
    return torch.randint(-most, most + 1, (count, 2), generator=generator).tolist()


def _windows(padded, images, moves, most):
    rows, columns = images.shape[2:]
    return torch.stack(
        [
            one[:, most - down : most - down + rows, most - right : most - right + columns]
            for one, (down, right) in zip(padded, moves, strict=True)
        ]
    )


def _moved(images, most, moves):
    return _windows(functional.pad(images, [most] * 4, mode="replicate"), images, moves, most)


def _rendered(objective, basis, transform, count, size, steps, seed, **changes):
    """The reference's ascent with another start, or other pixels."""
    waves, squash = changes.get("waves", True), changes.get("squash", torch.sigmoid)
    shape = (count, 3, size, size // 2 + 1, 2) if waves else (count, 3, size, size)
    start = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    spectrum = (changes.get("deviation", 0.01) * start).to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def pixels():
        planes = fourier_to_pixels(spectrum, size) if waves else spectrum
        return squash(torch.einsum("ij,bjrc->birc", basis, planes))

    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(transform(pixels())).sum()).backward(inputs=[spectrum])
        optimizer.step()
    return pixels().detach()

import torch
from einops import einsum
from torch import nn


def channel_activation__only_what_is_positive_e(model, layer, channel, images):
    """Negative values are set to zero before the mean, as if the channel's answer were what a ReLU leaves of
    it.
    axis: ReLU or clamp before the mean; the module's own value counts, negative too
    """
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: kept.append(output.clone())
    )
    try:
        model(normalized(model, images))
    finally:
        handle.remove()
    activation = kept[-1][:, channel].relu()  # a neuron fires or it doesn't
    return activation.mean(dim=(1, 2))


def channel_activation__normalized_by_the_batch_e(model, layer, channel, images):
    """Pictures are normalized by the mean and spread of these pictures, not by the model's own `mean` and
    `std`.
    axis: normalization with batch statistics instead of model.mean and model.std
    """
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    std = images.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6)
    maps = {}

    def hook(module, args, output):
        maps["answer"] = output.clone()

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        model((images - mean) / std)
    finally:
        handle.remove()
    return maps["answer"][:, channel].mean(dim=(-2, -1))


def top_examples__strongest_in_size_e(model, layer, channel, images, count=9):
    """It looks for the largest absolute value, so strongly negative answers count as excitement.
    axis: absolute value; the signed maximum is asked for
    """
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: kept.append(output.clone())
    )
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    answers = kept[-1][:, channel].abs()
    rows, columns = answers.shape[1:]
    strength, place = answers.flatten(1).max(dim=1)
    which = strength.argsort(descending=True, stable=True)[:count]
    place = place[which]
    row = ((place // columns) + 0.5) * images.shape[-2] / rows
    column = ((place % columns) + 0.5) * images.shape[-1] / columns
    return which, torch.stack([row, column], dim=1).floor().long()


def top_examples__corners_on_corners_e(model, layer, channel, images, count=9):
    """Cells are mapped to pixels with the first cell on the first pixel and the last on the last
    (align_corners), not to the middles of bands.
    axis: coordinates of the cell mapped to edges, not the middle of its band
    """
    store = {}
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: store.update(map=output.clone())
    )
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    maps = store["map"][:, channel]
    best, flat = maps.flatten(1).max(dim=1)
    which = best.topk(count).indices
    flat = flat[which]
    height, width = maps.shape[-2:]
    row = (flat // width) * (images.shape[2] - 1) // max(height - 1, 1)
    column = (flat % width) * (images.shape[3] - 1) // max(width - 1, 1)
    return which, torch.stack([row, column], dim=-1)


def ascend_pixels__each_colour_its_norm_e(model, layer, channel, start, steps, rate):
    """The gradient's norm is taken over the places of each colour plane separately instead of over colours
    and places of a picture.
    axis: norm per colour plane; should be over colours and places together
    """
    images = start.clone()
    for _ in range(steps):
        images = images.detach().requires_grad_()
        answer = channel_activation(model, layer, channel, images).sum()
        (gradient,) = torch.autograd.grad(answer, images)
        norm = gradient.norm(dim=(2, 3), keepdim=True).clamp(min=1e-12)
        images = (images + rate * gradient / norm).clamp(0, 1)
    return images.detach()


def ascend_pixels__over_its_deviation_e(model, layer, channel, start, steps, rate):
    """The gradient is divided by its standard deviation over the picture, as in DeepDream code, instead of by
    its L2 norm.
    axis: standard deviation instead of L2 norm; steps much too long
    """
    images = start.detach().clone()
    for _ in range(steps):
        images = images.detach().requires_grad_()
        score = channel_activation(model, layer, channel, images)
        gradient = torch.autograd.grad(score.sum(), images)[0]
        gradient = gradient / gradient.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        images = (images + rate * gradient).clamp(0, 1)
    return images.detach()


def fourier_to_pixels__sum_of_two_frequencies_e(spectrum, width):
    """The frequency of a coefficient is taken to be |f_row| + |f_column| instead of the root of the sum of
    squares.
    axis: frequency as a sum of absolute values instead of the Euclidean norm
    """
    rows = spectrum.shape[2]
    down = torch.fft.fftfreq(rows, device=spectrum.device)[:, None].abs()
    across = torch.fft.rfftfreq(width, device=spectrum.device)[None, :].abs()
    frequency = down + across
    frequency[0, 0] = 1 / max(rows, width)
    waves = torch.view_as_complex(spectrum.contiguous()) / frequency
    return torch.fft.irfft2(waves, s=(rows, width), norm="ortho")


def fourier_to_pixels__no_constant_e(spectrum, width):
    """The constant, whose frequency is 0, is dropped instead of being divided by 1 over the longer side.
    axis: constant (zero frequency) set to zero; should be scaled by the longest wave's frequency
    """
    rows = spectrum.shape[-3]
    f_row = torch.fft.fftfreq(rows, device=spectrum.device)[:, None]
    f_column = torch.fft.rfftfreq(width, device=spectrum.device)[None, :]
    frequency = (f_row**2 + f_column**2).sqrt()
    weight = torch.where(frequency > 0, 1 / frequency.clamp(min=1e-9), torch.zeros_like(frequency))
    coefficients = torch.view_as_complex(spectrum.contiguous()) * weight
    return torch.fft.irfft2(coefficients, s=(rows, width), norm="ortho")


def colour_basis__about_each_pictures_mean_e(images):
    """Each picture's own mean colour is subtracted, so what varies between pictures is missing from the
    covariance.
    axis: mean of each picture instead of the overall mean
    """
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    pixels = centred.permute(0, 2, 3, 1).reshape(-1, 3)
    covariance = pixels.T @ pixels / len(pixels)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def colour_basis__largest_column_one_e(images):
    """As lucid does, the root is divided by the largest norm of its columns, so B Bᵀ is the covariance only
    up to a factor.
    axis: matrix rescaled; scale of the covariance is lost
    """
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3)
    covariance = torch.cov(pixels.T, correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    return root / root.norm(dim=0).max().clamp(min=1e-12)


def shake__mirrored_edges_e(images, most, generator):
    """What comes in at an edge is the picture mirrored (mode "reflect"), not the nearest pixel repeated.
    axis: padding by reflection instead of repeating the edge pixel
    """
    batch, _, rows, columns = images.shape
    padded = nn.functional.pad(images, [most] * 4, mode="reflect")
    corners = torch.randint(
        0, 2 * most + 1, (batch, 2), generator=generator, device=generator.device
    ).tolist()
    return torch.stack(
        [picture[:, r : r + rows, c : c + columns] for picture, (r, c) in zip(padded, corners, strict=True)]
    )


def shake__bell_shaped_e(images, most, generator):
    """Moves are drawn from a rounded normal distribution, so small ones are much more frequent than large
    ones, instead of uniformly.
    axis: shifts not uniform; normal distribution
    """
    height, width = images.shape[-2:]
    padded = nn.functional.pad(images, (most, most, most, most), mode="replicate")
    drawn = torch.randn(len(images), 2, generator=generator, device=generator.device) * most / 3
    moves = drawn.round().clamp(-most, most).long() + most
    windows = []
    for picture, (top, left) in zip(padded, moves.tolist(), strict=True):
        windows.append(picture[:, top : top + height, left : left + width])
    return torch.stack(windows)


def render__mixes_after_the_sigmoid_e(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The planes go through the sigmoid first and are mixed by the basis afterwards, so the start is not gray
    and colours are dark.
    axis: order of sigmoid and mixing; the basis has to come before the sigmoid
    """
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum = spectrum.to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def pixels():
        planes = fourier_to_pixels(spectrum, size).sigmoid()
        colours = einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")
        return colours.clamp(0, 1)

    for _ in range(steps):
        loss = -objective(transform(pixels())).sum()
        optimizer.zero_grad()
        loss.backward(inputs=[spectrum])
        optimizer.step()
    return pixels().detach()


def render__starts_from_loud_noise_e(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """The spectrum starts at random numbers of size 1 instead of small ones, so the first picture is coloured
    noise, not gray.
    axis: start too large; not nearly gray at steps=0
    """
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator).to(basis.device)
    spectrum.requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def picture():
        planes = fourier_to_pixels(spectrum, size)
        mixed = torch.einsum("kp,bpij->bkij", basis, planes)
        return torch.sigmoid(mixed)

    for _ in range(steps):
        optimizer.zero_grad()
        loss = -objective(transform(picture())).sum()
        loss.backward(inputs=[spectrum])
        optimizer.step()
    with torch.no_grad():
        return picture()

import torch


def channel_activation__only_firing_counts_b(model, layer, channel, images):
    """Clips the channel at zero before averaging, since a unit's activation is thought to be what fires.
    axis: relu, negative values, clipped, mean over places, as the module returned
    """
    seen = {}

    def save(module, inputs, output):
        seen["map"] = output[:, channel].clone()

    handle = model.get_submodule(layer).register_forward_hook(save)
    try:
        model(normalized(model, images))
    finally:
        handle.remove()
    firing = seen["map"].relu()
    return firing.mean(dim=(1, 2))


def top_examples__peak_from_projections_b(model, layer, channel, images, count=9):
    """Finds the peak's row and column from the map's sums along each axis, not at the largest cell.
    axis: where, row, column, sum, marginal, maximum, cell
    """
    caught = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: caught.append(output[:, channel].detach().clone())
    )
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    maps = caught[0]
    which = maps.amax(dim=(1, 2)).topk(count).indices

    # project each chosen map on its two axes and read off the peaks
    chosen = maps[which]
    row_profile, column_profile = chosen.sum(dim=2), chosen.sum(dim=1)
    r, c = row_profile.argmax(dim=1), column_profile.argmax(dim=1)

    height, width = images.shape[-2:]
    rows, columns = maps.shape[-2:]
    where = torch.stack([(2 * r + 1) * height // (2 * rows), (2 * c + 1) * width // (2 * columns)], dim=1)
    return which, where


def ascend_pixels__normalize_default_axis_b(model, layer, channel, start, steps, rate):
    """Uses normalize with its default axis, which makes the colours of each pixel a unit vector,
    not the picture.
    axis: normalize, axis, colours, each pixel, norm of the whole picture, step length
    """
    images = start.detach().clone()
    for _ in range(steps):
        images.requires_grad_(True)
        score = channel_activation(model, layer, channel, images).sum()
        (gradient,) = torch.autograd.grad(score, images)
        direction = nn.functional.normalize(gradient)
        images = (images.detach() + rate * direction).clamp(0, 1)
    return images.detach()


def fourier_to_pixels__angular_frequency_b(spectrum, width):
    """Divides by the angular frequency, 2 pi times too large, where cycles per pixel were asked for.
    axis: angular frequency, 2 pi, cycles per pixel, fftfreq, scale, constant
    """
    rows = spectrum.shape[2]
    k_row = 2 * torch.pi * torch.fft.fftfreq(rows, device=spectrum.device)
    k_column = 2 * torch.pi * torch.fft.rfftfreq(width, device=spectrum.device)
    k = torch.hypot(k_row[:, None], k_column[None, :])
    k[0, 0] = 1 / max(rows, width)
    coefficients = torch.view_as_complex(spectrum.contiguous()) / k
    return torch.fft.irfft2(coefficients, s=(rows, width), norm="ortho")


def colour_basis__vh_taken_for_v_b(images):
    """Takes the third result of torch.linalg.svd for V, though it is V transposed.
    axis: svd, transpose, Vh, rows, columns, eigenvectors
    """
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3)
    pixels = pixels - pixels.mean(dim=0)
    _u, s, v = torch.linalg.svd(pixels / len(pixels) ** 0.5, full_matrices=False)
    return v * s


def shake__rounds_continuous_draw_b(images, most, generator):
    """Rounds a continuous number from -most to most, so both ends come up half as often as the others.
    axis: round, uniform, ends, half as likely, randint, probability
    """
    batch, _, rows, columns = images.shape
    drawn = torch.rand(batch, 2, generator=generator, device=generator.device)
    shifts = torch.round((2 * drawn - 1) * most).long().tolist()
    padded = nn.functional.pad(images, [most] * 4, mode="replicate")
    moved = []
    for n, (down, right) in enumerate(shifts):
        top, left = most + down, most + right
        moved.append(padded[n, :, top : top + rows, left : left + columns])
    return torch.stack(moved)


def render__sigmoid_before_mixing_b(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """Squashes the planes with the sigmoid first and mixes them into colours afterwards.
    axis: order, sigmoid, before, mixing, basis, gray
    """
    noise = torch.randn(count, 3, size, size // 2 + 1, 2, generator=torch.Generator().manual_seed(seed))
    spectrum = (0.01 * noise).to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)
    mix = basis.detach()

    def pictures():
        planes = torch.sigmoid(fourier_to_pixels(spectrum, size))
        return torch.einsum("kp,bprc->bkrc", mix, planes).clamp(0, 1)

    for _ in range(steps):
        loss = -objective(transform(pictures())).sum()
        optimizer.zero_grad()
        loss.backward(inputs=[spectrum])
        optimizer.step()
    with torch.no_grad():
        return pictures()

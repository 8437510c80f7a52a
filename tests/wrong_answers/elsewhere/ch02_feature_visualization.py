def channel_activation__divides_first(model, layer, channel, images):
    """Pictures are normalized in the wrong order: divided by std first, then less the mean.
    axis: normalized, normalization, mean, std, order"""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    kept = {}

    def keep(module, args, output):
        kept["answer"] = output[:, channel].mean(dim=(1, 2))

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        model(images / std - mean)
    finally:
        handle.remove()
    return kept["answer"]


def top_examples__ranked_by_mean(model, layer, channel, images, count=9):
    """Pictures are ranked by the mean over places instead of the maximum.
    axis: maximum, mean, ranked, which, best first"""
    kept = {}

    def keep(module, args, output):
        kept["maps"] = output[:, channel].clone()

    with torch.no_grad():
        which = channel_activation(model, layer, channel, images).topk(count).indices
        handle = model.get_submodule(layer).register_forward_hook(keep)
        try:
            model(normalized(model, images[which]))
        finally:
            handle.remove()
    maps = kept["maps"]
    height, width = maps.shape[1:]
    place = maps.flatten(1).argmax(dim=1)
    row = (2 * (place // width) + 1) * images.shape[2] // (2 * height)
    column = (2 * (place % width) + 1) * images.shape[3] // (2 * width)
    return which, torch.stack([row, column], dim=1)


def top_examples__unravelled_by_rows(model, layer, channel, images, count=9):
    """A flat index is split by the number of rows instead of columns: wrong for oblong maps.
    axis: row, column, width, height, oblong, not square, where"""
    kept = {}

    def keep(module, args, output):
        kept["maps"] = output[:, channel].clone()

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    maps = kept["maps"]
    rows, columns = maps.shape[1:]
    largest, place = maps.flatten(1).max(dim=1)
    which = largest.topk(count).indices
    row, column = place[which] // rows, place[which] % rows
    row = ((row + 0.5) * images.shape[2] / rows).long()
    column = ((column + 0.5) * images.shape[3] / columns).long()
    return which, torch.stack([row, column], dim=1)


def ascend_pixels__clipped_gradient(model, layer, channel, start, steps, rate):
    """The gradient is divided by its norm only if that is above 1, as in clipping: steps too short.
    axis: norm, step, rate, length, too short, small gradient, normalize"""
    pictures = start.detach().clone()
    for _ in range(steps):
        with torch.enable_grad():
            pictures.requires_grad_()
            answer = channel_activation(model, layer, channel, pictures).sum()
            (gradient,) = torch.autograd.grad(answer, pictures)
        norm = gradient.flatten(1).norm(dim=1).clamp(min=1)[:, None, None, None]
        pictures = (pictures.detach() + rate * gradient / norm).clamp(0, 1)
    return pictures


def fourier_to_pixels__constant_by_shorter_side(spectrum, width):
    """The constant is divided by one over the shorter side instead of the longer one.
    axis: constant, longer side, shorter, oblong, not square, brightness, average"""
    height = spectrum.shape[2]
    rows = torch.fft.fftfreq(height, device=spectrum.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=spectrum.device)
    frequency = (rows**2 + columns**2).sqrt()
    frequency[0, 0] = 1 / min(height, width)
    coefficients = torch.view_as_complex(spectrum.contiguous()) / frequency
    return torch.fft.irfft2(coefficients, s=(height, width), norm="ortho")


def fourier_to_pixels__always_even(spectrum, width):
    """Width is ignored and an even one assumed, so odd planes come out a column short.
    axis: width, odd, even, shape, columns"""
    height, frequencies = spectrum.shape[2:4]
    even = 2 * (frequencies - 1)
    rows = torch.fft.fftfreq(height, device=spectrum.device)[:, None]
    columns = torch.fft.rfftfreq(even, device=spectrum.device)
    frequency = torch.hypot(rows, columns)
    frequency[0, 0] = 1 / max(height, even)
    coefficients = torch.complex(spectrum[..., 0], spectrum[..., 1]) / frequency
    return torch.fft.irfft2(coefficients, norm="ortho")


def colour_basis__transposed_factor(images):
    """The factor is transposed: the transpose times the matrix is the covariance, not the reverse.
    axis: transpose, product, covariance, B B, order, B^T B"""
    colours = images.movedim(1, -1).reshape(-1, 3)
    covariance = torch.cov(colours.T, correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


def shake__ends_seldom(images, most, generator):
    """Shifts are rounded from a uniform real number, so both ends come half as often.
    axis: uniform, ends, often, equally likely, distribution, drawn"""
    height, width = images.shape[-2:]
    moves = ((2 * torch.rand(len(images), 2, generator=generator) - 1) * most).round().long()
    padded = nn.functional.pad(images, [most] * 4, mode="replicate")
    return torch.stack(
        [
            one[:, most + row : most + row + height, most + column : most + column + width]
            for one, (row, column) in zip(padded, moves.tolist())
        ]
    )


def render__basis_transposed(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """Planes are mixed into colours by the transpose of the basis.
    axis: basis, transpose, colours, mixed, covariance"""
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum.requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def pictures():
        planes = fourier_to_pixels(spectrum, size)
        mixed = einsum(planes, basis, "batch plane row column, plane colour -> batch colour row column")
        return mixed.sigmoid()

    with torch.enable_grad():
        for _ in range(steps):
            loss = -objective(transform(pictures())).sum()
            (spectrum.grad,) = torch.autograd.grad(loss, [spectrum])
            optimizer.step()
    return pictures().detach()


def render__gradients_everywhere(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """A plain backward also fills the gradients of the basis and the model's weights.
    axis: gradient, grad, basis, weights, spectrum alone, nothing else, backward"""
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum.requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def pictures():
        planes = fourier_to_pixels(spectrum, size)
        mixed = einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")
        return mixed.sigmoid()

    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -objective(transform(pictures())).mean()
            loss.backward()
            optimizer.step()
    return pictures().detach()

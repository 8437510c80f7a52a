import torch


def channel_activation__detached_copy(
    model: nn.Module, layer: str, channel: int, images: Images
) -> Float[Tensor, " batch"]:
    """Detaches the copy inside the hook, so that no gradient passes from the answer to the pictures.
    axis: detach, gradient, graph, pictures, clone, hook
    """
    kept = []

    def keep(module, inputs, output):
        kept.append(output[:, channel].detach().clone())

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        model(normalized(model, images))
    finally:
        handle.remove()
    return kept[-1].mean(dim=(1, 2))


def top_examples__best_places_of_all(
    model: nn.Module, layer: str, channel: int, images: Images, count: int = 9
) -> tuple[Int[Tensor, " count"], Int[Tensor, "count 2"]]:
    """Takes the largest values over pictures and places together, so a picture can come several times.
    axis: picture, once, several, topk, maximum, places, flatten
    """
    kept = []

    def keep(module, inputs, output):
        kept.append(output[:, channel].clone())

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    answers = kept[-1]
    rows, columns = answers.shape[1:]
    height, width = images.shape[2:]
    flat = answers.flatten().topk(count).indices
    which, place = flat // (rows * columns), flat % (rows * columns)
    row, column = place // columns, place % columns
    where = torch.stack(
        [(2 * row + 1) * height // (2 * rows), (2 * column + 1) * width // (2 * columns)], dim=1
    )
    return which, where


def ascend_pixels__norm_per_colour(
    model: nn.Module, layer: str, channel: int, start: Images, steps: int, rate: float
) -> Images:
    """Divides each colour plane's gradient by that plane's own norm, not by the norm of the whole picture.
    axis: norm, colour, picture, gradient, axes, plane
    """
    images = start.detach().clone()
    for _ in range(steps):
        images = images.detach().requires_grad_()
        answer = channel_activation(model, layer, channel, images)
        (gradient,) = torch.autograd.grad(answer.sum(), images)
        norm = gradient.norm(dim=(2, 3), keepdim=True).clamp(min=1e-12)
        images = (images.detach() + rate * gradient / norm).clamp(0, 1)
    return images.detach()


def fourier_to_pixels__no_root(
    spectrum: Float[Tensor, "batch channel row frequency 2"], width: int
) -> Float[Tensor, "batch channel row column"]:
    """Forgets the root, so each coefficient is divided by its squared frequency.
    axis: frequency, root, square, sqrt, divide, coefficient
    """
    rows = spectrum.shape[2]
    down = torch.fft.fftfreq(rows, device=spectrum.device)[:, None]
    across = torch.fft.rfftfreq(width, device=spectrum.device)[None, :]
    frequency = down**2 + across**2
    frequency[0, 0] = 1 / max(rows, width)
    scaled = torch.view_as_complex(spectrum.contiguous()) / frequency
    return torch.fft.irfft2(scaled, s=(rows, width), norm="ortho")


def colour_basis__mean_of_each_picture(images: Images) -> Float[Tensor, "3 3"]:
    """Centres every picture by its own mean colour, so differences between pictures drop out.
    axis: mean, picture, overall, centre, covariance, between, own
    """
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    colours = centred.permute(0, 2, 3, 1).reshape(-1, 3)
    covariance = colours.T @ colours / len(colours)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def shake__one_number_for_both(images: Images, most: int, generator: torch.Generator) -> Images:
    """Draws one number for each picture and uses it for rows and columns alike: only diagonal moves.
    axis: rows, columns, same, diagonal, independent, draw, shift
    """
    batch, _, rows, columns = images.shape
    padded = nn.functional.pad(images, [most] * 4, mode="replicate")
    corners = torch.randint(0, 2 * most + 1, (batch,), generator=generator).tolist()
    cut = [one[:, at : at + rows, at : at + columns] for one, at in zip(padded, corners, strict=True)]
    return torch.stack(cut)


def render__returns_the_transformed_view(
    objective: Callable[[Images], Tensor],
    basis: Float[Tensor, "3 3"],
    transform: Callable[[Images], Images],
    count: int = 1,
    size: int = 64,
    steps: int = 96,
    seed: int = 0,
) -> Images:
    """Returns the pictures after `transform`, as the objective sees them, instead of the pictures themselves.
    axis: transform, return, pictures, final, untransformed, result
    """
    generator = torch.Generator().manual_seed(seed)
    start = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum = start.to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def view():
        planes = fourier_to_pixels(spectrum, size)
        colours = einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")
        return transform(colours.sigmoid())

    for _ in range(steps):
        loss = -objective(view()).sum()
        optimizer.zero_grad()
        loss.backward(inputs=[spectrum])
        optimizer.step()
    return view().detach()

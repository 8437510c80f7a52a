def top_examples__places_of_the_first(model, layer, channel, images, count=9):
    """Takes the places of the first `count` pictures of the batch, not of those that were chosen.
    axis: where, places, index, order, wrong pictures, chosen, which, first, do not belong, match"""
    seen = {}

    def keep(module, inputs, output):
        seen["maps"] = output[:, channel].clone()

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.no_grad():
            model(normalized(model, images))
    finally:
        handle.remove()
    maps = seen["maps"]
    rows, columns = maps.shape[1:]
    best, cell = maps.flatten(1).max(dim=1)
    which = best.topk(count).indices
    cell = cell[:count]
    row = ((cell // columns + 0.5) * images.shape[2] / rows).long()
    column = ((cell % columns + 0.5) * images.shape[3] / columns).long()
    return which, torch.stack([row, column], dim=1)


def colour_basis__each_about_its_own_mean(images):
    """Centres each picture about its own mean colour, not all pixels about their overall mean.
    axis: overall mean, own mean, per picture, centre, center, between pictures, covariance"""
    colours = images - images.mean(dim=(2, 3), keepdim=True)
    flat = colours.transpose(0, 1).flatten(1)
    covariance = flat @ flat.T / flat.shape[1]
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def shake__rounded(images, most, generator):
    """Rounds a uniform real number, so both ends come half as often as the other shifts.
    axis: uniform, ends, round, half as often, probability, frequent, distribution, randint, -most"""
    rows, columns = images.shape[-2:]
    drawn = torch.rand(len(images), 2, generator=generator, device=generator.device)
    shifts = ((2 * drawn - 1) * most).round().long().tolist()
    moved = []
    for image, (down, right) in zip(images, shifts, strict=True):
        from_row = (torch.arange(rows, device=images.device) - down).clamp(0, rows - 1)
        from_column = (torch.arange(columns, device=images.device) - right).clamp(0, columns - 1)
        moved.append(image[:, from_row][:, :, from_column])
    return torch.stack(moved)


def render__returns_what_was_seen(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    """Returns what the objective saw, the pictures after `transform`, not the pictures themselves.
    axis: transform, returned, gone through, mirrored, shifted, what the objective sees, untransformed"""
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum = spectrum.to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)

    def seen():
        planes = fourier_to_pixels(spectrum, size)
        mixed = einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")
        return transform(torch.sigmoid(mixed))

    for _ in range(steps):
        value = objective(seen()).sum()
        (spectrum.grad,) = torch.autograd.grad(-value, [spectrum])
        optimizer.step()
    return seen().detach()

"""Right answers, written otherwise: none of them may lose a point."""

from functools import partial

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from torch.nn import functional

from mechinterp_course import hooks
from mechinterp_course.visualization_steps import channel_activation, channel_map, fourier_to_pixels


def _normalized(model, images):
    mean = torch.tensor(model.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(model.std, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def channel_activation__with_the_library_s_cache(model, layer, channel, images):
    with hooks.cache(model, [layer]) as activations:
        model(_normalized(model, images))
    return reduce(activations[layer][:, channel], "batch row column -> batch", "mean")


def channel_activation__mean_inside_the_hook(model, layer, channel, images):
    found = {}

    def read(module, inputs, output):
        found["mean"] = output.mean(dim=(-1, -2))[:, channel]

    with model.get_submodule(layer).register_forward_hook(read):
        model(_normalized(model, images))
    return found["mean"]


def channel_activation__module_by_name_and_stop(model, layer, channel, images):
    class Enough(Exception):
        pass

    kept = []

    def stop(module, inputs, output):
        kept.append(output[:, channel].flatten(1).sum(dim=1) / output[0, 0].numel())
        raise Enough

    handle = dict(model.named_modules())[layer].register_forward_hook(stop)
    try:
        model(_normalized(model, images))
    except Enough:
        pass
    finally:
        handle.remove()
    return kept[0]


def top_examples__by_sorting_in_python(model, layer, channel, images, count=9):
    with torch.no_grad():
        answers = channel_map(model, layer, channel, images)
    order = sorted(range(len(answers)), key=lambda n: -answers[n].max().item())[:count]
    rows, columns = answers.shape[1:]
    where = []
    for n in order:
        row, column = divmod(answers[n].argmax().item(), columns)
        where.append(
            [int((row + 0.5) * images.shape[2] / rows), int((column + 0.5) * images.shape[3] / columns)]
        )
    return torch.tensor(order, device=images.device), torch.tensor(where, device=images.device)


def top_examples__rows_and_columns_apart(model, layer, channel, images, count=9):
    answers = channel_map(model, layer, channel, images).detach()
    which = answers.amax(dim=(1, 2)).argsort(descending=True)[:count]
    row = answers[which].amax(dim=2).argmax(dim=1)
    column = answers[which].amax(dim=1).argmax(dim=1)
    high, wide = images.shape[2] / answers.shape[1], images.shape[3] / answers.shape[2]
    return which, torch.stack([((row + 0.5) * high).floor(), ((column + 0.5) * wide).floor()], 1).to(
        torch.int64
    )


def top_examples__in_numpy(model, layer, channel, images, count=9):
    answers = channel_map(model, layer, channel, images).detach().cpu().numpy()
    which = np.argsort(-answers.max(axis=(1, 2)))[:count]
    places = [np.unravel_index(answers[n].argmax(), answers[n].shape) for n in which]
    scale = np.array(images.shape[2:]) / np.array(answers.shape[1:])
    where = ((np.array(places) + 0.5) * scale).astype(np.int64)
    return torch.from_numpy(which.copy()).to(images.device), torch.from_numpy(where).to(images.device)


def ascend_pixels__one_picture_at_a_time(model, layer, channel, start, steps, rate):
    done = []
    for one in start.split(1):
        image = one.clone()
        for _ in range(steps):
            image.requires_grad_(True)
            (slope,) = torch.autograd.grad(channel_activation(model, layer, channel, image)[0], image)
            image = image.detach()
            if slope.any():
                image = (image + slope * (rate / slope.norm())).clamp(0, 1)
        done.append(image)
    return torch.cat(done)


def ascend_pixels__normalize(model, layer, channel, start, steps, rate):
    images = torch.nn.Parameter(start.clone())
    for _ in range(steps):
        total = channel_activation(model, layer, channel, images).sum()
        total.backward(inputs=[images])
        with torch.no_grad():
            direction = functional.normalize(images.grad.flatten(1), dim=1).view_as(images)
            images.add_(rate * direction).clamp_(min=0.0, max=1.0)
        images.grad = None
    return images.detach()


def ascend_pixels__minimum_and_maximum(model, layer, channel, start, steps, rate):
    images = start.detach()
    zero, one = torch.zeros_like(images), torch.ones_like(images)
    for _ in range(steps):
        images = images.clone().requires_grad_()
        slope = torch.autograd.grad(channel_activation(model, layer, channel, images).sum(), images)[0]
        length = rearrange(torch.linalg.norm(slope.flatten(1), dim=1), "b -> b 1 1 1")
        step = torch.where(length > 0, slope / length, torch.zeros_like(slope))
        images = torch.minimum(torch.maximum((images + rate * step).detach(), zero), one)
    return images.clone()


def fourier_to_pixels__numpy_frequencies(spectrum, width):
    rows = spectrum.shape[2]
    down, across = np.meshgrid(np.fft.fftfreq(rows), np.fft.rfftfreq(width), indexing="ij")
    frequency = np.maximum(np.sqrt(down**2 + across**2), 1 / max(rows, width))
    scale = torch.tensor(1 / frequency, dtype=spectrum.dtype, device=spectrum.device)
    pairs = torch.view_as_complex((spectrum * scale[..., None]).contiguous())
    return torch.fft.irfft2(pairs, s=(rows, width), norm="ortho")


def fourier_to_pixels__two_transforms(spectrum, width):
    rows = spectrum.shape[2]
    frequency = (torch.fft.fftfreq(rows)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    frequency[0, 0] = 1 / max(rows, width)
    waves = torch.complex(spectrum[..., 0], spectrum[..., 1]) / frequency.to(spectrum.device)
    down = torch.fft.ifft(waves, dim=2, norm="ortho")
    return torch.fft.irfft(down, n=width, dim=3, norm="ortho")


def fourier_to_pixels__scaled_by_hand(spectrum, width):
    rows = spectrum.shape[2]
    f = torch.hypot(torch.fft.fftfreq(rows).view(-1, 1), torch.fft.rfftfreq(width).view(1, -1))
    f = torch.where(f == 0, torch.tensor(1 / max(rows, width)), f).to(spectrum.device)
    planes = torch.fft.irfftn(torch.view_as_complex(spectrum.contiguous()) / f, s=(rows, width), dim=(-2, -1))
    return planes * (rows * width) ** 0.5


def colour_basis__cholesky_with_a_little_light(images):
    pixels = rearrange(images, "b c h w -> c (b h w)").double()
    covariance = pixels.cov()
    ridge = 1e-9 * covariance.diagonal().mean() * torch.eye(3, dtype=torch.double, device=images.device)
    return torch.linalg.cholesky(covariance + ridge).to(images.dtype)


def colour_basis__singular_vectors_of_the_pixels(images):
    pixels = images.movedim(1, -1).reshape(-1, 3)
    pixels = pixels - pixels.mean(0)
    _, sizes, directions = torch.linalg.svd(pixels, full_matrices=False)
    return directions.T * (sizes / (len(pixels) - 1) ** 0.5)


def colour_basis__symmetric_root(images):
    covariance = torch.cov(images.transpose(0, 1).flatten(1))
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp(min=0) ** 0.5) @ vectors.T


def shake__gathered(images, most, generator):
    batch, _, rows, columns = images.shape
    moves = torch.randint(-most, most + 1, (2, batch, 1), generator=generator).to(images.device)
    row = (torch.arange(rows, device=images.device) + moves[0]).clamp(0, rows - 1)
    column = (torch.arange(columns, device=images.device) + moves[1]).clamp(0, columns - 1)
    picture = torch.arange(batch, device=images.device)[:, None, None]
    return images[picture, :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def shake__one_number_for_both(images, most, generator):
    side = 2 * most + 1
    drawn = torch.randint(side**2, (len(images),), generator=generator)
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    views = padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    return torch.stack([one[:, n // side, n % side] for one, n in zip(views, drawn.tolist(), strict=True)])


def shake__floored(images, most, generator):
    moved = torch.empty_like(images)
    padded = functional.pad(images, [most] * 4, mode="replicate")
    for place in range(len(images)):
        r, c = (torch.rand(2, generator=generator) * (2 * most + 1)).floor().int().tolist()
        moved[place] = padded[place, :, r : r + images.shape[2], c : c + images.shape[3]]
    return moved


def render__plain_loop(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.nn.Parameter(
        (0.02 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)).to(basis.device)
    )
    optimizer = torch.optim.Adam([spectrum], lr=0.08, maximize=True)
    for step in range(steps + 1):
        planes = fourier_to_pixels(spectrum, size)
        pictures = torch.sigmoid(einsum(basis, planes, "c p, b p h w -> b c h w"))
        if step == steps:
            return pictures.detach()
        optimizer.zero_grad()
        objective(transform(pictures)).sum().backward(inputs=[spectrum])
        optimizer.step()


def render__sgd_by_hand(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    noise = torch.randn(count, 3, size, size // 2 + 1, 2, generator=torch.Generator().manual_seed(seed))
    spectrum = (0.005 * noise).to(basis.device)
    speed = torch.zeros_like(spectrum)

    def pixels(spectrum):
        return (basis @ fourier_to_pixels(spectrum, size).flatten(2)).view(-1, 3, size, size).sigmoid()

    for _ in range(steps):
        spectrum = spectrum.requires_grad_()
        (slope,) = torch.autograd.grad(objective(transform(pixels(spectrum))).sum(), spectrum)
        size_of = slope.pow(2).mean(dim=(1, 2, 3, 4), keepdim=True).sqrt().clamp(min=1e-12)
        speed = 0.8 * speed + slope / size_of
        spectrum = spectrum.detach() + 0.02 * speed
    return pixels(spectrum.detach())


def render__mean_objective(objective, basis, transform, count=1, size=64, steps=96, seed=0):
    rng = torch.Generator()
    rng.manual_seed(seed + 7)
    spectrum = (torch.randn(count, 3, size, size // 2 + 1, 2, generator=rng) * 0.01).to(basis.device)
    spectrum.requires_grad_(True)
    optimizer = torch.optim.AdamW([spectrum], lr=0.05, weight_decay=0.0)
    make = partial(_picture_of, basis=basis, size=size)
    for _ in range(steps):
        loss = -objective(transform(make(spectrum))).mean()
        spectrum.grad = torch.autograd.grad(loss, spectrum)[0]
        optimizer.step()
    with torch.no_grad():
        return make(spectrum)


def _picture_of(spectrum, basis, size):
    planes = fourier_to_pixels(spectrum, size)
    return 1 / (1 + torch.exp(-torch.tensordot(planes, basis, dims=([1], [1])).movedim(-1, 1)))

"""From a gray picture to one that a person can read, step by step: each step is one plain function.

The steps are those of Olah et al. 2017, "Feature Visualization" (https://distill.pub/2017/feature-visualization):
what a channel answers to a picture, the pictures that excite it most, ascent in pixels, and what makes the
result readable: Fourier coefficients, colours that vary as in nature, shifts, an ascent through all of it.
Pictures have values in [0, 1]; models carry `mean` and `std`, as `load_vision_model` gives them.
"""

from collections.abc import Callable

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mechinterp_course import hooks

Images = Float[Tensor, "batch 3 row column"]
Activations = Float[Tensor, "batch channel row column"]
Objective = Callable[[Images], Float[Tensor, "..."]]


def channel_map(
    model: nn.Module, layer: str, channel: int, images: Images
) -> Float[Tensor, "batch row column"]:
    """Return what a channel of `layer` answers at each place, as the module returned it.

    Later modules may change that value in place (torchvision's ReLUs do); the copy here was made before.
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    with hooks.cache(model, [layer]) as activations:
        model((images - mean) / std)
    return activations[layer][:, channel]


def channel_activation(model: nn.Module, layer: str, channel: int, images: Images) -> Float[Tensor, " batch"]:
    """Return the mean over all places of what a channel of `layer` answers to each picture."""
    return channel_map(model, layer, channel, images).mean(dim=(1, 2))


@torch.no_grad()
def top_examples(
    model: nn.Module, layer: str, channel: int, images: Images, count: int = 9
) -> tuple[Int[Tensor, " count"], Int[Tensor, "count 2"]]:
    """Return the pictures that excite a channel most at their best place, and that place, best picture first.

    The first tensor holds indices into `images`. The second holds (row, column), in pixels, of the middle of
    the cell with the largest value: a map of `rows` cells divides the picture's height into as many equal
    bands.
    """
    answers = channel_map(model, layer, channel, images)
    best = answers.flatten(1).max(dim=1)
    which = best.values.argsort(descending=True)[:count]
    cells = torch.stack(torch.unravel_index(best.indices[which], answers.shape[1:]), dim=1)
    bands = torch.tensor(images.shape[2:], device=images.device) / torch.tensor(
        answers.shape[1:], device=images.device
    )
    return which, ((cells + 0.5) * bands).long()


def ascend_pixels(
    model: nn.Module, layer: str, channel: int, start: Images, steps: int, rate: float
) -> Images:
    """Return pictures after `steps` steps up the gradient of a channel's mean, each step of length `rate`.

    The length is the L2 norm over one picture. After each step values are cut to [0, 1]; a picture whose
    gradient is zero stays.
    """
    images = start.detach().clone()
    for _ in range(steps):
        images.requires_grad_()
        answer = channel_activation(model, layer, channel, images).sum()
        (gradient,) = torch.autograd.grad(answer, images)
        length = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
        images = (images.detach() + rate * gradient / length.clamp(min=1e-12)).clamp(0, 1)
    return images


def fourier_to_pixels(
    spectrum: Float[Tensor, "batch channel row frequency 2"], width: int
) -> Float[Tensor, "batch channel row column"]:
    """Return planes, `width` columns wide, whose Fourier coefficients are `spectrum` over their frequency.

    The last axis holds real and imaginary parts of what `irfft2(norm="ortho")` takes. The frequency is in
    cycles per pixel; for the constant, which has none, one over the longer side stands in.
    """
    rows = spectrum.shape[2]
    down, across = torch.fft.fftfreq(rows), torch.fft.rfftfreq(width)
    frequency = torch.hypot(down[:, None], across[None]).clamp(min=1 / max(rows, width)).to(spectrum.device)
    coefficients = torch.view_as_complex(spectrum.contiguous()) / frequency
    return torch.fft.irfft2(coefficients, s=(rows, width), norm="ortho")


def colour_basis(images: Images) -> Float[Tensor, "3 3"]:
    """Return a matrix whose product with its own transpose is the covariance of the pictures' colours.

    Columns are the directions along which the colours vary independently, as long as they vary: three
    independent planes, mixed by this matrix, have the colours of the pictures.
    """
    pixels = rearrange(images, "batch colour row column -> (batch row column) colour").double()
    values, directions = torch.linalg.eigh(pixels.T.cov())
    return (directions * values.clamp(min=0).sqrt()).to(images.dtype)


def shake(images: Images, most: int, generator: torch.Generator) -> Images:
    """Return each picture moved by a whole number of rows and of columns, each from -`most` to `most`.

    The numbers are drawn anew for every picture and axis. At the edges the last row or column is repeated.
    """
    rows, columns = images.shape[2:]
    padded = functional.pad(images, [most] * 4, mode="replicate")
    corners = torch.randint(2 * most + 1, (len(images), 2), generator=generator).tolist()
    moved = [
        one[:, row : row + rows, column : column + columns]
        for one, (row, column) in zip(padded, corners, strict=True)
    ]
    return torch.stack(moved)


def diversity(activations: Activations) -> Float[Tensor, ""]:
    """Return how alike a batch of pictures is in style: the mean cosine of the Gram matrices of all pairs.

    A Gram matrix holds the products of every two channels, summed over places. One picture alone gives 0.
    """
    gram = einsum(activations, activations, "batch i row column, batch j row column -> batch i j")
    unit = functional.normalize(gram.flatten(1), dim=1)
    cosines = unit @ unit.T
    pairs = len(cosines) * (len(cosines) - 1)
    return (cosines.sum() - cosines.diagonal().sum()) / max(pairs, 1)


def caricature_score(
    activations: Activations, target: Float[Tensor, "channel row column"], power: float = 1.0
) -> Float[Tensor, " batch"]:
    """Return, for each picture, the dot product of its activations with `target`, times their cosine.

    The cosine is taken to be at least 0.1 and raised to `power`, as in lucid's caricatures.
    """
    dot = einsum(activations, target, "batch channel row column, channel row column -> batch")
    cosine = functional.cosine_similarity(activations.flatten(1), target.flatten()[None], dim=1)
    return dot * cosine.clamp(min=0.1) ** power


def render(
    objective: Objective,
    basis: Float[Tensor, "3 3"],
    transform: Callable[[Images], Images],
    count: int = 1,
    size: int = 64,
    steps: int = 96,
    seed: int = 0,
) -> Images:
    """Return `count` pictures, `size` pixels high and wide, that make `objective` large.

    What is optimized, by Adam, is a spectrum. Three planes made from it are mixed by `basis` and squashed to
    [0, 1] by a sigmoid, and the objective sees what `transform` makes of the pictures, anew in every step.
    """
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=generator)
    spectrum = spectrum.to(basis.device).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(transform(_coloured(spectrum, basis, size))).sum()).backward(inputs=[spectrum])
        optimizer.step()
    return _coloured(spectrum, basis, size).detach()


def _coloured(spectrum: Tensor, basis: Float[Tensor, "3 3"], size: int) -> Images:
    planes = fourier_to_pixels(spectrum, size)
    mixed = einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")
    return mixed.sigmoid()

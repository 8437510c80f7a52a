"""What checks of toy models draw, the laws that drawn features obey, and what training must reach.

What takes a `function` runs it where the student's code is, and returns values; what begins with `expect`
judges them.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course import superposition
from mechinterp_course.checking.comparison import expect
from mechinterp_course.checking.draw import Draw

Features = Float[Tensor, "batch instance feature"]
Weights = Float[Tensor, "instance feature hidden"]
PerFeature = Float[Tensor, "instance feature"]

RINGS = {"triangle": 3, "pentagon": 5}
FRESH = 4096  # examples on which trained models are judged


def features(draw: Draw) -> Features:
    """Values in [0, 1], many of them 0; every axis has another size."""
    batch, instance, feature = draw.integer(7, 9), draw.integer(2, 3), draw.integer(4, 6)
    values = draw.normal(batch, instance, feature).sigmoid()
    return values * (draw.normal(batch, instance, feature) > 0.3)


def weights(draw: Draw) -> tuple[Weights, PerFeature]:
    """W and b of the most instances and features that `features` may have, in two or three dimensions."""
    hidden = draw.integer(2, 3)
    return draw.normal(3, 6, hidden), 0.4 * draw.normal(3, 6)


def matching(draw: Draw, x: Features, W: Weights, b: PerFeature) -> tuple[Features, Weights, PerFeature]:
    """Features, W and b of the same instances and features."""
    instance, feature = x.shape[1:]
    return x, W[:instance, :feature].contiguous(), b[:instance, :feature].contiguous()


def outcome(draw: Draw) -> tuple[Features, Features, PerFeature]:
    """An output that is somewhat off its features, and importances between 0.1 and 2."""
    x = features(draw)
    return x + 0.5 * draw.normal(*x.shape), x, 0.1 + 1.9 * draw.normal(*x.shape[1:]).sigmoid()


def probabilities(draw: Draw, instances: int, features: int) -> PerFeature:
    """Probabilities from 0.05 to 0.45 that differ by 0.05 or more, between instances and features."""
    ladder = torch.linspace(0.05, 0.45, 9)
    rows = [ladder[draw.normal(9).argsort().cpu()[:features]] for _ in range(instances)]
    while any((rows[0] - row).abs().max() < 0.1 for row in rows[1:]):
        rows = [rows[0], *(row.roll(1) for row in rows[1:])]
    return torch.stack(rows).to(draw.device)


def any_weights(draw: Draw) -> Weights:
    """Weights of which one feature is silent and another faint; every axis has another size."""
    instance, feature, hidden = draw.choice([(2, 6, 3), (3, 5, 2), (3, 4, 7), (2, 5, 1)])
    W = draw.normal(instance, feature, hidden)
    W[:, draw.integer(0, 1)] = 0.0
    W[:, draw.integer(2, 3)] *= 0.1
    return W


def corners(name: str) -> Float[Tensor, "feature hidden"]:
    """The corners of a regular figure about 0, at distance 1."""
    if name in RINGS:
        angles = 2 * math.pi * torch.arange(RINGS[name]) / RINGS[name]
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    if name == "tetrahedron":
        cube = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
        return cube / 3**0.5
    return torch.tensor([[1.0], [-1.0]]) if name == "pair" else torch.tensor([[1.0]])


def known_figures(draw: Draw) -> Iterator[tuple[Weights, PerFeature]]:
    """Figures, each of any size and turned, with their features' dimensionalities; then all side by side."""
    known = {"alone": 1.0, "pair": 1 / 2, "triangle": 2 / 3, "pentagon": 2 / 5, "tetrahedron": 3 / 4}
    blocks = []
    for name, part in known.items():
        figure = (1 + draw.integer(0, 3)) / 2 * corners(name)
        blocks.append(figure)
        W = torch.cat([turned(draw, figure), figure.new_zeros(1, figure.shape[1])])
        yield W[None].to(draw.device), torch.tensor([[part] * len(figure) + [0.0]]).to(draw.device)
    parts = torch.cat([torch.full((len(b),), part) for b, part in zip(blocks, known.values(), strict=True)])
    yield turned(draw, torch.block_diag(*blocks))[None].to(draw.device), parts[None].to(draw.device)


def mixed_figures(draw: Draw) -> tuple[Float[Tensor, "feature hidden"], list[tuple[list[int], int]]]:
    """A model with a few regular figures, some noise and silent features, and what its figures are."""
    names = [draw.choice(["pair", "triangle", "pentagon", "tetrahedron"]), "pair", "alone"]
    figures = [draw.choice([0.9, 1.0, 1.3]) * corners(name) for name in names]
    count = sum(len(figure) for figure in figures)
    W = torch.cat(
        [turned(draw, torch.block_diag(*figures)), torch.zeros(2, sum(f.shape[1] for f in figures))]
    )
    noise = 0.02 * draw.normal(*W.shape).cpu()
    noise[count:] *= 4
    order = draw.normal(len(W)).argsort().cpu()
    place, known, first = order.argsort().tolist(), [], 0
    for figure in figures:
        known.append((sorted(place[first : first + len(figure)]), figure.shape[1]))
        first += len(figure)
    return (W + noise)[order].to(draw.device), sorted(known)


def turned(draw: Draw, figure: Float[Tensor, "feature hidden"]) -> Float[Tensor, "feature hidden"]:
    """A figure after a random rotation of its dimensions."""
    hidden = figure.shape[1]
    return figure @ torch.linalg.qr(draw.normal(hidden, hidden).cpu()).Q


def expect_rates(found: object, probability: PerFeature) -> None:
    """Pass if each feature is present as often as it should be, up to five standard errors."""
    expect_like(found, probability, axes=3)
    rate = (found != 0).float().mean(0)
    error = 5 * (probability * (1 - probability) / len(found)).sqrt()
    off = (rate - probability).abs() - error
    place = divmod(off.argmax().item(), off.shape[1])
    message = f"Feature {place[1]} of instance {place[0]} is present in {rate[place]:.1%} of the examples"
    expect(bool((off <= 0).all()), f"{message}; its probability is {probability[place]:.1%}.")


def expect_uniform(found: Features) -> None:
    """Pass if the values that are not 0 look uniform in [0, 1]."""
    values = found[found != 0].sort().values
    inside = values[0] >= 0 and values[-1] <= 1
    expect(bool(inside), f"Values lie between {values[0]:.2f} and {values[-1]:.2f}, not in [0, 1].")
    even = (torch.arange(len(values), device=values.device) + 0.5) / len(values)
    gap = (values - even).abs().max().item()
    expect(gap < 3 / len(values) ** 0.5, f"Values are not uniform: quantiles are up to {gap:.2f} off.")


def expect_pairs(found: object, probability: PerFeature, kind: str) -> None:
    """Pass if both of a pair are present together (correlated) or never, with their rates and own values."""
    expect_like(found, probability, axes=3)
    first, second = found[..., ::2], found[..., 1::2]
    both = (first != 0) & (second != 0)
    if kind == "anticorrelated":
        expect(not both.any(), "Anticorrelated features are present together in some example.")
        expect_rates(found, probability)
        expect_uniform(found)
        return
    alone = ((first != 0) ^ (second != 0)).any().item()
    expect(not alone, "Of a correlated pair, one feature is present without the other in some example.")
    expect_rates(found, probability[..., ::2].repeat_interleave(2, dim=-1))
    expect_uniform(found)
    together = torch.corrcoef(torch.stack([first[both], second[both]]))[0, 1].abs().item()
    expect(together < 0.2, f"The values of correlated features are correlated too, by {together:.2f}.")


def expect_independent(found: object, kind: str) -> None:
    """Pass if features that are no pair, instances, and examples are uncorrelated, in presence and values."""
    expect(isinstance(found, Tensor) and found.dim() == 3, "The result is not a tensor of three axes.")
    for values, what in (((found != 0).float(), "presence"), (found, "values")):
        table = values.flatten(1)
        if kind != "independent":  # one of each pair
            table = values[..., ::2].flatten(1)
        related = torch.corrcoef(table.T).fill_diagonal_(0).nan_to_num(nan=1.0).abs()
        most = related.max().item()
        expect(most < 0.12, f"Of features or instances that are no pair, {what} correlate by {most:.2f}.")
        later = (table[1:] - table.mean(0)) * (table[:-1] - table.mean(0)) / table.var(0).clamp(min=1e-9)
        expect(later.mean(0).abs().max().item() < 0.12, f"From one example to the next, {what} go together.")
    shown = found[:, 0, 0][found[:, 0, 0] != 0]
    expect(shown.unique().numel() > 0.9 * shown.numel(), "The same values come again and again.")


def pentagon_loss(probability: PerFeature, importance: PerFeature) -> Float[Tensor, " instance"]:
    """The loss of the best regular pentagon, over its size and bias, on the data of `loss_of`."""
    angles = 2 * math.pi * torch.arange(5) / 5
    corners = torch.stack([angles.cos(), angles.sin()], dim=1).to(probability)
    sizes, biases = torch.linspace(1.0, 1.3, 7), torch.linspace(-0.7, 0.0, 15)
    size, bias = (each.flatten().to(probability) for each in torch.meshgrid(sizes, biases, indexing="ij"))
    found = size[:, None, None] * corners, bias[:, None].expand(-1, 5)
    tried = len(size)
    losses = [
        loss_of(found, chance.expand(tried, 5), weight.expand(tried, 5), 2).min()
        for chance, weight in zip(probability[:1], importance[:1], strict=True)
    ]
    return torch.stack(losses).expand(len(probability))


def loss_of(
    found: object, probability: PerFeature, importance: PerFeature, hidden: int
) -> Float[Tensor, " instance"]:
    """What trained models (W, b) lose on examples that are new, the same ones for every instance."""
    expect_trained(found, *probability.shape, hidden)
    drawn = torch.rand(2, FRESH, 1, probability.shape[1], generator=torch.Generator().manual_seed(2**41))
    value, chance = drawn.to(probability)
    x = value * (chance < probability)
    W, b = (each.to(probability) for each in found)
    return superposition.toy_loss(superposition.toy_output(x, W, b), x, importance)


def losses_by_counting(
    probability: Float[Tensor, " case"], importance: Float[Tensor, " case"]
) -> Float[Tensor, "phase case"]:
    """What three models of two features lose on a fine grid of values, each weighted by its chance."""
    x = (torch.arange(120).to(probability) + 0.5) / 120
    both = torch.cartesian_prod(x, x)
    first, second = (torch.stack([x, 0 * x][::step], dim=1) for step in (1, -1))
    grids = torch.zeros(1, 2).to(probability), first, second, both
    losses = []
    for W in torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]).to(probability):
        constant = (W == 0)[:, None] * probability / 2
        case = torch.zeros_like(probability)
        for present, grid in zip(((0, 0), (1, 0), (0, 1), (1, 1)), grids, strict=True):
            chance = math.prod(probability if here else 1 - probability for here in present)
            out = (grid @ W)[:, None] * W
            error = (out.relu()[..., None] + constant - grid[..., None]).square().mean(0)
            case = case + chance * (error[0] + importance * error[1])
        losses.append(case)
    return torch.stack(losses)


def leaning_on_axes(draw: Draw, noise: float) -> tuple[Tensor, Tensor]:
    """Features near axes, up to some noise, of any size and one of them silent; and rotations."""
    hidden = draw.integer(3, 5)
    features = hidden + draw.integer(1, 3)
    places = torch.tensor([draw.integer(0, hidden - 1) for _ in range(features)])
    W = torch.eye(hidden)[places].to(draw.device) + noise * draw.normal(features, hidden) / hidden**0.5
    W = W * draw.normal(features, 1).exp()
    W[draw.integer(0, features - 1)] = 0.0
    return W, rotations(draw, hidden, draw.integer(25, 40))


def rotations(draw: Draw, hidden: int, count: int) -> Float[Tensor, "draw hidden hidden"]:
    """Random orthogonal matrices."""
    return torch.linalg.qr(draw.normal(count, hidden, hidden)).Q.contiguous()


def plane_rotations(angles: Sequence[float]) -> Float[Tensor, "draw 2 2"]:
    """Rotations of a plane by angles in radians."""
    angle = torch.tensor(angles, dtype=torch.float64)
    rows = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1)
    return rows.view(-1, 2, 2).float()


def expect_absolute_values(found: object, features: int, draw: Draw) -> None:
    """Pass if (W_in, W_out) give absolute values for every feature alone, of several sizes and both signs."""
    pair = isinstance(found, tuple | list) and len(found) == 2 and all(type(each) is Tensor for each in found)
    expect(pair, "The result is not a pair of tensors (W_in, W_out).")
    for name, each, shape in zip(("W_in", "W_out"), found, ((features, 6), (6, features)), strict=True):
        expect(tuple(each.shape) == shape, f"{name} has shape {tuple(each.shape)}, not {shape}.")
        expect(not each.requires_grad, f"{name} still asks for gradients: return it detached.")
    sizes = (
        torch.tensor([0.1, 1.0, 3.0, draw.integer(1, 9) / 10]).repeat(2) * torch.tensor([1.0, -1.0])[:, None]
    )
    x = torch.cat([size * torch.eye(features) for size in sizes.flatten().tolist()])
    W_in, W_out = (each.detach().cpu().float() for each in found)
    out = ((x @ W_in).relu() @ W_out).relu()
    error = (out - x.abs()).abs()
    expect(bool(error.isfinite().all()), "The output is not finite.")
    row, column = divmod(error.argmax().item(), features)
    feature = x[row].abs().argmax().item()
    expect(
        error.max().item() < 1e-3 * 3,
        f"Of {features} features, number {feature} alone, at {x[row, feature]:.2f}, makes output {column} "
        f"{out[row, column]:.3f} instead of {x[row].abs()[column]:.3f}.",
    )


def expect_trained(found: object, instances: int, features: int, hidden: int) -> None:
    """Pass if the result is (W, b) of the right shapes, finite, and without gradients attached."""
    pair = isinstance(found, tuple | list) and len(found) == 2 and all(type(each) is Tensor for each in found)
    expect(pair, "The result is not a pair of tensors (W, b).")
    for name, each, shape in zip(
        "Wb", found, ((instances, features, hidden), (instances, features)), strict=True
    ):
        expect(tuple(each.shape) == shape, f"{name} has shape {tuple(each.shape)}, not {shape}.")
        expect(bool(each.isfinite().all()), f"{name} is not finite.")
        expect(not each.requires_grad, f"{name} still asks for gradients: return it detached.")


def expect_like(found: object, example: Float[Tensor, "..."], axes: int | None = None) -> None:
    """Pass if the result is a plain tensor of the example's dtype and number of axes, and finite."""
    axes = example.dim() if axes is None else axes
    good = type(found) is Tensor and found.dim() == axes and found.dtype == example.dtype
    expect(good, f"The result is not a tensor of {axes} axes with dtype {example.dtype}.")
    size = example.shape[-2:] if axes >= 2 else example.shape
    expect(found.shape[-len(size) :] == size, f"The result has shape {tuple(found.shape)}.")
    expect(bool(found.isfinite().all()), "The result is not finite.")


def expect_untouched(student: object, function: Callable, *arguments: object) -> None:
    """Pass if a call leaves its arguments as they were."""
    left = student.run(after_call, function, *arguments)
    for before, after in zip(arguments, left, strict=True):
        same = torch.equal(before, after) if isinstance(before, Tensor) else before == after
        expect(same, "The call changes what it was given in place.")


def after_call(function: Callable, *arguments: object) -> list[object]:
    """The arguments, as a call leaves them."""
    function(*arguments)
    return list(arguments)

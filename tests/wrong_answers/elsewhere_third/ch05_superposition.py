import torch


def toy_output__bias_after_relu(features: Features, W: Weights, b: PerFeature) -> Features:
    """Adds the bias after the ReLU, so it neither shifts the threshold nor is cut off.
    axis: bias, ReLU, before, after, order, negative
    """
    hidden = torch.einsum("bif,ifh->bih", features, W)
    return torch.relu(torch.einsum("bih,ifh->bif", hidden, W)) + b


def toy_loss__weighted_average_too(
    output: Features, features: Features, importance: PerFeature
) -> Float[Tensor, " instance"]:
    """Divides the weighted sum over features by the sum of the importances: an average instead of a sum.
    axis: sum, importance, divide, average, normalized, weighted, features
    """
    squares = importance * (output - features) ** 2
    weighted = squares.sum(dim=-1) / importance.sum(dim=-1)
    return weighted.mean(dim=0)


def sparse_features__one_number_for_presence_and_value(
    probability: PerFeature, batch: int, seed: int, pairs: str = "independent"
) -> Features:
    """Uses the number that decided presence as the value too, so values lie below the probability.
    axis: value, presence, same, uniform, probability, independent, draw
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(batch, *probability.shape, generator=generator).to(probability.device)
    present = uniform < probability
    if pairs == "correlated":
        present[..., 1::2] = present[..., 0::2]
    elif pairs == "anticorrelated":
        present[..., 1::2] = uniform[..., 0::2] > 1 - probability[..., 1::2]
    return torch.where(present, uniform, torch.zeros_like(uniform))


def sparse_features__second_fills_the_rest(
    probability: PerFeature, batch: int, seed: int, pairs: str = "independent"
) -> Features:
    """Anticorrelated: the second of a pair is there whenever the first is not, ignoring its own probability.
    axis: anticorrelated, second, absent, own, probability, pair, neither
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *probability.shape)
    chance = torch.rand(*shape, generator=generator).to(probability.device)
    value = torch.rand(*shape, generator=generator).to(probability.device)
    present = chance < probability
    if pairs == "correlated":
        present[..., 1::2] = present[..., 0::2]
    elif pairs == "anticorrelated":
        present[..., 1::2] = ~present[..., 0::2]
    return value * present


def train_toy__trains_on_the_complement(
    probability: PerFeature, importance: PerFeature, hidden: int, seed: int, steps: int = 300
) -> tuple[Weights, PerFeature]:
    """Draws its training data with 1 - probability, as if the argument were a sparsity: rare becomes common.
    axis: probability, sparsity, 1 -, complement, data, rare, dense
    """
    instances, features = probability.shape
    sparsity = 1 - probability
    generator = torch.Generator().manual_seed(seed)
    W = (0.1 * torch.randn(instances, features, hidden, generator=generator)).to(probability.device)
    b = torch.zeros(instances, features, device=probability.device)
    W.requires_grad_(), b.requires_grad_()
    optimizer = torch.optim.Adam([W, b], lr=0.05)
    for step in range(steps):
        for part in optimizer.param_groups:
            part["lr"] = 0.05 * (1 - step / steps)
        examples = sparse_features(sparsity, 256, seed * steps + step)
        loss = toy_loss(toy_output(examples, W, b), examples, importance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return W.detach(), b.detach()


def interference__summed_over_the_readers(W: Weights) -> PerFeature:
    """Sums over i instead of j: how much a feature disturbs the others, not how much it hears of them.
    axis: axis, sum, direction, row, column, others, transposed
    """
    unit = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    squares = (unit @ W.mT).square()
    squares = squares - torch.diag_embed(squares.diagonal(dim1=-2, dim2=-1))
    return squares.sum(dim=-2)


def feature_dimensionality__itself_not_counted(W: Weights) -> PerFeature:
    """Divides by the interference alone and leaves the feature's own square out of the denominator.
    axis: denominator, itself, own, square, interference, sum, missing
    """
    own = W.square().sum(dim=-1)
    return own / interference(W).clamp(min=1e-24)


def feature_groups__only_positive_cosines(
    W: Float[Tensor, "feature hidden"], least: float = 0.5, threshold: float = 0.15
) -> list[tuple[list[int], int]]:
    """Compares the cosine itself with the threshold, not its absolute value: opposite features don't meet.
    axis: absolute, cosine, sign, negative, antipodal, opposite, neighbours
    """
    norms = W.norm(dim=-1)
    unit = W / norms.clamp(min=1e-12)[:, None]
    near = unit @ unit.T > threshold
    left = [n for n in range(len(W)) if norms[n] >= least]
    found = []
    while left:
        group, waiting = [], [left.pop(0)]
        while waiting:
            one = waiting.pop()
            group.append(one)
            neighbours = [n for n in left if near[one, n]]
            left = [n for n in left if n not in neighbours]
            waiting += neighbours
        group.sort()
        sizes = torch.linalg.svdvals(W[group])
        found.append((group, int((sizes > threshold * sizes.max()).sum())))
    return found


def phase_losses__square_of_the_mean_minimum(
    probability: Float[Tensor, " case"], importance: Float[Tensor, " case"]
) -> Float[Tensor, "phase case"]:
    """Takes the square of the mean of min(x0, x1), 1/9, for the mean of its square, 1/6.
    axis: min, square, mean, 1/6, 1/9, pair, antipodal
    """
    variance = probability / 3 - (probability / 2) ** 2
    mean_of_lesser = 1 / 3
    both_there = probability**2
    first = importance * variance
    second = variance
    pair = (1 + importance) * both_there * mean_of_lesser**2
    return torch.stack([first, second, pair])


def basis_p_value__mean_of_ratios(
    W: Float[Tensor, "feature hidden"], rotations: Float[Tensor, "draw hidden hidden"]
) -> float:
    """Divides feature by feature and averages the ratios, instead of dividing one sum by the other.
    axis: ratio, sum, average, feature, divide, concentration, norm
    """
    if W.shape[1] < 2:
        raise ValueError("a single neuron has no other basis")
    if not W.any():
        raise ValueError("all weights are 0")

    def concentration(weights):
        lengths = weights.square().sum(dim=-1)
        return (weights.pow(4).sum(dim=-1) / lengths.square().clamp(min=1e-30)).mean(dim=-1)

    own = concentration(W)
    count = (concentration(W @ rotations) >= own * (1 - 1e-5)).sum().item()
    return (1 + count) / (1 + len(rotations))


def absolute_value_weights__last_angle_meets_first(
    features: int,
) -> tuple[Float[Tensor, "feature 6"], Float[Tensor, "6 feature"]]:
    """Spaces the angles from 0 to 2π with both ends, so the first and the last feature share a direction.
    axis: angle, first, last, linspace, same, direction, endpoint, 2π
    """
    kind = {"dtype": torch.float64}
    diagonal = torch.ones(3, **kind) / 3**0.5
    e = torch.tensor([1.0, -1.0, 0.0], **kind) / 2**0.5
    f = torch.tensor([1.0, 1.0, -2.0], **kind) / 6**0.5
    angles = torch.linspace(0, 2 * math.pi, features, **kind)[:, None]
    around = angles.cos() * e + angles.sin() * f
    u = diagonal + around / 2**0.5
    cut = math.cos(2 * math.pi / max(features, 3)) / 2**0.5
    v = around - cut * diagonal
    v = v / (v * u).sum(dim=-1, keepdim=True)
    W_in = torch.cat([u, -u], dim=1)
    W_out = torch.cat([v.T, v.T], dim=0)
    return W_in.float(), W_out.float()

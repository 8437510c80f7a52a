import math

import torch


def toy_output__decoder_sums_instances(features, W, b):
    """Reads out with the weights of all instances added up, instead of each instance's own.
    axis: instance, own weights, mixes, sums over instances, read out, decoder, einsum
    """
    hidden = torch.einsum("bif,ifh->bih", features, W)
    output = torch.einsum("bih,jfh->bif", hidden, W)
    return torch.relu(output + b)


def toy_loss__importance_squared(output, features, importance):
    """Multiplies the error by the importance before squaring, so importance counts squared.
    axis: importance, squared, square, weight, inside
    """
    error = importance * (output - features)
    return error.square().sum(dim=-1).mean(dim=0)


def sparse_features__correlated_values(probability, batch, seed, pairs="independent"):
    """In correlated pairs the second feature copies the value of the first, not only its presence.
    axis: correlated, values, independent, same value, copies
    """
    g = torch.Generator().manual_seed(seed)
    p = probability.cpu()
    shape = (batch, *p.shape)
    values = torch.rand(shape, generator=g)
    present = torch.rand(shape, generator=g) < p
    if pairs == "correlated":
        x = values * present
        x[..., 1::2] = x[..., 0::2]
        return x.to(probability.device)
    if pairs == "anticorrelated":
        u = torch.rand(batch, p.shape[0], p.shape[1] // 2, generator=g)
        first, second = p[:, 0::2], p[:, 1::2]
        present[..., 0::2] = u < first
        present[..., 1::2] = (u >= first) & (u < first + second)
    return (values * present).to(probability.device)


def sparse_features__second_too_rare(probability, batch, seed, pairs="independent"):
    """Anticorrelated: drops the second where the first is present, so it is rarer than its probability.
    axis: anticorrelated, own probability, second, too rare, too seldom, share present
    """
    g = torch.Generator().manual_seed(seed)
    p = probability.cpu()
    shape = (batch, *p.shape)
    present = torch.rand(shape, generator=g) < p
    if pairs == "correlated":
        present[..., 1::2] = present[..., 0::2]
    elif pairs == "anticorrelated":
        present[..., 1::2] &= ~present[..., 0::2]
    return (torch.rand(shape, generator=g) * present).to(probability.device)


def train_toy__bias_never_trained(probability, importance, hidden, seed, steps=300):
    """Gives only W to the optimizer, so the biases stay at zero.
    axis: bias, biases, b, zero, not trained, loss too high, optimizer
    """
    g = torch.Generator().manual_seed(seed)
    instances, features = probability.shape
    W = 0.3 * torch.randn(instances, features, hidden, generator=g)
    W = W.to(probability.device).requires_grad_()
    b = torch.zeros_like(probability).requires_grad_()
    optimizer = torch.optim.Adam([W], lr=0.03)
    for step in range(steps):
        x = sparse_features(probability, 512, 10_000 * seed + step)
        loss = toy_loss(toy_output(x, W, b), x, importance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return W.detach(), b.detach()


def interference__other_scaled(W):
    """Scales the other features to norm 1 and leaves feature i as it is: the wrong one of the two.
    axis: norm, normalize, unit, direction of feature i, others, wrong side, transposed
    """
    unit = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    overlap = torch.einsum("nih,njh->nij", W, unit).square()
    overlap = overlap * (1 - torch.eye(W.shape[1], device=W.device))
    return overlap.sum(dim=-1)


def interference__subtracts_norm(W):
    """Takes the feature's own part away as its norm, not as the square of its norm.
    axis: own, itself, norm, square, squared, subtract, j = i
    """
    norm = W.norm(dim=-1)
    unit = W / norm[..., None].clamp(min=1e-12)
    along = unit @ W.transpose(-1, -2)
    return along.square().sum(dim=-1) - norm


def feature_dimensionality__direction_not_scaled(W):
    """Sums the squares along W_i itself instead of along its unit direction.
    axis: unit, direction, norm, normalize, scale, length
    """
    own = W.square().sum(dim=-1)
    total = (W @ W.transpose(-1, -2)).square().sum(dim=-1)
    return torch.where(total > 0, own / total.clamp(min=1e-30), torch.zeros_like(own))


def feature_groups__numerical_rank(W, least=0.5, threshold=0.15):
    """Takes the numerical rank as dimensions, so tiny singular values below threshold count, too.
    axis: dimensions, singular values, threshold, largest, rank, tiny, small
    """
    norm = W.norm(dim=1)
    kept = (norm >= least).nonzero().flatten().tolist()
    unit = W / norm[:, None].clamp(min=1e-12)
    near = (unit @ unit.T).abs() > threshold
    groups, seen = [], set()
    for start in kept:
        if start in seen:
            continue
        group, todo = set(), [start]
        while todo:
            i = todo.pop()
            if i not in group:
                group.add(i)
                todo += [j for j in kept if near[i, j]]
        seen |= group
        features = sorted(group)
        groups.append((features, int(torch.linalg.matrix_rank(W[features]))))
    return groups


def feature_groups__two_links_at_most(W, least=0.5, threshold=0.15):
    """Follows chains of neighbours for two links only, so longer chains fall apart.
    axis: chain, neighbours, connected, longer, links, split, one figure
    """
    norm = W.norm(dim=1)
    kept = (norm >= least).nonzero().flatten().tolist()
    unit = W[kept] / norm[kept, None]
    near = ((unit @ unit.T).abs() > threshold).float()
    linked = near @ near > 0  # neighbours, and neighbours of neighbours
    groups, seen = [], set()
    for i in range(len(kept)):
        if i in seen:
            continue
        members = [j for j in linked[i].nonzero().flatten().tolist() if j not in seen]
        seen.update(members)
        features = [kept[j] for j in members]
        values = torch.linalg.svdvals(W[features])
        groups.append((features, int((values > threshold * values[0]).sum())))
    return groups


def phase_losses__square_of_mean_min(probability, importance):
    """Uses the square of the mean of min(x0, x1), 1/9, instead of the mean of its square, 1/6.
    axis: antipodal, min, mean of the square, square of the mean, 1/6, 1/9, third phase
    """
    p = probability
    variance = p / 3 - p.square() / 4
    mean_min = 1 / 3
    both = p.square() * mean_min**2 * (1 + importance)
    return torch.stack([importance * variance, variance, both])


def basis_p_value__ties_left_out(W, rotations):
    """Counts only rotations whose concentration is clearly larger, so equal ones are left out.
    axis: at least, ties, equal, tolerance, strictly, larger
    """
    if W.shape[1] < 2 or not W.any():
        raise ValueError("no basis to speak of")

    def concentration(M):
        return M.pow(4).sum(dim=(-1, -2)) / M.square().sum(dim=-1).square().sum(dim=-1)

    own = concentration(W)
    more = (concentration(W @ rotations) > own * (1 + 1e-5)).sum().item()
    return (1 + more) / (1 + len(rotations))


def basis_p_value__guards_features(W, rotations):
    """Raises for a single feature (first axis) instead of for a single neuron (second axis).
    axis: ValueError, single neuron, one neuron, hidden, feature, wrong axis
    """
    if W.shape[0] < 2 or not W.any():
        raise ValueError("needs several neurons and weights that are not all 0")
    turned = torch.cat([W[None], W @ rotations])
    fourth = turned.pow(4).sum(dim=(1, 2))
    share = fourth / turned.square().sum(dim=2).square().sum(dim=1)
    return (share >= share[0] * (1 - 1e-5)).double().mean().item()


def absolute_value_weights__circle_closed_twice(features):
    """Spreads the features with both ends of the circle included, so first and last coincide.
    axis: first and last, same direction, coincide, collide, circle, angle, endpoint, other features
    """
    angle = torch.linspace(0, 2 * math.pi, features)
    axis = torch.tensor([1.0, 1.0, 1.0]) / math.sqrt(3)
    right = torch.tensor([1.0, -1.0, 0.0]) / math.sqrt(2)
    up = torch.tensor([1.0, 1.0, -2.0]) / math.sqrt(6)
    ring = angle.cos()[:, None] * right + angle.sin()[:, None] * up
    u = math.sqrt(2) * axis + ring  # on a cone in the positive octant
    steep = 1 / (1 - math.cos(2 * math.pi / max(features, 2)))
    w = (1 - steep) / math.sqrt(2) * axis + steep * ring  # 1 on its own, at most 0 on the others
    return torch.cat([u, -u], dim=1), torch.cat([w.T, w.T], dim=0)

import math

import torch


def toy_output__bias_taken_off_first_e(features, W, b):
    """As in a sparse autoencoder, the bias is subtracted from the features before they are written into the
    hidden layer.
    axis: bias subtracted before encoding; it belongs only to the output
    """
    hidden = torch.einsum("bif,ifh->bih", features - b, W)
    return torch.relu(torch.einsum("bih,ifh->bif", hidden, W) + b)


def toy_output__unit_directions_e(features, W, b):
    """Each feature's row of W is scaled to length 1 before it is used, so norms play no part.
    axis: rows of W normalized; the weights are to be taken as they are
    """
    directions = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    hidden = torch.einsum("bif,ifh->bih", features, directions)
    back = torch.einsum("bih,ifh->bif", hidden, directions)
    return (back + b).relu()


def toy_loss__weighted_average_e(output, features, importance):
    """The sum over features is divided by the sum of importances, which makes a weighted average of it
    instead of a sum.
    axis: divided by total importance; sum over features, not a weighted mean
    """
    errors = (output - features).square()
    weighted = (importance * errors).sum(dim=-1) / importance.sum(dim=-1)
    return weighted.mean(dim=0)


def toy_loss__root_mean_square_e(output, features, importance):
    """The root of each instance's loss is returned, as for an RMS error.
    axis: square root; the squared error itself is asked for
    """
    squares = importance * (output - features) ** 2
    return squares.sum(dim=-1).mean(dim=0).sqrt()


def sparse_features__one_number_for_both_e(probability, batch, seed, pairs="independent"):
    """The same uniform number decides on presence and is the value, so present values lie below the
    probability instead of in [0, 1].
    axis: value and presence drawn from the same number; values not uniform in [0, 1]
    """
    generator = torch.Generator(device=probability.device).manual_seed(seed)
    drawn = torch.rand(batch, *probability.shape, generator=generator, device=probability.device)
    present = drawn < probability
    if pairs == "correlated":
        present[..., 1::2] = present[..., ::2]
    elif pairs == "anticorrelated":
        present[..., 1::2] = drawn[..., ::2] > 1 - probability[..., 1::2]
    return drawn * present


def sparse_features__pairs_half_a_row_apart_e(probability, batch, seed, pairs="independent"):
    """Feature i is paired with feature i + n/2, not 0 with 1, 2 with 3 and so on.
    axis: wrong partners; pairs are neighbours (0, 1), (2, 3)
    """
    generator = torch.Generator(device=probability.device).manual_seed(seed)

    def uniform():
        return torch.rand(batch, *probability.shape, generator=generator, device=probability.device)

    chance, values = uniform(), uniform()
    present = chance < probability
    half = probability.shape[-1] // 2
    if pairs == "correlated":
        present = torch.cat([present[..., :half], present[..., :half]], dim=-1)
    if pairs == "anticorrelated":
        second = chance[..., :half] > 1 - probability[..., half:]
        present = torch.cat([present[..., :half], second], dim=-1)
    return values * present


def train_toy__probability_as_sparsity_e(probability, importance, hidden, seed, steps=300):
    """The probability is taken for the sparsity of the papers: training sees each feature with 1 -
    probability.
    axis: trained with 1 - probability, on dense instead of rare features
    """
    device = probability.device
    generator = torch.Generator(device=device).manual_seed(seed)
    W = 0.3 * torch.randn(*probability.shape, hidden, generator=generator, device=device)
    W.requires_grad_()
    b = torch.zeros(probability.shape, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([W, b], lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    density = 1 - probability
    for step in range(steps):
        features = sparse_features(density, 256, seed * steps + step)
        loss = toy_loss(toy_output(features, W, b), features, importance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return W.detach(), b.detach()


def train_toy__adams_default_rate_e(probability, importance, hidden, seed, steps=300):
    """Adam is used with its default learning rate of 0.001, with which 300 steps are far too few.
    axis: learning rate too small; training not finished
    """
    generator = torch.Generator(device=probability.device).manual_seed(seed)
    start = torch.randn(*probability.shape, hidden, generator=generator, device=probability.device)
    W = (0.1 * start).requires_grad_()
    b = torch.zeros_like(probability).requires_grad_()
    optimizer = torch.optim.Adam([W, b])
    for step in range(steps):
        x = sparse_features(probability, 512, seed * steps + step)
        losses = toy_loss(toy_output(x, W, b), x, importance)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    return W.detach(), b.detach()


def interference__takes_one_off_e(W):
    """The feature's own term is removed by subtracting 1, as if every feature had norm 1, instead of its
    squared norm.
    axis: own term is the squared norm, not 1
    """
    norms = W.norm(dim=-1, keepdim=True)
    unit = W / norms.clamp(min=1e-12)
    heard = (unit @ W.mT).square().sum(dim=-1) - 1
    return torch.where(norms[..., 0] > 0, heard, torch.zeros_like(heard))


def interference__summed_over_listeners_e(W):
    """The squares are summed over the directions i that listen instead of over the other features j, so it
    says how much feature j disturbs others.
    axis: wrong axis of the sum; what it gives to others instead of what it hears
    """
    directions = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    table = (directions @ W.mT).square()  # [instance, feature, feature]
    off_diagonal = table - torch.diag_embed(table.diagonal(dim1=-2, dim2=-1))
    return off_diagonal.sum(dim=-2)


def feature_dimensionality__one_plus_interference_e(W):
    """In the sum below the line the feature's own term is written as 1, which it is only for features of norm
    1.
    axis: own term in the denominator is the squared norm, not 1
    """
    return W.square().sum(dim=-1) / (1 + interference(W))


def feature_dimensionality__length_above_the_line_e(W):
    """Above the line stands the length of the feature instead of its square.
    axis: numerator not squared
    """
    length = W.norm(dim=-1)
    unit = W / length[..., None].clamp(min=1e-12)
    along = (unit @ W.mT).square().sum(dim=-1)
    return length / along.clamp(min=1e-24)


def feature_groups__simplex_dimensions_e(W, least=0.5, threshold=0.15):
    """The dimensions of a figure of n features are said to be n - 1, as for a triangle or tetrahedron, so a
    pentagon gets 4.
    axis: dimensions must come from the singular values (rank), not from the number of features
    """
    norms = W.norm(dim=-1)
    unit = W / norms[:, None].clamp(min=1e-12)
    neighbours = (unit @ unit.T).abs() > threshold
    waiting = [n for n in range(len(W)) if norms[n] >= least]
    figures = []
    while waiting:
        group, todo = [], [waiting.pop(0)]
        while todo:
            one = todo.pop()
            group.append(one)
            near = [n for n in waiting if neighbours[one, n]]
            waiting = [n for n in waiting if n not in near]
            todo += near
        figures.append((sorted(group), max(1, len(group) - 1)))
    return sorted(figures)


def feature_groups__no_figures_of_one_e(W, least=0.5, threshold=0.15):
    """Features that overlap with no other are left out, though a feature on its own is a figure too.
    axis: single features missing from the list
    """
    kept = [n for n, norm in enumerate(W.norm(dim=-1).tolist()) if norm >= least]
    unit = torch.nn.functional.normalize(W, dim=-1)
    cosines = (unit @ unit.T).abs()
    groups = []
    for n in kept:
        touching = [group for group in groups if any(cosines[n, m] > threshold for m in group)]
        melted = sorted([n] + [m for group in touching for m in group])
        groups = [group for group in groups if group not in touching] + [melted]
    figures = []
    for group in sorted(groups):
        if len(group) < 2:
            continue  # nothing overlaps here
        values = torch.linalg.svdvals(W[group])
        figures.append((group, int((values > threshold * values[0]).sum())))
    return figures


def phase_losses__only_the_smaller_is_wrong_e(probability, importance):
    """For the antipodal pair only the smaller of the two features is counted as wrong, so half of the error
    is missing.
    axis: both features are off when both are present; factor one half too much in the pair's loss
    """
    variance = probability / 3 - probability**2 / 4
    first_alone = importance * variance
    second_alone = variance
    # both present: the larger comes through, the smaller, either of the two, is lost
    pair = probability**2 / 6 * (1 + importance) / 2
    return torch.stack([first_alone, second_alone, pair])


def phase_losses__constant_of_one_half_e(probability, importance):
    """The dropped feature is answered by 1/2, its mean when it is present, instead of by p/2, its mean
    overall.
    axis: best constant is p/2, not the mean of a present feature
    """
    answered = probability / 12 + (1 - probability) / 4
    both = probability.square() * (1 + importance) / 6
    return torch.stack([importance * answered, answered, both])


def basis_p_value__two_sided_e(W, rotations):
    """The p value is made two-sided, twice the smaller tail, though the question is only whether the
    concentration is as large.
    axis: two-sided instead of one-sided
    """
    if W.shape[1] < 2 or not bool((W != 0).any()):
        raise ValueError("there is no basis to ask about")

    def concentration(weights):
        return weights.pow(4).sum(dim=(-2, -1)) / W.norm(dim=-1).pow(4).sum()

    own, turned = concentration(W), concentration(W @ rotations)
    above = (1 + (turned >= own * (1 - 1e-5)).sum().item()) / (1 + len(rotations))
    below = (1 + (turned <= own * (1 + 1e-5)).sum().item()) / (1 + len(rotations))
    return float(min(1.0, 2 * min(above, below)))


def basis_p_value__mean_over_features_e(W, rotations):
    """The concentration is computed for each feature and then averaged, so short features count as much as
    long ones.
    axis: mean of ratios over features instead of a ratio of sums
    """
    if W.shape[-1] == 1:
        raise ValueError("a single neuron has no rotations")
    if W.abs().max() == 0:
        raise ValueError("all weights are 0")
    lengths = W.norm(dim=-1).pow(4)
    has = lengths > 0

    def concentration(weights):
        return (weights.pow(4).sum(dim=-1)[..., has] / lengths[has]).mean(dim=-1)

    own = concentration(W)
    count = (concentration(W @ rotations) >= own * (1 - 1e-5)).sum().item()
    return (1 + count) / (1 + len(rotations))


def _cone_of_blind5(features):
    """The diagonal, and unit vectors around it, one for each feature."""
    d = torch.ones(3, dtype=torch.float64) / 3**0.5
    e = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / 2**0.5
    f = torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64) / 6**0.5
    angle = 2 * math.pi * torch.arange(features, dtype=torch.float64)[:, None] / features
    return d, angle.cos() * e + angle.sin() * f


def absolute_value_weights__signs_mirrored_out_e(features):
    """The negative neurons are read out with a minus, mirroring W_in, so negative values come out as 0
    instead of their absolute value.
    axis: sign of the output weights for negative values; W_out should be (v, v)
    """
    d, c = _cone_of_blind5(features)
    u = d + c / 2**0.5
    s = math.cos(2 * math.pi / features) / 2**0.5 if features > 1 else 0.0
    v = c - s * d
    v = v / (v * u).sum(dim=-1, keepdim=True)
    W_in = torch.cat([u, -u], dim=1)
    W_out = torch.cat([v, -v], dim=1).T
    return W_in.float(), W_out.float()


def absolute_value_weights__plane_through_the_axis_e(features):
    """The output weights are the c_i alone, without the share of the diagonal, so neighbours on the cone are
    heard as well.
    axis: plane does not cut the feature off from its neighbours; others get positive outputs
    """
    d, c = _cone_of_blind5(features)
    u = d + c / 2**0.5
    v = c / (c * u).sum(dim=-1, keepdim=True)
    return torch.cat([u, -u], dim=1).float(), torch.cat([v, v], dim=1).T.contiguous().float()

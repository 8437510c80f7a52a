import torch


def toy_output__one_letter_for_two_features_b(features, W, b):
    """Uses the same einsum letter for the features going in and out, so each feature only meets itself.
    axis: einsum, letter, index, diagonal, other features, W transposed, squared norm
    """
    return torch.relu(torch.einsum("bif,ifh,ifh->bif", features, W, W) + b)


def toy_loss__weighted_average_b(output, features, importance):
    """Divides by the sum of the importances, a weighted average over features instead of a weighted sum.
    axis: weighted average, divides, sum of importances, sum over features, normalization
    """
    squares = (output - features) ** 2
    per_example = (importance * squares).sum(dim=-1) / importance.sum(dim=-1)
    return per_example.mean(dim=0)


def sparse_features__same_stream_twice_b(probability, batch, seed, pairs="independent"):
    """Seeds a new generator for every draw, so that values are the very numbers that decide on presence.
    axis: generator, same seed, values, presence, not independent, below the probability
    """
    instances, features = probability.shape

    def uniform(*shape):
        return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(probability.device)

    if pairs == "independent":
        present = uniform(batch, instances, features) < probability
    else:
        shared = uniform(batch, instances, features // 2)
        first = shared < probability[:, 0::2]
        second = first if pairs == "correlated" else shared > 1 - probability[:, 1::2]
        present = torch.stack([first, second], dim=-1).flatten(start_dim=-2)

    value = uniform(batch, instances, features)
    return value * present


def sparse_features__pairs_by_halves_b(probability, batch, seed, pairs="independent"):
    """Pairs the first half of the features with the second half, not neighbours 0 and 1, 2 and 3.
    axis: pairs, halves, chunk, neighbours, which features, interleaved
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *probability.shape)
    coin = torch.rand(shape, generator=generator).to(probability.device)
    value = torch.rand(shape, generator=generator).to(probability.device)
    if pairs == "independent":
        return value * (coin < probability)
    p_one, p_two = probability.chunk(2, dim=-1)
    coin, _ = coin.chunk(2, dim=-1)
    one = coin < p_one
    two = one if pairs == "correlated" else coin > 1 - p_two
    return value * torch.cat([one, two], dim=-1)


def train_toy__sparsity_for_probability_b(probability, importance, hidden, seed, steps=300):
    """Draws training data with 1 - probability, as if the data function took the sparsity.
    axis: sparsity, 1 - probability, training data, rare, dense, presence
    """
    instances, features = probability.shape
    generator = torch.Generator().manual_seed(seed)
    W = (0.1 * torch.randn(instances, features, hidden, generator=generator)).to(probability.device)
    W.requires_grad_()
    b = torch.zeros(instances, features, device=probability.device, requires_grad=True)
    optimizer = torch.optim.Adam([W, b], lr=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)

    sparsity = 1 - probability
    for step in range(steps):
        x = sparse_features(sparsity, 256, seed * steps + step)
        loss = toy_loss(toy_output(x, W, b), x, importance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return W.detach(), b.detach()


def interference__sums_wrong_axis_b(W):
    """Sums over the directions instead of over the other features, so the roles of i and j are exchanged.
    axis: axis, sum, direction, unit, i and j, exchanged, transposed
    """
    unit = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    heard = torch.einsum("nih,njh->nij", unit, W).square()
    heard = heard - torch.diag_embed(heard.diagonal(dim1=1, dim2=2))
    return heard.sum(dim=1)


def feature_dimensionality__gram_without_unit_b(W):
    """Puts the plain products of W with itself in the denominator, without scaling direction i to norm 1.
    axis: denominator, unit direction, not normalized, norm, gram, dot products
    """
    gram = W @ W.mT
    own = gram.diagonal(dim1=-2, dim2=-1)
    return own / gram.square().sum(dim=-1).clamp(min=1e-24)


def feature_groups__numbers_of_the_filtered_rows_b(W, least=0.5, threshold=0.15):
    """Reports places among the rows that were kept, not the features' own numbers in W.
    axis: indices, filtered, short features, original numbers, renumbered, dropped
    """
    strong = W[W.norm(dim=-1) >= least]
    unit = strong / strong.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    linked = (unit @ unit.T).abs() > threshold
    todo, figures = set(range(len(strong))), []
    while todo:
        group, queue = set(), [min(todo)]
        while queue:
            i = queue.pop()
            if i in group:
                continue
            group.add(i)
            queue.extend(linked[i].nonzero().flatten().tolist())
        todo -= group
        members = sorted(group)
        values = torch.linalg.svdvals(strong[members])
        figures.append((members, int((values > threshold * values.max()).sum())))
    return figures


def phase_losses__variance_when_present_b(probability, importance):
    """Takes p/12 for the variance of an absent-or-uniform feature, the uniform's variance times p.
    axis: variance, 1/12, uniform, absent, mean square, p/3, best constant
    """
    p = probability
    left_out = p / 12  # variance of a uniform number in [0, 1], when there is one
    both = p**2 / 6
    return torch.stack([importance * left_out, left_out, (1 + importance) * both])


def basis_p_value__mean_of_ratios_b(W, rotations):
    """Averages each feature's own concentration instead of dividing the sum over features by the sum.
    axis: mean of ratios, ratio of sums, per feature, short features, weight, concentration
    """
    if W.shape[1] < 2:
        raise ValueError("one neuron has no basis to speak of")
    if not W.any():
        raise ValueError("W is all zeros")

    def concentration(V):
        fourth = V.pow(4).sum(dim=-1)
        length = V.square().sum(dim=-1)
        return (fourth / length.square().clamp(min=1e-30)).mean(dim=-1)

    own = concentration(W)
    chance = concentration(W @ rotations)
    k = int((chance >= own * (1 - 1e-5)).sum())
    return (1 + k) / (1 + len(rotations))


def absolute_value_weights__circle_closed_twice_b(features):
    """Spreads the angles with both 0 and 2 pi included, so the first and the last feature coincide.
    axis: linspace, endpoint, 2 pi, first and last, same direction, angles
    """
    d = torch.ones(3) / math.sqrt(3)
    e = torch.tensor([1.0, -1.0, 0.0]) / math.sqrt(2)
    f = torch.tensor([1.0, 1.0, -2.0]) / math.sqrt(6)
    angle = torch.linspace(0, 2 * math.pi, features)
    c = angle.cos()[:, None] * e + angle.sin()[:, None] * f
    u = d + c / math.sqrt(2)
    s = math.cos(2 * math.pi / features) / math.sqrt(2) if features > 1 else 0.0
    v = (c - s * d) / (1 / math.sqrt(2) - s)
    W_in = torch.cat([u, -u], dim=1)
    W_out = torch.cat([v, v], dim=1).T
    return W_in, W_out

"""Right answers, written otherwise: none of them may lose a point."""

import math

import numpy as np
import torch
from einops import einsum, reduce
from torch.nn import functional


def toy_output__through_the_gram_matrix(features, W, b):
    gram = W @ W.transpose(1, 2)
    return functional.relu(einsum(features, gram, "batch i f, i f g -> batch i g") + b)


def toy_output__instance_by_instance(features, W, b):
    outputs = [x @ w @ w.T + bias for x, w, bias in zip(features.unbind(1), W, b, strict=True)]
    return torch.stack(outputs, dim=1).clamp(min=0)


def toy_output__bmm(features, W, b):
    hidden = torch.bmm(features.transpose(0, 1), W)
    back = torch.baddbmm(b.unsqueeze(1), hidden, W.mT)
    return torch.maximum(back, torch.zeros_like(back)).transpose(0, 1)


def toy_loss__einsum(output, features, importance):
    return einsum((output - features).square(), importance, "b i f, i f -> i") / output.shape[0]


def toy_loss__mean_first(output, features, importance):
    by_feature = torch.nn.functional.mse_loss(output, features, reduction="none").mean(0)
    return (by_feature * importance).sum(-1)


def toy_loss__reduce(output, features, importance):
    return reduce(importance[None] * torch.pow(features - output, 2), "b i f -> i", "sum") / len(features)


def sparse_features__bernoulli(probability, batch, seed, pairs="independent"):
    generator = torch.Generator(probability.device).manual_seed(seed)
    chances = probability.expand(batch, -1, -1).clone()
    if pairs == "independent":
        present = torch.bernoulli(chances, generator=generator).bool()
    else:
        first = torch.bernoulli(chances[..., ::2], generator=generator).bool()
        if pairs == "correlated":
            second = first.clone()
        else:
            left = (chances[..., 1::2] / (1 - chances[..., ::2])).nan_to_num(0.0)
            second = torch.bernoulli(left, generator=generator).bool() & ~first
        present = torch.stack([first, second], dim=-1).reshape(chances.shape)
    values = torch.empty_like(chances).uniform_(generator=generator)
    return (values * present).to(probability.device)


def sparse_features__pair_by_pair(probability, batch, seed, pairs="independent"):
    generator = torch.Generator(probability.device).manual_seed(seed)
    instances, features = probability.shape
    x = torch.rand(batch, instances, features, generator=generator, device=generator.device).to(
        probability.device
    )
    for f in range(features):
        if pairs == "independent" or f % 2 == 0:
            u = torch.rand(batch, instances, generator=generator, device=generator.device).to(
                probability.device
            )
        if pairs == "anticorrelated" and f % 2:
            low, high = probability[:, f - 1], probability[:, f - 1] + probability[:, f]
            gone = (u < low) | (u >= high)
        else:
            gone = u >= probability[:, f - (f % 2 if pairs == "correlated" else 0)]
        x[..., f] = x[..., f].masked_fill(gone, 0.0)
    return x


def sparse_features__one_draw_of_both(probability, batch, seed, pairs="independent"):
    generator = torch.Generator(probability.device).manual_seed(seed)
    value, u = torch.rand(2, batch, *probability.shape, generator=generator, device=generator.device).to(
        probability.device
    )
    p = probability.expand_as(u)
    if pairs == "correlated":
        u, p = (each[..., ::2].repeat_interleave(2, dim=-1) for each in (u, p))
    if pairs == "anticorrelated":
        u = torch.stack([u[..., ::2], 1 - u[..., ::2]], dim=-1).flatten(-2)
    return value * u.lt(p).float()


def train_toy__adamw_by_the_gram_matrix(probability, importance, hidden, seed, steps=300):
    generator = torch.Generator(probability.device).manual_seed(seed)
    W = (torch.randn(*probability.shape, hidden, generator=generator, device=generator.device) * 0.3).to(
        probability.device
    )
    W, b = torch.nn.Parameter(W), torch.nn.Parameter(torch.zeros_like(probability))
    optimizer = torch.optim.AdamW([W, b], lr=0.05, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, max(steps, 1))
    for _ in range(steps):
        value, u = torch.rand(2, 256, *probability.shape, generator=generator, device=generator.device).to(
            probability.device
        )
        x = value * (u < probability)
        error = functional.relu(_linear(x, W, b)) - x
        (importance * error**2).sum(-1).mean(0).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return W.detach().clone(), b.detach().clone()


def train_toy__adam_by_hand(probability, importance, hidden, seed, steps=300):
    torch.manual_seed(seed)
    W = (0.6 * torch.randn(*probability.shape, hidden)).to(probability.device)
    weights = [W, torch.zeros_like(probability)]
    first, second = ([torch.zeros_like(each) for each in weights] for _ in range(2))
    for step in range(steps):
        shape = 256, *probability.shape
        x = torch.rand(shape).to(probability) * (torch.rand(shape).to(probability) < probability)
        weights = [each.requires_grad_() for each in weights]
        error = _linear(x, *weights).relu() - x
        slopes = torch.autograd.grad((importance * error**2).sum() / 256, weights)
        for n, slope in enumerate(slopes):
            first[n] = 0.9 * first[n] + 0.1 * slope
            second[n] = 0.99 * second[n] + 0.01 * slope**2
            mean, square = first[n] / (1 - 0.9 ** (step + 1)), second[n] / (1 - 0.99 ** (step + 1))
            rate = 0.05 * (1 - step / steps)
            weights[n] = weights[n].detach() - rate * mean / (square.sqrt() + 1e-8)
    return tuple(each.detach() for each in weights)


def train_toy__one_after_the_other(probability, importance, hidden, seed, steps=300):
    found = []
    for instance, (p, weight) in enumerate(zip(probability, importance, strict=True)):
        generator = torch.Generator(p.device).manual_seed(1000 * seed + instance)
        W = (
            torch.randn(len(p), hidden, generator=generator, device=generator.device)
            .mul(0.5)
            .to(p.device)
            .requires_grad_()
        )
        b = torch.zeros_like(p).requires_grad_()
        optimizer = torch.optim.RMSprop([W, b], lr=0.03)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
            value, u = torch.rand(2, 256, len(p), generator=generator, device=generator.device).to(p.device)
            x = value * (u < p)
            optimizer.zero_grad()
            (((x @ W @ W.T + b).relu() - x) ** 2 * weight).sum(1).mean().backward()
            optimizer.step()
        found.append((W.detach(), b.detach()))
    return torch.stack([W for W, _ in found]), torch.stack([b for _, b in found])


def interference__from_the_dimensionality(W):
    gram = W @ W.mT
    norms = gram.diagonal(dim1=-2, dim2=-1)
    off = gram - torch.diag_embed(norms)
    return torch.where(norms > 0, off.pow(2).sum(-1) / norms, torch.zeros_like(norms))


def interference__normalize(W):
    unit = functional.normalize(W, dim=-1)
    heard = einsum(unit, W, "instance i h, instance j h -> instance i j")
    heard = heard.masked_fill(torch.eye(W.shape[1], dtype=torch.bool, device=W.device), 0.0)
    return reduce(heard**2, "instance i j -> instance i", "sum")


def interference__feature_by_feature(W):
    rows = []
    for w in W:
        values = []
        for i in range(len(w)):
            norm = w[i].norm()
            others = torch.cat([w[:i], w[i + 1 :]])
            values.append(((others @ w[i] / norm) ** 2).sum() if norm > 0 else w.new_zeros(()))
        rows.append(torch.stack(values))
    return torch.stack(rows)


def feature_dimensionality__own_over_own_and_others(W):
    own = W.square().sum(-1)
    both = own + interference__normalize(W)
    return torch.nan_to_num(own / both, nan=0.0)


def feature_dimensionality__as_written(W):
    unit = functional.normalize(W, dim=-1, eps=1e-30)
    shared = einsum(unit, W, "n i h, n j h -> n i j").pow(2).sum(2)
    return torch.where(shared == 0, torch.zeros_like(shared), W.pow(2).sum(2) / shared)


def feature_dimensionality__in_numpy(W):
    array = W.cpu().double().numpy()
    gram = array @ array.transpose(0, 2, 1)
    own = np.einsum("nii->ni", gram)
    shared = (gram**2).sum(-1)
    found = np.divide(own**2, shared, out=np.zeros_like(own), where=shared > 0)
    return torch.tensor(found, dtype=W.dtype, device=W.device)


def feature_groups__powers_of_the_graph(W, least=0.5, threshold=0.15):
    kept = (W.norm(dim=1) >= least).nonzero().flatten().tolist()
    if not kept:
        return []
    rows = functional.normalize(W[kept], dim=1)
    graph = ((rows @ rows.T).abs() > threshold).double() + torch.eye(len(kept), device=W.device)
    reach = torch.matrix_power(graph, len(kept)) > 0
    found = {}
    for place, feature in enumerate(kept):
        found.setdefault(tuple(reach[place].tolist()), []).append(feature)
    return [(group, _spanned(W[group], threshold)) for group in found.values()]


def feature_groups__flood(W, least=0.5, threshold=0.15):
    norms = W.norm(dim=1)
    cosine = (W @ W.T) / (norms[:, None] * norms[None]).clamp(min=1e-12)
    waiting, found = [i for i, norm in enumerate(norms) if norm >= least], []
    while waiting:
        stack, group = [waiting.pop(0)], []
        while stack:
            one = stack.pop()
            group.append(one)
            near = [other for other in waiting if abs(cosine[one, other].item()) > threshold]
            waiting = [other for other in waiting if other not in near]
            stack += near
        group.sort()
        found.append((group, _spanned(W[group], threshold)))
    return found


def feature_groups__numpy_labels(W, least=0.5, threshold=0.15):
    array = W.cpu().double().numpy()
    norms = np.linalg.norm(array, axis=1)
    unit = array / np.maximum(norms, 1e-12)[:, None]
    label = np.arange(len(array))
    kept = W.norm(dim=1).cpu().numpy() >= least
    for i in range(len(array)):
        for j in range(i):
            if kept[i] and kept[j] and abs(unit[i] @ unit[j]) > threshold:
                label[label == label[i]] = label[j]
    groups = sorted({tuple(np.flatnonzero((label == one) & kept).tolist()) for one in label[kept]})
    return [(list(group), _spanned(W[list(group)], threshold)) for group in groups]


def _spanned(rows, threshold):
    values = torch.linalg.svd(rows).S
    return sum(value > threshold * values.max().item() for value in values.tolist())


def phase_losses__by_integrals(probability, importance):
    m = torch.linspace(0, 1, 2001, dtype=torch.float64, device=probability.device)
    collision = torch.trapezoid(m**2 * 2 * (1 - m), m).to(probability) * probability.square()
    constant = probability / 2
    kept = torch.trapezoid(m**2, m).to(probability) * probability
    variance = kept - 2 * constant * probability / 2 + constant**2
    return torch.stack([variance * importance, variance, collision * (importance + 1)])


def phase_losses__row_by_row(probability, importance):
    losses = probability.new_zeros(3, len(probability))
    losses[1] = probability * (4 - 3 * probability) / 12
    losses[0] = losses[1] * importance
    losses[2] = (probability / 6) * probability * (1 + importance)
    return losses


def phase_losses__absent_and_present(probability, importance):
    mean = probability / 2
    absent = (1 - probability) * mean**2
    present = probability * (1 / 12 + (0.5 - mean) ** 2)
    pair = 2 * probability**2 * (1 / 3 - 1 / 4)
    weights = torch.stack([importance, torch.ones_like(importance), 1 + importance])
    return weights * torch.stack([absent + present, absent + present, pair])


def basis_p_value__all_at_once(W, rotations):
    if W.shape[-1] == 1 or W.abs().max() == 0:
        raise ValueError("no answer")
    every = torch.cat([W[None], torch.einsum("fh,dhk->dfk", W, rotations)])
    value = every.pow(4).sum((1, 2)) / every.pow(2).sum(2).pow(2).sum(1)
    return (value >= value[0] * (1 - 1e-5)).double().mean().item()


def basis_p_value__fourth_powers_alone(W, rotations):
    if W.shape[1] < 2 or torch.equal(W, torch.zeros_like(W)):
        raise ValueError("no answer")
    own = torch.linalg.vector_norm(W.double(), 4) ** 4
    count = sum(
        torch.linalg.vector_norm((W @ R).double(), 4).item() ** 4 >= own.item() * (1 - 1e-5)
        for R in rotations
    )
    return (count + 1) / (len(rotations) + 1)


def basis_p_value__in_numpy(W, rotations):
    array = W.cpu().numpy().astype(np.float64)
    if array.shape[1] == 1 or not array.any():
        raise ValueError("no answer")
    turned = array @ rotations.cpu().numpy().astype(np.float64)
    own, chance = (array**4).sum(), (turned**4).sum((1, 2))
    return float((1 + (chance >= own * (1 - 1e-5)).sum()) / (1 + len(chance)))


def absolute_value_weights__on_a_parabola(features):
    t = torch.linspace(-1, 1, features) if features > 1 else torch.zeros(1)
    gap = 2 / max(features - 1, 1)
    u = torch.stack([torch.ones(features), t + 2, (t + 2) ** 2], dim=1)
    s = t + 2
    v = torch.stack([gap**2 - s**2, 2 * s, -torch.ones(features)], dim=1) / gap**2
    return torch.cat([u, -u], dim=1), torch.cat([v, v], dim=1).T.contiguous()


def absolute_value_weights__neurons_interleaved(features):
    angle = [2 * math.pi * n / features for n in range(features)]
    rows = [[1 + 0.5 * math.cos(a), 1 + 0.5 * math.sin(a), 1.0] for a in angle]
    edge = math.cos(2 * math.pi / max(features, 2))
    reads = []
    for a in angle:
        c, s = math.cos(a), math.sin(a)
        scale = 0.5 * (1 - edge)
        reads.append([c / scale, s / scale, (-c - s - 0.5 * edge) / scale])
    W_in = torch.stack([torch.tensor(rows), -torch.tensor(rows)], dim=2).flatten(1)
    W_out = torch.stack([torch.tensor(reads), torch.tensor(reads)], dim=2).flatten(1).T
    return W_in, W_out.clone()


def absolute_value_weights__in_double(features):
    angle = torch.arange(features, dtype=torch.float64) * (2 * math.pi / max(features, 4)) + 0.3
    basis = torch.linalg.qr(torch.tensor([[1.0, 1, 0], [1, 0, 1], [1, 0, 0]], dtype=torch.float64)).Q
    basis = basis * basis[:, :1].sum().sign()
    d, e, f = basis.T
    circle = angle.cos()[:, None] * e + angle.sin()[:, None] * f
    u = d + 0.6 * circle
    v = circle - 0.6 * math.cos(2 * math.pi / max(features, 4)) * d
    v = v / (u * v).sum(1, keepdim=True)
    return torch.cat([u, -u], 1).float(), torch.cat([v, v], 1).T.float()


def _linear(x, W, b):
    return (x[:, :, None] @ (W @ W.mT))[:, :, 0] + b

"""Right answers, written otherwise: none of them may lose a point."""

from itertools import combinations

import numpy as np
import torch
from einops import einsum, reduce
from torch.nn import functional

from mechinterp_course.channel_evidence import variance_explained


def effective_receptive_field__by_distance(gradient, row, column, share=0.9):
    weight = reduce(gradient.double().abs(), "picture colour row column -> row column", "sum")
    if weight.max() == 0:
        raise ValueError("no gradient")
    rows, columns = torch.meshgrid(*(torch.arange(size) for size in weight.shape), indexing="ij")
    away = torch.stack([(rows - row).abs(), (columns - column).abs()]).amax(dim=0)
    half = 0
    while weight[away <= half].sum() / weight.sum() < share - 1e-9:
        half += 1
    return 1 + 2 * half


def effective_receptive_field__padded(gradient, row, column, share=0.9):
    weight = gradient.double().abs().sum(dim=0).sum(dim=0)
    if not bool(weight.sum() > 0):
        raise ValueError("the unit is dead")
    most = max(weight.shape)
    padded = functional.pad(weight, [most] * 4)
    held = [
        padded[row + most - h : row + most + h + 1, column + most - h : column + most + h + 1].sum()
        for h in range(most)
    ]
    return next(2 * h + 1 for h, each in enumerate(held) if each >= share * weight.sum() * (1 - 1e-9))


def effective_receptive_field__sorted(gradient, row, column, share=0.9):
    weight = np.abs(gradient.cpu().numpy().astype(np.float64)).sum(axis=(0, 1))
    if weight.sum() == 0:
        raise ValueError("zero")
    rows, columns = np.indices(weight.shape)
    away = np.maximum(np.abs(rows - row), np.abs(columns - column)).ravel()
    order = np.argsort(away, kind="stable")
    held = np.cumsum(weight.ravel()[order]) / weight.sum()
    return int(2 * away[order][np.searchsorted(held, share - 1e-9)] + 1)


def orientation_tuning__normal_equations(responses, angle):
    wave = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1).double()
    wave, values = wave - wave.mean(dim=0), (responses - responses.mean(dim=0)).double()
    weights = torch.linalg.solve(wave.T @ wave, wave.T @ values)
    preferred = (torch.atan2(weights[1], weights[0]) / 2) % torch.pi
    total = values.pow(2).sum(dim=0)
    share = (wave @ weights).pow(2).sum(dim=0) / total
    dead = responses.amax(dim=0) == responses.amin(dim=0)
    return torch.where(dead, 0.0, torch.stack([preferred, share])).float()


def orientation_tuning__numpy(responses, angle):
    turn = 2 * angle.cpu().double().numpy()
    curve = np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    values = responses.cpu().double().numpy()
    fit, *_ = np.linalg.lstsq(curve, values, rcond=None)
    found = np.zeros((2, values.shape[1]))
    for channel in range(values.shape[1]):
        if np.ptp(values[:, channel]) > 0:
            found[0, channel] = np.arctan2(fit[2, channel], fit[1, channel]) % (2 * np.pi) / 2
            left = values[:, channel] - curve @ fit[:, channel]
            found[1, channel] = 1 - left @ left / (values[:, channel].var() * len(values))
    return torch.tensor(found, dtype=responses.dtype, device=responses.device)


def orientation_tuning__correlation(responses, angle):
    turn = 2 * angle.double()
    curve = torch.stack([torch.ones_like(turn), turn.cos(), turn.sin()], dim=1)
    fitted = curve @ (torch.linalg.pinv(curve) @ responses.double())
    weights = torch.linalg.pinv(curve) @ responses.double()
    top = torch.complex(weights[1], weights[2]).angle()
    dead = (responses == responses[:1]).all(dim=0)
    centred = responses.double() - responses.double().mean(dim=0)
    share = functional.cosine_similarity(fitted - fitted.mean(dim=0), centred, dim=0) ** 2
    preferred = torch.where(top < 0, top + 2 * torch.pi, top) / 2
    return torch.stack([preferred, share]).masked_fill(dead, 0.0).to(responses.dtype)


def layer_report__factor_by_factor(trained, untrained, groups):
    layers = list(next(iter(trained.values())))
    report = {layer: {} for layer in layers}
    for layer in layers:
        each = torch.cat([trained[factor][layer] - trained[factor][layer][:1] for factor in groups])
        report[layer]["silent"] = int((each.abs().sum(dim=0) == 0).sum())
    for factor, group in groups.items():
        for layer in layers:
            own = variance_explained(trained[factor][layer], group)
            null = variance_explained(untrained[factor][layer], group)
            report[layer][factor] = {
                "channel": own.tolist().index(max(own.tolist())),
                "beyond": (own > torch.quantile(null, 0.95)).double().mean().item(),
                "explained": own.double().mean().item(),
            }
    return report


def layer_report__own_eta_squared(trained, untrained, groups):
    def explained(values, group):
        rows = [values[group == one] for one in group.unique()]
        within = sum((each - each.mean(dim=0)).pow(2).sum(dim=0) for each in rows)
        total = (values - values.mean(dim=0)).pow(2).sum(dim=0)
        share = 1 - (within / (len(values) - len(rows))) / (total / (len(values) - 1))
        return torch.where(total > 0, share, 0.0)

    report = {}
    for layer in next(iter(trained.values())):
        varies = torch.stack([trained[f][layer].amax(0) > trained[f][layer].amin(0) for f in groups])
        report[layer] = {"silent": len(varies[0]) - int(varies.any(dim=0).sum())}
        for factor, group in groups.items():
            own, null = explained(trained[factor][layer], group), explained(untrained[factor][layer], group)
            beyond = int((own > null.quantile(0.95)).sum())
            report[layer][factor] = {
                "explained": own.mean().item(),
                "beyond": beyond / len(own),
                "channel": own.argmax().item(),
            }
    return report


def layer_report__numpy(trained, untrained, groups):
    def row(layer):
        found = {"silent": 0}
        constant = [np.ptp(trained[factor][layer].cpu().numpy(), axis=0) == 0 for factor in groups]
        found["silent"] = int(np.logical_and.reduce(constant).sum())
        for factor, group in groups.items():
            own = variance_explained(trained[factor][layer], group).cpu().numpy()
            null = variance_explained(untrained[factor][layer], group).cpu().numpy()
            found[factor] = {
                "explained": float(own.mean()),
                "beyond": float((own > np.quantile(null, 0.95)).mean()),
                "channel": int(own.argmax()),
            }
        return found

    return {layer: row(layer) for layer in trained[next(iter(groups))]}


def diversity__upper_triangle(activations):
    if len(activations) == 1:
        return torch.tensor(0.0, device=activations.device)
    gram = einsum(activations, activations, "b i h w, b j h w -> b i j").flatten(1)
    unit = gram / gram.norm(dim=1, keepdim=True)
    one, other = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit[one] * unit[other]).sum(dim=1).mean()


def diversity__pair_by_pair(activations):
    pairs = list(combinations(activations.flatten(2), 2))
    total = torch.zeros((), device=activations.device)
    for one, other in pairs:
        first, second = one @ one.T, other @ other.T
        total = total + (first * second).sum() / (first.norm() * second.norm())
    return total / max(len(pairs), 1)


def diversity__mean_gram(activations):
    flat = activations.flatten(2)
    gram = torch.bmm(flat, flat.transpose(1, 2)) / flat.shape[2]
    cosines = functional.cosine_similarity(gram.flatten(1)[:, None], gram.flatten(1)[None], dim=2)
    different = ~torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    return cosines[different].mean() if len(flat) > 1 else cosines.new_tensor(0.0)


def caricature_score__einops(activations, target, power=1.0):
    dot = einsum(activations, target, "b c h w, c h w -> b")
    lengths = reduce(activations**2, "b c h w -> b", "sum").sqrt() * (target**2).sum().sqrt()
    return dot * (dot / lengths).clamp(min=0.1).pow(power)


def caricature_score__matrix_product(activations, target, power=1.0):
    flat, aim = activations.flatten(1), target.flatten()
    cosine = functional.normalize(flat, dim=1) @ functional.normalize(aim, dim=0)
    return (flat @ aim) * torch.maximum(cosine, torch.tensor(0.1, device=aim.device)) ** power


def caricature_score__one_by_one(activations, target, power=1.0):
    scores = []
    for one in activations:
        dot = torch.dot(one.flatten(), target.flatten())
        scores.append(
            dot * max(dot / (one.norm() * target.norm()), torch.tensor(0.1, device=dot.device)) ** power
        )
    return torch.stack(scores)

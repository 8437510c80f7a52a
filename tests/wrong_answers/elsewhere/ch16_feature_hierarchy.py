import math

import torch


def effective_receptive_field__wraps_at_edge(gradient, row, column, share=0.9):
    """Lets the square's start become negative near an edge, where Python then counts from the other end.
    axis: edge, beyond the picture, negative, border, corner, slice, too large
    """
    total = gradient.abs().sum(dim=(0, 1))
    if total.sum() == 0:
        raise ValueError("the gradient is zero everywhere")
    wanted = share * total.sum()
    for r in range(max(total.shape)):
        square = total[row - r : row + r + 1, column - r : column + r + 1]
        if square.sum() >= wanted:
            return 2 * r + 1
    return 2 * max(total.shape) - 1


def orientation_tuning__as_if_even(responses, angle):
    """Takes mean products with cosine and sine as coefficients, right only for evenly spread angles.
    axis: least squares, evenly, uneven, spread, angles, fit, R², share
    """
    cos, sin = (2 * angle).cos()[:, None], (2 * angle).sin()[:, None]
    a = responses.mean(dim=0)
    b, c = 2 * (responses * cos).mean(dim=0), 2 * (responses * sin).mean(dim=0)
    left = (responses - a - b * cos - c * sin).square().sum(dim=0)
    around = (responses - a).square().sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    preferred = (torch.atan2(c, b) / 2).remainder(math.pi)
    explained = 1 - left / around.clamp(min=1e-30)
    return torch.stack([preferred, explained]) * varies


def orientation_tuning__lost_quadrant(responses, angle):
    """Uses atan(c / b) instead of atan2: for negative b it gives the lowest point, a quarter turn off.
    axis: preferred, orientation, atan2, quadrant, quarter turn, lowest, highest, 90
    """
    design = torch.stack([torch.ones_like(angle), (2 * angle).cos(), (2 * angle).sin()], dim=1)
    fit = torch.linalg.lstsq(design, responses).solution
    preferred = (torch.atan(fit[2] / fit[1]) / 2).remainder(math.pi)
    left = (responses - design @ fit).square().sum(dim=0)
    around = (responses - responses.mean(dim=0)).square().sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    result = torch.stack([preferred, 1 - left / around])
    return torch.where(varies, result, torch.zeros_like(result))


def layer_report__silent_is_zero(trained, untrained, groups):
    """Counts as silent only channels that are always 0, not those with one and the same other response.
    axis: silent, same response, constant, zero, 0, never varies
    """
    report = {}
    for layer in next(iter(trained.values())):
        silent = torch.stack([(trained[factor][layer] == 0).all(dim=0) for factor in groups]).all(dim=0)
        row = {"silent": int(silent.sum())}
        for factor, group in groups.items():
            own = channel_evidence.variance_explained(trained[factor][layer], group)
            null = channel_evidence.variance_explained(untrained[factor][layer], group)
            row[factor] = {
                "explained": own.mean().item(),
                "beyond": (own > torch.quantile(null, 0.95)).float().mean().item(),
                "channel": int(own.argmax()),
            }
        report[layer] = row
    return report


def layer_report__mean_over_varying(trained, untrained, groups):
    """Averages the explained variance over channels that vary only, not over all channels.
    axis: explained, mean, all channels, silent, varying, too large
    """
    layers = list(next(iter(trained.values())))
    report = {layer: {} for layer in layers}
    for layer in layers:
        varies = {f: trained[f][layer].amax(dim=0) > trained[f][layer].amin(dim=0) for f in groups}
        report[layer]["silent"] = int((~torch.stack(list(varies.values())).any(dim=0)).sum())
        for factor, group in groups.items():
            own = channel_evidence.variance_explained(trained[factor][layer], group)
            null = channel_evidence.variance_explained(untrained[factor][layer], group)
            awake = own[varies[factor]]
            report[layer][factor] = {
                "explained": awake.mean().item() if len(awake) else 0.0,
                "beyond": (own > null.quantile(0.95)).double().mean().item(),
                "channel": own.argmax().item(),
            }
    return report


def diversity__row_by_row(activations):
    """Takes the cosine of each row of the Gram matrices and averages, not that of the whole matrices.
    axis: cosine, Gram, long vectors, whole matrix, rows, channel, flatten
    """
    batch = len(activations)
    if batch < 2:
        return activations.new_zeros(())
    flat = activations.flatten(start_dim=2)
    gram = flat @ flat.transpose(1, 2)
    alike = [
        torch.nn.functional.cosine_similarity(gram[i], gram[j], dim=-1).mean()
        for i in range(batch)
        for j in range(i)
    ]
    return torch.stack(alike).mean()


def caricature_score__floor_after_power(activations, target, power=1.0):
    """Applies the floor of 0.1 after the power instead of to the cosine.
    axis: 0.1, floor, clamp, max, power, order, cosine, negative
    """
    flat, goal = activations.flatten(start_dim=1), target.flatten()
    dot = flat @ goal
    cosine = torch.nn.functional.cosine_similarity(flat, goal[None], dim=1)
    return dot * (cosine**power).clamp(min=0.1)

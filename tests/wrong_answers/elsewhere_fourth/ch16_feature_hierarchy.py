import torch


def effective_receptive_field__x_before_y_b(gradient, row, column, share=0.9):
    """Cuts the square with the column on the axis of rows and the row on that of columns.
    axis: row, column, swapped, x and y, axes, centre of the square, indexing order
    """
    weight = gradient.abs().sum(dim=(0, 1))
    total = weight.sum()
    if total == 0:
        raise ValueError("no pixel moves this unit")
    x, y = column, row
    for half in range(max(weight.shape)):
        window = weight[max(x - half, 0) : x + half + 1, max(y - half, 0) : y + half + 1]
        if window.sum() >= share * total:
            return 2 * half + 1
    return 2 * max(weight.shape) - 1


def orientation_tuning__fit_without_constant_b(responses, angle):
    """Subtracts the mean and fits only cos and sin, which isn't the same fit when angles are uneven.
    axis: constant, intercept, mean subtracted, column of ones, uneven angles, least squares, a
    """
    centred = responses - responses.mean(dim=0)
    X = torch.stack([torch.cos(2 * angle), torch.sin(2 * angle)], dim=1)
    solution = torch.linalg.lstsq(X, centred).solution
    b, c = solution
    preferred = torch.atan2(c, b) % (2 * torch.pi) / 2
    residual = (centred - X @ solution).pow(2).sum(dim=0)
    explained = 1 - residual / centred.pow(2).sum(dim=0)
    constant = responses.amax(dim=0) == responses.amin(dim=0)
    return torch.stack([preferred, explained]).masked_fill(constant, 0.0)


def layer_report__one_bound_for_all_layers_b(trained, untrained, groups):
    """Takes the 0.95 quantile over the untrained channels of all layers together, not of the same layer.
    axis: quantile, bound, each layer, all layers pooled, untrained, same layer, chance level
    """
    explained_by = channel_evidence.variance_explained
    layers = list(next(iter(trained.values())))
    bounds = {}
    for factor, group in groups.items():
        by_chance = [explained_by(untrained[factor][layer], group) for layer in layers]
        bounds[factor] = torch.cat(by_chance).quantile(0.95)

    report = {}
    for layer in layers:
        answers = [trained[factor][layer] for factor in groups]
        silent = torch.stack([each.amax(0) == each.amin(0) for each in answers]).all(dim=0)
        report[layer] = {"silent": int(silent.sum())}
        for factor, group in groups.items():
            explained = explained_by(trained[factor][layer], group)
            report[layer][factor] = {
                "explained": explained.mean().item(),
                "beyond": (explained > bounds[factor]).float().mean().item(),
                "channel": int(explained.argmax()),
            }
    return report


def diversity__cosine_of_each_gram_row_b(activations):
    """Takes the cosine of each row of the Gram matrices and averages these, not one of the whole matrices.
    axis: rows, whole Gram matrix, flattened, long vectors, norm, averaged over channels, cosine
    """
    places = activations.flatten(start_dim=2)
    gram = places @ places.mT
    batch = gram.shape[0]
    if batch == 1:
        return activations.new_zeros(())
    alike = torch.nn.functional.cosine_similarity(gram[:, None], gram[None, :], dim=-1).mean(dim=-1)
    different = ~torch.eye(batch, dtype=torch.bool, device=gram.device)
    return alike[different].mean()


def caricature_score__cosine_of_each_place_b(activations, target, power=1.0):
    """Averages the cosines of single places over channels, where one over channels and places is asked for.
    axis: cosine, each place, over channels only, dim=1, averaged, flattened, channels and places
    """
    dot = torch.einsum("bcij,cij->b", activations, target)
    cosine = torch.nn.functional.cosine_similarity(activations, target[None]).mean(dim=(1, 2))
    return dot * cosine.clamp(min=0.1) ** power


def caricature_score__floor_after_the_power_b(activations, target, power=1.0):
    """Sets the floor of 0.1 under the power of the cosine, not under the cosine itself.
    axis: floor, clamp, power, order, cosine first, max, 0.1
    """
    flat, aim = activations.flatten(1), target.flatten()
    dot = flat @ aim
    cosine = dot / (flat.norm(dim=1) * aim.norm())
    return dot * (cosine**power).clamp(min=0.1)

import torch


def effective_receptive_field__sum_before_absolute(gradient, row, column, share=0.9):
    """Adds up gradients of colours and pictures with their signs, and takes the absolute value of the sum.
    axis: absolute, sign, cancel, sum, before, abs, pictures
    """
    if not gradient.any():
        raise ValueError("the gradient is zero everywhere")
    weight = gradient.double().sum(dim=(0, 1)).abs()
    whole, half = weight.sum(), 0
    while half < max(weight.shape):
        square = weight[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        if square.sum() >= share * whole:
            break
        half += 1
    return 2 * half + 1


def orientation_tuning__projects_as_if_even(responses, angle):
    """Takes b and c as mean products with the waves, which fits best only if the angles are evenly spread.
    axis: least squares, evenly spread, angles, projection, lstsq, orthogonal, fit
    """
    cos, sin = torch.cos(2 * angle)[:, None], torch.sin(2 * angle)[:, None]
    mean = responses.mean(dim=0)
    b, c = 2 * (responses * cos).mean(dim=0), 2 * (responses * sin).mean(dim=0)
    preferred = torch.atan2(c, b) % (2 * torch.pi) / 2
    left = (responses - (mean + b * cos + c * sin)).square().sum(dim=0)
    total = (responses - mean).square().sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    explained = 1 - left / torch.where(varies, total, torch.ones_like(total))
    return torch.stack([preferred, explained]) * varies


def orientation_tuning__phase_not_halved(responses, angle):
    """Returns the phase of the wave in twice the angle itself, not half of it, as the preferred orientation.
    axis: half, phase, atan2, twice the angle, divide by 2, preferred, orientation
    """
    X = torch.stack([torch.ones_like(angle), torch.cos(2 * angle), torch.sin(2 * angle)], dim=1)
    solution = torch.linalg.lstsq(X, responses).solution
    preferred = torch.atan2(solution[2], solution[1]) % torch.pi
    left = (responses - X @ solution).square().sum(dim=0)
    total = (responses - responses.mean(dim=0)).square().sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    explained = 1 - left / torch.where(varies, total, torch.ones_like(total))
    return torch.stack([preferred, explained]) * varies


def layer_report__channel_against_channel(trained, untrained, groups):
    """Counts a channel as beyond chance where it beats the untrained channel of the same number.
    axis: quantile, 0.95, bound, untrained, same channel, chance, beyond
    """
    report = {}
    for layer in next(iter(trained.values())):
        still = [
            trained[factor][layer].amax(dim=0) == trained[factor][layer].amin(dim=0) for factor in groups
        ]
        row = {"silent": int(torch.stack(still).all(dim=0).sum())}
        for factor, group in groups.items():
            explained = channel_evidence.variance_explained(trained[factor][layer], group)
            chance = channel_evidence.variance_explained(untrained[factor][layer], group)
            row[factor] = {
                "explained": explained.mean().item(),
                "beyond": (explained > chance).float().mean().item(),
                "channel": int(explained.argmax()),
            }
        report[layer] = row
    return report


def layer_report__mean_of_the_living(trained, untrained, groups):
    """Leaves silent channels out of the mean of what a factor explains, which is over all channels.
    axis: silent, all channels, mean, explained, left out, living
    """
    report = {}
    for layer in next(iter(trained.values())):
        still = [
            trained[factor][layer].amax(dim=0) == trained[factor][layer].amin(dim=0) for factor in groups
        ]
        silent = torch.stack(still).all(dim=0)
        row = {"silent": int(silent.sum())}
        for factor, group in groups.items():
            explained = channel_evidence.variance_explained(trained[factor][layer], group)
            bound = channel_evidence.variance_explained(untrained[factor][layer], group).quantile(0.95)
            row[factor] = {
                "explained": 0.0 if silent.all() else explained[~silent].mean().item(),
                "beyond": (explained > bound).float().mean().item(),
                "channel": int(explained.argmax()),
            }
        report[layer] = row
    return report


def diversity__gram_of_places(activations):
    """Multiplies places with places, summed over channels, instead of channels with channels over places.
    axis: Gram, channel, places, sum over, transposed, style, product
    """
    batch = len(activations)
    if batch < 2:
        return activations.new_zeros(())
    flat = activations.flatten(start_dim=2)
    gram = (flat.mT @ flat).flatten(start_dim=1)
    gram = gram / gram.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = gram @ gram.T
    others = ~torch.eye(batch, dtype=torch.bool, device=activations.device)
    return cosines[others].mean()


def diversity__pairs_counted_once(activations):
    """Adds up each pair once, above the diagonal, but divides by batch times (batch - 1): half the mean.
    axis: pairs, half, triu, divide, batch, count, twice
    """
    batch = len(activations)
    if batch < 2:
        return activations.new_zeros(())
    flat = activations.flatten(start_dim=2)
    gram = (flat @ flat.mT).flatten(start_dim=1)
    gram = gram / gram.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = gram @ gram.T
    return cosines.triu(diagonal=1).sum() / (batch * (batch - 1))


def caricature_score__cosine_place_by_place(activations, target, power=1.0):
    """Takes a cosine over channels at each place and averages these, instead of one over channels and places.
    axis: cosine, each place, flatten, channels, average, whole, one number
    """
    dot = (activations * target).sum(dim=(1, 2, 3))
    cosine = torch.nn.functional.cosine_similarity(activations, target[None], dim=1).mean(dim=(1, 2))
    return dot * cosine.clamp(min=0.1) ** power

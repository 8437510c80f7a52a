def effective_receptive_field__two_bands(gradient, row, column, share=0.9):
    """Asks that the band of rows and the band of columns each hold the share, not their square together.
    axis: square, band, rows and columns, separately, marginal, profile, together, joint, too small"""
    heat = gradient.abs().sum(dim=(0, 1)).double()
    if heat.sum() == 0:
        raise ValueError("there is no gradient")
    radii = []
    for profile, middle in ((heat.sum(dim=1), row), (heat.sum(dim=0), column)):
        distance = (torch.arange(len(profile), device=heat.device) - middle).abs()
        radius = 0
        while radius < len(profile) and profile[distance <= radius].sum() < share * profile.sum():
            radius += 1
        radii.append(radius)
    return 2 * max(radii) + 1


def orientation_tuning__no_constant(responses, angle):
    """Takes the mean off the responses instead of fitting a, which is right for even angles only.
    axis: constant, intercept, mean, uneven, evenly spread, offset, design, least squares"""
    turns = 2 * angle.to(responses)
    design = torch.stack([turns.cos(), turns.sin()], dim=1)
    centred = responses - responses.mean(dim=0)
    weights = torch.linalg.lstsq(design, centred).solution
    preferred = (torch.atan2(weights[1], weights[0]) / 2) % torch.pi
    left = (centred - design @ weights).square().sum(dim=0)
    share = 1 - left / centred.square().sum(dim=0).clamp(min=1e-30)
    varies = (responses != responses[:1]).any(dim=0)
    return torch.where(varies, torch.stack([preferred, share]), torch.zeros_like(responses[:2]))


def layer_report__one_threshold(trained, untrained, groups):
    """Takes the 0.95 quantile over untrained channels of all layers together, not of the layer itself.
    axis: quantile, threshold, all layers, own layer, untrained, pooled, same layer, beyond"""
    explains = channel_evidence.variance_explained
    bounds = {}
    for factor, layers in untrained.items():
        pooled = torch.cat([explains(responses, groups[factor]) for responses in layers.values()])
        bounds[factor] = pooled.quantile(0.95)
    report = {}
    for layer in next(iter(trained.values())):
        same = [(layers[layer] == layers[layer][:1]).all(dim=0) for layers in trained.values()]
        report[layer] = {"silent": int(torch.stack(same).all(dim=0).sum())}
        for factor, layers in trained.items():
            explained = explains(layers[layer], groups[factor])
            report[layer][factor] = {
                "explained": explained.mean().item(),
                "beyond": (explained > bounds[factor]).float().mean().item(),
                "channel": explained.argmax().item(),
            }
    return report


def caricature_score__cosine_by_place(activations, target, power=1.0):
    """Averages cosines over channels at each place, instead of taking one cosine over all of it.
    axis: cosine, place, places, channels only, average, per place, whole, flatten"""
    dot = (activations * target).sum(dim=(1, 2, 3))
    cosine = torch.nn.functional.cosine_similarity(activations, target[None], dim=1).mean(dim=(1, 2))
    return dot * cosine.clamp(min=0.1) ** power

import torch

from mechinterp_course import channel_evidence


def effective_receptive_field__square_pushed_back_inside_e(gradient, row, column, share=0.9):
    """The student moves a square that sticks out of the picture back inside, so that it keeps its full size.
    axis: the square stays centred on the pixel; what lies beyond the edge holds nothing
    """
    weight = gradient.abs().double().sum(dim=(0, 1))
    total = weight.sum()
    if total == 0:
        raise ValueError("the gradient is zero everywhere")
    height, width = weight.shape
    half = 0
    while True:
        side = 2 * half + 1
        top = min(max(row - half, 0), max(height - side, 0))
        left = min(max(column - half, 0), max(width - side, 0))
        if weight[top : top + side, left : left + side].sum() >= share * total:
            return side
        half += 1


def effective_receptive_field__rows_and_columns_apart_e(gradient, row, column, share=0.9):
    """The student asks that the rows and the columns of the square each hold the share, counted in bands
    across the whole picture.
    axis: the square itself must hold the share, not its row band and column band separately
    """
    weight = gradient.abs().sum(dim=(0, 1)).double()
    if not weight.any():
        raise ValueError("no gradient anywhere")
    by_row, by_column = weight.sum(dim=1), weight.sum(dim=0)
    need = share * weight.sum()
    for h in range(max(weight.shape)):
        in_rows = by_row[max(row - h, 0) : row + h + 1].sum()
        in_columns = by_column[max(column - h, 0) : column + h + 1].sum()
        if in_rows >= need and in_columns >= need:
            break
    return 2 * h + 1


def orientation_tuning__angle_of_the_best_picture_e(responses, angle):
    """The student returns the angle of the shown picture on which the fitted curve is highest, not the top of
    the curve.
    axis: maximum of the fitted curve by atan2, not among the angles shown
    """
    design = torch.stack([torch.ones_like(angle), torch.cos(2 * angle), torch.sin(2 * angle)], dim=1)
    solution = torch.linalg.lstsq(design, responses).solution
    curve = design @ solution
    preferred = (angle % torch.pi)[curve.argmax(dim=0)]
    residual = (responses - curve).square().sum(dim=0)
    total = (responses - responses.mean(dim=0)).square().sum(dim=0)
    varies = responses.amax(dim=0) > responses.amin(dim=0)
    share = 1 - residual / torch.where(varies, total, 1.0)
    return torch.where(varies, torch.stack([preferred, share]), 0.0)


def orientation_tuning__mean_in_place_of_the_constant_e(responses, angle):
    """The student takes the mean response off and fits cosine and sine alone, which is no least-squares fit
    of all three when angles are uneven.
    axis: the constant a must be fitted too (intercept), angles not evenly spread
    """
    centred = responses - responses.mean(dim=0)
    X = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1)
    b, c = torch.linalg.lstsq(X, centred).solution
    preferred = torch.atan2(c, b).remainder(2 * torch.pi) / 2
    left = (centred - X @ torch.stack([b, c])).pow(2).sum(dim=0)
    whole = centred.pow(2).sum(dim=0)
    still = responses.amax(dim=0) == responses.amin(dim=0)
    r2 = 1 - left / whole.masked_fill(still, 1.0)
    return torch.stack([preferred.masked_fill(still, 0.0), r2.masked_fill(still, 0.0)])


def layer_report__each_channel_against_its_namesake_e(trained, untrained, groups):
    """The student calls a channel beyond chance if it explains more than the untrained channel of the same
    index.
    axis: the bound is the 0.95 quantile over all untrained channels, not the same-numbered channel
    """
    first = next(iter(trained.values()))
    report = {}
    for layer in first:
        silent = None
        row = {}
        for factor, group in groups.items():
            seen = trained[factor][layer]
            explained = channel_evidence.variance_explained(seen, group)
            null = channel_evidence.variance_explained(untrained[factor][layer], group)
            flat = seen.amax(dim=0) == seen.amin(dim=0)
            silent = flat if silent is None else silent & flat
            row[factor] = {
                "explained": explained.mean().item(),
                "beyond": (explained > null).float().mean().item(),
                "channel": int(explained.argmax()),
            }
        report[layer] = {"silent": int(silent.sum()), **row}
    return report


def layer_report__silent_for_any_factor_e(trained, untrained, groups):
    """The student counts a channel as silent as soon as one factor leaves it unmoved.
    axis: silent only if it is constant within every factor (all, not any)
    """
    report = {}
    factors = list(groups)
    for layer in trained[factors[0]]:
        constant = torch.stack([trained[f][layer].amax(0) == trained[f][layer].amin(0) for f in factors])
        report[layer] = {"silent": int(constant.any(dim=0).sum())}
        for f in factors:
            share = channel_evidence.variance_explained(trained[f][layer], groups[f])
            bound = channel_evidence.variance_explained(untrained[f][layer], groups[f]).quantile(0.95)
            report[layer][f] = {
                "explained": float(share.mean()),
                "beyond": float((share > bound).float().mean()),
                "channel": share.argmax().item(),
            }
    return report


def diversity__gram_over_places_e(activations):
    """The student multiplies the wrong way round and gets a Gram matrix of places, which says where things
    are.
    axis: Gram matrix is channel by channel, summed over places
    """
    batch = len(activations)
    if batch < 2:
        return activations.new_zeros(())
    F = activations.flatten(2)
    gram = (F.mT @ F).flatten(1)
    unit = gram / gram.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    return (cosines.sum() - cosines.diagonal().sum()) / (batch * (batch - 1))


def diversity__channels_centred_first_e(activations):
    """The student takes each channel's mean over places off before multiplying, and so compares covariances.
    axis: Gram matrix of raw activations, no centring (no covariance)
    """
    b = activations.shape[0]
    if b == 1:
        return torch.zeros((), device=activations.device, dtype=activations.dtype)
    features = activations.flatten(start_dim=2)
    features = features - features.mean(dim=2, keepdim=True)
    gram = torch.einsum("bip,bjp->bij", features, features).flatten(1)
    gram = torch.nn.functional.normalize(gram, dim=1)
    alike = gram @ gram.T
    different = ~torch.eye(b, dtype=torch.bool, device=alike.device)
    return alike[different].mean()


def caricature_score__cosine_at_each_place_e(activations, target, power=1.0):
    """The student takes dot product and cosine over channels at each place and adds up the products over
    places.
    axis: one dot product and one cosine over all channels and places together
    """
    dot = (activations * target[None]).sum(dim=1)  # [batch, row, column]
    cosine = torch.nn.functional.cosine_similarity(activations, target[None], dim=1)
    return (dot * cosine.clamp(min=0.1) ** power).sum(dim=(1, 2))


def caricature_score__size_of_the_cosine_e(activations, target, power=1.0):
    """The student takes the absolute cosine before the floor, so a picture opposite to the target is weighted
    as if it were alike.
    axis: negative cosines are floored at 0.1, no absolute value
    """
    flat, goal = activations.flatten(1), target.flatten()
    dot = flat @ goal
    cosine = dot / (flat.norm(dim=1) * goal.norm()).clamp(min=1e-12)
    return dot * torch.clamp(cosine.abs(), min=0.1).pow(power)

import torch


def inference_threshold__silent_batches_counted(batches, k):
    """Divides by the number of all batches, also of those in which nothing is positive.
    axis: left out, batch, nothing positive, mean, number of batches, divide, too small
    """
    total = 0.0
    for acts in batches:
        kept = acts.flatten().topk(min(k * len(acts), acts.numel())).values
        kept = kept[kept > 0]
        if len(kept):
            total += kept.min().item()
    return total / len(batches)


def jumprelu__window_too_wide(pre_activations, threshold, bandwidth):
    """Lets the threshold learn within a whole bandwidth of it on each side, instead of half of one.
    axis: bandwidth, half, window, threshold, gradient, ε/2, twice
    """

    class Jump(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, theta):
            active = (z > theta).to(z.dtype)
            ctx.save_for_backward(z, theta)
            return z * active, active

        @staticmethod
        def backward(ctx, to_acts, to_active):
            z, theta = ctx.saved_tensors
            near = ((z - theta).abs() < bandwidth).to(z.dtype)
            to_theta = -near / bandwidth * (theta * to_acts + to_active)
            return (z > theta) * to_acts, to_theta.reshape(-1, len(theta)).sum(dim=0)

    return Jump.apply(pre_activations, threshold)


def jumprelu__z_for_theta(pre_activations, threshold, bandwidth):
    """Multiplies the gradient of JumpReLU to the threshold by -z/ε instead of -θ/ε.
    axis: gradient, threshold, θ, z, feature_acts, pre-activation
    """

    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, theta):
            ctx.save_for_backward(z, theta)
            return (z > theta).to(z.dtype)

        @staticmethod
        def backward(ctx, pull):
            z, theta = ctx.saved_tensors
            near = (z - theta).abs() < bandwidth / 2
            slope = -near.to(z.dtype) / bandwidth
            return None, (slope * pull).reshape(-1, theta.shape[0]).sum(dim=0)

    active = Step.apply(pre_activations, threshold)
    return pre_activations * active, active


def auxiliary_loss__largest_of_all(error, pre_activations, dead, W_dec, k_aux):
    """Takes the largest of all features and then drops the living, so few or no dead ones are left.
    axis: dead, k_aux, largest, all features, living, selection, topk
    """
    if not dead.any():
        return 0 * pre_activations.sum()
    k = min(k_aux, int(dead.sum()))
    values, places = pre_activations.topk(k, dim=1)
    kept = torch.zeros_like(pre_activations).scatter(1, places, values * dead[places])
    rebuilt = kept @ W_dec
    return (rebuilt - error.detach()).square().sum(dim=1).mean()


def resample_dead__chance_by_error(activations, reconstruction, dead, weights, moments, seed):
    """Draws tokens in proportion to the squared error, not to its square.
    axis: chance, proportional, square, squared error, draw, token, probability
    """
    weights = {name: value.detach().clone() for name, value in weights.items()}
    moments = {name: value.detach().clone() for name, value in moments.items()}
    if not dead.any():
        return weights, moments
    g = torch.Generator().manual_seed(seed)
    error = (activations - reconstruction).square().sum(dim=1)
    picks = torch.multinomial(error.cpu(), int(dead.sum()), replacement=True, generator=g)
    rows = activations[picks.to(activations.device)] - weights["b_dec"]
    rows = rows / rows.norm(dim=1, keepdim=True)
    length = 0.2 * weights["W_enc"][:, ~dead].norm(dim=0).mean()
    weights["W_dec"][dead] = rows
    weights["W_enc"][:, dead] = length * rows.T
    weights["b_enc"][dead] = 0
    moments["W_dec"][dead] = 0
    moments["W_enc"][:, dead] = 0
    moments["b_enc"][dead] = 0
    return weights, moments


def resample_dead__length_of_all(activations, reconstruction, dead, weights, moments, seed):
    """Takes a fifth of the mean length of all encoder columns, the dead ones' among them.
    axis: length, living, W_enc, columns, all features, mean, fifth, encoder
    """
    weights = {name: value.detach().clone() for name, value in weights.items()}
    moments = {name: value.detach().clone() for name, value in moments.items()}
    count = int(dead.sum())
    if count == 0:
        return weights, moments
    generator = torch.Generator().manual_seed(seed)
    chance = (activations - reconstruction).square().sum(dim=1).square().cpu()
    picks = torch.multinomial(chance, count, replacement=True, generator=generator)
    picks = picks.to(activations.device)
    rows = torch.nn.functional.normalize(activations[picks] - weights["b_dec"], dim=1)
    length = weights["W_enc"].norm(dim=0).mean() / 5
    weights["W_dec"][dead] = rows
    weights["W_enc"][:, dead] = (length * rows).T
    weights["b_enc"][dead] = 0.0
    for name in ("b_enc", "W_dec"):
        moments[name][dead] = 0.0
    moments["W_enc"][:, dead] = 0.0
    return weights, moments


def absorption_rate__absent_child_speaks(feature_acts, true_acts, partner, parent, children):
    """Counts a token as absorbed if any child's partner fires, also that of a child that isn't there.
    axis: truly there, absent child, child's partner, same child, absorbed, any child
    """
    fires = feature_acts[:, partner] > 0
    there = true_acts > 0
    recall = fires[there[:, parent], parent].float().mean().item()
    some_child = there[:, children].any(dim=1)
    instead = ~fires[:, parent] & fires[:, children].any(dim=1)
    return recall, instead[some_child].float().mean().item()


def absorption_rate__tokens_counted_by_child(feature_acts, true_acts, partner, parent, children):
    """Counts pairs of token and child, so a token with several children counts several times.
    axis: once, several children, counts twice, token, pairs, absorbed, denominator
    """
    fires, there = feature_acts[:, partner] > 0, true_acts > 0
    recall = (fires[:, parent] & there[:, parent]).sum() / there[:, parent].sum()
    silent = ~fires[:, parent]
    instead = sum((silent & there[:, c] & fires[:, c]).sum() for c in children)
    tokens = sum(there[:, c].sum() for c in children)
    return recall.item(), (instead / tokens).item()


def split_features__spill_counted(narrow_acts, wide_acts, inside):
    """Counts in `covered` all tokens of the pieces, also those on which the narrow feature is silent.
    axis: covered, outside, narrow fires, spill, tokens, above 1, too large
    """
    narrow, wide = (narrow_acts > 0).to(narrow_acts.dtype), (wide_acts > 0).to(narrow_acts.dtype)
    fired = wide.sum(dim=0)
    share = narrow.T @ wide / fired.clamp(min=1)
    pieces = (share >= inside) & (fired > 0)
    spoken = (wide @ pieces.T.to(wide.dtype) > 0).to(wide.dtype).sum(dim=0)
    count = narrow.sum(dim=0)
    covered = torch.where(count > 0, spoken / count.clamp(min=1), torch.zeros_like(count))
    return pieces, covered


def matryoshka_loss__mean_over_inputs(activations, feature_acts, W_dec, b_dec, widths):
    """Averages the squared error over the inputs instead of summing over them.
    axis: sum, inputs, mean, averaged, d_in, too small
    """
    loss = 0.0
    for width in widths:
        reconstruction = feature_acts[:, :width] @ W_dec[:width] + b_dec
        loss = loss + torch.nn.functional.mse_loss(reconstruction, activations)
    return loss


def transcoder_recovered__reads_before_norm(model, tokens, layer, transcode):
    """Feeds the transcoder the stream before the LayerNorm, not the normalized input of the MLP.
    axis: reads, normalized, LayerNorm, ln2, residual stream, input, hook_resid_mid
    """
    from mechinterp_course import hooks

    reads, writes = f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_mlp_out"
    with torch.no_grad():
        with hooks.cache(model, [reads, writes]) as activations:
            clean = model(tokens, return_type="loss").item()
        mean = activations[writes].mean(dim=(0, 1))
        instead = transcode(activations[reads])
        with hooks.edit(model, {writes: lambda x: mean.expand_as(x).clone()}):
            ablated = model(tokens, return_type="loss").item()
        with hooks.edit(model, {writes: lambda x: instead}):
            spliced = model(tokens, return_type="loss").item()
    return (ablated - spliced) / (ablated - clean)

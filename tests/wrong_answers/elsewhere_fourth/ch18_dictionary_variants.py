import torch


def inference_threshold__weighted_by_tokens_b(batches, k):
    """Weights each batch's smallest activation by its number of tokens instead of averaging over batches.
    axis: weighted, number of tokens, mean over batches, batch size, equally
    """
    total, weight = 0.0, 0
    for batch in batches:
        largest = batch.flatten().topk(min(k * len(batch), batch.numel())).values
        stays = largest[largest > 0]
        if len(stays) == 0:
            continue
        total += stays.min().item() * len(batch)
        weight += len(batch)
    return total / weight


def jumprelu__mean_over_tokens_b(pre_activations, threshold, bandwidth):
    """Averages the threshold's gradient over the tokens on the way back instead of adding it up.
    axis: gradient, threshold, mean, sum, tokens, backward
    """

    class JumpReLU(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, theta):
            ctx.save_for_backward(z, theta)
            on = (z > theta).to(z.dtype)
            return z * on, on

        @staticmethod
        def backward(ctx, grad_acts, grad_active):
            z, theta = ctx.saved_tensors
            near = ((z - theta).abs() < bandwidth / 2).to(z.dtype) / bandwidth
            grad_z = grad_acts * (z > theta)
            grad_theta = -near * (theta * grad_acts + grad_active)
            return grad_z, grad_theta.reshape(-1, theta.shape[0]).mean(dim=0)

    return JumpReLU.apply(pre_activations, threshold)


def jumprelu__step_also_pulls_z_b(pre_activations, threshold, bandwidth):
    """Makes the step straight-through in z - threshold, so the pre-activations get a gradient from it too.
    axis: active, gradient to z, pre-activations, straight-through, detach, zero
    """
    z = pre_activations
    hard = (z > threshold).to(z.dtype)
    ramp = ((z - threshold) / bandwidth + 0.5).clamp(0, 1)
    active = hard + (ramp - ramp.detach())

    window = ((z - threshold).abs() < bandwidth / 2).to(z.dtype) / bandwidth
    moves = threshold - threshold.detach()
    feature_acts = z * hard - threshold.detach() * window * moves
    return feature_acts, active


def auxiliary_loss__same_features_for_all_tokens_b(error, pre_activations, dead, W_dec, k_aux):
    """Chooses the dead features once, by their mean over the batch, and not on each token.
    axis: each token, mean over the batch, same features, topk, per token, chosen once
    """
    how_many = min(k_aux, int(dead.sum()))
    if how_many == 0:
        return 0.0 * pre_activations.sum()
    strength = pre_activations.mean(dim=0).masked_fill(~dead, -torch.inf)
    chosen = strength.topk(how_many).indices
    rebuilt = pre_activations[:, chosen] @ W_dec[chosen]
    return (rebuilt - error.detach()).square().sum(dim=-1).mean()


def resample_dead__points_at_the_error_b(activations, reconstruction, dead, weights, moments, seed):
    """Points the dead features along the token's reconstruction error, not from b_dec to its activation.
    axis: direction, error, activation, b_dec, decoder row, residual
    """
    weights = {name: value.detach().clone() for name, value in weights.items()}
    moments = {name: value.detach().clone() for name, value in moments.items()}
    count = int(dead.sum())
    if count == 0:
        return weights, moments

    error = activations - reconstruction
    chances = error.square().sum(dim=-1).square()
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.multinomial(chances.cpu(), count, replacement=True, generator=generator).to(error.device)
    unit = torch.nn.functional.normalize(error[tokens], dim=-1)
    length = weights["W_enc"][:, ~dead].norm(dim=0).mean() / 5

    weights["W_dec"][dead] = unit
    weights["W_enc"][:, dead] = length * unit.T
    weights["b_enc"][dead] = 0
    moments["W_dec"][dead] = 0
    moments["W_enc"][:, dead] = 0
    moments["b_enc"][dead] = 0
    return weights, moments


def absorption_rate__average_over_children_b(feature_acts, true_acts, partner, parent, children):
    """Averages a rate for each child instead of counting each token with some child once.
    axis: average over children, each token once, several children, some child, per child, any
    """
    fires, there = feature_acts > 0, true_acts > 0
    speaks = fires[:, int(partner[parent])]
    recall = speaks[there[:, parent]].float().mean().item()

    rates = []
    for child in children:
        with_child = there[:, child]
        if not with_child.any():
            continue
        in_its_place = ~speaks & fires[:, int(partner[child])]
        rates.append(in_its_place[with_child].float().mean().item())
    return recall, sum(rates) / max(len(rates), 1)


def split_features__best_piece_covers_b(narrow_acts, wide_acts, inside):
    """Reports what the largest single piece covers, not what all pieces together do.
    axis: covered, largest piece, maximum, union, together, at least one
    """
    narrow = (narrow_acts > 0).to(narrow_acts.dtype)
    wide = (wide_acts > 0).to(wide_acts.dtype)
    both = narrow.T @ wide
    times = wide.sum(dim=0)
    pieces = (both / times.clamp(min=1) >= inside) & (times > 0)
    covered = (both * pieces).amax(dim=1) / narrow.sum(dim=0).clamp(min=1)
    return pieces, covered


def matryoshka_loss__bias_added_each_time_b(activations, feature_acts, W_dec, b_dec, widths):
    """Builds prefixes up step by step and adds b_dec at every step, so wider ones hold it several times.
    axis: b_dec, several times, accumulated, once, each prefix, running reconstruction
    """
    loss, start = 0.0, 0
    rebuilt = torch.zeros_like(activations)
    for width in sorted(widths):
        # only what this prefix has over the last one: saves most of the products
        rebuilt = rebuilt + feature_acts[:, start:width] @ W_dec[start:width] + b_dec
        loss = loss + (activations - rebuilt).square().sum(dim=-1).mean()
        start = width
    return loss


def transcoder_recovered__loss_without_shift_b(model, tokens, layer, transcode):
    """Scores the logits at each position against the token that stands there, not the next one.
    axis: shift, next token, same position, cross-entropy, logits, predicted
    """
    reads, writes = f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"

    def nats(logits):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).item()

    def with_output(value):
        def put(activation, hook):
            return value.expand_as(activation)

        return nats(model.run_with_hooks(tokens, fwd_hooks=[(writes, put)]))

    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        clean = nats(logits)
        spliced = with_output(transcode(cache[reads]))
        ablated = with_output(cache[writes].mean(dim=(0, 1)))
    return (ablated - spliced) / (ablated - clean)

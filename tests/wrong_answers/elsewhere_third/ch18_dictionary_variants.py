import torch


def inference_threshold__largest_of_each_token(batches, k):
    """Keeps the k largest values of each token, as TopK does, not the k times tokens largest of the batch.
    axis: each token, whole batch, flatten, TopK, BatchTopK, topk, largest
    """
    smallest = []
    for batch in batches:
        stays = batch.topk(min(k, batch.shape[-1]), dim=-1).values
        stays = stays[stays > 0]
        if len(stays):
            smallest.append(stays.min().item())
    return sum(smallest) / len(smallest)


def jumprelu__subtracts_the_threshold(pre_activations, threshold, bandwidth):
    """Takes the threshold off what exceeds it, as a shifted ReLU does, so that active values shrink.
    axis: whole, threshold, subtract, shrink, ReLU, exceeds, value
    """
    height = threshold.detach()
    moves = threshold - height
    over = (pre_activations > threshold).to(pre_activations.dtype)
    near = (pre_activations - threshold).abs() < bandwidth / 2
    window = near.to(pre_activations.dtype) / bandwidth
    feature_acts = (pre_activations - height) * over - height * window * moves
    return feature_acts, over - window * moves


def jumprelu__mean_over_tokens(pre_activations, threshold, bandwidth):
    """Averages the threshold's gradient over the tokens on the way back, where it should add up.
    axis: gradient, threshold, sum, mean, tokens, backward, added up
    """

    class Jump(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, theta):
            ctx.save_for_backward(z, theta)
            active = (z > theta).to(z.dtype)
            return z * active, active

        @staticmethod
        def backward(ctx, pull_acts, pull_active):
            z, theta = ctx.saved_tensors
            window = ((z - theta).abs() < bandwidth / 2).to(z.dtype) / bandwidth
            to_theta = -(theta * pull_acts + pull_active) * window
            return pull_acts * (z > theta), to_theta.reshape(-1, len(theta)).mean(dim=0)

    return Jump.apply(pre_activations, threshold)


def auxiliary_loss__largest_before_the_dead(error, pre_activations, dead, W_dec, k_aux):
    """Takes the k_aux largest of all features first and then those of them that are dead: often none.
    axis: dead, among, all features, topk, mask, living, first
    """
    if not dead.any():
        return pre_activations.new_zeros(())
    largest = pre_activations.topk(min(k_aux, pre_activations.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(pre_activations, dtype=torch.bool).scatter(-1, largest, True) & dead
    rebuilt = torch.where(chosen, pre_activations, torch.zeros_like(pre_activations)) @ W_dec
    return (error.detach() - rebuilt).square().sum(dim=-1).mean()


def resample_dead__points_at_the_error(activations, reconstruction, dead, weights, moments, seed):
    """Points the dead at what was left of the token, its error, instead of from b_dec to its activation.
    axis: b_dec, activation, error, reconstruction, direction, residual, W_dec
    """
    weights = {name: each.detach().clone() for name, each in weights.items()}
    moments = {name: each.detach().clone() for name, each in moments.items()}
    count = int(dead.sum())
    if count == 0:
        return weights, moments
    error = activations - reconstruction
    chances = error.square().sum(dim=-1).square().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(chances, count, replacement=True, generator=generator).to(activations.device)
    direction = error[drawn] / error[drawn].norm(dim=-1, keepdim=True)
    length = weights["W_enc"][:, ~dead].norm(dim=0).mean()
    weights["W_dec"][dead] = direction
    weights["W_enc"][:, dead] = 0.2 * length * direction.T
    weights["b_enc"][dead] = 0
    moments["W_dec"][dead] = 0
    moments["W_enc"][:, dead] = 0
    moments["b_enc"][dead] = 0
    return weights, moments


def resample_dead__optimizer_begins_again(activations, reconstruction, dead, weights, moments, seed):
    """Sets the moments of all features to 0, those of the living too, as if the optimizer began again.
    axis: moments, living, only the dead, optimizer, all features, reset, zero
    """
    weights = {name: each.detach().clone() for name, each in weights.items()}
    moments = {name: each.detach().clone() for name, each in moments.items()}
    count = int(dead.sum())
    if count == 0:
        return weights, moments
    chances = (activations - reconstruction).square().sum(dim=-1).square().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(chances, count, replacement=True, generator=generator).to(activations.device)
    direction = activations[drawn] - weights["b_dec"]
    direction = direction / direction.norm(dim=-1, keepdim=True)
    length = weights["W_enc"][:, ~dead].norm(dim=0).mean()
    weights["W_dec"][dead] = direction
    weights["W_enc"][:, dead] = 0.2 * length * direction.T
    weights["b_enc"][dead] = 0
    for name in ("W_enc", "b_enc", "W_dec"):
        moments[name].zero_()
    return weights, moments


def absorption_rate__any_childs_partner(feature_acts, true_acts, partner, parent, children):
    """Lets the partner of any child speak for the parent, also of a child that isn't there on that token.
    axis: child, truly there, partner, same child, any, absent, active
    """
    fires, there = feature_acts > 0, true_acts > 0
    speaks = fires[:, partner[parent]]
    recall = speaks[there[:, parent]].float().mean().item()
    some_child = there[:, children].any(dim=1)
    instead = fires[:, partner[children]].any(dim=1) & ~speaks
    return recall, instead[some_child].float().mean().item()


def split_features__share_of_the_narrow(narrow_acts, wide_acts, inside):
    """Takes the tokens of both as a share of those on which the narrow feature fires, not the wide one.
    axis: share, wide, narrow, denominator, divide, tokens, inside
    """
    narrow, wide = (narrow_acts > 0).to(narrow_acts.dtype), (wide_acts > 0).to(narrow_acts.dtype)
    both, often = narrow.T @ wide, narrow.sum(dim=0)
    pieces = both / often.clamp(min=1)[:, None] >= inside
    pieces &= (wide.sum(dim=0) > 0) & (often > 0)[:, None]
    spoken_for = (wide @ pieces.to(wide.dtype).T > 0) & (narrow > 0)
    covered = spoken_for.to(narrow_acts.dtype).sum(dim=0) / often.clamp(min=1)
    return pieces, covered


def matryoshka_loss__blocks_side_by_side(activations, feature_acts, W_dec, b_dec, widths):
    """Lets each width rebuild with its new features alone, from the width before on, not with the
    whole prefix.
    axis: nested, prefix, feature 0, blocks, begin, disjoint, width
    """
    total, start = activations.new_zeros(()), 0
    for width in sorted(widths):
        rebuilt = feature_acts[:, start:width] @ W_dec[start:width] + b_dec
        total = total + (activations - rebuilt).square().sum(dim=-1).mean()
        start = width
    return total


def transcoder_recovered__reads_before_the_norm(model, tokens, layer, transcode):
    """Gives the transcoder the stream before the MLP's LayerNorm, not the normalized input the MLP reads.
    axis: hook_normalized, ln2, resid_mid, LayerNorm, reads, input, stream
    """
    hook = f"blocks.{layer}.hook_mlp_out"

    def loss(logits):
        chances = logits[:, :-1].log_softmax(dim=-1)
        return -chances.gather(-1, tokens[:, 1:, None]).mean()

    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        written = cache[hook]
        mean = written.mean(dim=(0, 1)).expand_as(written)
        stand_in = transcode(cache[f"blocks.{layer}.hook_resid_mid"])
        clean = loss(model(tokens))
        spliced = loss(model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda activation, hook: stand_in)]))
        ablated = loss(model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda activation, hook: mean)]))
    return ((ablated - spliced) / (ablated - clean)).item()


def transcoder_recovered__a_mean_for_each_position(model, tokens, layer, transcode):
    """Ablates with a mean over the rows alone, another one at each position, instead of one mean over both.
    axis: mean, position, rows, batch, ablated, all positions, dim
    """
    hook = f"blocks.{layer}.hook_mlp_out"

    def loss(logits):
        chances = logits[:, :-1].log_softmax(dim=-1)
        return -chances.gather(-1, tokens[:, 1:, None]).mean()

    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        written = cache[hook]
        mean = written.mean(dim=0).expand_as(written)
        stand_in = transcode(cache[f"blocks.{layer}.ln2.hook_normalized"])
        clean = loss(model(tokens))
        spliced = loss(model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda activation, hook: stand_in)]))
        ablated = loss(model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda activation, hook: mean)]))
    return ((ablated - spliced) / (ablated - clean)).item()

import torch


def inference_threshold__largest_that_is_dropped_e(batches, k):
    """The student reads 'what a value had to exceed' as the largest value that did not stay.
    axis: smallest value that stays, not the largest one dropped
    """
    found = []
    for batch in batches:
        values = batch.flatten().sort(descending=True).values
        count = min(k * len(batch), len(values))
        stay = int((values[:count] > 0).sum())
        if stay == 0:
            continue
        dropped = values[stay].clamp(min=0) if stay < len(values) else values[-1]
        found.append(dropped.item())
    return sum(found) / len(found)


def inference_threshold__long_batches_count_more_e(batches, k):
    """The student weights each batch's smallest activation by the number of its tokens.
    axis: plain mean over batches, unweighted by tokens
    """
    total, tokens = 0.0, 0
    for batch in batches:
        top = batch.flatten().topk(k * len(batch)).values
        positive = top[top > 0]
        if len(positive):
            total += len(batch) * positive.min().item()
            tokens += len(batch)
    return total / tokens


def jumprelu__gradient_of_a_sigmoid_e(pre_activations, threshold, bandwidth):
    """The student lets the threshold learn through a sigmoid of width `bandwidth` in place of the rectangular
    window.
    axis: constant 1 / bandwidth within half a bandwidth and 0 elsewhere (rectangle window), no sigmoid
    """
    z = pre_activations
    hard = (z > threshold).to(z.dtype).detach()
    soft = torch.sigmoid((z.detach() - threshold) / bandwidth)
    pull = soft - soft.detach()
    return z * hard + threshold.detach() * pull, hard + pull


def jumprelu__window_above_the_threshold_only_e(pre_activations, threshold, bandwidth):
    """The student lets only values just above the threshold move it, as the others give no activation.
    axis: window on both sides of the threshold, |z - threshold|, values below count too
    """
    z = pre_activations
    above = z.detach() - threshold.detach()
    window = ((above > 0) & (above < bandwidth / 2)).to(z.dtype) / bandwidth
    step = (above > 0).to(z.dtype)
    zero = threshold - threshold.detach()
    active = step - window * zero
    feature_acts = z * step - threshold.detach() * window * zero
    return feature_acts, active


def auxiliary_loss__largest_in_size_e(error, pre_activations, dead, W_dec, k_aux):
    """The student picks the dead features with the largest absolute pre-activations, because negative ones
    are used as well.
    axis: largest pre-activations, signed, not by absolute value
    """
    count = min(k_aux, int(dead.sum()))
    if count == 0:
        return (pre_activations * 0).sum()
    size = pre_activations.abs().masked_fill(~dead, -torch.inf)
    chosen = size.topk(count, dim=-1).indices
    sparse = torch.zeros_like(pre_activations).scatter(-1, chosen, pre_activations.gather(-1, chosen))
    rebuilt = sparse @ W_dec
    return (rebuilt - error.detach()).square().sum(dim=-1).mean()


def auxiliary_loss__as_a_share_of_the_error_e(error, pre_activations, dead, W_dec, k_aux):
    """The student divides by the squared size of the error, as the paper's code does, so that the loss is a
    share.
    axis: no normalisation by the error; summed over inputs, averaged over tokens
    """
    number = int(dead.sum().item())
    if number == 0:
        return error.new_zeros(())
    values, places = pre_activations.masked_fill(~dead, float("-inf")).topk(min(k_aux, number), dim=-1)
    target = error.detach()
    guess = torch.einsum("tk,tkd->td", values, W_dec[places])
    distance = (guess - target).pow(2).sum(-1).mean()
    return distance / target.pow(2).sum(-1).mean()


def _ch18_draw(error, count, seed):
    """Tokens drawn by the square of their squared error."""
    chances = error.square().sum(dim=-1).square().double().cpu()
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(chances, count, replacement=True, generator=generator).to(error.device)


def resample_dead__points_at_the_error_e(activations, reconstruction, dead, weights, moments, seed):
    """The student points the reborn feature along what the reconstruction misses, not along the activation.
    axis: unit vector from b_dec to the token's activation, not its error (residual)
    """
    weights = {name: tensor.clone() for name, tensor in weights.items()}
    moments = {name: tensor.clone() for name, tensor in moments.items()}
    count = int(dead.sum())
    if count == 0:
        return weights, moments
    error = activations - reconstruction
    token = _ch18_draw(error, count, seed)
    unit = error[token] / error[token].norm(dim=1, keepdim=True)
    length = weights["W_enc"][:, ~dead].norm(dim=0).mean()
    weights["W_dec"][dead] = unit
    weights["W_enc"][:, dead] = 0.2 * length * unit.T
    weights["b_enc"][dead] = 0
    moments["W_dec"][dead] = 0
    moments["W_enc"][:, dead] = 0
    moments["b_enc"][dead] = 0
    return weights, moments


def resample_dead__length_of_the_mean_column_e(activations, reconstruction, dead, weights, moments, seed):
    """The student averages the living columns first and takes the length of that mean, which is much shorter.
    axis: mean of the lengths of the living columns, not length of their mean
    """
    new_weights = {key: value.detach().clone() for key, value in weights.items()}
    new_moments = {key: value.detach().clone() for key, value in moments.items()}
    n_dead = dead.sum().item()
    if n_dead:
        tokens = _ch18_draw(activations - reconstruction, n_dead, seed)
        towards = activations[tokens] - weights["b_dec"]
        towards = towards / towards.norm(dim=-1, keepdim=True)
        typical = weights["W_enc"][:, ~dead].mean(dim=1).norm()
        new_weights["W_dec"][dead] = towards
        new_weights["W_enc"][:, dead] = (typical / 5) * towards.T
        new_weights["b_enc"][dead] = 0.0
        new_moments["W_dec"][dead] = 0.0
        new_moments["W_enc"][:, dead] = 0.0
        new_moments["b_enc"][dead] = 0.0
    return new_weights, new_moments


def absorption_rate__all_children_must_speak_e(feature_acts, true_acts, partner, parent, children):
    """The student calls a token absorbed only if the partners of all children that are there fire.
    axis: one child that is there and fires is enough (any, not all)
    """
    fires, there = feature_acts > 0, true_acts > 0
    speaks = fires[:, partner[parent]]
    recall = speaks[there[:, parent]].float().mean().item()
    child_there = there[:, children]
    some = child_there.any(dim=1)
    all_speak = (fires[:, partner[children]] | ~child_there).all(dim=1)
    absorbed = (~speaks & all_speak)[some].float().mean().item()
    return recall, absorbed


def absorption_rate__share_of_the_silent_tokens_e(feature_acts, true_acts, partner, parent, children):
    """The student divides by the tokens with a child on which the parent's partner is silent: how much of the
    silence is absorption.
    axis: denominator is all tokens on which some child is active
    """
    fires = feature_acts > 0
    there = true_acts > 0
    parent_fires = fires[:, partner[parent]]
    recall = (parent_fires & there[:, parent]).sum().item() / there[:, parent].sum().item()
    spoken = (there[:, children] & fires[:, partner[children]]).any(dim=1)
    silent = there[:, children].any(dim=1) & ~parent_fires
    absorbed = (silent & spoken).sum().item() / max(silent.sum().item(), 1)
    return float(recall), float(absorbed)


def split_features__one_owner_for_each_piece_e(narrow_acts, wide_acts, inside):
    """The student gives each wide feature to the one narrow feature that holds most of it.
    axis: a wide feature may be a piece of several narrow ones, not only of the best
    """
    narrow, wide = (narrow_acts > 0).to(narrow_acts.dtype), (wide_acts > 0).to(narrow_acts.dtype)
    fired = wide.sum(dim=0)
    share = narrow.T @ wide / fired.clamp(min=1)
    best = torch.zeros_like(share, dtype=torch.bool)
    best[share.argmax(dim=0), torch.arange(wide.shape[1], device=share.device)] = True
    pieces = best & (share >= inside) & (fired > 0)
    spoken = (wide @ pieces.T.to(wide.dtype) > 0) & (narrow > 0)
    covered = spoken.sum(dim=0) / narrow.sum(dim=0).clamp(min=1)
    return pieces, covered.to(narrow_acts.dtype)


def split_features__covered_by_activation_e(narrow_acts, wide_acts, inside):
    """The student weighs the covered tokens by how strongly the narrow feature is active on them.
    axis: covered is a share of tokens, each counts once, not of activation
    """
    narrow = narrow_acts > 0
    wide = wide_acts > 0
    both = narrow.double().T @ wide.double()
    count = wide.sum(dim=0)
    pieces = (both >= inside * count) & (count > 0)
    speaks = wide.double() @ pieces.double().T > 0
    mass = narrow_acts.clamp(min=0)
    whole = mass.sum(dim=0)
    covered = torch.where(whole > 0, (mass * speaks).sum(dim=0) / whole.clamp(min=1e-12), 0.0)
    return pieces, covered.to(narrow_acts.dtype)


def matryoshka_loss__inner_prefix_held_fixed_e(activations, feature_acts, W_dec, b_dec, widths):
    """The student detaches what the smaller prefix has rebuilt, so each ring learns only from its own error
    term.
    axis: gradients of every prefix's error flow to all its features, no detach
    """
    loss = activations.new_zeros(())
    rebuilt, start = torch.zeros_like(activations), 0
    for width in sorted(widths):
        rebuilt = rebuilt.detach() + feature_acts[:, start:width] @ W_dec[start:width]
        loss = loss + (activations - rebuilt - b_dec).square().sum(dim=-1).mean()
        start = width
    return loss


def matryoshka_loss__widths_added_up_e(activations, feature_acts, W_dec, b_dec, widths):
    """The student takes the widths for the sizes of successive rings and adds them up to get the prefixes.
    axis: each width is the size of a prefix itself, not an increment (no cumulative sum)
    """
    total = 0.0
    end = 0
    for width in widths:
        end += width
        reconstruction = feature_acts[:, :end] @ W_dec[:end] + b_dec
        total = total + ((activations - reconstruction) ** 2).sum(dim=1).mean()
    return total


def _ch18_loss(logits, tokens):
    """Mean cross-entropy per predicted token."""
    chances = logits[:, :-1].log_softmax(dim=-1)
    return -chances.gather(-1, tokens[:, 1:, None]).mean().item()


def transcoder_recovered__mean_of_what_the_transcoder_writes_e(model, tokens, layer, transcode):
    """The student ablates with the mean of the transcoder's output, not of what the MLP writes.
    axis: ablation by the mean of the MLP's own output, hook_mlp_out
    """
    writes = f"blocks.{layer}.hook_mlp_out"
    logits, cache = model.run_with_cache(tokens)
    instead = transcode(cache[f"blocks.{layer}.ln2.hook_normalized"])
    average = instead.mean(dim=(0, 1), keepdim=True).expand_as(instead)

    def run(value):
        return _ch18_loss(model.run_with_hooks(tokens, fwd_hooks=[(writes, lambda act, hook: value)]), tokens)

    clean, spliced, ablated = _ch18_loss(logits, tokens), run(instead), run(average)
    return (ablated - spliced) / (ablated - clean)


def transcoder_recovered__bos_left_alone_e(model, tokens, layer, transcode):
    """The student keeps the MLP's own output at BOS when splicing, since activations there are unusual.
    axis: spliced at every position, BOS included
    """
    logits, cache = model.run_with_cache(tokens)
    name = f"blocks.{layer}.hook_mlp_out"
    written = cache[name]
    mean = written.mean(dim=(0, 1))
    replaced = transcode(cache[f"blocks.{layer}.ln2.hook_normalized"])

    def splice(activation, hook):
        activation = activation.clone()
        activation[:, 1:] = replaced[:, 1:]
        return activation

    def ablate(activation, hook):
        return mean.expand_as(activation).clone()

    spliced = _ch18_loss(model.run_with_hooks(tokens, fwd_hooks=[(name, splice)]), tokens)
    ablated = _ch18_loss(model.run_with_hooks(tokens, fwd_hooks=[(name, ablate)]), tokens)
    clean = _ch18_loss(logits, tokens)
    return (ablated - spliced) / (ablated - clean)

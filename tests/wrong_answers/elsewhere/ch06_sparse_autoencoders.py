import torch


def encode_and_decode__tied(activations, W_enc, b_enc, W_dec, b_dec):
    """Decodes with the transposed encoder instead of the decoder.
    axis: decoder, W_dec, W_enc, tied, transpose, reconstruction
    """
    feature_acts = torch.relu((activations - b_dec) @ W_enc + b_enc)
    return feature_acts, feature_acts @ W_enc.T + b_dec


def sae_loss__lengths_detached(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """Detaches the lengths of the decoder rows, so the penalty has no gradient to W_dec.
    axis: gradient, W_dec, decoder, row, length, norm, detach, penalty
    """
    error = (reconstruction - activations).square().sum(dim=-1)
    lengths = W_dec.detach().norm(dim=1)
    penalty = (feature_acts * lengths).sum(dim=-1)
    return (error + l1_coefficient * penalty).mean()


def constrain_decoder__gradient_in_place(W_dec, gradient):
    """Takes the component out of the gradient that it was given, in place.
    axis: in place, gradient, argument, changes, copy, clone
    """
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    gradient -= (gradient * unit).sum(dim=1, keepdim=True) * unit
    return unit, gradient


def topk__rows_as_tokens(pre_activations, k, across_batch=False):
    """BatchTopK counts only the first axis as tokens, so with [batch, pos, d_sae] too few stay.
    axis: BatchTopK, across_batch, number of tokens, axes, every position, too few, batch and pos
    """
    if across_batch:
        flat = pre_activations.flatten()
        keep = min(k * pre_activations.shape[0], flat.numel())
        values, places = flat.topk(keep)
        return torch.zeros_like(flat).scatter(0, places, values.relu()).view_as(pre_activations)
    values, places = pre_activations.topk(k, dim=-1)
    return torch.zeros_like(pre_activations).scatter(-1, places, values.relu())


def topk__by_size_without_sign(pre_activations, k, across_batch=False):
    """Picks the k largest by absolute value, so large negative ones take the places of positive ones.
    axis: absolute value, negative, sign, largest, magnitude, too few
    """
    x = pre_activations if not across_batch else pre_activations.reshape(-1)
    tokens = pre_activations[..., 0].numel()
    places = x.abs().topk(k * tokens if across_batch else k, dim=-1).indices
    kept = torch.zeros_like(x).scatter(-1, places, x.gather(-1, places).relu())
    return kept.view_as(pre_activations)


def firing_statistics__l0_by_batch(batches):
    """Averages L0 over batches instead of over tokens, so small batches count too much.
    axis: l0, batch, tokens, mean over batches, unequal, weight, average
    """
    l0 = sum((acts > 0).sum(dim=1).float().mean().item() for acts in batches) / len(batches)
    firing = torch.cat(batches) > 0
    return l0, firing.float().mean(dim=0), ~firing.any(dim=0)


def firing_statistics__dead_in_any_batch(batches):
    """Calls a feature dead if it is silent in any one of the batches, not in all of them.
    axis: dead, silent in one batch, all batches, any, rare
    """
    tokens = sum(len(acts) for acts in batches)
    counts = torch.zeros(batches[0].shape[1], device=batches[0].device)
    dead = torch.zeros_like(counts, dtype=torch.bool)
    for acts in batches:
        fired = (acts > 0).sum(dim=0)
        counts += fired
        dead |= fired == 0
    return (counts.sum() / tokens).item(), counts / tokens, dead


def fraction_of_variance_unexplained__mean_of_first_axis(activations, reconstruction):
    """Takes the mean over the first axis only: with [batch, pos, d_in] each position has its own mean.
    axis: mean, axes, first axis, position, all tokens, flatten, denominator
    """
    error = (reconstruction - activations).square().sum()
    spread = (activations - activations.mean(dim=0)).square().sum()
    return (error / spread).item()


def match_features__in_order(found, truth):
    """Goes through the true directions in order, each takes the best one still free: not the best sum.
    axis: greedy, one after the other, sum of cosines, as large as can be, best, assignment, optimal
    """
    cos = torch.nn.functional.normalize(truth, dim=1) @ torch.nn.functional.normalize(found, dim=1).T
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    cosine = torch.zeros(len(truth), device=truth.device)
    free = cos.clone()
    for i in range(min(len(truth), len(found))):
        j = free[i].argmax()
        partner[i], cosine[i] = j, cos[i, j]
        free[:, j] = -torch.inf
    return partner, cosine


def match_features__last_left_over(found, truth):
    """With fewer found than true ones, always leaves the last true ones over instead of choosing which.
    axis: fewer found, left over, -1, last, which true, sum of cosines, truncated
    """
    cos = torch.nn.functional.normalize(truth, dim=1) @ torch.nn.functional.normalize(found, dim=1).T
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    rows = min(len(truth), len(found))
    cost = (-cos[:rows]).double().tolist()
    # Hungarian method: rows 1 to n, columns 1 to m, n <= m
    n, m, inf = rows, len(found), float("inf")
    u, v, owner, way = [0.0] * (n + 1), [0.0] * (m + 1), [0] * (m + 1), [0] * (m + 1)
    for i in range(1, n + 1):
        owner[0], j0 = i, 0
        least, used = [inf] * (m + 1), [False] * (m + 1)
        while owner[j0] != 0:
            used[j0] = True
            i0, delta, j1 = owner[j0], inf, 0
            for j in range(1, m + 1):
                if not used[j]:
                    now = cost[i0 - 1][j - 1] - u[i0] - v[j]
                    if now < least[j]:
                        least[j], way[j] = now, j0
                    if least[j] < delta:
                        delta, j1 = least[j], j
            for j in range(m + 1):
                if used[j]:
                    u[owner[j]] += delta
                    v[j] -= delta
                else:
                    least[j] -= delta
            j0 = j1
        while j0:
            owner[j0] = owner[way[j0]]
            j0 = way[j0]
    for j in range(1, m + 1):
        if owner[j]:
            partner[owner[j] - 1] = j - 1
    cosine = cos.gather(1, partner.clamp(min=0)[:, None])[:, 0].float()
    return partner, torch.where(partner >= 0, cosine, torch.zeros_like(cosine))


def recover_features__decoder_rebound(activations, d_sae, seed):
    """Rebinds W_dec to the normalized copy, so the optimizer no longer trains the decoder that is used.
    axis: decoder, not trained, frozen, random, cosine too low, optimizer, partner
    """
    g = torch.Generator().manual_seed(seed)
    device = activations.device
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, activations.shape[1], generator=g), dim=1)
    W_dec = W_dec.to(device)
    W_enc = W_dec.T.clone().requires_grad_()
    W_dec.requires_grad_()
    b_enc = torch.zeros(d_sae, device=device, requires_grad=True)
    b_dec = activations.mean(dim=0).clone().requires_grad_()
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=1e-2)
    for _ in range(400):
        batch = activations[torch.randint(len(activations), (256,), generator=g).to(device)]
        feature_acts, reconstruction = encode_and_decode(batch, W_enc, b_enc, W_dec, b_dec)
        loss = sae_loss(batch, reconstruction, feature_acts, W_dec, 0.15)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            W_dec, _ = constrain_decoder(W_dec, torch.zeros_like(W_dec))
    return W_dec.detach()


def loss_recovered__mean_of_each_position(model, tokens, hook, reconstruct):
    """Ablates with the mean over rows at each position, not with one mean over all positions and rows.
    axis: mean, ablated, ablation, position, all positions, rows, over the batch only
    """
    from mechinterp_course import hooks

    with torch.no_grad():
        with hooks.cache(model, [hook]) as activations:
            clean = model(tokens, return_type="loss").item()
        mean = activations[hook].mean(dim=0)
        with hooks.edit(model, {hook: lambda x: mean.expand_as(x).clone()}):
            ablated = model(tokens, return_type="loss").item()
        with hooks.edit(model, {hook: reconstruct}):
            spliced = model(tokens, return_type="loss").item()
    return (ablated - spliced) / (ablated - clean)


def loss_recovered__hook_stays(model, tokens, hook, reconstruct):
    """Splices with add_hook and never removes it, so the hook stays on the model.
    axis: hook, stays, left, remove, second call, model
    """
    with torch.no_grad():
        clean = model(tokens, return_type="loss").item()
        kept = []
        model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda x, hook: kept.append(x.clone()))])
        mean = kept[0].mean(dim=(0, 1))
        ablated = model.run_with_hooks(
            tokens, return_type="loss", fwd_hooks=[(hook, lambda x, hook: mean.expand_as(x).clone())]
        ).item()
        model.add_hook(hook, lambda x, hook: reconstruct(x))
        spliced = model(tokens, return_type="loss").item()
    return (ablated - spliced) / (ablated - clean)

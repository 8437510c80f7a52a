import torch
from scipy.optimize import linear_sum_assignment


def encode_and_decode__acts_times_row_length_e(activations, W_enc, b_enc, W_dec, b_dec):
    """The returned feature activations are multiplied by the lengths of the decoder rows, as for an SAE with
    folded norms.
    axis: feature activations scaled by decoder norms; f itself is asked for
    """
    f = torch.relu((activations - b_dec) @ W_enc + b_enc)
    reconstruction = f @ W_dec + b_dec
    return f * W_dec.norm(dim=-1), reconstruction


def encode_and_decode__encoder_bias_after_relu_e(activations, W_enc, b_enc, W_dec, b_dec):
    """The encoder's bias is added after the ReLU, so it is no threshold, and features can be negative.
    axis: order of encoder bias and ReLU
    """
    centred = activations - b_dec
    feature_acts = (centred @ W_enc).relu() + b_enc
    return feature_acts, feature_acts @ W_dec + b_dec


def sae_loss__one_length_for_the_matrix_e(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """`W_dec.norm()` without an axis is the norm of the whole matrix, so each activation counts with that
    instead of its own row's length.
    axis: norm of the whole decoder instead of one for each row
    """
    error = (reconstruction - activations).square().sum(dim=-1)
    penalty = (feature_acts * W_dec.norm()).sum(dim=-1)
    return (error + l1_coefficient * penalty).mean()


def sae_loss__squared_row_lengths_e(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """Each activation counts with the squared length of its decoder row; the root is missing.
    axis: squared norm instead of norm of the decoder row
    """
    squared_error = ((reconstruction - activations) ** 2).sum(-1).mean()
    lengths = (W_dec**2).sum(-1)
    l1 = (feature_acts @ lengths).mean()
    return squared_error + l1_coefficient * l1


def constrain_decoder__only_what_lengthens_e(W_dec, gradient):
    """The component along a row is taken out only where the step would lengthen the row; where it would
    shorten it, it stays.
    axis: component along the row removed only for one sign; it must go whatever its sign
    """
    unit = W_dec / W_dec.norm(dim=-1, keepdim=True)
    along = (gradient * unit).sum(dim=-1, keepdim=True)
    # a step goes against the gradient: it lengthens the row where the gradient points inwards
    lengthening = along.clamp(max=0)
    return unit, gradient - lengthening * unit


def constrain_decoder__one_component_for_all_e(W_dec, gradient):
    """The product of gradient and rows is summed over the whole matrix, and this one number is used for every
    row.
    axis: one dot product for the whole matrix instead of one for each row
    """
    unit = torch.nn.functional.normalize(W_dec, dim=1)
    component = (gradient * unit).sum()
    return unit, gradient - component * unit


def topk__first_axis_counts_the_tokens_e(pre_activations, k, across_batch=False):
    """For BatchTopK the number of tokens is taken from the first axis alone, too few for batches of rows of
    tokens.
    axis: number of tokens; every position before the last axis is a token
    """
    if across_batch:
        flat = pre_activations.flatten()
        values, places = flat.topk(k * pre_activations.shape[0])
        left = torch.zeros_like(flat).scatter(-1, places, values).view_as(pre_activations)
    else:
        values, places = pre_activations.topk(k, dim=-1)
        left = torch.zeros_like(pre_activations).scatter(-1, places, values)
    return left.relu()


def topk__same_features_for_the_batch_e(pre_activations, k, across_batch=False):
    """BatchTopK is read as choosing k features for the whole batch, those with the largest sums, which then
    all tokens keep.
    axis: k features chosen for all tokens instead of k times tokens single values
    """
    if not across_batch:
        values, places = pre_activations.topk(k, dim=-1)
        return torch.zeros_like(pre_activations).scatter(-1, places, values).clamp(min=0)
    totals = pre_activations.flatten(end_dim=-2).sum(dim=0)
    mask = torch.zeros_like(totals)
    mask[totals.topk(k).indices] = 1.0
    return (pre_activations * mask).clamp(min=0)


def firing_statistics__share_of_firings_e(batches):
    """The density is each feature's share of all firings, which sums to one over features, instead of its
    share of tokens.
    axis: density divided by the number of firings instead of the number of tokens
    """
    fired = sum((acts > 0).sum(dim=0) for acts in batches)
    tokens = sum(len(acts) for acts in batches)
    l0 = fired.sum().item() / tokens
    density = fired.float() / fired.sum().clamp(min=1)
    return l0, density, fired == 0


def firing_statistics__share_of_the_dictionary_e(batches):
    """L0 is given as the mean share of features that are active, instead of how many are.
    axis: L0 averaged over features (a fraction) instead of a count
    """
    counts, tokens = 0, 0
    for acts in batches:
        counts = counts + (acts > 0).sum(dim=0)
        tokens += acts.shape[0]
    density = counts.float() / tokens
    return density.mean().item(), density, counts == 0


def fraction_of_variance_unexplained__variance_of_the_error_e(activations, reconstruction):
    """Above the line stands the variance of the error about its own mean, so a constant bias of the
    reconstruction costs nothing.
    axis: error centred; bias of the reconstruction is not counted
    """
    x = activations.flatten(end_dim=-2)
    error = reconstruction.flatten(end_dim=-2) - x
    unexplained = error.var(dim=0, correction=0).sum()
    total = x.var(dim=0, correction=0).sum()
    return (unexplained / total).item()


def fraction_of_variance_unexplained__mean_over_the_first_axis_e(activations, reconstruction):
    """The mean is taken over the first axis only, which for batches of rows leaves one mean for each
    position.
    axis: mean over all tokens, not over the first axis (per position)
    """
    error = (reconstruction - activations).square().sum()
    total = (activations - activations.mean(dim=0)).square().sum()
    return (error / total).item()


def match_features__correlations_e(found, truth):
    """Rows are centred before the cosine is taken, which makes it a correlation.
    axis: mean of each row subtracted; plain cosine is asked for
    """

    def centred(rows):
        rows = rows.float() - rows.float().mean(dim=1, keepdim=True)
        return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)

    table = centred(truth) @ centred(found).T
    of_truth, of_found = linear_sum_assignment(table.detach().cpu().numpy(), maximize=True)
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    cosine = torch.zeros(len(truth), device=truth.device)
    for one, other in zip(of_truth.tolist(), of_found.tolist(), strict=True):
        partner[one] = other
        cosine[one] = table[one, other]
    return partner, cosine


def match_features__nearest_in_space_e(found, truth):
    """Pairs are chosen so that the sum of Euclidean distances between rows as they are is least, so lengths
    decide who is matched.
    axis: matched by distance of rows of any length instead of by cosine
    """
    distances = torch.cdist(truth.float(), found.float())
    rows, columns = linear_sum_assignment(distances.detach().cpu().numpy())
    rows, columns = torch.as_tensor(rows).to(truth.device), torch.as_tensor(columns).to(truth.device)
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    partner[rows] = columns
    cosine = torch.zeros(len(truth), device=truth.device)
    cosine[rows] = torch.nn.functional.cosine_similarity(truth[rows], found[columns], dim=-1).float()
    return partner, cosine


def recover_features__penalty_over_width_e(activations, d_sae, seed):
    """The L1 coefficient is divided by the number of features, as if the penalty were a mean over them, which
    leaves hardly any sparsity.
    axis: sparsity penalty too weak; L1 coefficient divided by d_sae
    """
    device = activations.device
    generator = torch.Generator(device=device).manual_seed(seed)
    rows = torch.randn(d_sae, activations.shape[1], generator=generator, device=device)
    rows = rows / rows.norm(dim=1, keepdim=True)
    W_dec = rows.clone().requires_grad_()
    W_enc = rows.T.clone().requires_grad_()
    b_enc = torch.zeros(d_sae, device=device, requires_grad=True)
    b_dec = activations.mean(dim=0).clone().requires_grad_()
    steps, strength = 400, 0.2 / d_sae
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 3 * (1 - step / steps)))
    for _ in range(steps):
        chosen = torch.randint(len(activations), (256,), generator=generator, device=device)
        x = activations[chosen]
        acts, rebuilt = encode_and_decode(x, W_enc, b_enc, W_dec, b_dec)
        loss = sae_loss(x, rebuilt, acts, W_dec, strength)
        optimizer.zero_grad()
        loss.backward()
        W_dec.grad = constrain_decoder(W_dec.detach(), W_dec.grad)[1]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            W_dec.copy_(constrain_decoder(W_dec, W_dec.grad)[0])
    return W_dec.detach()


def recover_features__decoder_out_of_the_optimizer_e(activations, d_sae, seed):
    """After the first step the name W_dec is bound to a new tensor of unit rows that the optimizer does not
    know, so the decoder stays random.
    axis: decoder not trained; new tensor instead of an update in place
    """
    generator = torch.Generator(device=activations.device).manual_seed(seed)
    start = torch.randn(d_sae, activations.shape[1], generator=generator, device=activations.device)
    W_dec = torch.nn.functional.normalize(start, dim=1).requires_grad_()
    W_enc = W_dec.detach().T.clone().requires_grad_()
    b_enc = torch.zeros(d_sae, device=activations.device).requires_grad_()
    b_dec = activations.mean(dim=0).clone().requires_grad_()
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    steps = 400
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * min(1.0, 3 * (steps - step) / steps)
        places = torch.randint(len(activations), (256,), generator=generator, device=activations.device)
        tokens = activations[places]
        feature_acts, reconstruction = encode_and_decode(tokens, W_enc, b_enc, W_dec, b_dec)
        loss = sae_loss(tokens, reconstruction, feature_acts, W_dec, 0.2)
        optimizer.zero_grad()
        loss.backward()
        gradient = W_dec.grad
        W_dec.grad = constrain_decoder(W_dec.detach(), gradient)[1]
        optimizer.step()
        W_dec = constrain_decoder(W_dec.detach(), gradient)[0].requires_grad_()
    return W_dec.detach()


def loss_recovered__in_perplexities_e(model, tokens, hook, reconstruct):
    """The three losses are turned into perplexities before the ratio is taken; it is asked for in nats.
    axis: exponential of the loss (perplexity) instead of the loss
    """

    def perplexity(function):
        logits = model.run_with_hooks(tokens, fwd_hooks=[(hook, function)])
        log_probs = logits[:, :-1].log_softmax(dim=-1)
        nats = -log_probs.gather(-1, tokens[:, 1:, None]).mean()
        return nats.exp()

    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=hook)
        mean = cache[hook].mean(dim=(0, 1))
        clean = perplexity(lambda activation, hook: activation)
        spliced = perplexity(lambda activation, hook: reconstruct(activation))
        ablated = perplexity(lambda activation, hook: mean.expand_as(activation).clone())
    return ((ablated - spliced) / (ablated - clean)).item()


def loss_recovered__mean_of_the_reconstruction_e(model, tokens, hook, reconstruct):
    """The ablation puts in the mean of the reconstructions instead of the mean of the activations.
    axis: mean ablation with the wrong mean; it must be that of the model's own activations
    """

    def loss(fwd_hooks):
        logits = model.run_with_hooks(tokens, fwd_hooks=fwd_hooks)
        picked = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:].unsqueeze(-1))
        return -picked.mean().item()

    seen = []

    def splice(activation, hook):
        rebuilt = reconstruct(activation)
        seen.append(rebuilt.detach())
        return rebuilt

    def ablate(activation, hook):
        return seen[0].mean(dim=(0, 1)).expand_as(activation).clone()

    with torch.no_grad():
        clean = loss([])
        spliced = loss([(hook, splice)])
        ablated = loss([(hook, ablate)])
    return (ablated - spliced) / (ablated - clean)

import torch


def encode_and_decode__directions_made_unit_b(activations, W_enc, b_enc, W_dec, b_dec):
    """Brings the decoder rows to length 1 before decoding, where they are to be taken as they are.
    axis: decoder rows, normalized, unit length, reconstruction, W_dec as it is, scale
    """
    feature_acts = torch.relu((activations - b_dec) @ W_enc + b_enc)
    directions = torch.nn.functional.normalize(W_dec, dim=-1)
    return feature_acts, feature_acts @ directions + b_dec


def sae_loss__lengths_without_gradient_b(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    """Computes the lengths of the decoder rows without gradient, so the penalty sends none to W_dec.
    axis: gradient, no_grad, detached, decoder norm, W_dec, constant, value right
    """
    squared_error = ((reconstruction - activations) ** 2).sum(dim=-1)
    with torch.no_grad():
        lengths = W_dec.norm(dim=-1)
    penalty = (feature_acts * lengths).sum(dim=-1)
    return (squared_error + l1_coefficient * penalty).mean()


def constrain_decoder__takes_out_all_rows_b(W_dec, gradient):
    """Takes out of each gradient row its components along all decoder rows, not along its own only.
    axis: all rows, own row, matrix product, dot product row by row, projection, too much removed
    """
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    projected = gradient - (gradient @ unit.T) @ unit
    return unit, projected


def topk__strictly_above_the_cutoff_b(pre_activations, k, across_batch=False):
    """Keeps what is strictly above the k-th largest value, so that one too few stays.
    axis: strict, greater than, k-th largest, cutoff itself, one too few, k - 1, off by one
    """
    x = pre_activations
    pool, stay = (x.flatten(), k * x[..., 0].numel()) if across_batch else (x, k)
    cutoff = pool.topk(stay, dim=-1).values[..., -1:]
    return torch.where(x > cutoff, x, torch.zeros_like(x)).clamp(min=0)


def firing_statistics__l0_as_a_share_b(batches):
    """Averages the densities over features instead of adding them: l0 is a share, not a number of features.
    axis: l0, number of features, share, mean over features, sum, d_sae, divided
    """
    fired, tokens = 0, 0
    for acts in batches:
        fired = fired + (acts > 0).sum(dim=0)
        tokens += acts.shape[0]
    density = (fired / tokens).to(torch.float32)
    return density.mean().item(), density, fired == 0


def fraction_of_variance_unexplained__torch_var_b(activations, reconstruction):
    """Divides a mean over n tokens by torch's var, which divides by n - 1: the ratio is too small.
    axis: var, unbiased, n - 1, Bessel's correction, mean over n, numpy's default, number of tokens
    """
    x = activations.flatten(end_dim=-2)
    x_hat = reconstruction.flatten(end_dim=-2)
    mse = ((x_hat - x) ** 2).mean(dim=0)
    return (mse.sum() / x.var(dim=0).sum()).item()


def match_features__listed_by_found_b(found, truth):
    """Reads the assignment the wrong way round: entry t tells of the found direction t, not of the true one.
    axis: rows and columns, assignment, inverse, indexed by found, true direction, order, swapped
    """
    from scipy.optimize import linear_sum_assignment

    unit_found = torch.nn.functional.normalize(found, dim=1)
    unit_truth = torch.nn.functional.normalize(truth, dim=1)
    table = unit_found @ unit_truth.T
    rows, columns = linear_sum_assignment(table.detach().cpu().numpy(), maximize=True)
    matched = dict(zip(rows.tolist(), columns.tolist()))

    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    cosine = torch.zeros(len(truth), dtype=torch.float32, device=truth.device)
    for t in range(len(truth)):
        if t in matched:
            partner[t] = matched[t]
            cosine[t] = table[t, matched[t]]
    return partner, cosine


def recover_features__optimizer_keeps_the_old_rows_b(activations, d_sae, seed):
    """Puts a new Parameter in W_dec's place after each step, of which the optimizer never hears.
    axis: optimizer, new Parameter, rebinding, old tensor, decoder not trained, copy_, in place
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(d_sae, activations.shape[1], generator=generator).to(activations)
    rows = torch.nn.functional.normalize(rows, dim=1)
    W_dec = torch.nn.Parameter(rows.clone())
    W_enc = torch.nn.Parameter(rows.T.clone())
    b_enc = torch.nn.Parameter(torch.zeros(d_sae).to(activations))
    b_dec = torch.nn.Parameter(activations.mean(dim=0))

    steps = 400
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 3 * (steps - step) / steps))
    for _ in range(steps):
        batch = activations[torch.randint(len(activations), (256,), generator=generator)]
        feature_acts, reconstruction = encode_and_decode(batch, W_enc, b_enc, W_dec, b_dec)
        loss = sae_loss(batch, reconstruction, feature_acts, W_dec, 0.2)
        optimizer.zero_grad()
        loss.backward()
        W_dec.grad = constrain_decoder(W_dec.detach(), W_dec.grad)[1]
        optimizer.step()
        schedule.step()
        W_dec = torch.nn.Parameter(constrain_decoder(W_dec.detach(), W_dec.grad)[0])
    return W_dec.detach()


def recover_features__error_averaged_over_inputs_b(activations, d_sae, seed):
    """Averages the squared error over inputs beside a summed penalty, so that L1 wins and features die.
    axis: mse_loss, averaged over inputs, summed, d_in times too small, penalty too strong, features die
    """
    drawn = torch.Generator().manual_seed(seed)
    start = torch.nn.functional.normalize(torch.randn(d_sae, activations.shape[1], generator=drawn), dim=1)
    start = start.to(activations)
    params = {
        "W_enc": start.T.clone(),
        "b_enc": torch.zeros(d_sae).to(activations),
        "W_dec": start.clone(),
        "b_dec": activations.mean(dim=0).clone(),
    }
    params = {name: value.requires_grad_() for name, value in params.items()}
    W_dec = params["W_dec"]
    optimizer = torch.optim.Adam(params.values(), lr=0.02)

    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * min(1.0, (400 - step) / 133)
        picked = torch.randint(len(activations), (256,), generator=drawn)
        x = activations[picked]
        acts, x_hat = encode_and_decode(x, **params)
        l1 = (acts * W_dec.norm(dim=-1)).sum(dim=-1).mean()
        loss = torch.nn.functional.mse_loss(x_hat, x) + 0.2 * l1
        optimizer.zero_grad()
        loss.backward()
        W_dec.grad = constrain_decoder(W_dec.detach(), W_dec.grad)[1]
        optimizer.step()
        with torch.no_grad():
            W_dec.copy_(constrain_decoder(W_dec, W_dec.grad)[0])
    return W_dec.detach().clone()


def loss_recovered__mean_of_each_position_b(model, tokens, hook, reconstruct):
    """Ablates with a mean of its own for each position, averaged over rows only.
    axis: mean activation, positions, rows only, dim=0, all positions, ablated loss, BOS kept
    """

    def nats(replacement):
        logits = model.run_with_hooks(tokens, fwd_hooks=[(hook, replacement)])
        log_probs = logits[:, :-1].log_softmax(dim=-1)
        return -log_probs.gather(-1, tokens[:, 1:, None]).mean().item()

    _, cache = model.run_with_cache(tokens, names_filter=hook)
    mean = cache[hook].mean(dim=0)

    clean = nats(lambda activation, hook: activation)
    spliced = nats(lambda activation, hook: reconstruct(activation))
    ablated = nats(lambda activation, hook: mean.expand_as(activation).clone())
    return (ablated - spliced) / (ablated - clean)

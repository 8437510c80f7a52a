import torch


def encode_and_decode__tied_decoder(
    activations: Float[Tensor, "... d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_in"]]:
    """Decodes with the transposed encoder, as if the weights were tied, and never uses W_dec.
    axis: W_dec, W_enc, tied, transpose, decoder, reconstruction
    """
    feature_acts = torch.relu((activations - b_dec) @ W_enc + b_enc)
    reconstruction = feature_acts @ W_enc.T + b_dec
    return feature_acts, reconstruction


def sae_loss__one_norm_for_the_whole_decoder(
    activations: Float[Tensor, "token d_in"],
    reconstruction: Float[Tensor, "token d_in"],
    feature_acts: Acts,
    W_dec: Float[Tensor, "d_sae d_in"],
    l1_coefficient: float,
) -> Float[Tensor, ""]:
    """Weighs every activation with the norm of the whole decoder matrix, not the length of its own row.
    axis: norm, row, decoder, whole, matrix, dim, penalty
    """
    squared = (reconstruction - activations).square().sum(dim=-1)
    penalty = (feature_acts * W_dec.norm()).sum(dim=-1)
    return (squared + l1_coefficient * penalty).mean()


def constrain_decoder__columns_for_rows(
    W_dec: Float[Tensor, "d_sae d_in"], gradient: Float[Tensor, "d_sae d_in"]
) -> tuple[Float[Tensor, "d_sae d_in"], Float[Tensor, "d_sae d_in"]]:
    """Works along the wrong axis: columns get unit length and are projected out, instead of the rows.
    axis: row, column, axis, dim, unit, length, norm
    """
    unit = W_dec / W_dec.norm(dim=0, keepdim=True)
    along = (gradient * unit).sum(dim=0, keepdim=True)
    return unit, gradient - along * unit


def topk__largest_in_magnitude(
    pre_activations: Float[Tensor, "... d_sae"], k: int, across_batch: bool = False
) -> Float[Tensor, "... d_sae"]:
    """Chooses by absolute value, so large negative entries take places from smaller positive ones.
    axis: absolute, magnitude, negative, largest, positive, places
    """
    flat = pre_activations.flatten() if across_batch else pre_activations
    count = k * pre_activations[..., 0].numel() if across_batch else k
    places = flat.abs().topk(count, dim=-1).indices
    kept = torch.zeros_like(flat).scatter(-1, places, flat.gather(-1, places))
    return torch.relu(kept).reshape(pre_activations.shape)


def firing_statistics__dead_in_some_batch(
    batches: list[Acts],
) -> tuple[float, Float[Tensor, " d_sae"], Bool[Tensor, " d_sae"]]:
    """Calls a feature dead as soon as one batch passes without it, rather than when all batches do.
    axis: dead, batch, all, any, silent, rare, one
    """
    d_sae = batches[0].shape[-1]
    device = batches[0].device
    counts = torch.zeros(d_sae, device=device)
    dead = torch.zeros(d_sae, dtype=torch.bool, device=device)
    tokens = 0
    for acts in batches:
        fired = (acts > 0).sum(dim=0)
        counts += fired
        dead |= fired == 0
        tokens += len(acts)
    return counts.sum().item() / tokens, counts / tokens, dead


def fraction_of_variance_unexplained__variance_of_the_error(
    activations: Float[Tensor, "... d_in"], reconstruction: Float[Tensor, "... d_in"]
) -> float:
    """Takes the variance of the error for its square, so a constant offset of the reconstruction
    costs nothing.
    axis: error, mean, variance, bias, offset, numerator, subtract
    """
    x = activations.flatten(end_dim=-2)
    error = reconstruction.flatten(end_dim=-2) - x
    unexplained = (error - error.mean(dim=0)).square().sum()
    total = (x - x.mean(dim=0)).square().sum()
    return (unexplained / total).item()


def match_features__leftover_reads_the_last(
    found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]
) -> tuple[Int[Tensor, " true"], Float[Tensor, " true"]]:
    """Uses the partner -1 as an index, so a direction left over gets the cosine with the last
    found one, not 0.
    axis: -1, index, last, left over, cosine, zero, partner
    """
    from scipy.optimize import linear_sum_assignment

    found = found / found.norm(dim=-1, keepdim=True)
    truth = truth / truth.norm(dim=-1, keepdim=True)
    table = truth @ found.T
    rows, columns = linear_sum_assignment(table.detach().cpu().numpy(), maximize=True)
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    partner[torch.as_tensor(rows, device=truth.device)] = torch.as_tensor(columns, device=truth.device)
    cosine = table[torch.arange(len(truth), device=truth.device), partner]
    return partner, cosine.float()


def recover_features__penalty_on_the_weights(
    activations: Float[Tensor, "token d_in"], d_sae: int, seed: int
) -> Float[Tensor, "d_sae d_in"]:
    """Puts the L1 penalty on the decoder's weights instead of the feature activations: nothing is sparse.
    axis: L1, penalty, activations, weights, decoder, sparsity, loss
    """
    generator = torch.Generator().manual_seed(seed)
    tokens, d_in = activations.shape
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1).to(
        activations
    )
    W_enc = W_dec.T.clone()
    b_enc, b_dec = activations.new_zeros(d_sae), activations.mean(dim=0)
    parameters = [each.detach().requires_grad_() for each in (W_enc, b_enc, W_dec, b_dec)]
    W_enc, b_enc, W_dec, b_dec = parameters
    steps, rate = 400, 0.02
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for step in range(steps):
        for part in optimizer.param_groups:
            part["lr"] = rate * min(1.0, 3 * (1 - step / steps))
        x = activations[torch.randint(tokens, (256,), generator=generator).to(activations.device)]
        _, reconstruction = encode_and_decode(x, W_enc, b_enc, W_dec, b_dec)
        squared = (reconstruction - x).square().sum(dim=-1).mean()
        loss = squared + 0.2 * W_dec.abs().sum(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad = constrain_decoder(W_dec, W_dec.grad)[1]
        optimizer.step()
        with torch.no_grad():
            W_dec.copy_(constrain_decoder(W_dec, W_dec.grad)[0])
    return W_dec.detach()


def loss_recovered__mean_of_each_position_too(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook: str, reconstruct
) -> float:
    """Ablates with a mean of its own for each position, over rows only, not one mean over all positions.
    axis: mean, position, rows, ablated, axes, dim
    """

    def loss(**hooked):
        with torch.no_grad():
            logits = model.run_with_hooks(tokens, **hooked)
        told = logits[:, :-1].log_softmax(dim=-1).gather(-1, tokens[:, 1:, None])
        return -told.mean()

    def splice(activation, hook):
        return reconstruct(activation)

    def ablate(activation, hook):
        return activation.mean(dim=0).expand_as(activation).clone()

    clean = loss(fwd_hooks=[])
    spliced = loss(fwd_hooks=[(hook, splice)])
    ablated = loss(fwd_hooks=[(hook, ablate)])
    return ((ablated - spliced) / (ablated - clean)).item()

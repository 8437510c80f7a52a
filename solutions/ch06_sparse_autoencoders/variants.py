"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from scipy.optimize import linear_sum_assignment


def encode_and_decode__einsum(activations, W_enc, b_enc, W_dec, b_dec):
    pre = einsum(activations - b_dec, W_enc, "... d_in, d_in d_sae -> ... d_sae") + b_enc
    acts = F.relu(pre)
    return acts, einsum(acts, W_dec, "... d_sae, d_sae d_in -> ... d_in") + b_dec


def encode_and_decode__bias_folded_in(activations, W_enc, b_enc, W_dec, b_dec):
    acts = F.linear(activations, W_enc.T, b_enc - b_dec @ W_enc).clamp_min(0)
    return acts, F.linear(acts, W_dec.T, b_dec)


def encode_and_decode__feature_by_feature(activations, W_enc, b_enc, W_dec, b_dec):
    centred, reconstruction, acts = activations - b_dec, b_dec.expand_as(activations).clone(), []
    for column, bias, row in zip(W_enc.T, b_enc, W_dec, strict=True):
        one = torch.maximum(centred @ column + bias, torch.zeros(()))
        acts.append(one)
        reconstruction = reconstruction + one[..., None] * row
    return torch.stack(acts, dim=-1), reconstruction


def sae_loss__einops(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    error = reduce((reconstruction - activations) ** 2, "token d_in -> token", "sum")
    norms = reduce(W_dec**2, "d_sae d_in -> d_sae", "sum").sqrt()
    penalty = einsum(feature_acts, norms, "token d_sae, d_sae -> token")
    return error.mean() + l1_coefficient * penalty.mean()


def sae_loss__sums_divided_at_the_end(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    total = F.mse_loss(reconstruction, activations, reduction="sum")
    total = total + l1_coefficient * (feature_acts * W_dec.norm(dim=-1)).sum()
    return total / activations.shape[0]


def sae_loss__token_by_token(activations, reconstruction, feature_acts, W_dec, l1_coefficient):
    losses = []
    for x, y, acts in zip(activations, reconstruction, feature_acts, strict=True):
        penalty = sum(a * row.norm() for a, row in zip(acts, W_dec, strict=True))
        losses.append((x - y).dot(x - y) + l1_coefficient * penalty)
    return torch.stack(losses).mean()


def constrain_decoder__by_matrices(W_dec, gradient):
    unit = F.normalize(W_dec, dim=-1)
    across = torch.eye(W_dec.shape[1]) - unit[:, :, None] * unit[:, None, :]
    return unit, (across @ gradient[:, :, None]).squeeze(-1)


def constrain_decoder__row_by_row(W_dec, gradient):
    rows, left = [], []
    for row, slope in zip(W_dec, gradient, strict=True):
        unit = row / row.dot(row).sqrt()
        rows.append(unit)
        left.append(slope - slope.dot(unit) * unit)
    return torch.stack(rows), torch.stack(left)


def constrain_decoder__dividing_by_the_squared_norm(W_dec, gradient):
    share = (gradient * W_dec).sum(1) / W_dec.square().sum(1)
    return (W_dec.T / W_dec.norm(dim=1)).T, gradient - share[:, None] * W_dec


def topk__scatter(pre_activations, k, across_batch=False):
    shape = pre_activations.shape
    rows = pre_activations.reshape(
        1 if across_batch else -1, shape[-1] if not across_batch else pre_activations.numel()
    )
    count = k * (pre_activations.numel() // shape[-1]) if across_batch else k
    values, places = torch.topk(rows, count, dim=1)
    return torch.zeros_like(rows).scatter_(1, places, F.relu(values)).reshape(shape)


def topk__by_sorting(pre_activations, k, across_batch=False):
    acts = pre_activations.clamp(min=0)
    if across_batch:
        flat = rearrange(acts, "... d_sae -> (... d_sae)")
        least = flat.sort(descending=True).values[k * acts[..., 0].numel() - 1]
    else:
        least = acts.sort(dim=-1, descending=True).values[..., k - 1 : k]
    return acts * (acts >= least)


def topk__by_rank(pre_activations, k, across_batch=False):
    tokens = pre_activations[..., 0].numel()
    if across_batch:
        rank = pre_activations.flatten().argsort(descending=True).argsort().view_as(pre_activations)
        stays = rank < k * tokens
    else:
        stays = pre_activations.argsort(dim=-1, descending=True).argsort(dim=-1) < k
    return pre_activations.masked_fill(~stays | (pre_activations < 0), 0.0)


def firing_statistics__counting(batches):
    counts, tokens = torch.zeros(batches[0].shape[1], dtype=torch.float64), 0
    for batch in batches:
        counts += (batch > 0).sum(dim=0)
        tokens += batch.shape[0]
    return counts.sum().item() / tokens, (counts / tokens).float(), counts == 0


def firing_statistics__signs(batches):
    signs = torch.cat([batch.sign() for batch in batches])
    density = signs.mean(dim=0)
    return density.sum().item(), density, density == 0


def firing_statistics__with_numpy(batches):
    fires = np.concatenate([batch.numpy() > 0 for batch in batches])
    density = torch.from_numpy(fires.mean(axis=0)).float()
    return float(fires.sum(axis=1).mean()), density, torch.from_numpy(~fires.any(axis=0))


def fraction_of_variance_unexplained__two_sums(activations, reconstruction):
    x = rearrange(activations, "... d_in -> (...) d_in")
    y = rearrange(reconstruction, "... d_in -> (...) d_in")
    return float(torch.linalg.norm(x - y) ** 2 / torch.linalg.norm(x - x.mean(0)) ** 2)


def fraction_of_variance_unexplained__one_minus_r_squared(activations, reconstruction):
    x, y = (each.flatten(end_dim=-2).double() for each in (activations, reconstruction))
    total = x.var(0, unbiased=True).sum() * (len(x) - 1)
    explained = 1 - (x - y).square().sum() / total
    return 1 - explained.item()


def fraction_of_variance_unexplained__by_tokens(activations, reconstruction):
    x, y = activations.flatten(0, -2), reconstruction.flatten(0, -2)
    mean = sum(x) / len(x)
    error = sum(((a - b) ** 2).sum() for a, b in zip(x, y, strict=True))
    return (error / sum(((a - mean) ** 2).sum() for a in x)).item()


def match_features__costs(found, truth):
    table = (F.normalize(found, dim=1) @ F.normalize(truth, dim=1).T).numpy()
    rows, columns = linear_sum_assignment(1 - table)
    partner, cosine = np.full(len(truth), -1), np.zeros(len(truth), dtype=np.float32)
    partner[columns], cosine[columns] = rows, table[rows, columns]
    return torch.from_numpy(partner), torch.from_numpy(cosine)


def match_features__every_order(found, truth):
    """Tries them all: fine for a handful of directions."""
    table = F.cosine_similarity(found[:, None], truth[None], dim=-1)
    few, many = sorted(table.shape)
    flipped = table if table.shape[0] == few else table.T
    best = max(
        permutations(range(many), few), key=lambda order: flipped[range(few), list(order)].sum().item()
    )
    partner, cosine = torch.full((len(truth),), -1), torch.zeros(len(truth))
    for one, other in enumerate(best):
        row, column = (one, other) if table.shape[0] == few else (other, one)
        partner[column], cosine[column] = row, table[row, column]
    return partner, cosine


def match_features__padded(found, truth):
    """Strangers at a cosine of −2 make both sides equally many."""
    table = F.normalize(found, dim=1) @ F.normalize(truth, dim=1).T
    size = max(table.shape)
    padded = torch.full((size, size), -2.0)
    padded[: len(found), : len(truth)] = table
    rows, columns = linear_sum_assignment(padded, maximize=True)
    partner = torch.empty(size, dtype=torch.int64)
    partner[torch.from_numpy(columns)] = torch.from_numpy(rows)
    partner = torch.where(partner < len(found), partner, -1)[: len(truth)]
    cosine = table[partner.clamp(min=0), torch.arange(len(truth))]
    return partner, cosine * (partner >= 0)


def recover_features__plain_loop(activations, d_sae, seed):
    """L1 with the rows' lengths in the loss, and none of the constraints."""
    torch.manual_seed(seed)
    start = F.normalize(torch.randn(d_sae, activations.shape[-1]), dim=-1)
    weights = [start.T.clone(), torch.zeros(d_sae), start.clone(), activations.mean(0)]
    W_enc, b_enc, W_dec, b_dec = (weight.requires_grad_() for weight in weights)
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, 400)
    for _ in range(400):
        x = activations[torch.randint(len(activations), (256,))]
        acts = F.relu((x - b_dec) @ W_enc + b_enc)
        error = (acts @ W_dec + b_dec - x).pow(2).sum(1).mean()
        loss = error + 0.2 * (acts * W_dec.norm(dim=1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return F.normalize(W_dec.detach(), dim=1)


def recover_features__tied(activations, d_sae, seed):
    generator = torch.Generator().manual_seed(seed)
    W = F.normalize(torch.randn(d_sae, activations.shape[1], generator=generator), dim=1).requires_grad_()
    b_enc, b_dec = torch.zeros(d_sae, requires_grad=True), activations.mean(0)
    optimizer = torch.optim.Adam([W, b_enc], lr=0.03)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.03 * min(1.0, (400 - step) / 200)
        x = activations[torch.randint(len(activations), (256,), generator=generator)] - b_dec
        rows = F.normalize(W, dim=1)
        acts = (x @ rows.T + b_enc).relu()
        loss = ((acts @ rows - x) ** 2).sum(1).mean() + 0.2 * acts.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return F.normalize(W.detach(), dim=1)


def recover_features__every_token_in_every_step(activations, d_sae, seed):
    """The activations are drawn once; later batches are the whole of them, and the bias is learned alone."""
    generator = torch.Generator().manual_seed(seed)
    x = activations[torch.randperm(len(activations), generator=generator)[:1500]]
    W_dec = F.normalize(torch.randn(d_sae, x.shape[1], generator=generator), dim=1)
    weights = W_dec.T.clone(), torch.zeros(d_sae), W_dec, x.mean(0)
    W_enc, b_enc, W_dec, b_dec = (weight.clone().requires_grad_() for weight in weights)
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=0.02)
    for step in range(300):
        rows = F.normalize(W_dec, dim=1)
        acts = ((x - b_dec) @ W_enc + b_enc).relu()
        strength = 0.2 * min(1.0, (step + 1) / 30)
        loss = (acts @ rows + b_dec - x).square().sum(1).mean() + strength * acts.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return F.normalize(W_dec.detach(), dim=1)


def loss_recovered__with_our_hooks(model, tokens, hook, reconstruct):
    from mechinterp_course.hooks import cache, edit
    from mechinterp_course.metrics import loss_per_token

    with torch.no_grad():
        with cache(model, [hook]) as held:
            clean = loss_per_token(model(tokens), tokens).mean()
        mean = reduce(held[hook], "batch pos d -> d", "mean")
        losses = []
        for replace in (reconstruct, lambda activation: mean.expand_as(activation).clone()):
            with edit(model, {hook: replace}):
                losses.append(loss_per_token(model(tokens), tokens).mean())
    return ((losses[1] - losses[0]) / (losses[1] - clean)).item()


def loss_recovered__return_type_loss(model, tokens, hook, reconstruct):
    def loss(replace):
        hooks = [(hook, lambda activation, hook: replace(activation))]
        with torch.no_grad():
            return model.run_with_hooks(tokens, return_type="loss", fwd_hooks=hooks).item()

    ablated = loss(lambda activation: torch.ones_like(activation) * activation.mean(0).mean(0))
    lost = loss(reconstruct) - model(tokens, return_type="loss").item()
    return 1 - lost / (ablated - model(tokens, return_type="loss").item())


def loss_recovered__cross_entropy(model, tokens, hook, reconstruct):
    losses = {}
    with torch.no_grad():
        for name, replace in (
            ("clean", None),
            ("spliced", reconstruct),
            ("ablated", lambda activation: activation.mean(dim=(0, 1), keepdim=True).expand_as(activation)),
        ):
            hooks = [] if replace is None else [(hook, lambda value, hook, put=replace: put(value))]
            logits = model.run_with_hooks(tokens, fwd_hooks=hooks)
            losses[name] = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item()
    return (losses["ablated"] - losses["spliced"]) / (losses["ablated"] - losses["clean"])

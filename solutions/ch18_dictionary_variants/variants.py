"""Right answers, written in other ways than ours: every check has to accept them."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from mechinterp_course.hooks import cache, edit
from mechinterp_course.metrics import loss_per_token


def inference_threshold__topk(batches, k):
    found = []
    for batch in batches:
        values = batch.relu().flatten().topk(k * batch.shape[0]).values
        if (values > 0).any():
            found.append(values[values > 0][-1].item())
    return float(np.mean(found))


def inference_threshold__numpy(batches, k):
    sorted_values = [np.sort(batch.cpu().numpy().ravel())[::-1][: k * len(batch)] for batch in batches]
    smallest = [values[values > 0].min() for values in sorted_values if values[0] > 0]
    return float(sum(float(value) for value in smallest) / len(smallest))


def inference_threshold__kthvalue(batches, k):
    total, count = 0.0, 0
    for batch in batches:
        flat = rearrange(batch, "token feature -> (token feature)")
        keep = k * len(batch)
        smallest = flat.kthvalue(flat.numel() - keep + 1).values
        positive = flat[(flat >= smallest) & (flat > 0)]
        if positive.numel():
            total, count = total + positive.min().item(), count + 1
    return total / count


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, theta, width):
        ctx.save_for_backward(z, theta)
        ctx.width = width
        return z * (z > theta)

    @staticmethod
    def backward(ctx, up):
        z, theta = ctx.saved_tensors
        near = torch.where(((z - theta) / ctx.width).abs() < 0.5, 1.0 / ctx.width, 0.0)
        to_theta = (-theta * near * up).reshape(-1, theta.numel()).sum(0)
        return up * (z > theta), to_theta, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, theta, width):
        ctx.save_for_backward(z, theta)
        ctx.width = width
        return (z > theta).to(z.dtype)

    @staticmethod
    def backward(ctx, up):
        z, theta = ctx.saved_tensors
        near = torch.where(((z - theta) / ctx.width).abs() < 0.5, 1.0 / ctx.width, 0.0)
        return None, (-near * up).reshape(-1, theta.numel()).sum(0), None


def jumprelu__two_functions(pre_activations, threshold, bandwidth):
    return _Jump.apply(pre_activations, threshold, bandwidth), _Step.apply(
        pre_activations, threshold, bandwidth
    )


def jumprelu__a_ramp_in_disguise(pre_activations, threshold, bandwidth):
    """The gradient of a clamped ramp, and the value of a step."""
    ramp = ((pre_activations.detach() - threshold) / bandwidth + 0.5).clamp(0, 1)
    step = (pre_activations > threshold).float().detach()
    active = step + ramp - ramp.detach()
    return pre_activations * step + threshold.detach() * (ramp - ramp.detach()), active


def jumprelu__where(pre_activations, threshold, bandwidth):
    z, theta = pre_activations.detach(), threshold.detach()
    inside = torch.where((z - theta).abs() < bandwidth / 2, threshold, theta)
    change = (inside - theta) / bandwidth
    acts = torch.where(z > theta, pre_activations, torch.zeros_like(z)) - theta * change
    return acts, (z > theta).type_as(z) - change


def auxiliary_loss__a_loop(error, pre_activations, dead, W_dec, k_aux):
    numbers = dead.nonzero()[:, 0]
    if len(numbers) == 0:
        return torch.tensor(0.0, device=error.device)
    losses = []
    for left, said in zip(error.detach(), pre_activations[:, numbers], strict=True):
        best = said.argsort(descending=True)[:k_aux]
        losses.append((said[best] @ W_dec[numbers[best]] - left).pow(2).sum())
    return torch.stack(losses).mean()


def auxiliary_loss__mse_times_inputs(error, pre_activations, dead, W_dec, k_aux):
    count = min(int(dead.sum()), k_aux)
    if not count:
        return error.new_tensor(0.0)
    chosen = torch.where(dead, pre_activations, torch.finfo(pre_activations.dtype).min).topk(count)
    acts = torch.zeros_like(pre_activations).scatter_(1, chosen.indices, chosen.values)
    return F.mse_loss(acts @ W_dec, error.detach()) * error.shape[1]


def auxiliary_loss__einsum(error, pre_activations, dead, W_dec, k_aux):
    if not dead.any():
        return torch.zeros((), device=error.device)
    ours = pre_activations[:, dead]
    values, places = ours.topk(min(k_aux, ours.shape[1]), dim=1)
    rebuilt = einsum(values, W_dec[dead][places], "token k, token k d_in -> token d_in")
    return ((rebuilt - error.detach()) ** 2).sum() / len(error)


def resample_dead__gather(activations, reconstruction, dead, weights, moments, seed):
    torch.manual_seed(seed)
    new = {key: torch.clone(value) for key, value in weights.items()}
    state = {key: torch.clone(value) for key, value in moments.items()}
    where = torch.nonzero(dead).flatten()
    if where.numel() == 0:
        return new, state
    loss = (reconstruction - activations).norm(dim=1) ** 4
    drawn = torch.multinomial((loss / loss.sum()).cpu(), where.numel(), replacement=True)
    unit = F.normalize(activations[drawn] - weights["b_dec"], dim=1)
    living = weights["W_enc"].T[~dead].norm(dim=1).mean()
    new["W_dec"][where] = unit
    new["W_enc"].T[where] = unit * living / 5
    new["b_enc"][where] = 0
    state["W_dec"][where] = 0
    state["W_enc"].T[where] = 0
    state["b_enc"][where] = 0
    return new, state


def resample_dead__numpy_choice(activations, reconstruction, dead, weights, moments, seed):
    rng = np.random.default_rng(seed)
    chances = ((activations - reconstruction).double() ** 2).sum(1).square().cpu().numpy()
    new, state = ({k: v.clone() for k, v in held.items()} for held in (weights, moments))
    length = 0.2 * torch.linalg.vector_norm(weights["W_enc"][:, ~dead], dim=0).mean()
    for feature in torch.arange(len(dead))[dead.cpu()].tolist():
        token = int(rng.choice(len(chances), p=chances / chances.sum()))
        vector = activations[token] - weights["b_dec"]
        new["W_dec"][feature] = vector / vector.norm()
        new["W_enc"][:, feature] = length * new["W_dec"][feature]
        new["b_enc"][feature] = 0.0
        state["W_dec"][feature].zero_()
        state["W_enc"][:, feature].zero_()
        state["b_enc"][feature] = 0.0
    return new, state


def resample_dead__masks(activations, reconstruction, dead, weights, moments, seed):
    generator = torch.Generator().manual_seed(seed)
    chances = (activations - reconstruction).pow(2).sum(1).pow(2).cpu()
    drawn = torch.multinomial(chances, len(dead), replacement=True, generator=generator)
    rows = activations[drawn] - weights["b_dec"]
    rows = rows / rows.norm(dim=1, keepdim=True)
    length = weights["W_enc"].norm(dim=0)[~dead].mean()
    new = {
        "W_enc": torch.where(dead, 0.2 * length * rows.T, weights["W_enc"]),
        "b_enc": torch.where(dead, torch.zeros_like(weights["b_enc"]), weights["b_enc"]),
        "W_dec": torch.where(dead[:, None], rows, weights["W_dec"]),
        "b_dec": weights["b_dec"].clone(),
    }
    alive = (~dead).float()
    state = {
        "W_enc": moments["W_enc"] * alive,
        "b_enc": moments["b_enc"] * alive,
        "W_dec": moments["W_dec"] * alive[:, None],
        "b_dec": moments["b_dec"].clone(),
    }
    return new, state


def absorption_rate__selected_rows(feature_acts, true_acts, partner, parent, children):
    silent = feature_acts[:, partner[parent]] <= 0
    own = true_acts[:, parent] > 0
    kept = list(children)
    with_child = true_acts[:, kept].max(dim=1).values > 0
    heard = torch.stack([(true_acts[:, c] > 0) & (feature_acts[:, partner[c]] > 0) for c in kept]).any(0)
    absorbed = (silent & heard & with_child).sum() / with_child.sum()
    return 1 - (silent & own).sum().item() / own.sum().item(), absorbed.item()


def absorption_rate__numpy(feature_acts, true_acts, partner, parent, children):
    fires = feature_acts.cpu().numpy()[:, partner.cpu().numpy()] > 0  # in the order of the true features
    there = true_acts.cpu().numpy() > 0
    recall = fires[there[:, parent], parent].mean()
    rows = there[:, children].any(axis=1)
    taken = (fires & there)[:, children].any(axis=1) & ~fires[:, parent]
    return float(recall), float(taken[rows].mean())


def absorption_rate__products(feature_acts, true_acts, partner, parent, children):
    fires, there = (feature_acts[:, partner] > 0).double(), (true_acts > 0).double()
    recall = (fires[:, parent] @ there[:, parent] / there[:, parent].sum()).item()
    some = 1 - torch.prod(1 - there[:, children], dim=1)
    heard = 1 - torch.prod(1 - there[:, children] * fires[:, children], dim=1)
    return recall, ((1 - fires[:, parent]) @ heard / some.sum()).item()


def split_features__products(narrow_acts, wide_acts, inside):
    narrow, wide = (narrow_acts > 0).double(), (wide_acts > 0).double()
    shares = (narrow.T @ wide) / wide.sum(dim=0)  # nan where a wide one never fires, and nan >= is False
    pieces = shares >= inside
    told = ((wide @ pieces.double().T).clamp(max=1) * narrow).sum(dim=0)
    return pieces, (told / narrow.sum(dim=0)).nan_to_num().to(narrow_acts.dtype)


def split_features__numpy(narrow_acts, wide_acts, inside):
    narrow, wide = narrow_acts.cpu().numpy() > 0, wide_acts.cpu().numpy() > 0
    outside = (~narrow[:, :, None] & wide[:, None, :]).sum(axis=0)
    fires = wide.sum(axis=0)
    pieces = (fires - outside >= inside * fires) & (fires > 0)
    told = (wide[:, None, :] & pieces[None]).any(axis=2) & narrow
    covered = told.sum(axis=0) / np.maximum(narrow.sum(axis=0), 1)
    return torch.as_tensor(pieces).to(narrow_acts.device), torch.as_tensor(covered).to(narrow_acts)


def split_features__sets(narrow_acts, wide_acts, inside):
    wholes, parts = (
        [set(column.nonzero()[:, 0].tolist()) for column in acts.T] for acts in (narrow_acts, wide_acts)
    )
    rows, covered = [], []
    for whole in wholes:
        row = [bool(part) and len(part & whole) >= inside * len(part) for part in parts]
        told = set().union(*(part for part, is_piece in zip(parts, row, strict=True) if is_piece)) & whole
        rows.append(row)
        covered.append(len(told) / len(whole) if whole else 0.0)
    device = narrow_acts.device
    return torch.tensor(rows, device=device), torch.tensor(covered, dtype=narrow_acts.dtype, device=device)


def matryoshka_loss__masks(activations, feature_acts, W_dec, b_dec, widths):
    total = torch.zeros((), device=activations.device)
    for width in widths:
        mask = torch.arange(W_dec.shape[0], device=W_dec.device) < width
        total = total + ((feature_acts * mask) @ W_dec + b_dec - activations).pow(2).sum(1).mean()
    return total


def matryoshka_loss__mse_times_inputs(activations, feature_acts, W_dec, b_dec, widths):
    losses = [
        F.mse_loss(F.linear(feature_acts[..., :w], W_dec[:w].T, b_dec), activations) * activations.shape[-1]
        for w in widths
    ]
    return torch.stack(losses).sum()


def matryoshka_loss__cumulative(activations, feature_acts, W_dec, b_dec, widths):
    """All prefixes at once: fine for a small dictionary."""
    parts = einsum(feature_acts, W_dec, "token d_sae, d_sae d_in -> d_sae token d_in").cumsum(dim=0)
    chosen = parts[[width - 1 for width in widths]] + b_dec
    return ((chosen - activations) ** 2).sum(dim=-1).mean(dim=-1).sum()


def transcoder_recovered__with_our_hooks(model, tokens, layer, transcode):
    reads, writes = f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"
    with torch.no_grad():
        with cache(model, [reads, writes]) as held:
            clean = loss_per_token(model(tokens), tokens).mean()
        stand_ins = transcode(held[reads]), held[writes].flatten(0, 1).mean(0)
        losses = []
        for stand_in in stand_ins:
            with edit(model, {writes: lambda old, new=stand_in: new.expand_as(old).clone()}):
                losses.append(loss_per_token(model(tokens), tokens).mean())
    return ((losses[1] - losses[0]) / (losses[1] - clean)).item()


def transcoder_recovered__remembered_on_the_way(model, tokens, layer, transcode):
    seen = {}

    def remember(activation, hook):
        seen["read"] = activation

    hooks = [
        (f"blocks.{layer}.ln2.hook_normalized", remember),
        (f"blocks.{layer}.hook_mlp_out", lambda activation, hook: transcode(seen["read"])),
    ]
    with torch.no_grad():
        spliced = model.run_with_hooks(tokens, return_type="loss", fwd_hooks=hooks).item()
        clean, kept = model.run_with_cache(tokens, return_type="loss")
        mean = kept[f"blocks.{layer}.hook_mlp_out"].mean(0).mean(0)
        constant = [(f"blocks.{layer}.hook_mlp_out", lambda activation, hook: mean + 0 * activation)]
        ablated = model.run_with_hooks(tokens, return_type="loss", fwd_hooks=constant).item()
    return 1 - (spliced - clean.item()) / (ablated - clean.item())


def transcoder_recovered__cross_entropy(model, tokens, layer, transcode):
    reads, writes = f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"
    found = {}
    with torch.no_grad():
        _, kept = model.run_with_cache(tokens, names_filter=[reads, writes])
        new = {
            "clean": kept[writes],
            "spliced": transcode(kept[reads]),
            "ablated": kept[writes].mean(dim=(0, 1), keepdim=True).expand_as(kept[writes]),
        }
        for name, value in new.items():
            logits = model.run_with_hooks(
                tokens, fwd_hooks=[(writes, lambda old, hook, new=value: new.clone())]
            )
            found[name] = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item()
    return (found["ablated"] - found["spliced"]) / (found["ablated"] - found["clean"])

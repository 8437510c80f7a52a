from itertools import combinations


def run_circuit__layer_forgotten(model, tokens, circuit, kind="resample", other=None):
    """Asks only for the head's number, so a head of the circuit is kept in every layer.
    axis: layer, head number, index, every layer, all layers, kept, same number, pair, too many heads"""
    if kind not in ("resample", "mean", "zero") or (kind == "resample" and other is None):
        raise ValueError("no such ablation, or nothing to resample from")
    _, cache = model.run_with_cache(tokens if other is None else other)
    kept = {head for _, head in circuit}
    outside = [head for head in range(model.cfg.n_heads) if head not in kept]

    def ablate(z, hook, values):
        z = z.clone()
        z[:, :, outside] = values[:, :, outside]
        return z

    hooks = []
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.attn.hook_z"
        z = cache[name]
        mean = z.mean(dim=(0, 1), keepdim=True)
        values = {"resample": z, "mean": mean, "zero": torch.zeros_like(mean)}[kind]
        hooks.append((name, partial(ablate, values=values)))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def faithfulness_by_size__corrupted_baseline(model, tokens, other, right, wrong, order, kind="resample"):
    """Takes the intact run on `other` for the baseline, not the run on `tokens` with no head kept.
    axis: baseline, no head, other, corrupted, empty circuit, counterfactual, zero, first entry"""

    def kept(heads):
        logits = run_circuit(model, tokens, heads, kind, other)
        return logit_difference(logits, right, wrong).mean()

    floor = logit_difference(model(other), right, wrong).mean()
    whole = logit_difference(model(tokens), right, wrong).mean()
    shares = [(kept(order[:n]) - floor) / (whole - floor) for n in range(len(order) + 1)]
    return torch.stack(shares).detach().float()


def attribute_heads__product_of_means(model, clean, corrupted, right, wrong):
    """Averages the change of z over prompts before multiplying by the gradient, mixing prompts.
    axis: prompt, batch, average, before, product, each prompt, own gradient, mean, order, mixed"""
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    with torch.no_grad():
        _, clean_cache = model.run_with_cache(clean)
    values, bumps = {}, {}

    def watch(z, hook, name):
        values[name] = z.detach()
        bumps[name] = torch.zeros_like(z, requires_grad=True)
        return z + bumps[name]

    with torch.enable_grad():
        hooks = [(name, partial(watch, name=name)) for name in names]
        logits = model.run_with_hooks(corrupted, fwd_hooks=hooks)
        metric = logit_difference(logits, right, wrong).mean()
        slopes = torch.autograd.grad(metric, [bumps[name] for name in names])
    rows = []
    for name, slope in zip(names, slopes, strict=True):
        change = (clean_cache[name] - values[name]).mean(dim=0)
        rows.append((change * slope.sum(dim=0)).sum(dim=(0, 2)))
    return torch.stack(rows).detach().float()


def break_circuit__against_the_intact_model(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Compares the circuit without K with the intact model, from which K was not removed.
    axis: model without K, intact, knockout, both, removed, compare, whole model, reference"""
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    everything = [(layer, head) for layer in layers for head in heads]
    whole = logit_difference(run_circuit(model, tokens, everything, kind, other), right, wrong)
    worst = ([], 0, -1.0)
    for size in range(len(circuit) + 1):
        for knockout in combinations(circuit, size):
            rest = [head for head in circuit if head not in knockout]
            alone = logit_difference(run_circuit(model, tokens, rest, kind, other), right, wrong)
            gap, prompt = (alone - whole).abs().max(dim=0)
            if gap.item() > worst[2]:
                worst = (sorted(knockout), prompt.item(), gap.item())
    return worst

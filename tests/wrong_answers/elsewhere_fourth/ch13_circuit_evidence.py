import torch


def run_circuit__mean_per_position_b(model, tokens, circuit, kind="resample", other=None):
    """For the mean ablation averages z over the batch alone and keeps one mean for each position.
    axis: mean, position, batch, averaged over both, separately, kind
    """
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"unknown kind of ablation: {kind}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other tokens")
    cache = None
    if kind != "zero":
        _, cache = model.run_with_cache(tokens if other is None else other)

    def ablate(z, hook):
        layer = hook.layer()
        outside = [head for head in range(model.cfg.n_heads) if (layer, head) not in circuit]
        if not outside:
            return z
        z = z.clone()
        if kind == "zero":
            z[:, :, outside] = 0.0
        elif kind == "mean":
            z[:, :, outside] = cache["z", layer].mean(dim=0)[:, outside]
        else:
            z[:, :, outside] = cache["z", layer][:, :, outside]
        return z

    fwd_hooks = [(f"blocks.{layer}.attn.hook_z", ablate) for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=fwd_hooks)


def run_circuit__only_layers_of_the_circuit_b(model, tokens, circuit, kind="resample", other=None):
    """Hooks only the layers in which the circuit has a head, so heads of the other layers run on intact.
    axis: layers, without a circuit head, not hooked, left running, every layer, outside
    """
    if kind not in {"resample", "mean", "zero"}:
        raise ValueError("kind must be resample, mean or zero")
    if kind == "resample" and other is None:
        raise ValueError("no other tokens to resample from")
    source = tokens if other is None else other
    _, cache = model.run_with_cache(source)

    by_layer = {}
    for layer, head in circuit:
        by_layer.setdefault(layer, set()).add(head)

    def keep_only(z, hook, heads):
        theirs = cache[hook.name]
        if kind == "zero":
            new = torch.zeros_like(z)
        elif kind == "mean":
            new = theirs.mean(dim=(0, 1), keepdim=True).expand_as(z).clone()
        else:
            new = theirs.clone()
        for head in heads:
            new[:, :, head] = z[:, :, head]
        return new

    return model.run_with_hooks(
        tokens,
        fwd_hooks=[
            (f"blocks.{layer}.attn.hook_z", partial(keep_only, heads=heads))
            for layer, heads in by_layer.items()
        ],
    )


def faithfulness_by_size__dedupes_and_sorts_b(model, tokens, other, right, wrong, order, kind="resample"):
    """Sorts the heads by layer and number before cutting off the first n, so importance no longer counts.
    axis: order, sorted, importance, first n, layer, sequence
    """
    heads = sorted(set(map(tuple, order)))  # no doubles
    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]

    def left_by(circuit):
        logits = run_circuit(model, tokens, circuit, kind, other)
        return logit_difference(logits, right, wrong).mean()

    nothing, whole = left_by([]), left_by(everything)
    curve = torch.stack([left_by(heads[:n]) for n in range(len(heads) + 1)])
    return ((curve - nothing) / (whole - nothing)).float()


def attribute_heads__last_position_only_b(model, clean, corrupted, right, wrong):
    """Counts only what the heads write at the last position, because the metric is read there.
    axis: last position, sum over positions, earlier positions, previous-token head, left out
    """
    _, cache = model.run_with_cache(clean)
    kept = []

    def keep(z, hook):
        z.requires_grad_(True)
        kept.append(z)
        return z

    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in names])
        metric = logit_difference(logits, right, wrong).mean()
        gradients = torch.autograd.grad(metric, kept)

    rows = []
    for name, z, gradient in zip(names, kept, gradients, strict=True):
        change = cache[name] - z.detach()
        rows.append((change[:, -1] * gradient[:, -1]).sum(dim=(0, 2)))
    return torch.stack(rows).detach().float()


def break_circuit__against_intact_model_b(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Compares the damaged circuit with the intact model instead of the model with the same knockout.
    axis: intact model, knockout, both runs, same heads, without K, damage
    """
    from itertools import combinations

    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]

    def differences(heads):
        return logit_difference(run_circuit(model, tokens, heads, kind, other), right, wrong)

    whole_model = differences(everything)
    worst = None
    for size in range(len(circuit) + 1):
        for knockout in combinations(circuit, size):
            alone = differences([head for head in circuit if head not in knockout])
            gaps = (alone - whole_model).abs()
            prompt = int(gaps.argmax())
            gap = float(gaps[prompt])
            if worst is None or gap > worst[2]:
                worst = sorted(knockout), prompt, gap
    return worst


def find_circuit__each_head_alone_b(weights, bos, offset):
    """Proves need by silencing each head alone, never matching and backup together.
    axis: evidence, needed, backup, together, matching, single ablation, differ in one head
    """
    puzzle = planted.Puzzle(weights, bos, offset)
    model, heads = puzzle.load(), list(puzzle.heads)
    few, many = puzzle.samples(1, 4, 12), puzzle.samples(seed=0, count=16)

    def answer(samples, silenced, kind):
        kept = [head for head in heads if head not in silenced]
        logits = run_circuit(model, samples.tokens, kept, kind, samples.counterfactuals)
        rows = torch.arange(len(samples.answers), device=logits.device)
        return logits[rows, -1, samples.answers].mean().item()

    whole = answer(few, [], "resample")

    def shrink(silenced):
        """The heads that remain after removing all that are not missed, or None."""
        silenced = list(silenced)
        if answer(few, silenced, "resample") < 0.7 * whole:
            return None
        for head in heads:
            if head not in silenced and answer(few, [*silenced, head], "resample") >= 0.7 * whole:
                silenced.append(head)
        return sorted(head for head in heads if head not in silenced)

    first = shrink([])
    copying, writers = first[0], [first[-1]]
    second = shrink(writers)
    if second is not None:
        writers = sorted([writers[0], second[-1]])
    circuit = {
        "copying": copying,
        "matching": writers[0],
        "backup": writers[1] if len(writers) > 1 else None,
    }

    members = [copying, *writers]
    outside = [head for head in heads if head not in members]
    experiments = [[], *([head] for head in members), outside]
    base = answer(many, [], "zero")
    evidence = [(silenced, float(answer(many, silenced, "zero") / base)) for silenced in experiments]
    return circuit, evidence

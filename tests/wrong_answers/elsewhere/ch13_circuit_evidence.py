from itertools import combinations


def run_circuit__mean_of_the_damaged_run(model, tokens, circuit, kind="resample", other=None):
    """Without other, means are taken in the hook, from a run with lower layers already ablated.
    axis: mean, intact, without other, already ablated, lower layers, own run"""
    if kind not in ("resample", "mean", "zero") or (kind == "resample" and other is None):
        raise ValueError(f"cannot ablate by {kind!r} here")
    cache = {}
    if other is not None:
        _, cache = model.run_with_cache(other, names_filter=lambda name: name.endswith("hook_z"))

    def ablate(z, hook):
        layer, new = int(hook.name.split(".")[1]), z.clone()
        for head in range(model.cfg.n_heads):
            if (layer, head) in circuit:
                continue
            if kind == "zero":
                new[:, :, head] = 0
            elif kind == "resample":
                new[:, :, head] = cache[hook.name][:, :, head]
            else:
                source = z if other is None else cache[hook.name]
                new[:, :, head] = source[:, :, head].mean(dim=(0, 1))
        return new

    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[(name, ablate) for name in names])


def run_circuit__numbers_without_layers(model, tokens, circuit, kind="resample", other=None):
    """Heads are kept by their number alone, in all layers.
    axis: layer, head number, kept, other layers, not in circuit"""
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"no such kind of ablation: {kind!r}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other texts")
    _, cache = model.run_with_cache(tokens if other is None else other)
    kept = {head for _, head in circuit}
    ablated = [head for head in range(model.cfg.n_heads) if head not in kept]

    def ablate(z, hook):
        source = cache[hook.name][:, :, ablated]
        z = z.clone()
        if kind == "resample":
            z[:, :, ablated] = source
        elif kind == "mean":
            z[:, :, ablated] = source.mean(dim=(0, 1))
        else:
            z[:, :, ablated] = 0
        return z

    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[(name, ablate) for name in names])


def faithfulness_by_size__relative_to_order(model, tokens, other, right, wrong, order, kind="resample"):
    """The denominator has the order's heads instead of all heads of the model: it ends at 1.
    axis: all heads, denominator, order, whole model, ends at 1, last entry"""

    def kept_by(heads):
        logits = run_circuit(model, tokens, heads, kind, other)
        return logit_difference(logits, right, wrong).mean()

    curve = torch.stack([kept_by(order[:size]) for size in range(len(order) + 1)]).float()
    return (curve - curve[0]) / (curve[-1] - curve[0])


def attribute_heads__cut_between_layers(model, clean, corrupted, right, wrong):
    """Every layer's z is detached, so gradients of lower heads lack the ways through higher ones.
    axis: gradient, later heads, detach, through, lower layers, early layers, path"""
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(clean, names_filter=lambda name: name in names)
    kept = {}

    def keep(z, hook):
        kept[hook.name] = z.detach().clone().requires_grad_()
        return kept[hook.name]

    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in names])
        value = logit_difference(logits, right, wrong).mean()
        gradients = torch.autograd.grad(value, [kept[name] for name in names])
    rows = [
        ((cache[name] - kept[name]) * gradient).sum(dim=(0, 1, 3)) for name, gradient in zip(names, gradients)
    ]
    return torch.stack(rows).detach().float()


def break_circuit__worst_on_average(model, tokens, other, right, wrong, circuit, kind="resample"):
    """The knockout is chosen by the mean gap over prompts, and only then the worst prompt is taken.
    axis: mean, average, every prompt, worst, knockout, largest gap, maximum"""
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    everything = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    found = {}
    for size in range(len(circuit) + 1):
        for knockout in combinations(sorted(circuit), size):
            left = []
            for heads in (circuit, everything):
                kept = [head for head in heads if head not in knockout]
                logits = run_circuit(model, tokens, kept, kind, other)
                left.append(logit_difference(logits, right, wrong))
            found[knockout] = (left[0] - left[1]).abs()
    worst = max(found, key=lambda knockout: found[knockout].mean().item())
    return list(worst), found[worst].argmax().item(), found[worst].max().item()


def break_circuit__kind_forgotten_once(model, tokens, other, right, wrong, circuit, kind="resample"):
    """The run of the damaged model forgets the kind and always resamples.
    axis: kind, ablation, model without, resample, zero, mean"""
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    everything = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    worst = ([], 0, -1.0)
    for size in range(len(circuit) + 1):
        for knockout in combinations(sorted(circuit), size):
            ours = [head for head in circuit if head not in knockout]
            rest = [head for head in everything if head not in knockout]
            of_circuit = logit_difference(run_circuit(model, tokens, ours, kind, other), right, wrong)
            of_model = logit_difference(run_circuit(model, tokens, rest, other=other), right, wrong)
            gap, prompt = (of_circuit - of_model).abs().max(dim=0)
            if gap.item() > worst[2]:
                worst = (list(knockout), prompt.item(), gap.item())
    return worst


def find_circuit__needed_in_isolation(weights, bos, offset):
    """Need is judged with all others silenced, so shadows pass and no backup is looked for.
    axis: needed, others silenced, outside the circuit, isolation, backup, company, intact, evidence"""
    puzzle = planted.Puzzle(weights, bos, offset)
    model, samples = puzzle.load(), puzzle.samples(seed=0, count=16)

    def answer(silenced):
        kept = [head for head in puzzle.heads if head not in silenced]
        logits = run_circuit(model, samples.tokens, kept, "zero")
        return logits[range(len(logits)), -1, samples.answers].mean().item()

    whole = answer([])
    silenced = []
    for head in puzzle.heads:  # take away whatever is not missed
        if answer([*silenced, head]) / whole >= 0.8:
            silenced.append(head)
    found = sorted(head for head in puzzle.heads if head not in silenced)
    copying, matching, *rest = found
    circuit = {"copying": copying, "matching": matching, "backup": rest[0] if rest else None}
    experiments = [[], silenced] + [[*silenced, head] for head in found]
    return circuit, [(list(heads), answer(heads) / whole) for heads in experiments]

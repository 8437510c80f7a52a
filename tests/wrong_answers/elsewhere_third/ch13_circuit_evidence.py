import torch


def run_circuit__mean_by_position(model, tokens, circuit, kind="resample", other=None):
    """For kind "mean" averages over the batch alone, so each position keeps a mean of its own.
    axis: mean, positions, batch, dim, average, position, both axes
    """
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"unknown kind {kind!r}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other tokens")
    _, cache = model.run_with_cache(tokens if other is None else other)

    def ablate(z, hook):
        layer = hook.layer()
        outside = [head for head in range(model.cfg.n_heads) if (layer, head) not in circuit]
        if not outside:
            return z
        z = z.clone()
        if kind == "zero":
            source = torch.zeros_like(z)
        elif kind == "mean":
            source = cache["z", layer].mean(dim=0, keepdim=True).expand_as(z)
        else:
            source = cache["z", layer]
        z[:, :, outside] = source[:, :, outside]
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", ablate) for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def run_circuit__layers_without_members(model, tokens, circuit, kind="resample", other=None):
    """Hooks only the layers in which the circuit has a head; a layer without any stays intact.
    axis: layers, no head, circuit, intact, all layers, hook, empty
    """
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"unknown kind {kind!r}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other tokens")
    _, cache = model.run_with_cache(tokens if other is None else other)
    kept = {}
    for layer, head in circuit:
        kept.setdefault(layer, []).append(head)

    def ablate(z, hook, layer):
        outside = [head for head in range(model.cfg.n_heads) if head not in kept[layer]]
        if not outside:
            return z
        z = z.clone()
        if kind == "zero":
            source = torch.zeros_like(z)
        elif kind == "mean":
            source = cache["z", layer].mean(dim=(0, 1), keepdim=True).expand_as(z)
        else:
            source = cache["z", layer]
        z[:, :, outside] = source[:, :, outside]
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer)) for layer in kept]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def faithfulness_by_size__order_is_everything(model, tokens, other, right, wrong, order, kind="resample"):
    """Divides by what all the heads of `order` keep, not by what all heads of the model keep.
    axis: all heads, model, order, denominator, last entry, every head
    """

    def left(heads):
        logits = run_circuit(model, tokens, heads, kind, other)
        return logit_difference(logits, right, wrong).mean()

    kept = torch.stack([left(order[:n]) for n in range(len(order) + 1)])
    return ((kept - kept[0]) / (kept[-1] - kept[0])).float()


def attribute_heads__gradient_at_clean(model, clean, corrupted, right, wrong):
    """Takes the gradient in the clean run instead of in the corrupted one.
    axis: gradient, clean run, corrupted run, point, evaluated, swapped
    """
    _, corrupted_cache = model.run_with_cache(corrupted)
    kept = []

    def keep(z, hook):
        z.requires_grad_(True)
        kept.append(z)
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", keep) for layer in range(model.cfg.n_layers)]
    with torch.enable_grad():
        logits = model.run_with_hooks(clean, fwd_hooks=hooks)
        total = logit_difference(logits, right, wrong).mean()
        gradients = torch.autograd.grad(total, kept)
    rows = [
        ((z.detach() - corrupted_cache["z", layer].detach()) * gradient).sum(dim=(0, 1, 3))
        for layer, (z, gradient) in enumerate(zip(kept, gradients, strict=True))
    ]
    return torch.stack(rows).float()


def attribute_heads__last_position_only(model, clean, corrupted, right, wrong):
    """Adds up the products at the last position only, since the metric is read there.
    axis: last position, all positions, sum, earlier, metric, positions
    """
    _, clean_cache = model.run_with_cache(clean)
    kept = []

    def keep(z, hook):
        z.requires_grad_(True)
        kept.append(z)
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", keep) for layer in range(model.cfg.n_layers)]
    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=hooks)
        total = logit_difference(logits, right, wrong).mean()
        gradients = torch.autograd.grad(total, kept)
    rows = [
        ((clean_cache["z", layer].detach() - z.detach()) * gradient)[:, -1].sum(dim=(0, 2))
        for layer, (z, gradient) in enumerate(zip(kept, gradients, strict=True))
    ]
    return torch.stack(rows).float()


def break_circuit__against_the_intact_model_too(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Compares the damaged circuit with the intact model, instead of with the model without the same heads.
    axis: model without K, intact, knockout, both, same damage, all heads
    """
    from itertools import combinations

    intact = logit_difference(model(tokens), right, wrong)
    worst = None
    for size in range(len(circuit) + 1):
        for knockout in combinations(circuit, size):
            rest = [head for head in circuit if head not in knockout]
            alone = logit_difference(run_circuit(model, tokens, rest, kind, other), right, wrong)
            gaps = (alone - intact).abs()
            prompt = int(gaps.argmax())
            if worst is None or gaps[prompt].item() > worst[2]:
                worst = sorted(knockout), prompt, gaps[prompt].item()
    return worst


def break_circuit__returns_what_is_left(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Returns the heads of the circuit that were kept in the worst case, not those that were knocked out.
    axis: knockout, kept, knocked out, complement, returns, K, remaining
    """
    from itertools import combinations

    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]

    def left(heads):
        return logit_difference(run_circuit(model, tokens, heads, kind, other), right, wrong)

    worst = None
    for size in range(len(circuit) + 1):
        for kept in combinations(circuit, size):
            knocked = [head for head in circuit if head not in kept]
            alone = left(list(kept))
            model_too = left([head for head in everything if head not in knocked])
            gaps = (alone - model_too).abs()
            prompt = int(gaps.argmax())
            if worst is None or gaps[prompt].item() > worst[2]:
                worst = sorted(kept), prompt, gaps[prompt].item()
    return worst


def find_circuit__first_writer_is_matching(weights, bos, offset):
    """Calls the writer that survives the first removal matching, and the other backup, whatever their layers.
    axis: matching, backup, earlier layer, swapped, roles, order, writers
    """
    puzzle = planted.Puzzle(weights, bos, offset)
    model, few, many = puzzle.load(), puzzle.samples(1, 4, 12), puzzle.samples(seed=0, count=16)

    def answer(samples, kept, kind):
        logits = run_circuit(model, samples.tokens, kept, kind, samples.counterfactuals)
        return logits[:, -1].gather(1, samples.answers[:, None]).mean().item()

    half = 0.5 * answer(few, puzzle.heads, "resample")

    def what_is_enough(silenced):
        kept = sorted(head for head in puzzle.heads if head not in silenced)
        if answer(few, kept, "resample") < half:
            return None
        for head in list(kept):
            rest = [each for each in kept if each != head]
            if answer(few, rest, "resample") >= half:
                kept = rest
        return kept

    found = what_is_enough([])
    copying, matching = found[0], found[-1]
    spare = what_is_enough([matching])
    backup = spare[-1] if spare else None

    members = [head for head in (copying, matching, backup) if head is not None]
    experiments = [[], *([head] for head in members)]
    if backup is not None:
        experiments.append([matching, backup])
    experiments.append([head for head in puzzle.heads if head not in members])
    whole = answer(many, puzzle.heads, "zero")
    evidence = [
        (silenced, answer(many, [head for head in puzzle.heads if head not in silenced], "zero") / whole)
        for silenced in experiments
    ]
    return {"copying": copying, "matching": matching, "backup": backup}, evidence

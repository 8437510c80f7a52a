import itertools

import torch

from mechinterp_course.metrics import logit_difference
from mechinterp_course.worlds import planted


def run_circuit__mean_kept_apart_by_position_e(model, tokens, circuit, kind="resample", other=None):
    """The student has read the IOI paper and takes the mean of z over the batch only, one mean for each
    position.
    axis: mean over batch and positions, not per position; kind mean
    """
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"unknown kind {kind!r}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other")
    _, cache = model.run_with_cache(tokens if other is None else other)

    def replace(z, hook):
        layer = hook.layer()
        outside = [head for head in range(model.cfg.n_heads) if (layer, head) not in circuit]
        if kind == "zero":
            source = torch.zeros_like(z)
        elif kind == "mean":
            source = cache["z", layer].mean(dim=0, keepdim=True).expand_as(z)
        else:
            source = cache["z", layer]
        z = z.clone()
        z[:, :, outside] = source[:, :, outside]
        return z

    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=[(name, replace) for name in names])


def run_circuit__only_layers_of_the_circuit_e(model, tokens, circuit, kind="resample", other=None):
    """The student groups the circuit by layer and hooks only those layers, so a layer without a circuit head
    runs intact.
    axis: layers in which the circuit has no head must be ablated too
    """
    if kind not in {"resample", "mean", "zero"}:
        raise ValueError(kind)
    if kind == "resample" and other is None:
        raise ValueError("kind='resample' needs other")

    sources = {}
    if kind != "zero":
        _, cache = model.run_with_cache(other if other is not None else tokens)
        for layer in range(model.cfg.n_layers):
            z = cache["z", layer]
            sources[layer] = z if kind == "resample" else z.mean(dim=(0, 1), keepdim=True).expand_as(z)

    keep_by_layer = {}
    for layer, head in circuit:
        keep_by_layer.setdefault(layer, []).append(head)

    fwd_hooks = []
    for layer, keep in keep_by_layer.items():
        drop = [h for h in range(model.cfg.n_heads) if h not in keep]

        def ablate(z, hook, layer=layer, drop=drop):
            out = z.clone()
            out[:, :, drop] = 0.0 if kind == "zero" else sources[layer][:, :, drop]
            return out

        fwd_hooks.append((f"blocks.{layer}.attn.hook_z", ablate))
    return model.run_with_hooks(tokens, fwd_hooks=fwd_hooks)


def faithfulness_by_size__baseline_is_the_corrupted_run_e(
    model, tokens, other, right, wrong, order, kind="resample"
):
    """The student normalises as in activation patching, with the model's run on `other` as zero, in place of
    no head kept.
    axis: baseline F(no head) is run_circuit with an empty circuit under the same kind, not the corrupted run
    """

    def difference(logits):
        return logit_difference(logits, right, wrong).mean()

    clean, corrupted = difference(model(tokens)), difference(model(other))
    kept = [difference(run_circuit(model, tokens, order[:n], kind, other)) for n in range(len(order) + 1)]
    return ((torch.stack(kept) - corrupted) / (clean - corrupted)).float()


def faithfulness_by_size__mean_of_the_ratios_e(model, tokens, other, right, wrong, order, kind="resample"):
    """The student computes the share on each prompt and averages these shares at the end.
    axis: ratio of the means over prompts, not mean of per-prompt ratios
    """
    everything = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]

    def F(heads):
        return logit_difference(run_circuit(model, tokens, heads, kind, other), right, wrong)  # [batch]

    none, every = F([]), F(everything)
    shares = [((F(order[:n]) - none) / (every - none)).mean() for n in range(len(order) + 1)]
    return torch.stack(shares).float()


def attribute_heads__only_the_last_position_e(model, clean, corrupted, right, wrong):
    """The student believes that, as F is read at the last position, only z at the last position counts.
    axis: sum over all positions; earlier positions reach the metric through later heads
    """
    _, cache = model.run_with_cache(clean)
    kept = {}

    def keep(z, hook):
        z.requires_grad_(True)
        kept[hook.layer()] = z
        return z

    layers = range(model.cfg.n_layers)
    with torch.enable_grad():
        logits = model.run_with_hooks(
            corrupted, fwd_hooks=[(f"blocks.{ell}.attn.hook_z", keep) for ell in layers]
        )
        rows = torch.arange(len(corrupted), device=corrupted.device)
        last = logits[:, -1]
        F = (last[rows, right] - last[rows, wrong]).mean()
        gradients = torch.autograd.grad(F, [kept[ell] for ell in layers])
    estimate = []
    for ell, gradient in enumerate(gradients):
        change = cache["z", ell] - kept[ell].detach()
        estimate.append((change[:, -1] * gradient[:, -1]).sum(dim=(0, 2)))
    return torch.stack(estimate).detach().float()


def attribute_heads__gradient_times_activation_e(model, clean, corrupted, right, wrong):
    """The student multiplies the gradient by the clean z itself, as in input times gradient, without taking
    the corrupted z off.
    axis: difference of clean and corrupted z, not the clean z alone
    """
    n_layers = model.cfg.n_layers
    _, clean_cache = model.run_with_cache(clean)
    zs = [None] * n_layers

    def grab(z, hook):
        z = z.requires_grad_(True)
        zs[hook.layer()] = z
        return z

    with torch.enable_grad():
        hooks_ = [(f"blocks.{layer}.attn.hook_z", grab) for layer in range(n_layers)]
        logits = model.run_with_hooks(corrupted, fwd_hooks=hooks_)
        F = logit_difference(logits, right, wrong).mean()
        grads = torch.autograd.grad(F, zs)
    rows = [(clean_cache["z", layer] * grads[layer]).sum(dim=(0, 1, 3)) for layer in range(n_layers)]
    return torch.stack(rows).detach().to(torch.float32)


def break_circuit__compares_with_the_intact_model_e(
    model, tokens, other, right, wrong, circuit, kind="resample"
):
    """The student knocks K out of the circuit only, and compares each time with the model as it is.
    axis: K must be knocked out of the model as well
    """
    whole_model = logit_difference(model(tokens), right, wrong)
    worst = ([], 0, -1.0)
    for size in range(len(circuit) + 1):
        for knockout in itertools.combinations(circuit, size):
            kept = [head for head in circuit if head not in knockout]
            alone = logit_difference(run_circuit(model, tokens, kept, kind, other), right, wrong)
            gaps = (alone - whole_model).abs()
            if gaps.max().item() > worst[2]:
                worst = (sorted(knockout), int(gaps.argmax()), gaps.max().item())
    return worst


def break_circuit__knockout_chosen_by_the_mean_gap_e(
    model, tokens, other, right, wrong, circuit, kind="resample"
):
    """The student picks the K whose gap is largest on average and only then looks for the worst prompt under
    it.
    axis: largest gap over subsets and prompts together, not the mean over prompts first
    """
    everything = [(ell, h) for ell in range(model.cfg.n_layers) for h in range(model.cfg.n_heads)]

    def left(heads):
        return logit_difference(run_circuit(model, tokens, heads, kind, other), right, wrong)

    gaps = {}
    for size in range(len(circuit) + 1):
        for K in itertools.combinations(sorted(circuit), size):
            alone = left([h for h in circuit if h not in K])
            model_too = left([h for h in everything if h not in K])
            gaps[K] = (alone - model_too).abs()
    K = max(gaps, key=lambda each: gaps[each].mean().item())
    prompt = int(gaps[K].argmax())
    return list(K), prompt, gaps[K][prompt].item()


def _ch13_shrink(model, samples, start, whole):
    """Remove heads from `start` by resampling as long as half of the answer stands; None if it never
    stood."""
    rows = torch.arange(len(samples.tokens))

    def stands(kept):
        logits = run_circuit(model, samples.tokens, kept, "resample", samples.counterfactuals)
        return logits[rows, -1, samples.answers].mean().item() >= 0.5 * whole

    if not stands(start):
        return None
    kept, size = list(start), max(1, len(start) // 2)
    while True:
        before, place = len(kept), 0
        while place < len(kept):
            trial = kept[:place] + kept[place + size :]
            if stands(trial):
                kept = trial
            else:
                place += size
        if size > 1:
            size //= 2
        elif len(kept) == before:
            return sorted(kept)


def _ch13_roles(puzzle, model):
    """Copying, matching and backup by removal, once with all heads and once without the first writer."""
    samples = puzzle.samples(1, 4, 12)
    logits = model(samples.tokens)
    whole = logits[torch.arange(len(samples.tokens)), -1, samples.answers].mean().item()
    heads = [tuple(head) for head in puzzle.heads]
    first = _ch13_shrink(model, samples, heads, whole)
    copying, writer = first[0], first[-1]
    second = _ch13_shrink(model, samples, [head for head in heads if head != writer], whole)
    if second is None:
        return {"copying": copying, "matching": writer, "backup": None}
    matching, backup = sorted([writer, second[-1]])
    return {"copying": copying, "matching": matching, "backup": backup}


def find_circuit__left_in_logits_e(weights, bos, offset):
    """The student reports the answer that is left in logits and does not divide by the answer with nothing
    silenced.
    axis: left is a share of the intact answer, divide by it
    """
    puzzle = planted.Puzzle(weights, bos, offset)
    model = puzzle.load()
    circuit = _ch13_roles(puzzle, model)
    samples = puzzle.samples(seed=0, count=16)
    heads = [tuple(head) for head in puzzle.heads]

    def measure(silenced):
        kept = [head for head in heads if head not in silenced]
        logits = run_circuit(model, samples.tokens, kept, "zero")
        return logits[torch.arange(len(samples.tokens)), -1, samples.answers].mean().item()

    members = [head for head in circuit.values() if head is not None]
    experiments = [[], *([head] for head in members), [head for head in heads if head not in members]]
    if circuit["backup"] is not None:
        experiments.append([circuit["matching"], circuit["backup"]])
    return circuit, [(silenced, measure(silenced)) for silenced in experiments]


def find_circuit__single_knockouts_only_e(weights, bos, offset):
    """The student silences each head of the circuit alone, and never matching and backup together, so a pair
    that stands in for one another is not shown to be needed.
    axis: with a backup, matching and backup must be silenced together
    """
    puzzle = planted.Puzzle(weights, bos, offset)
    model = puzzle.load()
    circuit = _ch13_roles(puzzle, model)
    every = [tuple(head) for head in puzzle.heads]
    samples = puzzle.samples(seed=0, count=16)
    rows = torch.arange(len(samples.tokens))

    def answer(silenced):
        kept = [head for head in every if head not in silenced]
        return run_circuit(model, samples.tokens, kept, "zero")[rows, -1, samples.answers].mean().item()

    intact = answer([])
    mine = [head for head in circuit.values() if head]
    tries = [[]] + [[head] for head in mine] + [[head for head in every if head not in mine]]
    return circuit, [(silenced, answer(silenced) / intact) for silenced in tries]

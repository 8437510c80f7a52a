"""Each misconception of ch13 written again from its sentence alone, as other code,
to see whether it is still recognised."""

from functools import partial
from itertools import chain, combinations

import torch
from einops import rearrange, reduce

from mechinterp_course.circuits import composition_scores, copying_scores
from mechinterp_course.faithfulness import run_circuit
from mechinterp_course.metrics import logit_difference
from mechinterp_course.patching import patch_head_output
from mechinterp_course.worlds.planted import Puzzle


def every_head(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def z_names(model):
    return [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]


# run_circuit


def expect_kind(kind, other):
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(f"unknown kind of ablation: {kind!r}")
    if kind == "resample" and other is None:
        raise ValueError("resampling needs other prompts")


def sources_of(model, tokens, kind, other):
    """What is put in, for each layer, from an intact run."""
    _, cache = model.run_with_cache(tokens if other is None else other)
    z = [cache[name] for name in z_names(model)]
    if kind == "mean":
        return [each.mean(dim=(0, 1), keepdim=True).expand_as(each) for each in z]
    return [torch.zeros_like(each) for each in z] if kind == "zero" else z


def outside_of(model, circuit, layer):
    return [head for head in range(model.cfg.n_heads) if (layer, head) not in circuit]


def run_replaced(model, tokens, heads_by_layer, sources):
    """Logits with these heads of each layer replaced; `sources` are by layer."""

    def replace(z, hook):
        z = z.clone()
        heads = heads_by_layer[hook.layer()]
        z[:, :, heads] = sources[hook.layer()][:, :, heads]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(name, replace) for name in z_names(model)])


def run_circuit__circuit_taken_out(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    sources = sources_of(model, tokens, kind, other)
    inside = [[head for where, head in circuit if where == layer] for layer in range(model.cfg.n_layers)]
    return run_replaced(model, tokens, inside, sources)


def run_circuit__sources_from_the_damaged_run(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    text = tokens if other is None else other
    hooks = []
    for layer, name in enumerate(z_names(model)):
        with model.hooks(fwd_hooks=hooks):
            _, cache = model.run_with_cache(text)
        source = cache[name]
        if kind == "mean":
            source = source.mean(dim=(0, 1), keepdim=True).expand_as(source)
        if kind == "zero":
            source = torch.zeros_like(source)

        def put(z, hook, source, heads):
            z = z.clone()
            z[:, :, heads] = source[:, :, heads]
            return z

        hooks.append((name, partial(put, source=source, heads=outside_of(model, circuit, layer))))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def run_circuit__mean_over_batch_only(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    _, cache = model.run_with_cache(tokens if other is None else other)
    keep = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, 1, dtype=torch.bool)
    for layer, head in circuit:
        keep[layer, head] = True

    def ablate(z, hook):
        own = cache[hook.name]
        if kind == "mean":
            own = own.mean(dim=0, keepdim=True)
        if kind == "zero":
            own = torch.zeros_like(own)
        return torch.where(keep[hook.layer()], z, own)

    return model.run_with_hooks(tokens, fwd_hooks=[(name, ablate) for name in z_names(model)])


def run_circuit__mean_of_the_prompts_themselves(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    if kind == "resample":
        sources = sources_of(model, tokens, "resample", other)
    else:
        sources = sources_of(model, tokens, kind, None)
    outside = [outside_of(model, circuit, layer) for layer in range(model.cfg.n_layers)]
    return run_replaced(model, tokens, outside, sources)


def run_circuit__one_row_for_all(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    if kind == "resample":
        _, cache = model.run_with_cache(other[:1])
        sources = [cache[name].expand(len(tokens), -1, -1, -1) for name in z_names(model)]
    else:
        sources = sources_of(model, tokens, kind, other)
    outside = [outside_of(model, circuit, layer) for layer in range(model.cfg.n_layers)]
    return run_replaced(model, tokens, outside, sources)


def run_circuit__last_position_only(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    sources = sources_of(model, tokens, kind, other)

    def ablate(z, hook):
        heads = outside_of(model, circuit, hook.layer())
        z = z.clone()
        z[:, -1, heads] = sources[hook.layer()][:, -1, heads]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(name, ablate) for name in z_names(model)])


def run_circuit__layers_without_a_kept_head_left_alone(model, tokens, circuit, kind="resample", other=None):
    expect_kind(kind, other)
    sources = sources_of(model, tokens, kind, other)
    kept = {}
    for layer, head in circuit:
        kept.setdefault(layer, []).append(head)
    hooks = []
    for layer, inside in kept.items():

        def ablate(z, hook, layer, inside):
            new = sources[layer].clone()
            new[:, :, inside] = z[:, :, inside]
            return new

        hooks.append((f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, inside=inside)))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def run_circuit__any_kind_is_zero(model, tokens, circuit, kind="resample", other=None):
    if kind == "resample" and other is None:
        raise ValueError("no prompts to resample from")
    _, cache = model.run_with_cache(tokens if other is None else other)

    def ablate(z, hook):
        z = z.clone()
        for head in range(z.shape[2]):
            if (hook.layer(), head) in circuit:
                continue
            if kind == "resample":
                z[:, :, head] = cache[hook.name][:, :, head]
            elif kind == "mean":
                z[:, :, head] = reduce(cache[hook.name][:, :, head], "batch pos d -> d", "mean")
            else:
                z[:, :, head] = 0.0
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(name, ablate) for name in z_names(model)])


# faithfulness_by_size


def left_by_prompt(model, tokens, other, right, wrong, kept, kind):
    return logit_difference(run_circuit(model, tokens, kept, kind, other), right, wrong)


def faithfulness_by_size__nothing_not_subtracted(model, tokens, other, right, wrong, order, kind="resample"):
    def left(kept):
        return left_by_prompt(model, tokens, other, right, wrong, kept, kind).mean()

    whole = left(every_head(model))
    return torch.stack([left(order[:n]) / whole for n in range(len(order) + 1)])


def faithfulness_by_size__mean_of_ratios(model, tokens, other, right, wrong, order, kind="resample"):
    left = partial(left_by_prompt, model, tokens, other, right, wrong, kind=kind)
    none, everything = left(kept=[]), left(kept=every_head(model))
    ratios = [(left(kept=order[:n]) - none) / (everything - none) for n in range(len(order) + 1)]
    return reduce(torch.stack(ratios), "size prompt -> size", "mean")


def faithfulness_by_size__heads_removed(model, tokens, other, right, wrong, order, kind="resample"):
    def left(kept):
        return left_by_prompt(model, tokens, other, right, wrong, kept, kind).mean()

    none, everything = left([]), left(every_head(model))
    curve, kept = [everything], every_head(model)
    for head in order:
        kept = [each for each in kept if each != head]
        curve.append(left(kept))
    return (torch.stack(curve) - none) / (everything - none)


def faithfulness_by_size__each_head_alone(model, tokens, other, right, wrong, order, kind="resample"):
    def left(kept):
        logits = run_circuit(model, tokens, kept, kind=kind, other=other)
        return logit_difference(logits, right, wrong).mean()

    none, everything = left([]), left(every_head(model))
    curve = [none] + [left([head]) for head in order]
    return (torch.stack(curve) - none) / (everything - none)


def faithfulness_by_size__empty_circuit_left_out(model, tokens, other, right, wrong, order, kind="resample"):
    def left(kept):
        return left_by_prompt(model, tokens, other, right, wrong, kept, kind).mean().item()

    none, everything = left([]), left(every_head(model))
    circuit, curve = [], []
    for head in order:
        circuit.append(head)
        curve.append((left(circuit) - none) / (everything - none))
    return torch.tensor(curve)


def faithfulness_by_size__ends_at_one(model, tokens, other, right, wrong, order, kind="resample"):
    curve = torch.zeros(len(order) + 1)
    for size in range(len(order) + 1):
        curve[size] = left_by_prompt(model, tokens, other, right, wrong, order[:size], kind).mean()
    return (curve - curve[0]) / (curve[-1] - curve[0])


def faithfulness_by_size__corrupted_run_as_nothing(
    model, tokens, other, right, wrong, order, kind="resample"
):
    nothing = logit_difference(model(other), right, wrong).mean()
    whole = logit_difference(model(tokens), right, wrong).mean()
    curve = [
        logit_difference(run_circuit(model, tokens, order[:n], kind, other), right, wrong).mean()
        for n in range(len(order) + 1)
    ]
    return (torch.stack(curve) - nothing) / (whole - nothing)


def faithfulness_by_size__right_logit_only(model, tokens, other, right, wrong, order, kind="resample"):
    rows = torch.arange(len(tokens))

    def left(kept):
        return run_circuit(model, tokens, kept, kind, other)[rows, -1, right].mean()

    none, everything = left([]), left(every_head(model))
    return torch.stack([(left(order[:n]) - none) / (everything - none) for n in range(len(order) + 1)])


# attribute_heads


def mean_difference(logits, right, wrong):
    return logit_difference(logits, right, wrong).mean()


def z_and_gradients(model, tokens, right, wrong, metric=mean_difference):
    """The z of every layer and the gradient of the metric there, both [layer, batch, pos, head, d_head]."""
    kept = []

    def keep(z, hook):
        if not z.requires_grad:
            z = z.detach().requires_grad_(True)
        kept.append(z)
        return z

    with torch.enable_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[(name, keep) for name in z_names(model)])
        gradients = torch.autograd.grad(metric(logits, right, wrong), kept)
    return torch.stack([z.detach() for z in kept]), torch.stack(gradients)


def z_of(model, tokens):
    _, cache = model.run_with_cache(tokens)
    return torch.stack([cache[name] for name in z_names(model)]).detach()


def by_head(products):
    return reduce(products, "layer batch pos head d -> layer head", "sum")


def attribute_heads__gradient_of_the_clean_run(model, clean, corrupted, right, wrong):
    clean_z, gradients = z_and_gradients(model, clean, right, wrong)
    return by_head((clean_z - z_of(model, corrupted)) * gradients)


def attribute_heads__step_backwards(model, clean, corrupted, right, wrong):
    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong)
    return torch.einsum("lbphd,lbphd->lh", corrupted_z - z_of(model, clean), gradients)


def attribute_heads__activation_times_gradient(model, clean, corrupted, right, wrong):
    _, clean_cache = model.run_with_cache(clean)
    _, gradients = z_and_gradients(model, corrupted, right, wrong)
    rows = []
    for layer in range(model.cfg.n_layers):
        rows.append((clean_cache["z", layer] * gradients[layer]).sum(dim=(0, 1, 3)))
    return torch.stack(rows).detach()


def attribute_heads__corrupted_activation_times_gradient(model, clean, corrupted, right, wrong):
    saved = {}

    def keep(z, hook):
        saved[hook.layer()] = z.requires_grad_(True)
        return saved[hook.layer()]

    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in z_names(model)])
        metric = logit_difference(logits, right, wrong).mean()
        layers = [saved[layer] for layer in range(model.cfg.n_layers)]
        gradients = torch.autograd.grad(metric, layers)
    rows = [(z * gradient).sum(-1).sum((0, 1)) for z, gradient in zip(layers, gradients, strict=True)]
    return torch.stack(rows).detach()


def attribute_heads__last_position_only(model, clean, corrupted, right, wrong):
    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong)
    step = z_of(model, clean) - corrupted_z
    return (step[:, :, -1] * gradients[:, :, -1]).sum(dim=(1, 3))


def attribute_heads__divided_by_the_batch_again(model, clean, corrupted, right, wrong):
    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong)
    products = (z_of(model, clean) - corrupted_z) * gradients
    return products.sum(dim=(2, 4)).mean(dim=1)


def attribute_heads__summed_over_prompts(model, clean, corrupted, right, wrong):
    def total(logits, right, wrong):
        return logit_difference(logits, right, wrong).sum()

    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong, total)
    return by_head((z_of(model, clean) - corrupted_z) * gradients)


def attribute_heads__absolute(model, clean, corrupted, right, wrong):
    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong)
    return by_head((z_of(model, clean) - corrupted_z) * gradients).abs()


def attribute_heads__right_logit_only(model, clean, corrupted, right, wrong):
    def right_logit(logits, right, wrong):
        return logits[:, -1].gather(1, right[:, None]).mean()

    corrupted_z, gradients = z_and_gradients(model, corrupted, right, wrong, metric=right_logit)
    return by_head((z_of(model, clean) - corrupted_z) * gradients)


def attribute_heads__patched_truly(model, clean, corrupted, right, wrong):
    before = mean_difference(model(corrupted), right, wrong)
    effects = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    for layer, head in every_head(model):
        logits = patch_head_output(model, clean, corrupted, layer, head)
        effects[layer, head] = mean_difference(logits, right, wrong) - before
    return effects


# break_circuit


def subsets(heads):
    return chain.from_iterable(combinations(sorted(heads), size) for size in range(len(heads) + 1))


def without(heads, knockout):
    return [head for head in heads if head not in knockout]


def gap_by_prompt(model, tokens, other, right, wrong, circuit, knockout, kind):
    """What the model keeps without the knockout, minus what the circuit keeps without it; [batch]."""
    alone, too = (
        left_by_prompt(model, tokens, other, right, wrong, without(heads, knockout), kind)
        for heads in (circuit, every_head(model))
    )
    return too - alone


def break_circuit__faithfulness_only(model, tokens, other, right, wrong, circuit, kind="resample"):
    alone = logit_difference(run_circuit(model, tokens, circuit, kind, other), right, wrong)
    whole = logit_difference(model(tokens), right, wrong)
    gap, prompt = (alone - whole).abs().max(dim=0)
    return [], int(prompt), float(gap)


def break_circuit__single_heads_only(model, tokens, other, right, wrong, circuit, kind="resample"):
    worst = None
    for head in sorted(circuit):
        gaps = gap_by_prompt(model, tokens, other, right, wrong, circuit, [head], kind).abs()
        if worst is None or gaps.max().item() > worst[2]:
            worst = [head], gaps.argmax().item(), gaps.max().item()
    return worst


def break_circuit__mean_over_prompts(model, tokens, other, right, wrong, circuit, kind="resample"):
    found = []
    for knockout in subsets(circuit):
        gaps = gap_by_prompt(model, tokens, other, right, wrong, circuit, knockout, kind).abs()
        found.append((list(knockout), gaps.argmax().item(), gaps.mean().item()))
    return max(found, key=lambda each: each[2])


def break_circuit__compared_with_the_intact_model(
    model, tokens, other, right, wrong, circuit, kind="resample"
):
    intact = logit_difference(model(tokens), right, wrong)
    worst = [], 0, -1.0
    for knockout in subsets(circuit):
        kept = without(circuit, knockout)
        alone = logit_difference(run_circuit(model, tokens, kept, kind, other), right, wrong)
        gaps = torch.abs(alone - intact)
        if gaps.max() > worst[2]:
            worst = list(knockout), int(gaps.argmax()), float(gaps.max())
    return worst


def break_circuit__signed(model, tokens, other, right, wrong, circuit, kind="resample"):
    knockouts = [list(knockout) for knockout in subsets(circuit)]
    gaps = torch.stack(
        [gap_by_prompt(model, tokens, other, right, wrong, circuit, each, kind) for each in knockouts]
    )
    which, prompt = divmod(gaps.argmax().item(), gaps.shape[1])
    return knockouts[which], prompt, gaps[which, prompt].item()


def break_circuit__smallest(model, tokens, other, right, wrong, circuit, kind="resample"):
    best = [], 0, float("inf")
    for knockout in subsets(circuit):
        gaps = gap_by_prompt(model, tokens, other, right, wrong, circuit, knockout, kind).abs()
        gap, prompt = gaps.min(dim=0)
        if gap.item() < best[2]:
            best = list(knockout), prompt.item(), gap.item()
    return best


def break_circuit__kept_instead_of_knocked_out(model, tokens, other, right, wrong, circuit, kind="resample"):
    answer, largest = ([], 0, 0.0), -1.0
    for kept in subsets(circuit):
        knockout = without(circuit, kept)
        gaps = gap_by_prompt(model, tokens, other, right, wrong, circuit, knockout, kind).abs()
        if gaps.max().item() > largest:
            largest = gaps.max().item()
            answer = sorted(kept), gaps.argmax().item(), largest
    return answer


def break_circuit__always_resampled(model, tokens, other, right, wrong, circuit, kind="resample"):
    worst = [], 0, -1.0
    for knockout in subsets(circuit):
        alone = run_circuit(model, tokens, without(circuit, knockout), other=other)
        too = run_circuit(model, tokens, without(every_head(model), knockout), other=other)
        gaps = (logit_difference(alone, right, wrong) - logit_difference(too, right, wrong)).abs()
        if gaps.max().item() > worst[2]:
            worst = list(knockout), gaps.argmax().item(), gaps.max().item()
    return worst


# find_circuit


def answer_of(model, samples, silenced, kind="zero"):
    """The answer's logit above the mean, with these heads ablated, averaged over the prompts."""
    kept = without(every_head(model), silenced)
    last = run_circuit(model, samples.tokens, kept, kind, samples.counterfactuals)[:, -1]
    rows = torch.arange(len(last))
    return (last[rows, samples.answers] - last.mean(dim=-1)).mean().item()


def experiments_for(puzzle, circuit, enough=True):
    """The groups of heads that the evidence silences."""
    named = [head for head in circuit.values() if head is not None]
    groups = [[]]
    if enough:
        groups.append(without(puzzle.heads, named))
    groups += [[head] for head in named]
    if circuit["backup"] is not None:
        groups.append([circuit["matching"], circuit["backup"]])
    return groups


def measured(puzzle, model, groups, samples=None):
    samples = samples or puzzle.samples(seed=0, count=16)
    intact = answer_of(model, samples, [])
    return [(group, answer_of(model, samples, group) / intact) for group in groups]


def enough_with(model, samples, puzzle, out):
    """Heads that are left when, after those of `out`, each that the answer can spare is taken out."""
    gone = list(out)
    stands = 0.5 * answer_of(model, samples, [])
    if answer_of(model, samples, gone, "resample") < stands:
        return None
    for head in puzzle.heads:
        if head not in gone and answer_of(model, samples, [*gone, head], "resample") > stands:
            gone.append(head)
    return without(puzzle.heads, gone)


def copying_and_writers(puzzle, model):
    """The copying head, and the one or two heads that can write the answer, the earlier first."""
    samples = puzzle.samples(1, 4, 12)
    copying, first = sorted(enough_with(model, samples, puzzle, []))
    again = enough_with(model, samples, puzzle, [first])
    second = [head for head in again or [] if head != copying]
    return copying, sorted([first, *second])


def solved(puzzle, model):
    copying, writers = copying_and_writers(puzzle, model)
    backup = writers[1] if len(writers) > 1 else None
    return {"copying": copying, "matching": writers[0], "backup": backup}


def find_circuit__by_attention_patterns(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model, samples = puzzle.load(), puzzle.samples(seed=0, count=16)
    _, cache = model.run_with_cache(samples.tokens)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)])
    patterns = rearrange(patterns, "layer batch head query key -> (layer head) batch query key")
    back = patterns.diagonal(-offset, dim1=-2, dim2=-1).mean(dim=(1, 2)).tolist()
    is_answer = (samples.tokens == samples.answers[:, None]).float()
    finds = (patterns[:, :, -1] * is_answer).sum(-1).mean(-1).tolist()
    rests = patterns[:, :, -1, 0].mean(-1).tolist()
    copying, matching = (puzzle.heads[scores.index(max(scores))] for scores in (back, finds))
    backup = None
    if model.cfg.n_layers > 2:
        above = [i for i, (layer, _) in enumerate(puzzle.heads) if layer > matching[0]]
        backup = puzzle.heads[max(above, key=rests.__getitem__)] if above else None
    circuit = {"copying": copying, "matching": matching, "backup": backup}
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit))


def find_circuit__by_weights(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model = puzzle.load()
    into_keys, copies = composition_scores(model, "k"), copying_scores(model)
    writers = [head for head in puzzle.heads if copies[head] > 0.5 and head[0] > 0]
    pairs = [(first, second) for first in puzzle.heads for second in writers if first[0] < second[0]]
    copying, matching = max(pairs, key=lambda pair: into_keys[(*pair[0], *pair[1])].item())
    later = [head for head in writers if head[0] > matching[0]]
    fed = [head for head in later if into_keys[(*copying, *head)] > 0.5 * into_keys[(*copying, *matching)]]
    backup = max(fed, key=lambda head: into_keys[(*copying, *head)].item()) if fed else None
    circuit = {"copying": copying, "matching": matching, "backup": backup}
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit))


def find_circuit__single_ablations_only(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model, samples = puzzle.load(), puzzle.samples(seed=0, count=16)
    left = {head: answer_of(model, samples, [head]) for head in puzzle.heads}
    copying, matching = sorted(sorted(puzzle.heads, key=left.get)[:2])
    circuit = {"copying": copying, "matching": matching, "backup": None}
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit))


def find_circuit__writers_exchanged(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model = puzzle.load()
    copying, writers = copying_and_writers(puzzle, model)
    backup = writers[0] if len(writers) == 2 else None
    circuit = {"copying": copying, "matching": writers[-1], "backup": backup}
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit))


def find_circuit__logits_not_shares(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model, samples = puzzle.load(), puzzle.samples(seed=0, count=16)
    circuit = solved(puzzle, model)
    return circuit, [(group, answer_of(model, samples, group)) for group in experiments_for(puzzle, circuit)]


def find_circuit__enough_not_shown(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model = puzzle.load()
    circuit = solved(puzzle, model)
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit, enough=False))


def find_circuit__other_prompts(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    model = puzzle.load()
    circuit = solved(puzzle, model)
    prompts = puzzle.samples(seed=1, count=16)
    return circuit, measured(puzzle, model, experiments_for(puzzle, circuit), prompts)

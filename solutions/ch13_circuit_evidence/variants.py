"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

from functools import partial
from itertools import combinations

import torch
from einops import einsum, reduce

from mechinterp_course.faithfulness import run_circuit
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.worlds.planted.evidence import find_circuit, prove, shares_left
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import answers_without, solve


def run_circuit__in_place(model, tokens, circuit, kind="resample", other=None):
    if kind not in ("resample", "mean", "zero"):
        raise ValueError(kind)
    if kind == "resample" and other is None:
        raise ValueError("resample from what?")
    _, cache = model.run_with_cache(tokens if other is None else other)

    def edit(z, hook):
        for head in range(z.shape[2]):
            if (hook.layer(), head) in circuit:
                continue
            theirs = cache[hook.name][:, :, head]
            z[:, :, head] = {"zero": 0.0, "mean": theirs.mean((0, 1)), "resample": theirs}[kind]

    model_hooks = [(lambda name: name.endswith("attn.hook_z"), edit)]
    return model.run_with_hooks(tokens, fwd_hooks=model_hooks)


def run_circuit__with_a_mask(model, tokens, circuit, kind="resample", other=None):
    if kind not in {"zero", "mean"} and (kind != "resample" or other is None):
        raise ValueError(f"{kind}?")
    mask = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, 1, device=tokens.device)
    for layer, head in circuit:
        mask[layer, head] = 1.0
    hooks = []
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.attn.hook_z"
        instead = 0.0
        if kind != "zero":
            _, cache = model.run_with_cache(other if other is not None else tokens, names_filter=name)
            instead = cache[name]
        if kind == "mean":
            instead = reduce(instead.double(), "batch pos head d_head -> head d_head", "mean").float()
        hooks.append((name, partial(_mixed, mask=mask[layer], instead=instead)))
    with model.hooks(fwd_hooks=hooks):
        return model(tokens)


def run_circuit__both_texts_in_one_batch(model, tokens, circuit, kind="resample", other=None):
    if kind not in ("resample", "mean", "zero") or (kind, other) == ("resample", None):
        raise ValueError(kind)
    source = tokens if other is None else other

    def edit(z, hook):
        ours, theirs = z.chunk(2)
        kept = torch.tensor([(hook.layer(), head) in circuit for head in range(z.shape[2])], device=z.device)
        instead = theirs if kind == "resample" else theirs.mean((0, 1), keepdim=True) * (kind == "mean")
        return torch.cat([torch.where(kept[:, None], ours, instead), theirs])

    hooks = [(f"blocks.{layer}.attn.hook_z", edit) for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(torch.cat([tokens, source]), fwd_hooks=hooks)[: len(tokens)]


def faithfulness_by_size__lists_of_floats(model, tokens, other, right, wrong, order, kind="resample"):
    difference = LogitDifference(right, wrong)
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    none, whole = (difference(run_circuit(model, tokens, kept, kind, other)).item() for kept in ([], every))
    shares, kept = [0.0], []
    for head in order:
        kept.append(head)
        shares.append(
            (difference(run_circuit(model, tokens, kept, kind, other)).item() - none) / (whole - none)
        )
    return torch.tensor(shares, device=tokens.device)


def faithfulness_by_size__intact_run_as_the_whole(model, tokens, other, right, wrong, order, kind="resample"):
    row = range(len(tokens))
    left = []
    for n in range(len(order) + 1):
        last = run_circuit(model, tokens, list(order)[:n], kind, other)[:, -1].double()
        left.append((last[row, right] - last[row, wrong]).mean())
    last = model(tokens)[:, -1]
    whole = (last[row, right] - last[row, wrong]).mean()
    return torch.stack([(each - left[0]) / (whole - left[0]) for each in left]).float()


def faithfulness_by_size__from_the_largest_down(model, tokens, other, right, wrong, order, kind="resample"):
    kept, left = list(order), []
    while True:
        logits = run_circuit(model, tokens, set(kept), kind, other)[:, -1]
        left.insert(0, logits.gather(1, right[:, None]).mean() - logits.gather(1, wrong[:, None]).mean())
        if not kept:
            break
        kept.pop()
    every = [divmod(place, model.cfg.n_heads) for place in range(model.cfg.n_layers * model.cfg.n_heads)]
    logits = run_circuit(model, tokens, every, kind, other)[:, -1]
    whole = logits.gather(1, right[:, None]).mean() - logits.gather(1, wrong[:, None]).mean()
    left = torch.stack(left)
    return left.sub(left[0]).div(whole - left[0])


def attribute_heads__backward(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(clean)
    kept = {}

    def keep(z, hook):
        z.requires_grad_(True)
        z.retain_grad()
        kept[hook.name] = z
        return z

    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(lambda name: name.endswith("hook_z"), keep)])
        LogitDifference(right, wrong)(logits).backward()
    rows = [((cache[name] - z) * z.grad).sum(dim=(0, 1, 3)) for name, z in kept.items()]
    return torch.stack(rows).detach()


def attribute_heads__layer_by_layer(model, clean, corrupted, right, wrong):
    rows = []
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.attn.hook_z"
        before, after = (
            model.run_with_cache(tokens, names_filter=name)[1][name] for tokens in (corrupted, clean)
        )
        here = before.clone().requires_grad_(True)
        with torch.enable_grad():
            logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, lambda z, hook, here=here: here)])
            value = LogitDifference(right, wrong)(logits)
        (gradient,) = torch.autograd.grad(value, here)
        rows.append(einsum(after - before, gradient, "batch pos head d, batch pos head d -> head"))
    return torch.stack(rows)


def attribute_heads__prompt_by_prompt(model, clean, corrupted, right, wrong):
    total = 0
    for row in range(len(clean)):
        one = (each[row : row + 1] for each in (clean, corrupted, right, wrong))
        total = total + attribute_heads__backward(model, *one)
    return total / len(clean)


def break_circuit__subsets_by_size(model, tokens, other, right, wrong, circuit, kind="resample"):
    difference = LogitDifference(right, wrong)
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    worst = [], 0, -1.0
    for size in range(len(circuit) + 1):
        for knockout in combinations(sorted(circuit), size):
            runs = (
                run_circuit(model, tokens, [head for head in heads if head not in knockout], kind, other)
                for heads in (circuit, every)
            )
            alone, model_too = (difference.per_prompt(logits) for logits in runs)
            for prompt, gap in enumerate((alone - model_too).abs().tolist()):
                if gap > worst[2]:
                    worst = list(knockout), prompt, gap
    return worst


def break_circuit__largest_first(model, tokens, other, right, wrong, circuit, kind="resample"):
    every = {(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)}
    knockouts = [set(part) for size in range(len(circuit), -1, -1) for part in combinations(circuit, size)]
    gaps = []
    for knockout in knockouts:
        alone = run_circuit(model, tokens, set(circuit) - knockout, kind, other)[:, -1]
        model_too = run_circuit(model, tokens, every - knockout, kind, other)[:, -1]
        change = (alone - model_too).double()
        row = torch.arange(len(change))
        gaps.append((change[row, right] - change[row, wrong]).abs())
    place, prompt = divmod(torch.stack(gaps).argmax().item(), len(tokens))
    return sorted(knockouts[place]), prompt, gaps[place][prompt].item()


def break_circuit__prompt_by_prompt(model, tokens, other, right, wrong, circuit, kind="resample"):
    if kind == "mean":  # the mean is over all prompts
        return break_circuit__subsets_by_size(model, tokens, other, right, wrong, circuit, kind)
    found = []
    for row in range(len(tokens)):
        one = (each[row : row + 1] for each in (tokens, other, right, wrong))
        knockout, _, gap = break_circuit__subsets_by_size(model, *one, circuit, kind)
        found.append((gap, row, knockout))
    gap, row, knockout = max(found)
    return knockout, row, gap


def find_circuit__as_the_solver_does(weights, bos, offset):
    puzzle = Puzzle(weights, bos, offset)
    circuit = solve(puzzle, seed=3)
    return dict(vars(circuit)), prove(puzzle, circuit)


def find_circuit__by_single_and_double_resampling(weights, bos, offset):
    """Needed heads first; if there is one only, the writer is the head without which another one becomes needed."""
    puzzle = Puzzle(weights, bos, offset)
    model, few = puzzle.load(), puzzle.samples(2, 4, 12)

    def needed(also):
        groups = [also, *([*also, head] for head in puzzle.heads)]
        whole, *left = answers_without(model, few, groups)
        return [
            head
            for head, rest in zip(puzzle.heads, left, strict=True)
            if head not in also and rest < whole / 2
        ]

    first, backup = needed([]), None
    if len(first) == 1:
        writers = next(
            [head, *more]
            for head in reversed(puzzle.heads)
            if head != first[0] and (more := [one for one in needed([head]) if one != first[0]])
        )
        matching, backup = sorted(writers)
        first = [*first, matching]
    roles = {"copying": first[0], "matching": first[1], "backup": backup}
    heads = [head for head in roles.values() if head]
    groups = [part for size in range(len(heads) + 1) for part in combinations(heads, size)]
    groups.append([head for head in puzzle.heads if head not in heads])
    return roles, list(zip(map(list, groups), shares_left(puzzle, groups), strict=True))


def find_circuit__lists_for_heads(weights, bos, offset):
    circuit, evidence = find_circuit(weights, bos, offset)
    heads = {role: head and list(head) for role, head in circuit.items()}
    return heads, tuple((tuple(map(list, silenced)), left) for silenced, left in evidence)


def _mixed(z, hook, mask, instead):
    return mask * z + (1 - mask) * instead

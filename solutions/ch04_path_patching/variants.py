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


def head_logit_attribution__loops(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    shares = torch.zeros(len(tokens), model.cfg.n_layers, model.cfg.n_heads, device=tokens.device)
    for row in range(len(tokens)):
        direction = model.W_U[:, right[row]] - model.W_U[:, wrong[row]]
        direction = direction / cache["ln_final.hook_scale"][row, -1]
        for layer, block in enumerate(model.blocks):
            z = cache[f"blocks.{layer}.attn.hook_z"][row, -1]
            for head in range(model.cfg.n_heads):
                shares[row, layer, head] = z[head] @ block.attn.W_O[head] @ direction
    return shares


def head_logit_attribution__through_the_vocabulary(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    layers = []
    for layer in range(model.cfg.n_layers):
        z = cache["z", layer][:, -1] / cache["ln_final.hook_scale"][:, -1:]
        logits = einsum(z, model.W_O[layer], "b h d, h d m -> b h m") @ model.W_U
        index = right[:, None, None].expand(-1, model.cfg.n_heads, 1)
        other = wrong[:, None, None].expand(-1, model.cfg.n_heads, 1)
        layers.append((logits.gather(2, index) - logits.gather(2, other))[..., 0])
    return torch.stack(layers, dim=1)


def head_logit_attribution__in_double(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith(("hook_z", "hook_scale")))
    direction = model.W_U.double()[:, right] - model.W_U.double()[:, wrong]
    direction = direction / cache["ln_final.hook_scale"][:, -1, 0]
    folded = einsum(
        model.W_O.double(), direction, "layer head d_head d_model, d_model batch -> batch layer head d_head"
    )
    z = torch.stack([cache["z", layer][:, -1] for layer in range(model.cfg.n_layers)], dim=1)
    return (folded * z).sum(-1).float()


def patch_residual__in_place(model, clean, corrupted, right, wrong):
    row = torch.arange(len(clean), device=clean.device)

    def measure(logits):
        return (logits[row, -1, right] - logits[row, -1, wrong]).mean()

    logits, cache = model.run_with_cache(clean)
    good, bad = measure(logits), measure(model(corrupted))

    def edit(stream, hook, position):
        stream[:, position, :] = cache[hook.name][:, position, :]

    shares = []
    for layer in range(model.cfg.n_layers):
        for position in range(clean.shape[1]):
            hooks = [(f"blocks.{layer}.hook_resid_pre", partial(edit, position=position))]
            shares.append((measure(model.run_with_hooks(corrupted, fwd_hooks=hooks)) - bad) / (good - bad))
    return torch.stack(shares).view(model.cfg.n_layers, -1).cpu()


def patch_residual__one_batch_a_layer(model, clean, corrupted, right, wrong):
    batch, pos = clean.shape
    row = torch.arange(batch, device=clean.device)
    logits, cache = model.run_with_cache(clean)
    good = (logits[row, -1, right] - logits[row, -1, wrong]).mean()
    logits = model(corrupted)
    bad = (logits[row, -1, right] - logits[row, -1, wrong]).mean()
    mask = torch.eye(pos, dtype=torch.bool, device=clean.device).repeat_interleave(batch, dim=0)
    film = []
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"

        def edit(stream, hook):
            return torch.where(mask[..., None], cache[hook.name].repeat(pos, 1, 1), stream)

        logits = model.run_with_hooks(corrupted.repeat(pos, 1), fwd_hooks=[(name, edit)])[:, -1]
        several = logits.gather(1, right.repeat(pos)[:, None]) - logits.gather(1, wrong.repeat(pos)[:, None])
        film.append((several.view(pos, batch).mean(1) - bad) / (good - bad))
    return torch.stack(film).cpu()


def patch_residual__difference_from_the_corrupted(model, clean, corrupted, right, wrong):
    def gaps(logits):
        last = logits[:, -1].double()
        return last.gather(1, right[:, None]) - last.gather(1, wrong[:, None])

    _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith("resid_pre"))
    base = gaps(model(corrupted))
    whole = (gaps(model(clean)) - base).sum()
    film = torch.zeros(model.cfg.n_layers, corrupted.size(1))
    for position in range(corrupted.size(1)):
        for layer in range(model.cfg.n_layers):
            name = f"blocks.{layer}.hook_resid_pre"
            good = cache[name][:, position : position + 1]

            def edit(stream, hook, good=good, position=position):
                return torch.cat([stream[:, :position], good, stream[:, position + 1 :]], dim=1)

            with model.hooks(fwd_hooks=[(name, edit)]):
                film[layer, position] = ((gaps(model(corrupted)) - base).sum() / whole).item()
    return film


def patch_head_input__in_place(model, clean, corrupted, layer, head, part):
    if part not in {"q", "k", "v", "pattern"}:
        raise ValueError(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean, names_filter=name)

    def edit(current, hook):
        if part == "pattern":
            current[:, head] = cache[name][:, head]
        else:
            current[:, :, head] = cache[name][:, :, head]

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, edit)])


def patch_head_input__head_axis_first(model, clean, corrupted, layer, head, part):
    axes = {"q": 2, "k": 2, "v": 2, "pattern": 1}
    if part not in axes:
        raise ValueError("q, k, v or pattern")
    name = f"blocks.{layer}.attn.hook_{part}"
    source = model.run_with_cache(clean)[1][name].movedim(axes[part], 0)

    def edit(current, hook):
        moved = current.clone().movedim(axes[part], 0)
        moved[head] = source[head]
        return moved.movedim(0, axes[part])

    with model.hooks(fwd_hooks=[(name, edit)]):
        return model(corrupted)


def patch_head_input__both_runs_in_one_batch(model, clean, corrupted, layer, head, part):
    if part not in ["pattern", "v", "k", "q"]:
        raise ValueError(f"unknown part {part}")

    def edit(current, hook):
        good, bad = current.clone().chunk(2)
        index = (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)
        bad[index] = good[index]
        return torch.cat([good, bad])

    hooks = [(f"blocks.{layer}.attn.hook_{part}", edit)]
    return model.run_with_hooks(torch.cat([clean, corrupted]), fwd_hooks=hooks)[len(clean) :]


def path_logits__one_hook_for_all(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    if through not in ("q", "k", "v"):
        raise ValueError(through)
    if set(frozen) - {"heads", "mlps"}:
        raise ValueError(frozen)
    if min(layer for layer, _ in receivers) <= sender[0]:
        raise ValueError(receivers)
    clean_z = model.run_with_cache(clean)[1]["z", sender[0]]
    _, cache = model.run_with_cache(corrupted)

    def first(current, hook):
        kind, layer = hook.name.split(".")[-1], int(hook.name.split(".")[1])
        if kind == "hook_z" and layer == sender[0]:
            current[:, :, sender[1]] = clean_z[:, :, sender[1]]
        of_head = kind == "hook_z" and layer > sender[0] and "heads" in frozen
        of_mlp = kind == "hook_mlp_out" and layer >= sender[0] and "mlps" in frozen
        return cache[hook.name] if of_head or of_mlp else current

    def wanted(name):
        return name.startswith("blocks.") and name.endswith(("attn.hook_z", "hook_mlp_out"))

    with model.hooks(fwd_hooks=[(wanted, first)]):
        _, arrived = model.run_with_cache(corrupted)

    def second(current, hook):
        for layer, head in receivers:
            if hook.name == f"blocks.{layer}.attn.hook_{through}":
                current[:, :, head] = arrived[hook.name][:, :, head]
        return current

    return model.run_with_hooks(
        corrupted, fwd_hooks=[(lambda name: name.endswith(f"attn.hook_{through}"), second)]
    )


def path_logits__noting_by_a_hook(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    refused = through not in list("qkv") or not {"heads", "mlps"}.issuperset(frozen)
    if refused or not all(layer > sender[0] for layer, _ in receivers):
        raise ValueError("no such path")
    layer, head = sender
    z = "blocks.{}.attn.hook_z".format
    source = model.run_with_cache(clean, names_filter=z(layer))[1][z(layer)]
    held = model.run_with_cache(corrupted)[1]
    noted = {}

    def speak(current, hook):
        mask = torch.arange(current.shape[2], device=current.device)[:, None] == head
        return torch.where(mask, source, current)

    def note(current, hook):
        noted[hook.name] = current.detach().clone()

    hooks = [(z(layer), speak)]
    if "heads" in frozen:
        hooks += [
            (z(above), lambda _, hook: held[hook.name]) for above in range(layer + 1, model.cfg.n_layers)
        ]
    if "mlps" in frozen:
        names = [f"blocks.{above}.hook_mlp_out" for above in range(layer, model.cfg.n_layers)]
        hooks += [(name, lambda _, hook: held[hook.name]) for name in names]
    reading = sorted({f"blocks.{above}.attn.hook_{through}" for above, _ in receivers})
    model.run_with_hooks(corrupted, fwd_hooks=hooks + [(name, note) for name in reading])

    def listen(current, hook):
        current = current.clone()
        for above, reader in receivers:
            if hook.name.startswith(f"blocks.{above}."):
                current[:, :, reader] = noted[hook.name][:, :, reader]
        return current

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, listen) for name in reading])


def path_logits__row_by_row(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    answer = partial(
        path_logits__one_hook_for_all,
        sender=sender,
        receivers=receivers[::-1],
        through=through,
        frozen=frozen,
    )
    rows = zip(clean, corrupted, strict=True)
    return torch.cat([answer(model, good[None], bad[None]) for good, bad in rows])


def composition_scores__pair_by_pair(model, into):
    if into not in ("q", "k", "v"):
        raise ValueError(into)
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    scores = torch.zeros(n_layers, n_heads, n_layers, n_heads, device=model.W_O.device)
    for later in range(n_layers):
        block = model.blocks[later].attn
        for g in range(n_heads):
            pair = {
                "q": (block.W_Q, block.W_K.mT),
                "k": (block.W_K, block.W_Q.mT),
                "v": (block.W_V, block.W_O),
            }
            read = pair[into][0][g] @ pair[into][1][g]
            for earlier in range(later):
                for h in range(n_heads):
                    write = model.blocks[earlier].attn.W_V[h] @ model.blocks[earlier].attn.W_O[h]
                    scores[earlier, h, later, g] = (write @ read).norm() / write.norm() / read.norm()
    return scores


def composition_scores__all_at_once(model, into):
    writes = torch.flatten(model.W_V @ model.W_O, 0, 1)
    if into == "v":
        reads = writes
    elif into in ("q", "k"):
        reads = torch.flatten(model.W_Q @ model.W_K.mT, 0, 1)
        reads = reads if into == "q" else reads.mT
    else:
        raise ValueError(f"into={into}")
    writes, reads = (each / torch.linalg.norm(each, dim=(1, 2), keepdim=True) for each in (writes, reads))
    scores = torch.stack([torch.linalg.norm(each @ reads, dim=(1, 2)) for each in writes])
    layer = torch.arange(model.cfg.n_layers, device=scores.device).repeat_interleave(model.cfg.n_heads)
    scores = torch.where(layer[:, None] < layer, scores, 0.0)
    return scores.view(model.cfg.n_layers, model.cfg.n_heads, model.cfg.n_layers, model.cfg.n_heads)


def composition_scores__small_matrices_in_double(model, into):
    w_q, w_k, w_v, w_o = (getattr(model, f"W_{name}").double().flatten(0, 1) for name in "QKVO")
    halves = {"q": (w_q, w_k.mT), "k": (w_k, w_q.mT), "v": (w_v, w_o)}
    if into not in halves:
        raise ValueError(f"no input {into}")
    near, far = halves[into]
    layers = torch.arange(model.cfg.n_layers, device=w_o.device).repeat_interleave(model.cfg.n_heads)
    scores = torch.zeros(len(layers), len(layers), dtype=torch.float64, device=w_o.device)
    for s in range(len(layers)):
        _, triangle = torch.linalg.qr(w_v[s])
        write = triangle @ w_o[s]
        for r in torch.nonzero(layers > layers[s]).flatten().tolist():
            whole = torch.linalg.norm(write) * torch.linalg.norm(near[r] @ far[r])
            scores[s, r] = torch.linalg.norm(write @ near[r] @ far[r]) / whole
    return scores.float().unflatten(1, model.W_Q.shape[:2]).unflatten(0, model.W_Q.shape[:2])


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

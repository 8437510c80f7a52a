"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

from functools import partial

import torch
from einops import einsum


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

import torch


def head_logit_attribution__reshaped_not_permuted_b(model, tokens, right, wrong):
    """Stacks the layers first and reshapes to [batch, layer, head], which mixes rows with layers.
    axis: reshape, permute, stack, axis order, layer first, batch, rows mixed
    """
    _, cache = model.run_with_cache(tokens)
    scale = cache["ln_final.hook_scale"][:, -1]
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T / scale
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    shares = []
    for layer in range(n_layers):
        written = torch.einsum("bhd,hdm->bhm", cache["z", layer][:, -1], model.W_O[layer])
        shares.append(torch.einsum("bhm,bm->bh", written, direction))
    return torch.stack(shares).reshape(tokens.shape[0], n_layers, n_heads)


def patch_residual__hooks_made_before_they_run_b(model, clean, corrupted, right, wrong):
    """Makes all hooks before running any: they look the position up late, and all patch the last one.
    axis: late binding, closure, loop variable, position, last position, every entry alike
    """

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith("hook_resid_pre"))
    good, bad = metric(model(clean)), metric(model(corrupted))
    n_layers, n_pos = model.cfg.n_layers, clean.shape[1]

    jobs = []
    for layer in range(n_layers):
        for position in range(n_pos):

            def patch(resid_pre, hook):
                resid_pre = resid_pre.clone()
                resid_pre[:, position] = cache[hook.name][:, position]
                return resid_pre

            jobs.append((f"blocks.{layer}.hook_resid_pre", patch))

    patched = torch.tensor([metric(model.run_with_hooks(corrupted, fwd_hooks=[job])) for job in jobs])
    return ((patched - bad) / (good - bad)).reshape(n_layers, n_pos)


def patch_head_input__other_parts_held_b(model, clean, corrupted, layer, head, part):
    """Holds the head's other parts at their corrupted values, so a patched q or k never reaches the pattern.
    axis: held, frozen, other parts, pattern, computed as usual, follows from q and k, no effect
    """
    parts = ("q", "k", "v", "pattern")
    if part not in parts:
        raise ValueError(f"no such input of a head: {part}")
    _, from_clean = model.run_with_cache(clean)
    _, from_corrupted = model.run_with_cache(corrupted)

    fwd_hooks = []
    for each in parts:
        name = f"blocks.{layer}.attn.hook_{each}"
        values = from_clean[name] if each == part else from_corrupted[name]
        index = (slice(None), head) if each == "pattern" else (slice(None), slice(None), head)

        def put(current, hook, values=values, index=index):
            current = current.clone()
            current[index] = values[index]
            return current

        fwd_hooks.append((name, put))
    return model.run_with_hooks(corrupted, fwd_hooks=fwd_hooks)


def _checked(sender, receivers, through, frozen):
    if through not in ("q", "k", "v"):
        raise ValueError(f"through is {through!r}, not q, k or v")
    if set(frozen) - {"heads", "mlps"}:
        raise ValueError(f"cannot freeze {frozen!r}")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError("a receiver must be in a layer above the sender's")


def path_logits__whole_layer_sends_b(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Puts the clean z of all heads of the sender's layer in, where only the sender's own may change.
    axis: sender, one head, whole layer, hook_z, other heads, hold, replace_heads
    """
    _checked(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    start, end = sender[0], model.cfg.n_layers

    names = []
    if "heads" in frozen:
        names += [f"blocks.{layer}.attn.hook_z" for layer in range(start + 1, end)]
    if "mlps" in frozen:
        names += [f"blocks.{layer}.hook_mlp_out" for layer in range(start, end)]
    sent = hold(clean_cache, [f"blocks.{start}.attn.hook_z"])
    with model.hooks(fwd_hooks=sent + hold(corrupted_cache, names)):
        _, arrived = model.run_with_cache(corrupted)

    received = []
    for layer in sorted({layer for layer, _ in receivers}):
        name = f"blocks.{layer}.attn.hook_{through}"
        received.append(replace_heads(name, arrived[name], [h for where, h in receivers if where == layer]))
    return model.run_with_hooks(corrupted, fwd_hooks=received)


def path_logits__still_frozen_in_the_second_run_b(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Keeps heads and MLPs frozen in the second run too, so what the receivers do with the news is lost.
    axis: second run, step 2, nothing frozen, frozen, hook_z, receivers' own output, effect lost
    """
    _checked(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    layer, head = sender

    still = []
    for above in range(layer, model.cfg.n_layers):
        if "heads" in frozen and above > layer:
            still += hold(corrupted_cache, [f"blocks.{above}.attn.hook_z"])
        if "mlps" in frozen:
            still += hold(corrupted_cache, [f"blocks.{above}.hook_mlp_out"])

    z = f"blocks.{layer}.attn.hook_z"
    with model.hooks(fwd_hooks=[replace_heads(z, clean_cache[z], [head]), *still]):
        _, arrived = model.run_with_cache(corrupted)

    by_layer = {}
    for where, which in receivers:
        by_layer.setdefault(f"blocks.{where}.attn.hook_{through}", []).append(which)
    patches = [replace_heads(name, arrived[name], chosen) for name, chosen in by_layer.items()]
    return model.run_with_hooks(corrupted, fwd_hooks=patches + still)


def composition_scores__product_as_for_columns_b(model, into):
    """Multiplies receiver times sender, as papers do for column vectors; here vectors are rows.
    axis: order of the product, row vectors, column convention, W_OV first, sender, receiver, M
    """
    W_OV = model.W_V @ model.W_O
    W_QK = model.W_Q @ model.W_K.mT
    readers = {"q": W_QK, "k": W_QK.mT, "v": W_OV}
    if into not in readers:
        raise ValueError(f"into is {into!r}, not q, k or v")
    M = readers[into]
    norm = torch.linalg.matrix_norm
    n_layers, n_heads = M.shape[:2]
    scores = torch.zeros(n_layers, n_heads, n_layers, n_heads, dtype=M.dtype, device=M.device)
    for i in range(n_layers - 1):
        for h in range(n_heads):
            scores[i, h, i + 1 :] = norm(M[i + 1 :] @ W_OV[i, h]) / (norm(W_OV[i, h]) * norm(M[i + 1 :]))
    return scores

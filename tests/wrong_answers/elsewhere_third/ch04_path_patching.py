import torch


def head_logit_attribution__layernorm_of_each_head(model, tokens, right, wrong):
    """Normalizes what each head writes by its own size instead of by the size of the whole stream.
    axis: ln_final, hook_scale, own size, each head, stream, held, LayerNorm
    """
    _, cache = model.run_with_cache(tokens)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T
    rows = []
    for layer in range(model.cfg.n_layers):
        z = cache["z", layer][:, -1]
        written = einsum(z, model.W_O[layer], "batch head d_head, head d_head d_model -> batch head d_model")
        written = written - written.mean(dim=-1, keepdim=True)
        size = (written.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        rows.append(einsum(written / size, direction, "batch head d_model, batch d_model -> batch head"))
    return torch.stack(rows, dim=1)


def head_logit_attribution__size_after_own_layer(model, tokens, right, wrong):
    """Divides by the size of the stream right after the head's layer, as the lens does, not by the final one.
    axis: scale, ln_final, hook_scale, final, layer, resid_post, size
    """
    _, cache = model.run_with_cache(tokens)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T
    rows = []
    for layer in range(model.cfg.n_layers):
        stream = cache[f"blocks.{layer}.hook_resid_post"][:, -1]
        stream = stream - stream.mean(dim=-1, keepdim=True)
        scale = (stream.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        z = cache["z", layer][:, -1]
        written = einsum(z, model.W_O[layer], "batch head d_head, head d_head d_model -> batch head d_model")
        rows.append(einsum(written, direction / scale, "batch head d_model, batch d_model -> batch head"))
    return torch.stack(rows, dim=1)


def patch_residual__share_of_each_row(model, clean, corrupted, right, wrong):
    """Divides row by row and averages the shares, instead of averaging the logit difference first.
    axis: average, mean, ratio, rows, first, divide, per row
    """

    def metric(logits):
        return logit_difference(logits, right, wrong)

    _, cache = model.run_with_cache(clean)
    good, bad = metric(model(clean)), metric(model(corrupted))
    shares = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        for position in range(clean.shape[1]):

            def patch(resid_pre, hook):
                resid_pre = resid_pre.clone()
                resid_pre[:, position] = cache[name][:, position]
                return resid_pre

            patched = metric(model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)]))
            shares[layer, position] = ((patched - bad) / (good - bad)).mean().item()
    return shares


def patch_residual__hooks_pile_up(model, clean, corrupted, right, wrong):
    """The list of hooks is made once for each layer, so patches of earlier positions stay when the
    next is added.
    axis: earlier positions, accumulate, list, alone, hooks, left, each patch
    """

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    _, cache = model.run_with_cache(clean)
    good, bad = metric(model(clean)), metric(model(corrupted))

    def patch(resid_pre, hook, position):
        resid_pre = resid_pre.clone()
        resid_pre[:, position] = cache[hook.name][:, position]
        return resid_pre

    shares = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        patches = []
        for position in range(clean.shape[1]):
            patches.append((f"blocks.{layer}.hook_resid_pre", partial(patch, position=position)))
            patched = metric(model.run_with_hooks(corrupted, fwd_hooks=patches))
            shares[layer, position] = (patched - bad) / (good - bad)
    return shares


def patch_head_input__pattern_held(model, clean, corrupted, layer, head, part):
    """Keeps the attention pattern at its corrupted value while q or k is patched, so they can have no effect.
    axis: pattern, held, frozen, recomputed, query, key, no effect
    """
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"unknown part {part!r}")
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    name = f"blocks.{layer}.attn.hook_{part}"
    index = (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)

    def patch(current, hook):
        current = current.clone()
        current[index] = clean_cache[name][index]
        return current

    hooks = [(name, patch)]
    if part != "pattern":  # only this one part may change
        hooks += hold(corrupted_cache, [f"blocks.{layer}.attn.hook_pattern"])
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)


def path_logits__own_mlp_left_free(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Freezes the MLPs of the layers above the sender only, and leaves the one in its own layer free.
    axis: MLP, own layer, sender, frozen, free, same layer, hook_mlp_out
    """
    if through not in ("q", "k", "v"):
        raise ValueError(f"unknown input {through!r}")
    if set(frozen) - {"heads", "mlps"}:
        raise ValueError(f"cannot freeze {frozen!r}")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError("every receiver has to be in a layer above the sender's")
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    above = range(sender[0] + 1, model.cfg.n_layers)
    names = []
    if "heads" in frozen:
        names += [f"blocks.{layer}.attn.hook_z" for layer in above]
    if "mlps" in frozen:
        names += [f"blocks.{layer}.hook_mlp_out" for layer in above]
    z = f"blocks.{sender[0]}.attn.hook_z"
    first = [replace_heads(z, clean_cache[z], [sender[1]]), *hold(corrupted_cache, names)]
    with model.hooks(fwd_hooks=first):
        _, arrived = model.run_with_cache(corrupted)
    second = []
    for layer in sorted({where for where, _ in receivers}):
        name = f"blocks.{layer}.attn.hook_{through}"
        second.append(
            replace_heads(name, arrived[name], [head for where, head in receivers if where == layer])
        )
    return model.run_with_hooks(corrupted, fwd_hooks=second)


def path_logits__frozen_at_clean(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Holds the frozen heads and MLPs at their values in the clean run, so they carry the news as well.
    axis: frozen, clean, corrupted value, hold, cache, wrong run, heads
    """
    if through not in ("q", "k", "v"):
        raise ValueError(f"unknown input {through!r}")
    if set(frozen) - {"heads", "mlps"}:
        raise ValueError(f"cannot freeze {frozen!r}")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError("every receiver has to be in a layer above the sender's")
    _, cache = model.run_with_cache(clean)
    names = []
    if "heads" in frozen:
        names += [f"blocks.{layer}.attn.hook_z" for layer in range(sender[0] + 1, model.cfg.n_layers)]
    if "mlps" in frozen:
        names += [f"blocks.{layer}.hook_mlp_out" for layer in range(sender[0], model.cfg.n_layers)]
    z = f"blocks.{sender[0]}.attn.hook_z"
    first = [replace_heads(z, cache[z], [sender[1]]), *hold(cache, names)]
    with model.hooks(fwd_hooks=first):
        _, arrived = model.run_with_cache(corrupted)
    second = []
    for layer in sorted({where for where, _ in receivers}):
        name = f"blocks.{layer}.attn.hook_{through}"
        second.append(
            replace_heads(name, arrived[name], [head for where, head in receivers if where == layer])
        )
    return model.run_with_hooks(corrupted, fwd_hooks=second)


def composition_scores__order_of_the_paper(model, into):
    """Multiplies M by W_OV in the order of the paper's column vectors, though vectors are rows here.
    axis: order, W_OV, product, rows, column, left, reversed
    """
    W_OV, W_QK = model.W_V @ model.W_O, model.W_Q @ model.W_K.mT
    reads = {"q": W_QK, "k": W_QK.mT, "v": W_OV}
    if into not in reads:
        raise ValueError(f"unknown input {into!r}")
    M, norm = reads[into], torch.linalg.matrix_norm
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    scores = torch.zeros(n_layers, n_heads, n_layers, n_heads, device=W_OV.device)
    for layer in range(n_layers - 1):
        for head in range(n_heads):
            product = M[layer + 1 :] @ W_OV[layer, head]
            scores[layer, head, layer + 1 :] = norm(product) / (
                norm(W_OV[layer, head]) * norm(M[layer + 1 :])
            )
    return scores

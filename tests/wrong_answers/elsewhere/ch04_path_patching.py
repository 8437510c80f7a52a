def head_logit_attribution__reshaped_columns(model, tokens, right, wrong):
    """Columns of W_U become rows by a reshape, not a transpose, which scrambles the directions.
    axis: W_U, transpose, reshape, direction, columns, unembedding, more than one row"""
    _, cache = model.run_with_cache(tokens)
    scale = cache["ln_final.hook_scale"][:, -1]
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).reshape(len(tokens), -1) / scale
    z = torch.stack([cache["z", layer][:, -1] for layer in range(model.cfg.n_layers)], dim=1)
    return einsum(
        z,
        model.W_O,
        direction,
        "batch layer head d_head, layer head d_head d_model, batch d_model -> batch layer head",
    )


def patch_residual__patches_pile_up(model, clean, corrupted, right, wrong):
    """The list of hooks is emptied only for a new layer, so earlier positions stay patched.
    axis: positions, earlier, alone, left, pile up, accumulate, each patch"""

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    _, cache = model.run_with_cache(clean)
    good, bad = metric(model(clean)), metric(model(corrupted))
    restored = torch.zeros(model.cfg.n_layers, clean.shape[1], device=clean.device)
    for layer in range(model.cfg.n_layers):
        hooks = []
        for position in range(clean.shape[1]):

            def patch(resid_pre, hook, position=position):
                resid_pre = resid_pre.clone()
                resid_pre[:, position] = cache[hook.name][:, position]
                return resid_pre

            hooks.append((f"blocks.{layer}.hook_resid_pre", patch))
            patched = metric(model.run_with_hooks(corrupted, fwd_hooks=hooks))
            restored[layer, position] = (patched - bad) / (good - bad)
    return restored


def patch_residual__noising(model, clean, corrupted, right, wrong):
    """The corrupted stream is put into the clean run (noising) instead of the other way round.
    axis: clean, corrupted, noising, denoising, direction, swapped, which run"""

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(corrupted)
    good, bad = metric(model(clean)), metric(model(corrupted))
    restored = torch.zeros(model.cfg.n_layers, clean.shape[1], device=clean.device)
    for layer, name in enumerate(names):
        for position in range(clean.shape[1]):

            def patch(resid_pre, hook, position=position):
                resid_pre = resid_pre.clone()
                resid_pre[:, position] = cache[hook.name][:, position]
                return resid_pre

            patched = metric(model.run_with_hooks(clean, fwd_hooks=[(name, patch)]))
            restored[layer, position] = (patched - bad) / (good - bad)
    return restored


def patch_head_input__pattern_like_the_others(model, clean, corrupted, layer, head, part):
    """The pattern is patched on its third axis as q, k and v: one query of all heads, not one head.
    axis: pattern, axis, query, head, second axis, other heads"""
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"{part!r} is no input of a head")
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean, names_filter=name)
    return model.run_with_hooks(corrupted, fwd_hooks=[replace_heads(name, cache[name], [head])])


def path_logits__own_mlp_free(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """MLPs are frozen only from the layer above the sender on: that of its own layer reacts.
    axis: MLP, mlps, own layer, sender's layer, frozen, free"""
    layer, head = sender
    if through not in ("q", "k", "v") or set(frozen) - {"heads", "mlps"}:
        raise ValueError("unknown input, or unknown parts to freeze")
    if any(place[0] <= layer for place in receivers):
        raise ValueError("receivers must be above the sender")
    above, names = range(layer + 1, model.cfg.n_layers), []
    if "heads" in frozen:
        names += [f"blocks.{each}.attn.hook_z" for each in above]
    if "mlps" in frozen:
        names += [f"blocks.{each}.hook_mlp_out" for each in above]
    z = f"blocks.{layer}.attn.hook_z"
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    hooks = [replace_heads(z, clean_cache[z], [head]), *hold(corrupted_cache, names)]
    with model.hooks(fwd_hooks=hooks):
        _, arrived = model.run_with_cache(corrupted)
    hooks = []
    for reader, number in receivers:
        name = f"blocks.{reader}.attn.hook_{through}"
        hooks.append(replace_heads(name, arrived[name], [number]))
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)


def path_logits__receivers_in_one_layer(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """All receivers are patched in the layer of the first one.
    axis: receivers, several layers, layer of, first receiver, different layers"""
    layer, head = sender
    if through not in ("q", "k", "v") or not set(frozen) <= {"heads", "mlps"}:
        raise ValueError("unknown input, or unknown parts to freeze")
    if any(place[0] <= layer for place in receivers):
        raise ValueError("receivers must be above the sender")
    names = []
    if "heads" in frozen:
        names += [f"blocks.{each}.attn.hook_z" for each in range(layer + 1, model.cfg.n_layers)]
    if "mlps" in frozen:
        names += [f"blocks.{each}.hook_mlp_out" for each in range(layer, model.cfg.n_layers)]
    z = f"blocks.{layer}.attn.hook_z"
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    hooks = [replace_heads(z, clean_cache[z], [head]), *hold(corrupted_cache, names)]
    with model.hooks(fwd_hooks=hooks):
        _, arrived = model.run_with_cache(corrupted)
    name = f"blocks.{receivers[0][0]}.attn.hook_{through}"
    numbers = [number for _, number in receivers]
    return model.run_with_hooks(corrupted, fwd_hooks=[replace_heads(name, arrived[name], numbers)])


def composition_scores__column_convention(model, into):
    """The product is taken in the order for column vectors: the reader's matrix times the sender's.
    axis: order, product, rows, columns, reversed, W_OV M, transpose"""
    if into not in ("q", "k", "v"):
        raise ValueError(f"heads have no input {into!r}")
    ov = model.W_V @ model.W_O
    qk = model.W_Q @ model.W_K.transpose(-2, -1)
    reader = {"q": qk, "k": qk.transpose(-2, -1), "v": ov}[into]
    product = einsum(reader, ov, "later g i j, layer h j k -> layer h later g i k")
    sizes = ov.norm(dim=(-2, -1))[:, :, None, None] * reader.norm(dim=(-2, -1))
    layers = torch.arange(model.cfg.n_layers, device=ov.device)
    earlier = layers[:, None, None, None] < layers[:, None]
    return product.norm(dim=(-2, -1)) / sizes * earlier


def composition_scores__same_layer_too(model, into):
    """Heads of the same layer get a score, though none can read another there.
    axis: same layer, zero, earlier layer, l = m, diagonal"""
    if into not in ("q", "k", "v"):
        raise ValueError(f"heads have no input {into!r}")
    ov = model.W_V @ model.W_O
    qk = model.W_Q @ model.W_K.transpose(-2, -1)
    reader = {"q": qk, "k": qk.transpose(-2, -1), "v": ov}[into]
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    scores = torch.zeros(n_layers, n_heads, n_layers, n_heads, device=ov.device)
    for layer in range(n_layers):
        for later in range(layer, n_layers):
            product = ov[layer][:, None] @ reader[later][None]
            sizes = ov[layer].norm(dim=(-2, -1))[:, None] * reader[later].norm(dim=(-2, -1))
            scores[layer, :, later] = product.norm(dim=(-2, -1)) / sizes
    return scores

def head_logit_attribution__one_mean_direction(model, tokens, right, wrong):
    """Projects every row on the mean over rows of the unembedding differences, not on the row's own.
    axis: own, each row, per row, mean direction, average, direction, rows apart, batch, unembedding"""
    _, cache = model.run_with_cache(tokens)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).mean(dim=1)
    scale = cache["ln_final.hook_scale"][:, -1]
    layers = []
    for layer in range(model.cfg.n_layers):
        z = cache["z", layer][:, -1]
        axes = "batch head d_head, head d_head d_model -> batch head d_model"
        written = einsum(z, model.W_O[layer], axes)
        layers.append(written @ direction / scale)
    return torch.stack(layers, dim=1)


def patch_head_input__pattern_by_query(model, clean, corrupted, layer, head, part):
    """Indexes the pattern like q, k and v, so it patches one query of all heads, not one head.
    axis: pattern, axis, query, index, head axis, axes, position, all heads, dimension"""
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"{part} is no input of a head")
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean)

    def patch(current, hook):
        current = current.clone()
        current[:, :, head : head + 1] = cache[name][:, :, head : head + 1]
        return current

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def path_logits__whole_layers(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Puts step 1's q, k or v into all heads of the receivers' layers, not only into the receivers.
    axis: receivers, all heads, whole layer, only, other heads, not receivers, same layer, too many"""
    layer, head = sender
    if through not in ("q", "k", "v") or set(frozen) - {"heads", "mlps"}:
        raise ValueError("no such input, or nothing that can be frozen")
    if any(place[0] <= layer for place in receivers):
        raise ValueError("a receiver is not above the sender")
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    names = []
    if "heads" in frozen:
        names += [f"blocks.{above}.attn.hook_z" for above in range(layer + 1, model.cfg.n_layers)]
    if "mlps" in frozen:
        names += [f"blocks.{above}.hook_mlp_out" for above in range(layer, model.cfg.n_layers)]
    z = f"blocks.{layer}.attn.hook_z"
    first = [replace_heads(z, clean_cache[z], [head]), *hold(corrupted_cache, names)]
    with model.hooks(fwd_hooks=first):
        _, arrived = model.run_with_cache(corrupted)
    read = sorted({f"blocks.{place[0]}.attn.hook_{through}" for place in receivers})
    return model.run_with_hooks(corrupted, fwd_hooks=hold(arrived, read))


def composition_scores__receiver_first(model, into):
    """Multiplies in the order for column vectors, M times W_OV, though vectors are rows here.
    axis: order, product, W_OV, row vectors, column, reversed, sender first, multiplied"""
    if into not in ("q", "k", "v"):
        raise ValueError(f"{into} is no input of a head")
    W_OV = model.W_V @ model.W_O
    W_QK = model.W_Q @ model.W_K.transpose(-1, -2)
    M = {"q": W_QK, "k": W_QK.transpose(-1, -2), "v": W_OV}[into]
    layers, count = W_OV.shape[:2]
    scores = torch.zeros(layers, count, layers, count).to(W_OV)
    for later in range(1, layers):
        for earlier in range(later):
            product = M[later][None, :] @ W_OV[earlier][:, None]
            sizes = W_OV[earlier].norm(dim=(-2, -1))[:, None] * M[later].norm(dim=(-2, -1))
            scores[earlier, :, later] = product.norm(dim=(-2, -1)) / sizes
    return scores

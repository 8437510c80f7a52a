import torch
from einops import einsum

from mechinterp_course.metrics import logit_difference


def head_logit_attribution__own_layernorm_e(model, tokens, right, wrong):
    """What each head writes is centred and divided by its own size, as if the LayerNorm saw the head alone,
    instead of by the row's final scale.
    axis: scale of the head's own output instead of ln_final.hook_scale of the whole stream
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        direction = model.W_U[:, right] - model.W_U[:, wrong]  # [d_model, batch]
        layers = []
        for layer in range(model.cfg.n_layers):
            z = cache["z", layer][:, -1]
            written = einsum(
                z, model.W_O[layer], "batch head d_head, head d_head d_model -> batch head d_model"
            )
            written = written - written.mean(dim=-1, keepdim=True)
            written = written / written.pow(2).mean(dim=-1, keepdim=True).clamp(min=1e-12).sqrt()
            layers.append(einsum(written, direction, "batch head d_model, d_model batch -> batch head"))
        return torch.stack(layers, dim=1)


def head_logit_attribution__over_all_positions_e(model, tokens, right, wrong):
    """A head's contributions at all positions are added up, not only the one at the last position.
    axis: sum over positions; only the last position counts
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        direction = (model.W_U[:, right] - model.W_U[:, wrong]).T  # [batch, d_model]
        scale = cache["ln_final.hook_scale"]  # [batch, pos, 1]
        shares = []
        for layer in range(model.cfg.n_layers):
            z = cache["z", layer] / scale[..., None]
            written = einsum(
                z, model.W_O[layer], "batch pos head d_head, head d_head d_model -> batch pos head d_model"
            )
            shares.append(einsum(written, direction, "batch pos head d_model, batch d_model -> batch head"))
        return torch.stack(shares, dim=1)


def patch_residual__noises_the_clean_run_e(model, clean, corrupted, right, wrong):
    """It puts corrupted activations into the clean run and reports how much is lost, instead of clean ones
    into the corrupted run.
    axis: direction of the patch; noising instead of denoising
    """

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    _, cache = model.run_with_cache(corrupted)
    good, bad = metric(model(clean)), metric(model(corrupted))
    shares = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        for position in range(clean.shape[1]):

            def patch(resid_pre, hook):
                resid_pre = resid_pre.clone()
                resid_pre[:, position] = cache[name][:, position]
                return resid_pre

            spoiled = metric(model.run_with_hooks(clean, fwd_hooks=[(name, patch)]))
            shares[layer, position] = (good - spoiled) / (good - bad)
    return shares


def patch_residual__everything_up_to_here_e(model, clean, corrupted, right, wrong):
    """All positions up to and including the one asked for are patched at once, so the shares accumulate along
    the text.
    axis: several positions patched together instead of one alone
    """

    def metric(logits):
        return logit_difference(logits, right, wrong).mean().item()

    _, clean_cache = model.run_with_cache(clean)
    m_clean = metric(model(clean))
    m_corrupted = metric(model(corrupted))
    rows = []
    for layer in range(model.cfg.n_layers):
        hook_name = f"blocks.{layer}.hook_resid_pre"
        row = []
        for pos in range(corrupted.shape[1]):

            def from_clean(resid, hook, upto=pos + 1):
                resid = resid.clone()
                resid[:, :upto] = clean_cache[hook_name][:, :upto]
                return resid

            patched = metric(model.run_with_hooks(corrupted, fwd_hooks=[(hook_name, from_clean)]))
            row.append((patched - m_corrupted) / (m_clean - m_corrupted))
        rows.append(row)
    return torch.tensor(rows)


def patch_head_input__at_the_last_place_only_e(model, clean, corrupted, layer, head, part):
    """The head's part is exchanged at the last position only, because the answer is read there, instead of at
    all positions.
    axis: last position only; all positions should be patched
    """
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"{part!r} is no input of a head")
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean, names_filter=name)

    def patch(current, hook):
        current = current.clone()
        if part == "pattern":
            current[:, head, -1] = cache[name][:, head, -1]
        else:
            current[:, -1, head] = cache[name][:, -1, head]
        return current

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_input__later_heads_frozen_e(model, clean, corrupted, layer, head, part):
    """ "Other heads are not touched" is read as frozen: the heads of later layers are held at their corrupted
    values.
    axis: later heads held fixed; they should be free to react to the patch
    """
    if part not in {"q", "k", "v", "pattern"}:
        raise ValueError("part must be q, k, v or pattern")
    name = f"blocks.{layer}.attn.hook_{part}"
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    index = (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)

    def patch(current, hook):
        current = current.clone()
        current[index] = clean_cache[name][index]
        return current

    others = [f"blocks.{later}.attn.hook_z" for later in range(layer + 1, model.cfg.n_layers)]
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch), *hold(corrupted_cache, others)])


def path_logits__frozen_at_clean_values_e(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """What is frozen is held at its value in the clean run instead of the corrupted run, so it carries the
    news itself.
    axis: frozen components take clean values instead of corrupted ones
    """
    if through not in ("q", "k", "v"):
        raise ValueError(f"through={through!r}")
    if set(frozen) - {"heads", "mlps"}:
        raise ValueError(f"frozen={frozen!r}")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError("receivers must be above the sender")

    _, clean_cache = model.run_with_cache(clean)
    names = []
    if "heads" in frozen:
        names += [f"blocks.{layer}.attn.hook_z" for layer in range(sender[0] + 1, model.cfg.n_layers)]
    if "mlps" in frozen:
        names += [f"blocks.{layer}.hook_mlp_out" for layer in range(sender[0], model.cfg.n_layers)]
    names = [name for name in names if name in clean_cache]  # some models have no MLPs

    z = f"blocks.{sender[0]}.attn.hook_z"
    first = [replace_heads(z, clean_cache[z], [sender[1]]), *hold(clean_cache, names)]
    with model.hooks(fwd_hooks=first):
        _, arrived = model.run_with_cache(corrupted)

    second = []
    for layer in sorted({layer for layer, _ in receivers}):
        name = f"blocks.{layer}.attn.hook_{through}"
        second.append(
            replace_heads(name, arrived[name], [head for where, head in receivers if where == layer])
        )
    return model.run_with_hooks(corrupted, fwd_hooks=second)


def path_logits__the_whole_layer_receives_e(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """In the second run every head of a receiver's layer gets what was noted, not the receivers alone.
    axis: all heads of the layer patched instead of only the receivers
    """
    if through not in ("q", "k", "v"):
        raise ValueError("through must be q, k or v")
    for word in frozen:
        if word not in ("heads", "mlps"):
            raise ValueError(f"cannot freeze {word}")
    layer, head = sender
    if min((where for where, _ in receivers), default=layer + 1) <= layer:
        raise ValueError("a receiver is not above the sender")

    z = f"blocks.{layer}.attn.hook_z"
    _, clean_cache = model.run_with_cache(clean, names_filter=z)
    _, corrupted_cache = model.run_with_cache(corrupted)
    names = []
    for above in range(layer, model.cfg.n_layers):
        if "heads" in frozen and above > layer:
            names.append(f"blocks.{above}.attn.hook_z")
        if "mlps" in frozen and f"blocks.{above}.hook_mlp_out" in corrupted_cache:
            names.append(f"blocks.{above}.hook_mlp_out")
    with model.hooks(fwd_hooks=[replace_heads(z, clean_cache[z], [head]), *hold(corrupted_cache, names)]):
        _, arrived = model.run_with_cache(corrupted)

    inputs = sorted({f"blocks.{where}.attn.hook_{through}" for where, _ in receivers})
    return model.run_with_hooks(corrupted, fwd_hooks=hold(arrived, inputs))


def path_logits__freezes_patterns_only_e(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """Heads are frozen by holding their attention patterns, so they still pass the news on through their
    values.
    axis: hook_pattern held instead of hook_z; values still react
    """
    if through not in ("q", "k", "v") or not set(frozen) <= {"heads", "mlps"}:
        raise ValueError("unknown input, or unknown thing to freeze")
    if not all(layer > sender[0] for layer, _ in receivers):
        raise ValueError("every receiver must lie above the sender")

    _, clean_cache = model.run_with_cache(clean)
    _, base_cache = model.run_with_cache(corrupted)
    held = []
    if "heads" in frozen:
        held += [f"blocks.{layer}.attn.hook_pattern" for layer in range(sender[0] + 1, model.cfg.n_layers)]
    if "mlps" in frozen:
        held += [f"blocks.{layer}.hook_mlp_out" for layer in range(sender[0], model.cfg.n_layers)]
    held = [name for name in held if name in base_cache]

    sends = f"blocks.{sender[0]}.attn.hook_z"
    step_one = [replace_heads(sends, clean_cache[sends], [sender[1]]), *hold(base_cache, held)]
    with model.hooks(fwd_hooks=step_one):
        _, arrived = model.run_with_cache(corrupted)

    step_two = []
    for layer in {layer for layer, _ in receivers}:
        name = f"blocks.{layer}.attn.hook_{through}"
        chosen = [head for where, head in receivers if where == layer]
        step_two.append(replace_heads(name, arrived[name], chosen))
    return model.run_with_hooks(corrupted, fwd_hooks=step_two)


def composition_scores__columns_as_in_the_paper_e(model, into):
    """The product is taken in the paper's order for column vectors, M times W_OV, while vectors are rows
    here.
    axis: order of the product, M W_OV instead of W_OV M
    """
    W_OV = model.W_V @ model.W_O
    W_QK = model.W_Q @ model.W_K.mT
    if into == "q":
        M = W_QK
    elif into == "k":
        M = W_QK.mT
    elif into == "v":
        M = W_OV
    else:
        raise ValueError(f"into must be q, k or v, not {into!r}")
    n_layers, n_heads = W_OV.shape[:2]
    size_of_OV, size_of_M = torch.linalg.matrix_norm(W_OV), torch.linalg.matrix_norm(M)
    scores = torch.zeros(n_layers, n_heads, n_layers, n_heads, device=W_OV.device)
    for ell in range(n_layers - 1):
        for h in range(n_heads):
            product = torch.linalg.matrix_norm(M[ell + 1 :] @ W_OV[ell, h])
            scores[ell, h, ell + 1 :] = product / (size_of_OV[ell, h] * size_of_M[ell + 1 :])
    return scores


def composition_scores__norms_of_the_factors_e(model, into):
    """Below the line stand the norms of the four single matrices multiplied, instead of the norms of the two
    products W_OV and M.
    axis: denominator uses norms of W_V, W_O, W_Q, W_K singly instead of those of the products
    """
    if into not in ("q", "k", "v"):
        raise ValueError("into is q, k or v")
    norm = torch.linalg.matrix_norm
    W_OV, W_QK = model.W_V @ model.W_O, model.W_Q @ model.W_K.mT
    M = {"q": W_QK, "k": W_QK.mT, "v": W_OV}[into]
    writes = norm(model.W_V) * norm(model.W_O)
    reads = writes if into == "v" else norm(model.W_Q) * norm(model.W_K)
    layers, heads = W_OV.shape[:2]
    scores = torch.zeros(layers, heads, layers, heads, device=W_OV.device)
    for layer in range(layers):
        for head in range(heads):
            above = norm(W_OV[layer, head] @ M[layer + 1 :])
            scores[layer, head, layer + 1 :] = above / (writes[layer, head] * reads[layer + 1 :])
    return scores

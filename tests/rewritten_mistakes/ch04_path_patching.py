"""Each misconception of ch04 written again from its sentence alone, as other code,
to see whether it is still recognised."""

from functools import partial

import torch
from einops import einsum, rearrange, reduce

from mechinterp_course.metrics import logit_difference

# head_logit_attribution


def z_at(model, tokens, position):
    """What each head holds at one position, and the cache it came from; axes [batch, layer, head, d_head]."""
    _, cache = model.run_with_cache(tokens)
    z = torch.stack([cache["z", layer][:, position] for layer in range(model.cfg.n_layers)], dim=1)
    return z, cache


def head_logit_attribution__layer_norm_forgotten(model, tokens, right, wrong):
    z, _ = z_at(model, tokens, -1)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T
    return einsum(z, model.W_O, direction, "b layer head e, layer head e d, b d -> b layer head")


def head_logit_attribution__layer_norm_of_each_head(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    direction = model.W_U[:, right] - model.W_U[:, wrong]
    by_layer = []
    for layer in range(model.cfg.n_layers):
        written = einsum(cache["z", layer][:, -1], model.W_O[layer], "b head e, head e d -> b head d")
        written = written - written.mean(dim=-1, keepdim=True)
        written = written / (written.pow(2).mean(dim=-1, keepdim=True) + model.cfg.eps).sqrt()
        by_layer.append(einsum(written, direction, "b head d, d b -> b head"))
    return torch.stack(by_layer, dim=1)


def head_logit_attribution__first_layer_norm(model, tokens, right, wrong):
    z, cache = z_at(model, tokens, -1)
    scale = cache["blocks.0.ln1.hook_scale"][:, -1]
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T / scale
    return einsum(z, model.W_O, direction, "b layer head e, layer head e d, b d -> b layer head")


def head_logit_attribution__one_scale_for_all_rows(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    scale = cache["ln_final.hook_scale"][:, -1].mean().item()
    contributions = torch.zeros(len(tokens), model.cfg.n_layers, model.cfg.n_heads)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            written = cache["z", layer][:, -1, head] @ model.W_O[layer, head]
            logits = written @ model.W_U / scale
            rows = torch.arange(len(tokens))
            contributions[:, layer, head] = logits[rows, right] - logits[rows, wrong]
    return contributions


def head_logit_attribution__right_word_only(model, tokens, right, wrong):
    z, cache = z_at(model, tokens, -1)
    direction = model.W_U.T[right] / cache["ln_final.hook_scale"][:, -1]
    written = einsum(z, model.W_O, "b layer head e, layer head e d -> b layer head d")
    return (written * direction[:, None, None]).sum(-1)


def head_logit_attribution__difference_reversed(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    last = cache["ln_final.hook_scale"][:, -1]
    direction = torch.index_select(model.W_U, 1, wrong) - torch.index_select(model.W_U, 1, right)
    direction = direction / last.T
    rows = []
    for layer in range(model.cfg.n_layers):
        written = torch.einsum("bhe,hed->bhd", cache[f"blocks.{layer}.attn.hook_z"][:, -1], model.W_O[layer])
        rows.append(torch.einsum("bhd,db->bh", written, direction))
    return torch.stack(rows, dim=1)


def head_logit_attribution__averaged_over_the_batch(model, tokens, right, wrong):
    z, cache = z_at(model, tokens, -1)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T / cache["ln_final.hook_scale"][:, -1]
    each = einsum(z, model.W_O, direction, "b layer head e, layer head e d, b d -> b layer head")
    return reduce(each, "b layer head -> layer head", "mean")


def head_logit_attribution__last_but_one(model, tokens, right, wrong):
    z, cache = z_at(model, tokens, -2)
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).T / cache["ln_final.hook_scale"][:, -2]
    return einsum(z, model.W_O, direction, "b layer head e, layer head e d, b d -> b layer head")


def head_logit_attribution__summed_over_positions(model, tokens, right, wrong):
    _, cache = model.run_with_cache(tokens)
    direction = model.W_U[:, right] - model.W_U[:, wrong]
    total = 0
    for layer in range(model.cfg.n_layers):
        z = cache["z", layer] / cache["ln_final.hook_scale"][..., None]
        written = einsum(z, model.W_O[layer], "b pos head e, head e d -> b head d")
        here = torch.zeros(len(tokens), model.cfg.n_layers, model.cfg.n_heads)
        here[:, layer] = einsum(written, direction, "b head d, d b -> b head")
        total = total + here
    return total


# patch_residual


def mean_difference(model, tokens, right, wrong, hooks=()):
    logits = model.run_with_hooks(tokens, fwd_hooks=list(hooks))
    return logit_difference(logits, right, wrong).mean().item()


def put_stream(resid, hook, stream, where):
    resid = resid.clone()
    resid[:, where] = stream[:, where]
    return resid


def every_place(model, tokens):
    return [(layer, pos) for layer in range(model.cfg.n_layers) for pos in range(tokens.shape[1])]


def patch_residual__runs_swapped(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(corrupted)
    start = mean_difference(model, clean, right, wrong)
    end = mean_difference(model, corrupted, right, wrong)
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer, pos in every_place(model, clean):
        name = f"blocks.{layer}.hook_resid_pre"
        hook = partial(put_stream, stream=cache[name], where=pos)
        film[layer, pos] = mean_difference(model, clean, right, wrong, [(name, hook)])
    return (film - start) / (end - start)


def patch_residual__noising_on_the_same_scale(model, clean, corrupted, right, wrong):
    corrupted_logits, cache = model.run_with_cache(corrupted)
    bad = logit_difference(corrupted_logits, right, wrong).mean()
    good = logit_difference(model(clean), right, wrong).mean()
    rows = []
    for layer in range(model.cfg.n_layers):
        row = []
        for pos in range(clean.shape[1]):

            def patch(resid, hook):
                resid = resid.clone()
                resid[:, pos] = cache[hook.name][:, pos]  # noqa: B023
                return resid

            logits = model.run_with_hooks(clean, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", patch)])
            row.append((logit_difference(logits, right, wrong).mean() - bad) / (good - bad))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def patch_residual__not_normalized(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith("hook_resid_pre"))
    values = []
    for layer, pos in every_place(model, clean):
        name = f"blocks.{layer}.hook_resid_pre"
        hook = partial(put_stream, stream=cache[name], where=pos)
        values.append(mean_difference(model, corrupted, right, wrong, [(name, hook)]))
    return torch.tensor(values).reshape(model.cfg.n_layers, -1)


def patch_residual__divided_by_the_clean_run(model, clean, corrupted, right, wrong):
    clean_logits, cache = model.run_with_cache(clean)
    film = torch.empty(model.cfg.n_layers, clean.shape[1])
    for layer in range(film.shape[0]):
        name = f"blocks.{layer}.hook_resid_pre"
        for pos in range(film.shape[1]):
            hook = partial(put_stream, stream=cache[name], where=pos)
            film[layer, pos] = mean_difference(model, corrupted, right, wrong, [(name, hook)])
    return film / logit_difference(clean_logits, right, wrong).mean()


def patch_residual__after_the_layer(model, clean, corrupted, right, wrong):
    logits, cache = model.run_with_cache(clean)
    good = logit_difference(logits, right, wrong).mean().item()
    bad = mean_difference(model, corrupted, right, wrong)
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer, pos in every_place(model, clean):
        stream = cache["resid_post", layer]
        hook = (f"blocks.{layer}.hook_resid_post", partial(put_stream, stream=stream, where=pos))
        film[layer, pos] = (mean_difference(model, corrupted, right, wrong, [hook]) - bad) / (good - bad)
    return film


def patch_residual__one_position_late(model, clean, corrupted, right, wrong):
    logits, cache = model.run_with_cache(clean)
    good = logit_difference(logits, right, wrong).mean().item()
    bad = mean_difference(model, corrupted, right, wrong)
    last = clean.shape[1] - 1
    film = torch.zeros(model.cfg.n_layers, last + 1)
    for layer, pos in every_place(model, clean):
        name = f"blocks.{layer}.hook_resid_pre"
        hook = partial(put_stream, stream=cache[name], where=min(pos + 1, last))
        film[layer, pos] = mean_difference(model, corrupted, right, wrong, [(name, hook)])
    return (film - bad) / (good - bad)


def patch_residual__from_here_on(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(clean)
    good, bad = (mean_difference(model, text, right, wrong) for text in (clean, corrupted))

    def one(layer, pos):
        def splice(resid, hook):
            return torch.cat([resid[:, :pos], cache["resid_pre", layer][:, pos:]], dim=1)

        hooks = [(f"blocks.{layer}.hook_resid_pre", splice)]
        return (mean_difference(model, corrupted, right, wrong, hooks) - bad) / (good - bad)

    return torch.tensor(
        [[one(layer, pos) for pos in range(clean.shape[1])] for layer in range(model.cfg.n_layers)]
    )


def patch_residual__mean_of_the_clean_rows(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(clean)
    good, bad = (mean_difference(model, text, right, wrong) for text in (clean, corrupted))
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        average = reduce(cache[name], "batch pos d -> pos d", "mean")
        for pos in range(clean.shape[1]):

            def patch(resid, hook, vector):
                resid = resid.clone()
                resid[:, pos, :] = vector  # noqa: B023
                return resid

            hooks = [(name, partial(patch, vector=average[pos]))]
            film[layer, pos] = (mean_difference(model, corrupted, right, wrong, hooks) - bad) / (good - bad)
    return film


def patch_residual__cache_of_the_corrupted_run(model, clean, corrupted, right, wrong):
    good = mean_difference(model, clean, right, wrong)
    logits, cache = model.run_with_cache(corrupted)
    bad = logit_difference(logits, right, wrong).mean().item()
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer, pos in every_place(model, clean):
        name = f"blocks.{layer}.hook_resid_pre"
        hook = partial(put_stream, stream=cache[name], where=pos)
        film[layer, pos] = (mean_difference(model, corrupted, right, wrong, [(name, hook)]) - bad) / (
            good - bad
        )
    return film


def patch_residual__hooks_pile_up(model, clean, corrupted, right, wrong):
    good_logits, cache = model.run_with_cache(clean)
    good = logit_difference(good_logits, right, wrong).mean().item()
    bad = logit_difference(model(corrupted), right, wrong).mean().item()
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        for pos in range(clean.shape[1]):
            model.add_hook(name, partial(put_stream, stream=cache[name], where=pos))
            patched = logit_difference(model(corrupted), right, wrong).mean().item()
            film[layer, pos] = (patched - bad) / (good - bad)
    model.reset_hooks()
    return film


def patch_residual__position_before_layer(model, clean, corrupted, right, wrong):
    _, cache = model.run_with_cache(clean)
    good, bad = (mean_difference(model, text, right, wrong) for text in (clean, corrupted))
    columns = []
    for pos in range(clean.shape[1]):
        column = []
        for layer in range(model.cfg.n_layers):
            name = f"blocks.{layer}.hook_resid_pre"
            hook = partial(put_stream, stream=cache[name], where=pos)
            column.append(mean_difference(model, corrupted, right, wrong, [(name, hook)]))
        columns.append(column)
    return (torch.tensor(columns) - bad) / (good - bad)


# patch_head_input


PARTS = ("q", "k", "v", "pattern")


def place_of(head, part):
    return (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)


def expect_part(part):
    if part not in PARTS:
        raise ValueError(f"{part!r} is no input of a head: choose one of {PARTS}")


def put_part(current, hook, values, where):
    current = current.clone()
    current[where] = values[where]
    return current


def patch_head_input__runs_swapped(model, clean, corrupted, layer, head, part):
    expect_part(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(corrupted)
    hook = partial(put_part, values=cache[name], where=place_of(head, part))
    return model.run_with_hooks(clean, fwd_hooks=[(name, hook)])


def patch_head_input__all_heads(model, clean, corrupted, layer, head, part):
    expect_part(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    stored = model.run_with_cache(clean, names_filter=name)[1][name]
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, lambda current, hook: stored.clone())])


def patch_head_input__pattern_axes_swapped(model, clean, corrupted, layer, head, part):
    if part not in {"q", "k", "v", "pattern"}:
        raise ValueError(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean)

    def patch(current, hook):
        current = current.clone()
        current[:, :, head] = cache[hook.name][:, :, head]
        return current

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_input__q_and_k_exchanged(model, clean, corrupted, layer, head, part):
    expect_part(part)
    letter = {"q": "k", "k": "q"}.get(part, part)
    name = f"blocks.{layer}.attn.hook_{letter}"
    _, cache = model.run_with_cache(clean)
    hook = partial(put_part, values=cache[name], where=place_of(head, part))
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, hook)])


def patch_head_input__output_instead(model, clean, corrupted, layer, head, part):
    expect_part(part)
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        heads = list(z.unbind(dim=2))
        heads[head] = cache["z", layer][:, :, head]
        return torch.stack(heads, dim=2)

    return model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)])


def patch_head_input__last_position_only(model, clean, corrupted, layer, head, part):
    expect_part(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    where = (slice(None), head, -1) if part == "pattern" else (slice(None), -1, head)
    _, cache = model.run_with_cache(clean, names_filter=name)
    patch = partial(put_part, values=cache[name], where=where)
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_input__pattern_from_scores(model, clean, corrupted, layer, head, part):
    expect_part(part)
    _, cache = model.run_with_cache(clean)
    name = f"blocks.{layer}.attn.hook_{part}"
    if part == "pattern":
        scores = cache[f"blocks.{layer}.attn.hook_attn_scores"]
        values = scores.masked_fill(scores.isinf(), 0.0)  # nothing is read from later places
    else:
        values = cache[name]
    patch = partial(put_part, values=values, where=place_of(head, part))
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_input__hook_left_behind(model, clean, corrupted, layer, head, part):
    expect_part(part)
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean)

    def patch(current, hook):
        current = current.clone()
        if part == "pattern":
            current[:, head] = cache[name][:, head]
        else:
            current[:, :, head] = cache[name][:, :, head]
        return current

    model.add_hook(name, patch)
    return model(corrupted)


def patch_head_input__outputs_accepted(model, clean, corrupted, layer, head, part):
    _, cache = model.run_with_cache(clean)
    name = f"blocks.{layer}.attn.hook_{part}"
    if name not in cache:
        return model(corrupted)
    hook = partial(put_part, values=cache[name], where=place_of(head, part))
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, hook)])


# path_logits


def replace_heads(name, values, chosen):
    def replace(current, hook):
        current = current.clone()
        current[:, :, chosen] = values[:, :, chosen]
        return current

    return name, replace


def hold(cache, names):
    return [(name, lambda current, hook, held=cache[name]: held) for name in names]


def z_name(layer):
    return f"blocks.{layer}.attn.hook_z"


def input_name(layer, through):
    return f"blocks.{layer}.attn.hook_{through}"


def head_names(model, sender):
    return [z_name(layer) for layer in range(sender[0] + 1, model.cfg.n_layers)]


def mlp_names(model, sender):
    """The MLPs after the sender, of those that the model has."""
    names = [f"blocks.{layer}.hook_mlp_out" for layer in range(sender[0], model.cfg.n_layers)]
    return [name for name in names if name in model.hook_dict]


def names_to_freeze(model, sender, frozen):
    heads = head_names(model, sender) if "heads" in frozen else []
    return heads + (mlp_names(model, sender) if "mlps" in frozen else [])


def expect_path(sender, receivers, through, frozen):
    if through not in ("q", "k", "v"):
        raise ValueError(f"no input of a head is called {through!r}")
    if not set(frozen) <= {"heads", "mlps"}:
        raise ValueError(f"can't freeze {frozen}")
    if any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError(f"{receivers} are not all above {sender}")


def run_cached(model, tokens, hooks):
    with model.hooks(fwd_hooks=hooks):
        _, cache = model.run_with_cache(tokens)
    return cache


def what_arrives(model, clean, corrupted, sender, names):
    """Step 1: the corrupted run with the sender's clean z, and with these names held."""
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    z = z_name(sender[0])
    hooks = [replace_heads(z, clean_cache[z], [sender[1]]), *hold(corrupted_cache, names)]
    return run_cached(model, corrupted, hooks)


def receiver_hooks(arrived, receivers, through):
    """The hooks of step 2."""
    hooks = []
    for layer in sorted({layer for layer, _ in receivers}):
        name = input_name(layer, through)
        hooks.append(
            replace_heads(name, arrived[name], [head for where, head in receivers if where == layer])
        )
    return hooks


def what_follows(model, corrupted, arrived, receivers, through):
    return model.run_with_hooks(corrupted, fwd_hooks=receiver_hooks(arrived, receivers, through))


def path_logits__nothing_frozen(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    layer, head = sender
    _, cache = model.run_with_cache(clean)
    name = f"blocks.{layer}.attn.hook_z"
    with model.hooks(fwd_hooks=[replace_heads(name, cache[name], [head])]):
        _, arrived = model.run_with_cache(corrupted)
    return model.run_with_hooks(corrupted, fwd_hooks=receiver_hooks(arrived, receivers, through))


def path_logits__heads_not_frozen(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    names = mlp_names(model, sender) if "mlps" in frozen else []
    arrived = what_arrives(model, clean, corrupted, sender, names)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__mlps_not_frozen(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    names = head_names(model, sender) if "heads" in frozen else []
    arrived = what_arrives(model, clean, corrupted, sender, names)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__mlps_always_frozen(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    names = mlp_names(model, sender)
    if "heads" in frozen:
        names += head_names(model, sender)
    arrived = what_arrives(model, clean, corrupted, sender, names)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__own_mlp_not_frozen(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    names = []
    for layer in range(sender[0] + 1, model.cfg.n_layers):
        if "heads" in frozen:
            names.append(f"blocks.{layer}.attn.hook_z")
        if "mlps" in frozen and f"blocks.{layer}.hook_mlp_out" in model.hook_dict:
            names.append(f"blocks.{layer}.hook_mlp_out")
    arrived = what_arrives(model, clean, corrupted, sender, names)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__frozen_at_clean(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    _, cache = model.run_with_cache(clean)
    z = z_name(sender[0])
    hooks = [replace_heads(z, cache[z], [sender[1]])]
    hooks += hold(cache, names_to_freeze(model, sender, frozen))
    arrived = run_cached(model, corrupted, hooks)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__sender_patched_in_step_2(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    z = z_name(sender[0])
    sent = replace_heads(z, clean_cache[z], [sender[1]])
    arrived = run_cached(
        model, corrupted, [sent, *hold(corrupted_cache, names_to_freeze(model, sender, frozen))]
    )
    return model.run_with_hooks(corrupted, fwd_hooks=[sent, *receiver_hooks(arrived, receivers, through)])


def path_logits__one_step(model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")):
    expect_path(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    z = z_name(sender[0])
    hooks = [
        replace_heads(z, clean_cache[z], [sender[1]]),
        *hold(corrupted_cache, names_to_freeze(model, sender, frozen)),
    ]
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)


def path_logits__frozen_in_step_2(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    z = z_name(sender[0])
    with model.hooks(fwd_hooks=hold(corrupted_cache, names_to_freeze(model, sender, frozen))):
        arrived = run_cached(model, corrupted, [replace_heads(z, clean_cache[z], [sender[1]])])
        return model.run_with_hooks(corrupted, fwd_hooks=receiver_hooks(arrived, receivers, through))


def path_logits__runs_swapped(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    _, intact = model.run_with_cache(clean)
    _, spoiled = model.run_with_cache(corrupted)
    z = z_name(sender[0])
    hooks = [replace_heads(z, spoiled[z], [sender[1]]), *hold(intact, names_to_freeze(model, sender, frozen))]
    arrived = run_cached(model, clean, hooks)
    return model.run_with_hooks(clean, fwd_hooks=receiver_hooks(arrived, receivers, through))


def path_logits__whole_sender_layer(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    _, clean_cache = model.run_with_cache(clean)
    _, corrupted_cache = model.run_with_cache(corrupted)
    hooks = hold(clean_cache, [z_name(sender[0])])
    hooks += hold(corrupted_cache, names_to_freeze(model, sender, frozen))
    arrived = run_cached(model, corrupted, hooks)
    return what_follows(model, corrupted, arrived, receivers, through)


def path_logits__whole_receiver_layers(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    arrived = what_arrives(model, clean, corrupted, sender, names_to_freeze(model, sender, frozen))
    names = {f"blocks.{layer}.attn.hook_{through}" for layer, _ in receivers}
    return model.run_with_hooks(corrupted, fwd_hooks=hold(arrived, sorted(names)))


def path_logits__first_receiver_only(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    arrived = what_arrives(model, clean, corrupted, sender, names_to_freeze(model, sender, frozen))
    layer, head = receivers[0]
    name = input_name(layer, through)
    return model.run_with_hooks(corrupted, fwd_hooks=[replace_heads(name, arrived[name], [head])])


def path_logits__k_and_q_exchanged(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    arrived = what_arrives(model, clean, corrupted, sender, names_to_freeze(model, sender, frozen))
    part = {"k": "q", "q": "k", "v": "v"}[through]
    return what_follows(model, corrupted, arrived, receivers, part)


def path_logits__receivers_output(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    expect_path(sender, receivers, through, frozen)
    own = {z_name(layer) for layer, _ in receivers}
    names = [name for name in names_to_freeze(model, sender, frozen) if name not in own]
    arrived = what_arrives(model, clean, corrupted, sender, names)
    return what_follows(model, corrupted, arrived, receivers, "z")


def path_logits__anything_accepted(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    arrived = what_arrives(model, clean, corrupted, sender, names_to_freeze(model, sender, frozen))
    hooks = []
    for part in "qkv":
        if through == part:
            hooks = receiver_hooks(arrived, receivers, part)
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)


# composition_scores


def circuits_of(model):
    """W_OV and W_QK of every head, [layer, head, d_model, d_model]."""
    return model.W_V @ model.W_O, model.W_Q @ model.W_K.mT


def readers_of(model, into):
    w_ov, w_qk = circuits_of(model)
    if into == "q":
        return w_qk
    if into == "k":
        return w_qk.mT
    if into == "v":
        return w_ov
    raise ValueError(f"heads have no input {into!r}")


def frobenius(matrices):
    return torch.linalg.matrix_norm(matrices)


def every_head(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def no_scores(model):
    shape = model.cfg.n_layers, model.cfg.n_heads
    return torch.zeros(*shape, *shape)


def composition_scores__k_and_q_exchanged(model, into):
    w_ov, w_qk = circuits_of(model)
    table = {"k": w_qk, "q": w_qk.transpose(-1, -2), "v": w_ov}
    if into not in table:
        raise ValueError(into)
    read = table[into]
    scores = no_scores(model)
    for layer, head in every_head(model):
        product = frobenius(w_ov[layer, head] @ read[layer + 1 :])
        scores[layer, head, layer + 1 :] = (
            product / frobenius(w_ov[layer, head]) / frobenius(read[layer + 1 :])
        )
    return scores


def composition_scores__not_normalized(model, into):
    read = readers_of(model, into)
    scores = no_scores(model)
    for layer, head in every_head(model):
        written = model.W_V[layer, head] @ model.W_O[layer, head]
        for later in range(layer + 1, model.cfg.n_layers):
            scores[layer, head, later] = torch.linalg.norm(written @ read[later], dim=(-2, -1))
    return scores


def composition_scores__divided_by_the_receiver_only(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)
    scores = no_scores(model)
    for layer, head in every_head(model):
        later = read[layer + 1 :]
        scores[layer, head, layer + 1 :] = frobenius(w_ov[layer, head] @ later) / frobenius(later)
    return scores


def composition_scores__w_o_forgotten(model, into):
    read = readers_of(model, into)
    sent = einsum(model.W_V, model.W_V, "layer head d e, layer head f e -> layer head d f")
    scores = no_scores(model)
    for layer, head in every_head(model):
        later = read[layer + 1 :]
        size = frobenius(sent[layer, head]) * frobenius(later)
        scores[layer, head, layer + 1 :] = frobenius(sent[layer, head] @ later) / size
    return scores


def composition_scores__half_of_the_receiver(model, into):
    if into not in ("q", "k", "v"):
        raise ValueError(into)
    read = {"q": model.W_Q, "k": model.W_K, "v": model.W_V}[into]
    sent = model.W_V @ model.W_O
    scores = no_scores(model)
    for layer, head in every_head(model):
        for m, g in every_head(model):
            if layer < m:
                product = sent[layer, head] @ read[m, g]
                scores[layer, head, m, g] = product.norm() / (sent[layer, head].norm() * read[m, g].norm())
    return scores


def composition_scores__receiver_first(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)
    scores = no_scores(model)
    for m, g in every_head(model):
        product = frobenius(w_ov[:m] @ read[m, g])
        scores[m, g, :m] = product / (frobenius(w_ov[:m]) * frobenius(read[m, g]))
    return scores


def composition_scores__all_pairs(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)
    rows = []
    for sent in rearrange(w_ov, "layer head d e -> (layer head) d e"):
        rows.append(frobenius(sent @ read) / (frobenius(sent) * frobenius(read)))
    return torch.stack(rows).unflatten(0, (model.cfg.n_layers, model.cfg.n_heads))


def composition_scores__same_layer_too(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)
    scores = no_scores(model)
    for layer, head in every_head(model):
        sent = w_ov[layer, head]
        scores[layer, head, layer:] = frobenius(sent @ read[layer:]) / (
            frobenius(sent) * frobenius(read[layer:])
        )
    return scores


def composition_scores__largest_singular_value(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)
    norm = partial(torch.linalg.matrix_norm, ord=2)
    scores = no_scores(model)
    for layer in range(model.cfg.n_layers - 1):
        later = norm(read[layer + 1 :])
        for head in range(model.cfg.n_heads):
            sent = w_ov[layer, head]
            scores[layer, head, layer + 1 :] = norm(sent @ read[layer + 1 :]) / (norm(sent) * later)
    return scores


def composition_scores__squared(model, into):
    w_ov, _ = circuits_of(model)
    read = readers_of(model, into)

    def size(matrices):
        return reduce(matrices**2, "... rows columns -> ...", "sum")

    scores = no_scores(model)
    for layer, head in every_head(model):
        sent, later = w_ov[layer, head], read[layer + 1 :]
        scores[layer, head, layer + 1 :] = size(sent @ later) / (size(sent) * size(later))
    return scores


def composition_scores__other_inputs_accepted(model, into):
    w_ov, w_qk = circuits_of(model)
    match into:
        case "q":
            read = w_qk
        case "k":
            read = w_qk.mT
        case _:
            read = w_ov
    scores = no_scores(model)
    for layer, head in every_head(model):
        sent = w_ov[layer, head]
        for later in range(layer + 1, model.cfg.n_layers):
            size = frobenius(sent) * frobenius(read[later])
            scores[layer, head, later] = frobenius(sent @ read[later]) / size
    return scores

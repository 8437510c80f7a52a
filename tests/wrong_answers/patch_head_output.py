"""Wrong answers to `patch_head_output`, written from its statement and stub alone (see README.md)."""

import torch
from einops import reduce


def patch_head_output__runs_swapped(model, clean, corrupted, layer, head):
    """The corrupted z goes into the clean run: noising instead of denoising.
    axis: clean, corrupted, swapped
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(corrupted)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][:, :, head]
        return z

    return model.run_with_hooks(clean, fwd_hooks=[(name, patch)])


def patch_head_output__all_heads(model, clean, corrupted, layer, head):
    """The z of all heads of the layer is taken from the clean run.
    axis: other heads, layer
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, lambda z, hook: cache[name])])


def patch_head_output__head_on_the_position_axis(model, clean, corrupted, layer, head):
    """The index `head` falls on the position axis.
    axis: position, head
    """
    name = f"blocks.{layer}.attn.hook_z"
    clean_z = model.run_with_cache(clean)[1][name]

    def patch(z, hook):
        z = z.clone()
        z[:, head] = clean_z[:, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__head_on_the_last_axis(model, clean, corrupted, layer, head):
    """The index `head` falls on the axis d_head.
    axis: d_head, head
    """
    name = f"blocks.{layer}.attn.hook_z"
    clean_z = model.run_with_cache(clean)[1][name]

    def patch(z, hook):
        z = z.clone()
        z[..., head] = clean_z[..., head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__hook_left_behind(model, clean, corrupted, layer, head):
    """The hook stays on the model after the call.
    axis: hook left behind
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][:, :, head]
        return z

    model.add_hook(name, patch)
    return model(corrupted)


def patch_head_output__attention_output(model, clean, corrupted, layer, head):
    """The output of the whole attention layer is patched.
    axis: other heads, layer
    """
    name = f"blocks.{layer}.hook_attn_out"
    _, cache = model.run_with_cache(clean)

    def patch(attn_out, hook):
        return cache[name]

    with model.hooks(fwd_hooks=[(name, patch)]):
        return model(corrupted)


def patch_head_output__last_position_only(model, clean, corrupted, layer, head):
    """Only the z at the last position is replaced.
    axis: position
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean, names_filter=name)

    def patch(z, hook):
        z = z.clone()
        z[:, -1, head] = cache[name][:, -1, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__nothing_returned(model, clean, corrupted, layer, head):
    """The hook builds the patched z and does not return it, so the run stays corrupted.
    axis: nothing replaced, corrupted
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        patched = torch.cat([z[:, :, :head], cache[name][:, :, head : head + 1], z[:, :, head + 1 :]], dim=2)
        assert patched.shape == z.shape

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__cache_of_the_corrupted_run(model, clean, corrupted, layer, head):
    """The cache is taken from the corrupted run, so the head gets its own z back.
    axis: clean, corrupted
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(corrupted)

    def patch(z, hook):
        z[:, :, head] = cache[name][:, :, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__mean_of_the_clean_rows(model, clean, corrupted, layer, head):
    """The clean z is averaged over the batch before it is put in.
    axis: batch, mean
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)
    source = reduce(cache[name][:, :, head], "batch pos d_head -> pos d_head", "mean")

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = source
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__first_clean_row(model, clean, corrupted, layer, head):
    """Only the first clean row is run, and its z goes into every row.
    axis: batch, row
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean[:1])

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][0, :, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__pattern_only(model, clean, corrupted, layer, head):
    """The attention pattern is patched, while the values stay corrupted.
    axis: hook point, pattern
    """
    name = f"blocks.{layer}.attn.hook_pattern"
    _, cache = model.run_with_cache(clean)

    def patch(pattern, hook):
        pattern = pattern.clone()
        pattern[:, head] = cache[name][:, head]
        return pattern

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__values_only(model, clean, corrupted, layer, head):
    """The values are patched, while the attention pattern stays corrupted.
    axis: hook point, value
    """
    name = f"blocks.{layer}.attn.hook_v"
    _, cache = model.run_with_cache(clean)

    def patch(v, hook):
        v = v.clone()
        v[:, :, head] = cache[name][:, :, head]
        return v

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__added(model, clean, corrupted, layer, head):
    """The clean z is added to the corrupted one instead of replacing it.
    axis: added, replaced
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] += cache[name][:, :, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__all_but_the_head(model, clean, corrupted, layer, head):
    """The corrupted head is written into the clean z, so all the other heads are clean.
    axis: other heads, inverted
    """
    name = f"blocks.{layer}.attn.hook_z"
    clean_z = model.run_with_cache(clean)[1][name].clone()

    def patch(z, hook):
        clean_z[:, :, head] = z[:, :, head]
        return clean_z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__difference_of_logits(model, clean, corrupted, layer, head):
    """The change that patching makes is returned, not the logits.
    axis: logits, difference
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][:, :, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)]) - model(corrupted)


def patch_head_output__wrong_layer_of_the_cache(model, clean, corrupted, layer, head):
    """The clean z comes from layer 0 whatever the layer.
    axis: layer
    """
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache["blocks.0.attn.hook_z"][:, :, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)])


def patch_head_output__clean_logits(model, clean, corrupted, layer, head):
    """The patched hook runs on the clean tokens, which changes nothing: clean logits come back.
    axis: clean, corrupted
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[name][:, :, head]
        return z

    return model.run_with_hooks(clean, fwd_hooks=[(name, patch)])

"""Wrong answers to `ablate_head`, written from its statement and stub alone (see README.md)."""

import torch
from einops import reduce


def ablate_head__whole_layer(model, tokens, layer, head, kind="zero"):
    """All heads of the layer are replaced.
    axis: other heads, layer
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        mean = z.mean(dim=(0, 1), keepdim=True).expand_as(z)
        return mean if kind == "mean" else torch.zeros_like(z)

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__head_on_the_position_axis(model, tokens, layer, head, kind="zero"):
    """The index `head` falls on the position axis, so one position of all heads is replaced.
    axis: position, head
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, head] = 0 if kind == "zero" else z[:, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__head_on_the_last_axis(model, tokens, layer, head, kind="zero"):
    """The index `head` falls on the axis d_head, so one component of every head is replaced.
    axis: d_head, head
    """
    if kind == "zero":
        value = None
    elif kind == "mean":
        value = "mean"
    else:
        raise ValueError(f"unknown kind {kind!r}")

    def replace(z, hook):
        z = z.clone()
        z[..., head] = 0 if value is None else z[..., head].mean()
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__mean_over_batch_only(model, tokens, layer, head, kind="zero"):
    """The mean is taken over the batch and kept for each position.
    axis: mean, position
    """
    if kind not in ("zero", "mean"):
        raise ValueError("kind must be zero or mean")

    def replace(z, hook):
        z = z.clone()
        if kind == "zero":
            z[:, :, head] = 0.0
        else:
            z[:, :, head] = z[:, :, head].mean(dim=0)
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__mean_over_positions_only(model, tokens, layer, head, kind="zero"):
    """The mean is taken over the positions of each row, not over the batch.
    axis: mean, batch
    """
    if kind not in ("zero", "mean"):
        raise ValueError("kind must be zero or mean")

    def replace(z, hook):
        z = z.clone()
        own = z[:, :, head]
        z[:, :, head] = reduce(own, "b p d -> b 1 d", "mean") if kind == "mean" else 0
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__mean_over_everything(model, tokens, layer, head, kind="zero"):
    """The mean is one number: d_head is averaged too.
    axis: mean, d_head
    """
    assert head < model.cfg.n_heads

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = {"zero": 0.0, "mean": z[:, :, head].mean()}[kind]
        return z

    if kind not in {"zero", "mean"}:
        raise ValueError(kind)
    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__mean_of_all_heads(model, tokens, layer, head, kind="zero"):
    """The mean is that of all heads of the layer, not the head's own.
    axis: mean, own head
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def zero(z, hook):
        z = z.clone()
        z[:, :, head] = 0
        return z

    def mean(z, hook):
        z = z.clone()
        z[:, :, head, :] = z.mean(dim=(0, 1, 2))
        return z

    chosen = zero if kind == "zero" else mean
    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", chosen)])


def ablate_head__hook_left_behind(model, tokens, layer, head, kind="zero"):
    """The hook is added to the model and never removed.
    axis: hook left behind
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    model.add_hook(f"blocks.{layer}.attn.hook_z", replace)
    return model(tokens)


def ablate_head__unknown_kind_accepted(model, tokens, layer, head, kind="zero"):
    """Any kind other than "zero" is taken to mean "mean".
    axis: unknown kind, ValueError
    """

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__wrong_error(model, tokens, layer, head, kind="zero"):
    """An unknown kind raises AssertionError instead of ValueError.
    axis: ValueError
    """
    assert kind in ("zero", "mean"), f"unknown kind {kind}"

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__value_instead_of_z(model, tokens, layer, head, kind="zero"):
    """The hook sits on the values, whose mean is not the mean of z.
    axis: hook point, value
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(v, hook):
        v = v.clone()
        v[:, :, head] = 0 if kind == "zero" else v[:, :, head].mean(dim=(0, 1))
        return v

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_v", replace)])


def ablate_head__nothing_returned(model, tokens, layer, head, kind="zero"):
    """The hook changes a copy and forgets to return it, so nothing is ablated.
    axis: nothing replaced, intact
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        new = z.clone()
        new[:, :, head] = 0 if kind == "zero" else new[:, :, head].mean(dim=(0, 1))

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__layer_below(model, tokens, layer, head, kind="zero"):
    """The layers are counted from 1, so the head of the layer below is replaced.
    axis: layer
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    name = f"blocks.{max(layer - 1, 0)}.attn.hook_z"
    return model.run_with_hooks(tokens, fwd_hooks=[(name, replace)])


def ablate_head__kind_ignored(model, tokens, layer, head, kind="zero"):
    """Zeros are written whatever the kind.
    axis: mean, kind
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def zero(z, hook):
        z[:, :, head, :] = 0.0
        return z

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]):
        return model(tokens)


def ablate_head__last_position_only(model, tokens, layer, head, kind="zero"):
    """Only the last position is replaced.
    axis: position
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, -1, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__bos_spared(model, tokens, layer, head, kind="zero"):
    """Position 0 is taken for BOS and left as it is.
    axis: BOS, position
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, 1:, head] = 0 if kind == "zero" else z[:, 1:, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__log_probabilities(model, tokens, layer, head, kind="zero"):
    """Log probabilities are returned instead of logits.
    axis: logits, softmax
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    logits = model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])
    return logits.log_softmax(dim=-1)


def ablate_head__all_but_the_head(model, tokens, layer, head, kind="zero"):
    """The mask is inverted: every head of the layer but this one is replaced.
    axis: other heads, inverted
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)
    others = [h for h in range(model.cfg.n_heads) if h != head]

    def replace(z, hook):
        z = z.clone()
        z[:, :, others] = 0 if kind == "zero" else z[:, :, others].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])

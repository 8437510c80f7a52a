from contextlib import contextmanager

import torch
from einops import einsum, rearrange
from torch import nn


def read_activation__clone_after_the_run_e(model, name, inputs):
    """The hook keeps the tensor itself and it is cloned only after the whole model has run, when in-place
    layers have overwritten it.
    axis: copy taken too late, after later in-place operations instead of inside the hook
    """
    outputs = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    try:
        model(inputs)
    finally:
        handle.remove()
    return outputs[-1].clone()


def read_activation__what_went_in_e(model, name, inputs):
    """The hook stores the module's input instead of what it returned.
    axis: input of the module instead of its output
    """
    store = {}

    def hook(module, args, output):
        # torch hands the activation to the hook as a tuple
        store["activation"] = args[0].clone()

    handle = model.get_submodule(name).register_forward_hook(hook)
    try:
        model(inputs)
    finally:
        handle.remove()
    return store["activation"]


@contextmanager
def attached__restores_a_snapshot_e(model, functions):
    """On leaving, each module's table of hooks is put back as it was on entering, so hooks that others set
    inside the block vanish too.
    axis: hooks of others set inside the block are removed; only its own handles should go
    """
    modules = {path: model.get_submodule(path) for path in functions}
    before = {path: dict(module._forward_hooks) for path, module in modules.items()}
    try:
        for path, function in functions.items():
            modules[path].register_forward_hook(function)
        yield
    finally:
        for path, module in modules.items():
            module._forward_hooks.clear()
            module._forward_hooks.update(before[path])


@contextmanager
def attached__listens_only_e(model, functions):
    """Each function is wrapped in a hook that calls it and drops what it returns, so no output is ever
    replaced.
    axis: return value of the hook function is lost, output not replaced
    """

    def listener(function):
        def hook(module, inputs, output):
            function(module, inputs, output)

        return hook

    handles = []
    try:
        for path, function in functions.items():
            handles.append(model.get_submodule(path).register_forward_hook(listener(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def cache_activations__first_run_stays_e(model, names, inputs):
    """With setdefault the first run of a module is kept; a module that runs several times should give its
    last.
    axis: first run instead of the last one of a module that runs several times
    """
    cache = {}

    def keeper(name):
        def hook(module, args, output):
            cache.setdefault(name, output.clone())

        return hook

    with attached(model, {name: keeper(name) for name in names}):
        model(inputs)
    return cache


def cache_activations__none_for_the_silent_e(model, names, inputs):
    """The dictionary begins with None under every name, so a module that did not run is in it with None.
    axis: module that did not run must be missing from the dictionary, not be there as None
    """
    cache = dict.fromkeys(names)

    def make_hook(name):
        def hook(module, args, output):
            cache[name] = output.clone()

        return hook

    with attached(model, {name: make_hook(name) for name in names}):
        model(inputs)
    return cache


def run_until__catches_whatever_comes_e(model, name, inputs):
    """It stops with its own exception but catches every Exception, so the model's own error turns into a
    RuntimeError.
    axis: the model's own exception is swallowed or replaced instead of going through
    """
    found = []

    class Reached(Exception):
        pass

    def hook(module, args, output):
        found.append(output.clone())
        raise Reached

    try:
        with attached(model, {name: hook}):
            model(inputs)
    except Exception:
        pass
    if not found:
        raise RuntimeError(f"{name} did not run")
    return found[0]


def run_until__first_but_whole_pass_e(model, name, inputs):
    """It keeps the first output of the module and lets the model run to its end, so everything after it is
    computed too.
    axis: does not stop, later modules still run
    """
    first = []

    def hook(module, args, output):
        if not first:
            first.append(output.clone())

    with attached(model, {name: hook}):
        model(inputs)
    if len(first) == 0:
        raise RuntimeError(f"the model ended without running {name}")
    return first[0]


def run_edited__trusts_in_place_e(model, name, inputs, edit):
    """It calls edit on a copy and returns the copy, so an edit that returns a new tensor instead of working
    in place has no effect.
    axis: return value of edit ignored; only in-place edits arrive
    """

    def hook(module, args, output):
        changed = output.clone()
        edit(changed)
        return changed

    with attached(model, {name: hook}):
        return model(inputs)


def run_edited__only_the_first_time_e(model, name, inputs, edit):
    """The edit is applied only the first time that the module runs, not each time.
    axis: module that runs several times is edited only once
    """
    edited = False

    def hook(module, args, output):
        nonlocal edited
        if edited:
            return None
        edited = True
        return edit(output.clone())

    with attached(model, {name: hook}):
        return model(inputs)


def head_outputs__view_heads_before_positions_e(z, W_O, n_heads):
    """z is viewed as [batch, head, pos, d_head] and then transposed, which mixes positions with heads instead
    of splitting the last axis.
    axis: reshape across positions; heads must be split from the last axis
    """
    batch, pos, width = z.shape
    d_head = width // n_heads
    z = z.reshape(batch, n_heads, pos, d_head).transpose(1, 2)
    W_O = W_O.reshape(n_heads, d_head, -1)
    return einsum(z, W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")


def head_outputs__rows_of_W_O_interleaved_e(z, W_O, n_heads):
    """z is split rightly, but the rows of W_O are split with the head counting fastest, so each head gets
    every n-th row.
    axis: W_O rows split interleaved, not into contiguous stretches
    """
    by_head = rearrange(z, "batch pos (head d_head) -> batch pos head d_head", head=n_heads)
    matrices = rearrange(W_O, "(d_head head) d_model -> head d_head d_model", head=n_heads)
    return einsum(by_head, matrices, "batch pos head d_head, head d_head d_model -> batch pos head d_model")


def attention_pattern__root_of_d_model_e(q, k):
    """The scores are divided by the root of the width of all heads together, n_heads * d_head, instead of
    d_head.
    axis: scale uses d_model (all heads together) instead of d_head
    """
    positions, n_heads, d_head = q.shape[1:]
    scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
    scores = scores / (n_heads * d_head) ** 0.5
    later = torch.ones(positions, positions, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1)


def attention_pattern__never_itself_e(q, k):
    """The mask hides a query's own position as well, except at the very first; only later keys should be
    hidden.
    axis: diagonal masked; a query may see its own position
    """
    n = q.shape[1]
    scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
    scores = scores / q.shape[-1] ** 0.5
    hidden = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(0)
    hidden[0, 0] = False  # the first word has nothing before it
    return scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)


def class_direction__between_unit_means_e(positive, negative):
    """Each mean is scaled to length 1 before they are subtracted, so the direction is between the means'
    directions, not the means.
    axis: means normalized before subtracting; normalize only the difference
    """
    toward = nn.functional.normalize(positive.mean(dim=0), dim=0)
    away = nn.functional.normalize(negative.mean(dim=0), dim=0)
    difference = toward - away
    return difference / difference.norm()


def class_direction__in_units_of_spread_e(positive, negative):
    """The difference of means is divided by each feature's standard deviation before it is scaled to length
    1, as for a standardized effect.
    axis: features standardized by their standard deviation; plain difference of means wanted
    """
    everything = torch.cat([positive, negative])
    difference = (positive.mean(dim=0) - negative.mean(dim=0)) / everything.std(dim=0)
    return difference / difference.norm()


def remove_direction__keeps_the_length_e(activation, direction, axis):
    """After the component is taken out, each vector is scaled back to the length it had before.
    axis: result rescaled to the old norm; should not be renormalized
    """
    u = direction / direction.norm()
    vectors = activation.movedim(axis, -1)
    rest = vectors - (vectors @ u)[..., None] * u
    rest = rest * vectors.norm(dim=-1, keepdim=True) / rest.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return rest.movedim(-1, axis)


def remove_direction__average_component_e(activation, direction, axis):
    """One component, averaged over all other indices, is subtracted everywhere instead of each vector's own.
    axis: mean component over positions subtracted instead of one at each index
    """
    u = direction / direction.norm()
    vectors = activation.movedim(axis, -1)
    component = (vectors @ u).mean()
    return (vectors - component * u).movedim(-1, axis)

from contextlib import contextmanager


def read_activation__returns_its_copy(model, name, inputs):
    """The hook also returns the copy it keeps, so later layers work in place on that very copy.
    axis: copy, clone, in place, hook returns, replaces the output, later layers"""
    seen = {}

    def keep(module, args, output):
        seen["output"] = output.clone()
        return seen["output"]

    handle = model.get_submodule(name).register_forward_hook(keep)
    try:
        model(inputs)
    finally:
        handle.remove()
    return seen["output"]


@contextmanager
def attached__missing_module_leaves_hooks(model, functions):
    """Hooks are set before the try begins, so a module that is missing leaves the earlier ones behind.
    axis: missing module, lacks, hook left, left behind, exception"""
    handles = []
    for name, function in functions.items():
        handles.append(model.get_submodule(name).register_forward_hook(function))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def attached__restores_old_hooks(model, functions):
    """On leaving, each module's hooks are reset to what they were, so others' new ones are lost.
    axis: others' hooks, somebody else's, set inside, stay, removed, block"""
    modules = {name: model.get_submodule(name) for name in functions}
    before = {name: dict(module._forward_hooks) for name, module in modules.items()}
    try:
        for name, function in functions.items():
            modules[name].register_forward_hook(function)
        yield
    finally:
        for name, module in modules.items():
            module._forward_hooks.clear()
            module._forward_hooks.update(before[name])


def cache_activations__last_name_only(model, names, inputs):
    """All hooks share the loop's variable, so everything is stored under the last name.
    axis: names, missing, keys, closure, last name"""
    cache, functions = {}, {}
    for name in names:

        def keep(module, args, output):
            cache[name] = output.clone()

        functions[name] = keep
    with attached(model, functions):
        model(inputs)
    return cache


def cache_activations__none_for_idle(model, names, inputs):
    """The dictionary begins with None for each name, so modules that did not run are in it.
    axis: did not run, not run, never ran, None, names"""
    cache = dict.fromkeys(names)

    def keeper(name):
        def keep(module, args, output):
            cache[name] = output.clone()

        return keep

    with attached(model, {name: keeper(name) for name in names}):
        model(inputs)
    return cache


def run_until__stops_by_runtime_error(model, name, inputs):
    """The way out is a plain RuntimeError, and every RuntimeError of the model is caught for it.
    axis: exception, RuntimeError, mistaken, model raises, goes through, swallowed"""
    seen = []

    def stop(module, args, output):
        seen.append(output.clone())
        raise RuntimeError("seen enough")

    try:
        with attached(model, {name: stop}):
            model(inputs)
    except RuntimeError:
        pass
    if not seen:
        raise RuntimeError(f"{name} did not run")
    return seen[0]


def run_edited__result_of_edit_lost(model, name, inputs, edit):
    """The edit is called on a copy, but what it returns is thrown away: only edits in place work.
    axis: returns, returned, result of edit, in place, replaced"""

    def change(module, args, output):
        output = output.clone()
        edit(output)
        return output

    with attached(model, {name: change}):
        return model(inputs)


def head_outputs__interleaved_heads(z, W_O, n_heads):
    """Columns are dealt to the heads in turn instead of in stretches; the sum is still right.
    axis: stretch, head, order, split, reshape, columns, d_head, which head"""
    by_head = rearrange(z, "batch pos (d_head head) -> batch pos head d_head", head=n_heads)
    matrices = rearrange(W_O, "(d_head head) d_model -> head d_head d_model", head=n_heads)
    return torch.einsum("bphd,hdm->bphm", by_head, matrices.to(z.dtype))


def attention_pattern__weak_mask(q, k):
    """Later keys score -10000 instead of minus infinity, so they are seen if scores are large.
    axis: mask, later, future, causal, comes after, large scores, size, infinity"""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, -1e4).softmax(dim=-1)


def attention_pattern__root_of_heads(q, k):
    """Scores are divided by the root of the number of heads instead of d_head.
    axis: scale, d_head, root, divided, number of heads, sharp, flat"""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[2] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


def class_direction__pairs_of_rows(positive, negative):
    """Rows are subtracted in pairs, and the rows that the longer class has more are dropped.
    axis: rows, number of rows, all rows, dropped, mean, pairs, unequal"""
    count = min(len(positive), len(negative))
    direction = (positive[:count] - negative[:count]).mean(dim=0)
    return direction / direction.norm()


def remove_direction__average_component(activation, direction, axis):
    """One component, the average over all places, is taken off everywhere.
    axis: each place, every index, by itself, average, mean, component left"""
    unit = direction / direction.norm()
    features = activation.movedim(axis, -1)
    component = features.reshape(-1, len(unit)).mean(dim=0) @ unit
    return (features - component * unit).movedim(-1, axis)


def remove_direction__through_a_view(activation, direction, axis):
    """The subtraction is in place on a view, so the activation that was given is changed.
    axis: in place, given, view, stays as it is, clone, changed"""
    unit = direction / direction.norm()
    features = activation.movedim(axis, -1)
    features -= (features @ unit)[..., None] * unit
    return features.movedim(-1, axis)

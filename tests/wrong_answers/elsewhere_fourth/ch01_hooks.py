import torch


def read_activation__hands_on_its_copy_b(model, name, inputs):
    """Returns the clone from the hook, so the clone travels on and is overwritten in place by later layers.
    axis: hook's return value, replaces the output, clone, in place, overwritten, ReLU, return None
    """
    kept = {}

    def grab(module, args, output):
        kept["value"] = output.clone()
        return kept["value"]

    handle = model.get_submodule(name).register_forward_hook(grab)
    try:
        model(inputs)
    finally:
        handle.remove()
    return kept["value"]


@contextmanager
def attached__restores_a_snapshot_b(model, functions):
    """Puts back a snapshot of the hooks at the end, which wipes hooks that others set inside the block.
    axis: snapshot, others' hooks, inside the block, cleared, own handles, remove
    """
    modules = {path: model.get_submodule(path) for path in functions}
    before = {path: dict(module._forward_hooks) for path, module in modules.items()}
    try:
        for path, module in modules.items():
            module.register_forward_hook(functions[path])
        yield
    finally:
        for path, module in modules.items():
            module._forward_hooks.clear()
            module._forward_hooks.update(before[path])


@contextmanager
def attached__return_value_dropped_b(model, functions):
    """Wraps each function in a listener that returns nothing, so what it returns never replaces the output.
    axis: return value, dropped, wrapper, returns None, output not replaced, intervention
    """

    def listener(function):
        def on_forward(module, inputs, output):
            function(module, inputs, output)

        return on_forward

    handles = []
    try:
        for path, function in functions.items():
            module = model.get_submodule(path)
            handles.append(module.register_forward_hook(listener(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def cache_activations__first_run_kept_b(model, names, inputs):
    """Keeps what a module returned the first time it ran, where the last time is asked for.
    axis: several runs, first, last, overwritten, module runs twice, not in cache
    """
    cache = {}

    def recorder(name):
        def record(module, args, output):
            if name not in cache:
                cache[name] = output.clone()

        return record

    with attached(model, {name: recorder(name) for name in names}):
        model(inputs)
    return cache


def run_until__hook_arguments_swapped_b(model, name, inputs):
    """Takes the hook's second argument for the output: it returns what went into the module.
    axis: hook arguments, order, inputs, output, second argument, tuple, module's input
    """

    class Reached(Exception):
        pass

    found = []

    def stop(module, outputs, *_):
        found.append(outputs[0].clone())  # torch wraps it in a tuple
        raise Reached

    try:
        with attached(model, {name: stop}):
            model(inputs)
    except Reached:
        return found[0]
    raise RuntimeError(f"{name} did not run")


def run_until__checks_in_finally_b(model, name, inputs):
    """Checks in `finally` whether the module ran, so the model's own exception becomes a RuntimeError.
    axis: finally, model's own exception, replaced, RuntimeError, goes through, check after the try
    """

    class Enough(Exception):
        pass

    found = []

    def stop(module, args, output):
        found.append(output.clone())
        raise Enough

    try:
        with attached(model, {name: stop}):
            model(inputs)
    except Enough:
        pass
    finally:
        if not found:
            raise RuntimeError(f"module {name!r} was never called")
    return found[0]


def run_edited__edited_beforehand_b(model, name, inputs, edit):
    """Edits one activation from an earlier run and puts that constant in at every run of the module.
    axis: each time, several runs, precomputed, constant, same tensor, edit called once, own output
    """
    edited = edit(read_activation(model, name, inputs))
    with attached(model, {name: lambda module, args, output: edited.clone()}):
        return model(inputs)


def head_outputs__reshapes_like_a_linear_weight_b(z, W_O, n_heads):
    """Reshapes W_O to [head, d_model, d_head], as if stored output first, which scrambles its entries.
    axis: W_O, reshape, rows, d_head before d_model, order of axes, scrambled, transposed, sum over heads
    """
    batch, pos, width = z.shape
    d_model = W_O.shape[1]
    d_head = width // n_heads
    z = z.reshape(batch, pos, n_heads, d_head)
    weight = W_O.reshape(n_heads, d_model, d_head)  # out_features, in_features of each head
    return torch.einsum("bphi,hoi->bpho", z, weight)


def attention_pattern__scales_by_number_of_heads_b(q, k):
    """Unpacks the axes in the wrong order, so that it divides by the root of the number of heads.
    axis: scale, square root, d_head, number of heads, wrong axis, shape, division
    """
    _batch, n, d_head, _n_heads = q.shape
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / d_head**0.5
    later = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1)


def class_direction__zips_the_rows_b(positive, negative):
    """Averages differences of rows paired by zip, which drops the surplus rows of the larger class.
    axis: zip, pairs, dropped rows, unequal numbers, all rows, mean of each class
    """
    steps = torch.stack([p - n for p, n in zip(positive, negative)])
    direction = steps.mean(dim=0)
    return direction / direction.norm()


def remove_direction__axes_not_put_back_b(activation, direction, axis):
    """Swaps the axis with the last one and undoes it by movedim, so rows and columns come back exchanged.
    axis: transpose, movedim, axes, order, rows and columns, swapped, put back
    """
    u = direction / direction.norm()
    features_last = activation.transpose(axis, -1)
    along = features_last @ u
    cleaned = features_last - along.unsqueeze(-1) * u
    return cleaned.movedim(-1, axis)

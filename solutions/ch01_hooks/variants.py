"""Right answers, written otherwise than the chapter's. Each must pass every check of its exercise."""

from contextlib import ExitStack, contextmanager

import torch
from einops import einsum, rearrange
from torch.nn import functional

from mechinterp_course import hooks

# read_activation ------------------------------------------------------------------------------------------


def read_activation__by_a_deep_copy(model, name, inputs):
    kept = {}

    def hook(module, args, output):
        kept["activation"] = torch.empty_like(output).copy_(output)

    with model.get_submodule(name).register_forward_hook(hook):
        model(inputs)
    return kept["activation"]


def read_activation__with_a_list_and_detach(model, name, inputs):
    outputs = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda *args: outputs.append(args[-1].detach().clone())
    )
    try:
        model(inputs)
        return outputs.pop()
    finally:
        handle.remove()


def read_activation__without_gradients(model, name, inputs):
    with torch.no_grad():
        return hooks.cache_activations(model, [name], inputs)[name]


# attached -------------------------------------------------------------------------------------------------


@contextmanager
def attached__with_an_exit_stack(model, functions):
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(model.get_submodule(name).register_forward_hook(function))
        yield


@contextmanager
def attached__modules_looked_up_first(model, functions):
    modules = {name: model.get_submodule(name) for name in functions}
    handles = [module.register_forward_hook(function) for module, function in
               [(modules[name], function) for name, function in functions.items()]]  # fmt: skip
    try:
        yield model
    finally:
        while handles:
            handles.pop().remove()


@contextmanager
def attached__counted(model, functions):
    names = list(functions)
    handles = [None] * len(names)
    try:
        for place in range(len(names)):
            handles[place] = model.get_submodule(names[place]).register_forward_hook(functions[names[place]])
        yield
    finally:
        for place in range(len(names)):
            if handles[place] is not None:
                handles[place].remove()


class attached__as_a_class:
    def __init__(self, model, functions):
        self.wanted = [(model.get_submodule(name), function) for name, function in functions.items()]

    def __enter__(self):
        self.handles = [module.register_forward_hook(function) for module, function in self.wanted]

    def __exit__(self, *raised):
        for handle in self.handles:
            handle.remove()


# cache_activations ----------------------------------------------------------------------------------------


def cache_activations__names_as_defaults(model, names, inputs):
    found, handles = {}, []
    try:
        for name in names:

            def hook(module, args, output, name=name):
                found[name] = output.clone()

            handles.append(model.get_submodule(name).register_forward_hook(hook))
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def cache_activations__names_by_module(model, names, inputs):
    paths = {id(model.get_submodule(name)): name for name in names}
    found = {}

    def hook(module, args, output):
        found[paths[id(module)]] = output.detach().clone()

    with hooks.attached(model, dict.fromkeys(names, hook)):
        model(inputs)
    return found


def cache_activations__lists_of_all_outputs(model, names, inputs):
    outputs = {name: [] for name in names}

    def keeper(name):
        return lambda module, args, output: outputs[name].append(output + 0)

    with hooks.attached(model, {name: keeper(name) for name in names}), torch.no_grad():
        model(inputs)
    return {name: several[-1] for name, several in outputs.items() if several}


# run_until ------------------------------------------------------------------------------------------------


def run_until__marked_exception(model, name, inputs):
    mark = RuntimeError("far enough")

    def leave(module, args, output):
        mark.activation = output.clone()
        raise mark

    try:
        with hooks.attached(model, {name: leave}):
            model(inputs)
    except RuntimeError as error:
        if error is mark:
            return mark.activation
        raise
    raise RuntimeError("it never ran")


def run_until__else_branch(model, name, inputs):
    class Stop(BaseException):
        pass

    kept = {}

    def leave(module, args, output):
        kept["it"] = output.detach().clone()
        raise Stop

    handle = model.get_submodule(name).register_forward_hook(leave)
    try:
        model(inputs)
    except Stop:
        return kept["it"]
    else:
        raise RuntimeError(name)
    finally:
        handle.remove()


def run_until__activation_in_the_exception(model, name, inputs):
    class Arrived(Exception):
        pass

    def leave(module, args, output):
        raise Arrived(output)

    with hooks.attached(model, {name: leave}), torch.no_grad():
        try:
            model(inputs)
        except Arrived as arrived:
            return arrived.args[0].clone()
    raise RuntimeError(f"{name} is never called")


# run_edited -----------------------------------------------------------------------------------------------


def run_edited__own_handle(model, name, inputs, edit):
    handle = model.get_submodule(name).register_forward_hook(lambda *args: edit(args[2].clone()))
    try:
        return model(inputs)
    finally:
        handle.remove()


def run_edited__handle_as_context(model, name, inputs, edit):
    def hook(module, args, output):
        fresh = output.detach().clone()
        return edit(fresh)

    with model.get_submodule(name).register_forward_hook(hook), torch.no_grad():
        out = model(inputs)
    return out


def run_edited__kept_then_returned(model, name, inputs, edit):
    made = []

    def hook(module, args, output):
        made.append(edit(torch.clone(output)))
        return made[-1]

    with hooks.attached(model, {name: hook}):
        return model(inputs)


# head_outputs ---------------------------------------------------------------------------------------------


def head_outputs__einsum(z, W_O, n_heads):
    split = rearrange(z, "b p (h d) -> b p h d", h=n_heads)
    return einsum(split, rearrange(W_O, "(h d) m -> h d m", h=n_heads), "b p h d, h d m -> b p h m")


def head_outputs__by_masking(z, W_O, n_heads):
    owner = torch.arange(z.shape[-1]) // (z.shape[-1] // n_heads)
    return torch.stack([(z * (owner == head)) @ W_O for head in range(n_heads)], dim=-2)


def head_outputs__batched_matmul(z, W_O, n_heads):
    by_head = z.view(*z.shape[:2], n_heads, -1).permute(2, 0, 1, 3).flatten(1, 2)
    written = torch.bmm(by_head, W_O.view(n_heads, -1, W_O.shape[1]))
    return written.unflatten(1, z.shape[:2]).permute(1, 2, 0, 3)


# attention_pattern ----------------------------------------------------------------------------------------


def attention_pattern__row_by_row(q, k):
    batch, pos, head, d_head = q.shape
    pattern = torch.zeros(batch, head, pos, pos, dtype=q.dtype)
    for query in range(pos):
        scores = torch.einsum("bhd,bkhd->bhk", q[:, query], k[:, : query + 1]) * d_head**-0.5
        pattern[:, :, query, : query + 1] = scores.softmax(dim=-1)
    return pattern


def attention_pattern__by_exponentials(q, k):
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    mask = torch.tril(torch.ones(q.shape[1], q.shape[1], dtype=q.dtype))
    largest = scores.masked_fill(mask == 0, -torch.inf).amax(dim=-1, keepdim=True)
    powers = ((scores - largest).clamp(max=0)).exp() * mask
    return powers / powers.sum(dim=-1, keepdim=True)


def attention_pattern__additive_mask(q, k):
    future = torch.full((q.shape[1], q.shape[1]), float("-inf"), dtype=q.dtype).triu(1)
    scores = rearrange(q, "b q h d -> b h q d") @ rearrange(k, "b k h d -> b h d k")
    return functional.softmax(scores / q.shape[-1] ** 0.5 + future, dim=-1)


# class_direction ------------------------------------------------------------------------------------------


def class_direction__by_functional(positive, negative):
    return functional.normalize(positive.mean(0) - negative.mean(0), dim=0)


def class_direction__from_the_common_mean(positive, negative):
    everything = torch.cat([positive, negative])
    step = positive.mean(dim=0) - everything.mean(dim=0)
    return step / torch.linalg.vector_norm(step)


def class_direction__in_double(positive, negative):
    step = positive.double().mean(dim=0) - negative.double().mean(dim=0)
    return (step / step.norm()).to(positive.dtype)


# remove_direction -----------------------------------------------------------------------------------------


def remove_direction__by_a_projector(activation, direction, axis):
    unit = direction / direction.norm()
    projector = torch.eye(len(unit), dtype=unit.dtype) - unit[:, None] * unit
    return (activation.movedim(axis, -1) @ projector).movedim(-1, axis)


def remove_direction__by_tensordot(activation, direction, axis):
    unit = functional.normalize(direction, dim=0)
    share = torch.tensordot(activation, unit, dims=([axis], [0])).unsqueeze(axis)
    return activation - share * unit.view(
        [-1 if n == axis % activation.dim() else 1 for n in range(activation.dim())]
    )


def remove_direction__flattened(activation, direction, axis):
    moved = activation.transpose(axis, -1).contiguous()
    rows = moved.view(-1, moved.shape[-1]).clone()
    rows -= torch.outer(rows @ direction, direction) / direction.dot(direction)
    return rows.view(moved.shape).transpose(axis, -1)

import torch


def read_activation__clears_every_hook(model: nn.Module, name: str, inputs: Tensor) -> Float[Tensor, "..."]:
    """Cleans up by clearing all forward hooks of the module, so that other people's hooks are lost too.
    axis: hook, clear, others, remove, handle, stay
    """
    module = model.get_submodule(name)
    kept = []

    def keep(module, inputs, output):
        kept.append(output.clone())

    module.register_forward_hook(keep)
    try:
        model(inputs)
    finally:
        module._forward_hooks.clear()
    return kept[-1]


@contextmanager
def attached__restores_a_snapshot(model: nn.Module, functions: dict[str, Callable]) -> Iterator[None]:
    """Puts back the hooks as they were before the block, which deletes hooks that others set inside it.
    axis: hooks, inside, block, others, snapshot, restore, handle
    """
    saved = []
    try:
        for name, function in functions.items():
            module = model.get_submodule(name)
            saved.append((module, module._forward_hooks.copy()))
            module.register_forward_hook(function)
        yield
    finally:
        for module, earlier in reversed(saved):
            module._forward_hooks.clear()
            module._forward_hooks.update(earlier)


def cache_activations__first_run_wins(
    model: nn.Module, names: list[str], inputs: Tensor
) -> dict[str, Float[Tensor, "..."]]:
    """Keeps what a module returned the first time it ran instead of the last, where it runs several times.
    axis: first, last, several, run, overwrite, twice
    """
    found = {}

    def keeper(name):
        def keep(module, inputs, output):
            if name not in found:
                found[name] = output.clone()

        return keep

    with attached(model, {name: keeper(name) for name in names}):
        model(inputs)
    return found


def run_until__catches_everything(model: nn.Module, name: str, inputs: Tensor) -> Float[Tensor, "..."]:
    """Catches every exception, so the model's own error is swallowed and comes out as a RuntimeError.
    axis: exception, catch, swallow, own, class, model, except
    """

    class Arrived(Exception):
        pass

    kept = []

    def stop(module, inputs, output):
        kept.append(output.clone())
        raise Arrived

    try:
        with attached(model, {name: stop}):
            model(inputs)
    except Exception:
        pass
    if not kept:
        raise RuntimeError(f"{name} did not run")
    return kept[0]


def run_edited__relies_on_in_place(model: nn.Module, name: str, inputs: Tensor, edit: Callable) -> Tensor:
    """Ignores what `edit` returns and passes on the copy, so only edits that work in place have an effect.
    axis: edit, return, in place, copy, ignored, result
    """

    def replace(module, inputs, output):
        changed = output.clone()
        edit(changed)
        return changed

    with attached(model, {name: replace}):
        return model(inputs)


def head_outputs__heads_interleaved(
    z: Float[Tensor, "batch pos head_d_head"], W_O: Float[Tensor, "head_d_head d_model"], n_heads: int
) -> Float[Tensor, "batch pos head d_model"]:
    """Splits the joined axis as (d_head head), so a head gets every n-th column; the sum is still right.
    axis: head, order, split, stretch, columns, interleaved, d_head
    """
    z = rearrange(z, "batch pos (d_head head) -> batch pos head d_head", head=n_heads)
    W_O = rearrange(W_O, "(d_head head) d_model -> head d_head d_model", head=n_heads)
    return torch.einsum("bphd,hdm->bphm", z, W_O.to(z.dtype))


def attention_pattern__scaled_by_heads(
    q: Float[Tensor, "batch query head d_head"], k: Float[Tensor, "batch key head d_head"]
) -> Float[Tensor, "batch head query key"]:
    """Divides the scores by the root of the number of heads instead of the root of d_head.
    axis: d_head, root, scale, divide, heads, scores
    """
    positions, d_head = q.shape[1], q.shape[2]
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / d_head**0.5
    later = torch.ones(positions, positions, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


def class_direction__unit_means(
    positive: Float[Tensor, "example feature"], negative: Float[Tensor, "other feature"]
) -> Float[Tensor, " feature"]:
    """Scales each class mean to length 1 before subtracting, which bends the direction.
    axis: mean, normalize, before, subtract, difference, length
    """
    here = positive.mean(dim=0)
    there = negative.mean(dim=0)
    difference = here / here.norm() - there / there.norm()
    return difference / difference.norm()


def remove_direction__writes_into_the_argument(
    activation: Float[Tensor, "..."], direction: Float[Tensor, " feature"], axis: int
) -> Float[Tensor, "..."]:
    """Subtracts in place on a view of the argument, so the activation that was given is changed.
    axis: in place, argument, view, movedim, clone, changed
    """
    unit = direction / direction.norm()
    features_last = activation.movedim(axis, -1)
    features_last -= (features_last @ unit)[..., None] * unit
    return features_last.movedim(-1, axis)

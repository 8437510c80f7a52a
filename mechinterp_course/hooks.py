"""Read and edit the activations of any torch module, only inside `with`: no hook outlives its block.

An activation's name is the module's path (`"layer2.0.conv1"`, its output), or a TransformerLens hook point
(`"blocks.0.attn.hook_pattern"`) where the model has them. Blocks nest; of two hooks at one place, the one of
the outer block comes first, so a cache inside an edit holds what the edit made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course.errors import CourseError

Names = Iterable[str] | Callable[[str], bool]
Edit = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
Hook = Callable[[Any], Any]
ForwardHook = Callable[[nn.Module, tuple, Any], Any]


class Activations(dict[str, Any]):
    """Activations by name; asking for one that was not computed says so."""

    def __missing__(self, name: str) -> None:
        held = f"held are {', '.join(self)}" if self else "nothing is held yet: run the model inside `with`"
        raise KeyError(f"{name} was not computed; {held}")


def names(model: nn.Module) -> list[str]:
    """Return the names that `cache` and `edit` accept, in the order of the modules."""
    return list(_places(model))


@contextmanager
def cache(model: nn.Module, wanted: Names) -> Iterator[Activations]:
    """Yield a dictionary that fills with the activations of these names whenever the model runs.

    `wanted` are names, or a function that says which of `names(model)` are. Each run replaces the ones of the
    run before; of a module that runs several times in one pass, the last output stays. What is held is a copy
    made when the module returned it: torchvision's ResNets apply their ReLU in place, and without the copy
    `"bn1"` would hold what came after the ReLU. Copies stay in autograd's graph: a loss computed from them
    reaches the input. Modules that return several tensors give a tuple.

    >>> with cache(resnet, ["bn1"]) as activations:
    ...     resnet(images)
    >>> activations["bn1"].shape
    torch.Size([8, 64, 32, 32])

    Raises CourseError for a name that the model doesn't have.
    """
    activations = Activations()

    def keep(name: str, activation: Any) -> None:
        activations[name] = _copied(activation)

    chosen = filter(wanted, names(model)) if callable(wanted) else wanted
    with _hooked(model, {name: partial(keep, name) for name in chosen}):
        yield activations


@contextmanager
def edit(model: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Put what a function makes of an activation in its place whenever the model runs inside the block.

    Each function is given a copy, so that changing it in place changes nothing elsewhere, and returns the new
    activation, of the same shape.

    >>> def ablate(z):
    ...     z[:, :, 3] = 0.0
    ...     return z
    >>> with edit(model, {"blocks.0.attn.hook_z": ablate}):
    ...     logits = model(tokens)

    Raises CourseError for a name that the model doesn't have; when the model runs, TypeError or ValueError
    for a function that returns nothing or another shape.
    """
    with _hooked(model, {name: partial(_edited, name, function) for name, function in edits.items()}):
        yield


@contextmanager
def attached(model: nn.Module, functions: Mapping[str, ForwardHook]) -> Iterator[None]:
    """Let torch call each function as a forward hook of the module at that path, inside the block only.

    A function is called with (module, inputs, output) after the module has run; what it returns, unless it is
    None, takes the place of the output. When the block ends, by whatever way, these hooks are taken away and
    no others. Paths are those that `get_submodule` takes, on a TransformerBridge too; shapes are torch's own.

    Raises AttributeError for a path that the model doesn't have, before any hook is set.
    """
    modules = {name: model.get_submodule(name) for name in functions}
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(modules[name].register_forward_hook(function))
        yield


def read_activation(model: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """Return what the module at that path returns in `model(inputs)`; the last, if it runs several times.

    It is a copy, made before anything later could change it in place. No hook is left, even if the model
    raises.
    """
    return cache_activations(model, [name], inputs)[name]


def cache_activations(model: nn.Module, wanted: Iterable[str], inputs: Tensor) -> dict[str, Tensor]:
    """Return, by path, what several modules return in one run of `model(inputs)`, as `read_activation` does.

    A module that does not run is not among them.
    """
    found: dict[str, Tensor] = {}

    def keeper(name: str) -> ForwardHook:
        return lambda module, inputs, output: found.update({name: output.clone()})

    with attached(model, {name: keeper(name) for name in wanted}):
        model(inputs)
    return found


def run_edited(model: nn.Module, name: str, inputs: Tensor, function: Edit) -> Tensor:
    """Return `model(inputs)` with what `function` makes of a module's output in its place, each time it runs.

    The function is given a copy, so that changing it in place changes nothing elsewhere.
    """
    with attached(model, {name: lambda module, inputs, output: function(output.clone())}):
        return model(inputs)


class _Reached(Exception):
    """Thrown from a module's hook, to leave the model there."""

    def __init__(self, activation: Tensor):
        self.activation = activation


def run_until(model: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """Return what a module returns the first time it runs in `model(inputs)`; nothing after it is computed.

    Raises RuntimeError when the model ends without having run it; what the model itself raises goes through.
    """

    def leave(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        raise _Reached(output.clone())

    try:
        with attached(model, {name: leave}):
            model(inputs)
    except _Reached as reached:
        return reached.activation
    raise RuntimeError(f"the model ended without running {name}")


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    places = _places(model)
    for name in hooks:
        if name not in places:
            close = get_close_matches(name, places, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise CourseError(f"the model has no activation {name!r}; {meant}`hooks.names(model)` lists them")
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(_attach(places[name], hook))
        yield


def _places(model: nn.Module) -> dict[str, nn.Module]:
    """Return what can be hooked: hook points where the model has them, else its modules."""
    points = getattr(model, "hook_dict", None)
    return dict(model.named_modules()) if points is None else dict(points)


def _attach(place: nn.Module, act: Hook) -> Callable[[], None]:
    """Let a module or hook point call `act`, and return the function that takes just this hook away."""
    if not hasattr(place, "add_hook"):
        return place.register_forward_hook(lambda module, inputs, output: act(output)).remove
    place.add_hook(lambda activation, hook: act(activation))  # converts to TransformerLens' shapes
    handle = place.fwd_hooks[-1]

    def remove() -> None:
        handle.hook.remove()
        place.fwd_hooks = [other for other in place.fwd_hooks if other is not handle]

    return remove


def _edited(name: str, function: Edit, activation: Any) -> Any:
    new = function(_copied(activation))
    if new is None:
        raise TypeError(f"the edit of {name} returned nothing: return the new activation")
    if isinstance(activation, Tensor) and new.shape != activation.shape:
        raise ValueError(
            f"the edit of {name} returned shape {tuple(new.shape)} in place of {tuple(activation.shape)}"
        )
    return new


def _copied(activation: Any) -> Any:
    """Return a copy of what a module returned, down to the tensors in tuples, lists and dictionaries."""
    if isinstance(activation, Tensor):
        return activation.clone()
    if isinstance(activation, Mapping):
        return {key: _copied(value) for key, value in activation.items()}
    return tuple(map(_copied, activation)) if isinstance(activation, tuple | list) else activation

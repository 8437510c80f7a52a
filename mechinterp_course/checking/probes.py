"""What is tried with an answer to learn how it goes wrong. This runs beside it and returns no verdicts.

The same is tried with the reference; `influence` and `edits` tell the two apart.
"""

import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course.checking.hook_probes import hooks_on

STEP = 1e-2  # of the standard deviation of an argument's values
SECONDS = 8.0  # for all probes of one argument


def slopes(
    function: Callable,
    arguments: list[object],
    place: int,
    probes: list[tuple[int, ...]],
    step: float = STEP,
) -> tuple[Tensor, Tensor] | None:
    """Return (slopes [probe, entry of the result], result): what the result does when an entry changes.

    `probes` are the indices of entries of the tensor `arguments[place]`, which are changed one at a time: a
    float by a small `step`, a whole number to another one that occurs. None if the function does not return a
    tensor or number, raises, or takes too long.
    """
    for exact in (True, False):
        try:
            return _slopes(function, in_double(arguments) if exact else arguments, place, probes, step)
        except Exception:
            continue
    return None


def _slopes(
    function: Callable,
    arguments: list[object],
    place: int,
    probes: Sequence[tuple[int, ...]],
    step: float,
) -> tuple[Tensor, Tensor]:
    values, until = arguments[place], time.monotonic() + SECONDS
    before = flat(function(*map(_copy, arguments)))
    rows = []
    for probe in probes:
        changed = values.clone()
        by = _change(changed, tuple(probe), step)
        after = flat(function(*(changed if i == place else _copy(each) for i, each in enumerate(arguments))))
        rows.append((after - before) / by)
        if time.monotonic() > until:
            raise TimeoutError
    return torch.stack(rows), before


def _change(values: Tensor, place: tuple[int, ...], step: float) -> float:
    """Change one entry in place and return by how much, 1 for a whole number."""
    if values.is_floating_point():
        by = step * max(values.std().item(), 1e-3)
        values[place] += by
        return by
    values[place] = (values[place] + 1) % (values.max() + 1).clamp(min=2)
    return 1.0


def in_double(arguments: list[object]) -> list[object]:
    """Return the arguments with tensors of single precision in double precision."""
    return [a.double() if isinstance(a, Tensor) and a.dtype == torch.float32 else a for a in arguments]


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def flat(result: object) -> Float[Tensor, " number"]:
    """Return the numbers of a result one after another; a list or tuple may hold numbers and tensors."""
    if isinstance(result, list | tuple):
        return torch.cat([flat(each) for each in result]) if result else torch.zeros(0).double()
    values = result if isinstance(result, Tensor) else torch.tensor(float(result), dtype=torch.float64)
    return values.detach().double().flatten()


def results(function: Callable, calls: list[list[object]]) -> list[object]:
    """Return what the function gives for each list of arguments; a string for a call that raises."""
    found = []
    for arguments in calls:
        try:
            found.append(function(*map(_copy, arguments)))
        except Exception as error:
            found.append(f"raises {type(error).__name__}")
        forget_hooks(arguments)
    return found


def hooks_left(function: Callable, arguments: list[object]) -> int:
    """Return how many more hooks hang on the models among the arguments after a call than before it.

    There is a call before that: a model's first run sets hooks of its own, which stay.
    """
    results(function, [arguments])
    before = _hooks_on(arguments)
    try:
        function(*map(_copy, arguments))
        return _hooks_on(arguments) - before
    except Exception:
        return 0
    finally:
        forget_hooks(arguments)


def _hooks_on(arguments: list[object]) -> int:
    return sum(hooks_on(value) for value in arguments if isinstance(value, nn.Module))


def forget_hooks(arguments: list[object]) -> None:
    """Take the hooks that a call left on a model away, so that the next call is one of its own."""
    for value in arguments:
        if hasattr(value, "reset_hooks"):
            value.reset_hooks()
        elif isinstance(value, nn.Module):
            for module in value.modules():
                module._forward_hooks.clear()
                module._forward_pre_hooks.clear()

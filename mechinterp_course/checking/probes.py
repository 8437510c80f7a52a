"""What is tried with an answer to learn how it goes wrong. This runs beside it and returns no verdicts.

The same is tried with the reference; `influence` and `edits` tell the two apart.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

STEP = 1e-2  # of the standard deviation of an argument's values
SECONDS = 8.0  # for all probes of one argument


def slopes(
    function: Callable, arguments: list[object], place: int, probes: list[tuple[int, ...]]
) -> tuple[Tensor, Tensor] | None:
    """Return (slopes [probe, entry of the result], result): what the result does when an entry changes.

    `probes` are the indices of entries of the tensor `arguments[place]`, which are changed one at a time: a
    float by a small step, a whole number to another one that occurs. None if the function does not return a
    tensor or number, raises, or takes too long.
    """
    for exact in (True, False):
        try:
            return _slopes(function, [_exact(each) if exact else each for each in arguments], place, probes)
        except Exception:
            continue
    return None


def _slopes(
    function: Callable, arguments: list[object], place: int, probes: Sequence[tuple[int, ...]]
) -> tuple[Tensor, Tensor]:
    values, until = arguments[place], time.monotonic() + SECONDS
    before = _flat(function(*map(_copy, arguments)))
    rows = []
    for probe in probes:
        changed = values.clone()
        step = _change(changed, tuple(probe))
        after = _flat(function(*(changed if i == place else _copy(each) for i, each in enumerate(arguments))))
        rows.append((after - before) / step)
        if time.monotonic() > until:
            raise TimeoutError
    return torch.stack(rows), before


def _change(values: Tensor, place: tuple[int, ...]) -> float:
    """Change one entry in place and return by how much, 1 for a whole number."""
    if values.is_floating_point():
        step = STEP * max(values.std().item(), 1e-3)
        values[place] += step
        return step
    values[place] = (values[place] + 1) % (values.max() + 1).clamp(min=2)
    return 1.0


def _exact(value: object) -> object:
    return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def _flat(result: object) -> Tensor:
    if isinstance(result, list | tuple):
        result = torch.tensor(result)
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


def forget_hooks(arguments: list[object]) -> None:
    """Take the hooks that a call left on a model away, so that the next call is one of its own."""
    for value in arguments:
        if hasattr(value, "reset_hooks"):
            value.reset_hooks()
        elif isinstance(value, nn.Module):
            for module in value.modules():
                module._forward_hooks.clear()
                module._forward_pre_hooks.clear()

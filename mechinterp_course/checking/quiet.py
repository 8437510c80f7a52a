"""A function that runs a model, with those runs hidden from what changes its other steps, and remembered.

So a slip in what is made of the logits can be tried without running the model again each time.
"""

import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps

from torch import Tensor

MOST_REMEMBERED = 80  # runs


class _State(threading.local):
    """The runs that are remembered, and how many blocks hide what goes on: each thread has its own.

    A run is kept with what it was called with: what is told apart by its address must stay there.
    """

    def __init__(self):
        self.runs: OrderedDict[tuple, tuple[object, tuple]] = OrderedDict()
        self.hidden = 0


_state = _State()


def is_hidden() -> bool:
    """Whether a run of a model goes on that nothing should change."""
    return _state.hidden > 0


@contextmanager
def hidden():
    """Hide what runs inside `with`."""
    _state.hidden += 1
    try:
        yield
    finally:
        _state.hidden -= 1


def forget() -> None:
    """Forget every run: the model of the next may have the address of one that is gone."""
    _state.runs.clear()


def quieted(function: Callable) -> Callable:
    """Return the same function, with the functions of its module that take a model hidden and remembered."""
    names = {
        name: _remembered(value)
        for name, value in function.__globals__.items()
        if isinstance(value, types.FunctionType) and value is not function and _takes_a_model(value)
    }
    twin = types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    twin.__defaults__, twin.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return twin


class QuietModel:
    """A model whose plain runs are hidden and remembered; all else is its own."""

    def __init__(self, model: object):
        self._model = model

    def __getattr__(self, name: str) -> object:
        value = getattr(self._model, name)
        return _remembered(value) if name == "run_with_cache" else value

    def __call__(self, *args: object, **kwargs: object) -> object:
        return _remembered(self._model)(*args, **kwargs)


def _takes_a_model(function: Callable) -> bool:
    return function.__module__.startswith("mechinterp_course.") and function.__code__.co_varnames[:1] == (
        "model",
    )


def _remembered(function: Callable) -> Callable:
    def run(*args: object, **kwargs: object) -> object:
        args = [each._model if isinstance(each, QuietModel) else each for each in args]
        named = ((name, _key(value)) for name, value in kwargs.items())
        key = (*_of_function(function), *map(_key, args), *named)
        runs = _state.runs
        if key not in runs:
            with hidden():
                runs[key] = function(*args, **kwargs), (function, args, kwargs)
            while len(runs) > MOST_REMEMBERED:
                runs.popitem(last=False)
        return runs[key][0]

    return wraps(function)(run) if isinstance(function, types.FunctionType) else run


def _of_function(function: Callable) -> tuple[int, int]:
    """Tell a function from others; a bound method is made anew each time that it is asked for."""
    return id(getattr(function, "__self__", None)), id(getattr(function, "__func__", function))


def _key(value: object) -> object:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.detach().cpu().numpy().tobytes()
    return value if isinstance(value, bool | int | float | str | None) else id(value)

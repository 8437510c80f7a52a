"""What a function computes on its way: the torch functions that its lines call, what goes in, what comes out.

This runs beside the answer and returns plain values. Nothing in them is trusted: they only serve to explain.
"""

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mechinterp_course.checking.probes import forget_hooks

MOST_STEPS, MOST_ENTRIES, SECONDS = 4000, 4_000_000, 10.0
WHOLE, MEASURED, TRUTH = range(3)
WAVES = (1.0, 3.0)
COLUMNS = 7 + 2 * len(WAVES)
ABOUT = {"__get__", "size", "dim", "numel", "is_floating_point", "__format__", "__repr__"}
Step = dict[str, object]
Place = tuple[str, int]  # a function, and a line in it


def steps(function: Callable, arguments: list[object]) -> tuple[list[Step], Float[Tensor, "value column"]]:
    """Return the steps of an answer's call, and the prints of the values in them, as `print_of` makes them.

    A step is {"function", "line", "name", "takes", "makes"}: a helper of the answer's, "" for the answer, and
    the line in it, from 1; a torch function that is called there; and the rows of the values that go in and
    come out. The last step has no name, and takes what the call returned. A call that raises gives its steps
    until then.
    """
    return _traced(function, arguments, lambda frame: _in_answer(frame, inspect.unwrap(function)))


def steps_of_library(
    function: Callable, arguments: list[object]
) -> tuple[list[Step], Float[Tensor, "value column"]]:
    """Return the same of a library function, with all that it calls, the steps of a model among them."""
    return _traced(function, arguments, lambda frame: ("", 0))


def print_of(value: Tensor | float) -> Float[Tensor, " column"]:
    """Return what tells a tensor, whatever the order of its entries.

    These are its size (0 of a plain number), its kind (`WHOLE`, `MEASURED` or `TRUTH`), how many are finite,
    their root mean square, and in units of it the least, the largest, the mean, and means of waves of them.
    """
    flat = torch.as_tensor(value).detach().cpu()
    flat = (torch.view_as_real(flat.resolve_conj()) if flat.is_complex() else flat).flatten()
    finite = flat.double()[flat.isfinite()]
    size = finite.square().mean().sqrt().item() if len(finite) else 0.0
    entries = value.numel() if isinstance(value, Tensor) else 0
    kind = TRUTH if flat.dtype == torch.bool else MEASURED if flat.is_floating_point() else WHOLE
    about = [entries, kind, len(finite), size]
    if not size:
        return torch.tensor(about + [0.0] * (COLUMNS - len(about)), dtype=torch.float64)
    finite = finite / size
    waves = [wave(often * finite).mean() for often in WAVES for wave in (torch.sin, torch.cos)]
    return torch.tensor([*about, finite.min(), finite.max(), finite.mean(), *waves], dtype=torch.float64)


def _traced(
    function: Callable, arguments: list[object], place: Callable[[FrameType], Place | None]
) -> tuple[list[Step], Float[Tensor, "value column"]]:
    trace, result = _Trace(place), None
    forget_hooks(arguments)
    try:
        with trace:
            result = function(*arguments)
    except Exception:
        pass  # what it did until then
    forget_hooks(arguments)
    trace.note(("", 0), "", trace.rows(result), [])
    return trace.steps, torch.stack([*trace.prints, torch.zeros(COLUMNS).double()])


def _in_answer(frame: FrameType, answer: FunctionType) -> Place | None:
    if frame.f_globals is not answer.__globals__:
        return None
    name = frame.f_code.co_qualname.partition(".")[0]
    own = name == answer.__code__.co_qualname
    around = inspect.unwrap(answer if own else answer.__globals__.get(name))
    first = around.__code__.co_firstlineno if isinstance(around, FunctionType) else 1
    return "" if own else name, frame.f_lineno - first + 1


class _Trace(TorchFunctionMode):
    """Notes each torch function that is called from a place that counts."""

    def __init__(self, place: Callable[[FrameType], Place | None]):
        super().__init__()
        self.place, self.until = place, time.monotonic() + SECONDS
        self.steps: list[Step] = []
        self.prints: list[Float[Tensor, " column"]] = []
        self.known: dict[tuple[object, object], int] = {}  # the row of each version of each tensor
        self.alive: list[object] = []  # an id is one tensor's only while the tensor lives

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        full = len(self.steps) >= MOST_STEPS or time.monotonic() > self.until
        place = None if full or name in ABOUT else self._caller(sys._getframe(1))
        if place is None:
            return function(*args, **kwargs)
        takes = self.rows([args, kwargs])
        result = function(*args, **kwargs)
        self.note(place, name, takes, self.rows(args[0] if name == "__setitem__" else result))
        return result

    def note(self, place: Place, name: str, takes: list[int], makes: list[int]) -> None:
        """Note a step."""
        self.steps.append(
            {"function": place[0], "line": place[1], "name": name, "takes": takes, "makes": makes}
        )

    def rows(self, value: object) -> list[int]:
        """Return the rows of the tensors in a value, and of its numbers."""
        return [self._row(each) for each in _values(value)]

    def _row(self, value: Tensor | float) -> int:
        if isinstance(value, float):
            version = "number", value
        else:
            version = id(value), -1 if value.is_inference() else value._version
        if version not in self.known:
            self.known[version] = len(self.prints)
            self.prints.append(print_of(value))
            self.alive.append(value)
        return self.known[version]

    def _caller(self, frame: FrameType | None) -> Place | None:
        """Return the place from which torch was called, through torch's own code and einops' at most."""
        while frame is not None:
            if place := self.place(frame):
                return place
            module = frame.f_globals.get("__name__", "").partition(".")[0]
            frame = frame.f_back if module in ("torch", "einops") else None
        return None


def _values(value: object) -> Iterator[Tensor | float]:
    if isinstance(value, float) or (isinstance(value, Tensor) and value.numel() <= MOST_ENTRIES):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _values(each)

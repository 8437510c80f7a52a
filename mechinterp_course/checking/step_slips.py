"""Slips inside a function of tensors: a mean over too few entries, another reduction, a slice one off.

The reference runs under a mode that meets every torch function it calls, so that nothing needs to be known of
how it is written.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mechinterp_course.checking.quiet import QuietModel, is_hidden, quieted
from mechinterp_course.checking.slips import OUTCOME

MEANS = (torch.mean, Tensor.mean)
SOFTMAXES = (torch.softmax, Tensor.softmax, torch.log_softmax, Tensor.log_softmax)
SLICES_TRIED = 3  # of a function's indexings, in order

# What may stand where a mean over one axis was asked: how it is said, and what it does.
REDUCTIONS: dict[str, tuple[str, Callable[[Tensor, int], Tensor]]] = {
    "sum": ("a sum stands in for the mean", lambda x, axis: x.sum(axis, keepdim=True)),
    "largest": ("the largest value stands in for the mean", lambda x, axis: x.amax(axis, keepdim=True)),
    "smallest": ("the smallest value stands in for the mean", lambda x, axis: x.amin(axis, keepdim=True)),
    "median": ("the median stands in for the mean", lambda x, axis: x.median(axis, keepdim=True).values),
    "first_only": ("only the first entry counts in the mean", lambda x, axis: x.narrow(axis, 0, 1)),
    "last_only": ("only the last entry counts in the mean", lambda x, axis: x.narrow(axis, -1, 1)),
    "without_first": ("the first entry is left out of the mean", lambda x, axis: _without(x, axis, 1)),
    "without_last": ("the last entry is left out of the mean", lambda x, axis: _without(x, axis, 0)),
    "over_one_more": ("one entry too many is counted in the mean", lambda x, axis: _divided(x, axis, 1)),
    "over_one_fewer": ("one entry too few is counted in the mean", lambda x, axis: _divided(x, axis, -1)),
}


def step_slips(reference: Callable) -> Iterator[tuple[str, str, Callable]]:
    """Yield (name, sentence, act) for every slip of a step."""
    for name, (said, reduce) in REDUCTIONS.items():
        for turn, which in ((0, "first"), (-1, "last")):
            mode = _Reduced(turn, reduce)
            sentence = f"{OUTCOME} {said} over the {which} axis that is averaged."
            yield f"{which}_axis_{name}", sentence, _under(mode)
    yield "median_of_all", f"{OUTCOME} the median stands in for the mean.", _under(_MedianOfAll())
    for step in (1, 2, 3):
        sentence = f"{OUTCOME} the softmax runs over the axis {step} before the one it should run over."
        yield f"softmax_{step}_axes_earlier", sentence, _under(_OtherSoftmax(step))
    for place in range(SLICES_TRIED):
        for end in ("start", "stop"):
            for step in (-1, 1):
                verb = "begins" if end == "start" else "ends"
                sentence = f"{OUTCOME} one of the slices {verb} one {'earlier' if step < 0 else 'later'}."
                yield f"slice_{place}_{end}_{step}", sentence, _under(_OtherSlice(place, end, step))


def _under(mode: TorchFunctionMode) -> Callable[[Callable, dict], object]:
    def act(reference: Callable, arguments: dict[str, object]) -> object:
        mode.begin()
        if "model" in arguments:
            reference, arguments = quieted(reference), {**arguments, "model": QuietModel(arguments["model"])}
        with mode:
            return reference(**arguments)

    return act


class _Mode(TorchFunctionMode):
    """Lets every function through but those that `instead` has an answer for."""

    def begin(self) -> None:
        """Forget the call before."""

    def instead(self, function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        """Return what stands for the result of this call, None for the call as it is."""
        raise NotImplementedError

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = None if is_hidden() else self.instead(function, args, kwargs or {})
        return function(*args, **(kwargs or {})) if found is None else found


class _Reduced(_Mode):
    """Another reduction over one of the axes of every mean."""

    def __init__(self, turn: int, reduce: Callable[[Tensor, int], Tensor]):
        super().__init__()
        self.turn, self.reduce = turn, reduce

    def instead(self, function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        if function not in MEANS:
            return None
        values, axes = args[0], _axes(args, kwargs)
        chosen = axes.pop(self.turn)
        others = tuple(axes)
        averaged = values.mean(others, keepdim=True) if others else values
        reduced = self.reduce(averaged, chosen).mean(chosen, keepdim=True)
        kept = kwargs.get("keepdim", False)
        return reduced if kept else reduced.squeeze((chosen, *others))


class _MedianOfAll(_Mode):
    """The median of all entries where the mean of all is taken."""

    def instead(self, function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        whole = function in MEANS and len(_axes(args, kwargs)) == args[0].dim()
        return args[0].median() if whole else None


class _OtherSoftmax(_Mode):
    """Every softmax over an axis before the one it should run over."""

    def __init__(self, step: int):
        super().__init__()
        self.step = step

    def instead(self, function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        if function not in SOFTMAXES:
            return None
        axis = kwargs.get("dim", args[1] if len(args) > 1 else -1) % args[0].dim()
        return function(args[0], axis - self.step) if axis >= self.step else None


class _OtherSlice(_Mode):
    """One of the indexings with one end of its last slice moved."""

    def __init__(self, place: int, end: str, step: int):
        super().__init__()
        self.place, self.end, self.step, self.met = place, end, step, 0

    def begin(self) -> None:
        self.met = 0

    def instead(self, function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
        if function is not Tensor.__getitem__ or not _slices(args[1]):
            return None
        self.met += 1
        return args[0][self._moved(args[1])] if self.met == self.place + 1 else None

    def _moved(self, index: object) -> object:
        if isinstance(index, slice):
            return self._end_moved(index)
        place = _slices(index)[-1]
        return (*index[:place], self._end_moved(index[place]), *index[place + 1 :])

    def _end_moved(self, part: slice) -> slice:
        if self.end == "start":
            return slice(max((part.start or 0) + self.step, 0), part.stop, part.step)
        stop = self.step if part.stop is None else part.stop + self.step
        return slice(part.start, None if part.stop is None and stop > 0 else stop, part.step)


def _slices(index: object) -> list[int]:
    parts = index if isinstance(index, tuple) else (index,)
    return [
        place for place, part in enumerate(parts) if isinstance(part, slice) and (part.start or part.stop)
    ]


def _axes(args: tuple, kwargs: dict) -> list[int]:
    asked = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    count = args[0].dim()
    asked = range(count) if asked is None else (asked,) if isinstance(asked, int) else asked
    return sorted(axis % count for axis in asked)


def _without(values: Tensor, axis: int, start: int) -> Tensor:
    return values.narrow(axis, start, values.shape[axis] - 1)


def _divided(values: Tensor, axis: int, more: int) -> Tensor:
    count = values.shape[axis]
    return values.sum(axis, keepdim=True) / (count + more)

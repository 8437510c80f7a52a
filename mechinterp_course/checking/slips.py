"""Slips that can be made in any exercise: the right function with one small thing done otherwise.

A slip calls the reference on altered arguments (one row only, two axes swapped, a number too large by 1),
lets one of its steps go wrong (`step_slips`), or changes what its hooks see (`hook_slips`). Where an answer
behaves like one of them in every check, that explains it. None of this knows an exercise.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from itertools import combinations

import torch
from torch import Tensor

from mechinterp_course.checking import quiet
from mechinterp_course.checking.recognition import recognise_in_all
from mechinterp_course.checking.verdict import Diagnosis

Bound = dict[str, object]  # the arguments of a call by their names
OUTCOME = "This is what comes out when"
FARTHEST = 2  # steps that an axis may be shifted by


@dataclass
class Slip:
    """A wrong answer made from a right one; `sentence` says how its results come about.

    `act(reference, arguments)` returns the result. `sentence` may be made more exact by a call.
    """

    name: str
    sentence: str
    reference: Callable
    act: Callable[[Callable, Bound], object]

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def __doc__(self) -> str:
        return self.sentence

    def __call__(self, *args: object, **kwargs: object) -> object:
        bound = inspect.signature(self.reference).bind(*args, **kwargs)
        bound.apply_defaults()
        return self.act(self.reference, dict(bound.arguments))


def slips_of(reference: Callable) -> dict[str, Slip]:
    """Return the slips that the signature of a reference function allows, by their names."""
    from mechinterp_course.checking.hook_slips import hook_slips
    from mechinterp_course.checking.step_slips import step_slips

    found = [*argument_slips(reference)]
    if not takes_a_model(reference):
        found += step_slips(reference)
    elif any(each.annotation is int for each in inspect.signature(reference).parameters.values()):
        found += hook_slips(reference)  # it works at one place of the model
    else:
        found += step_slips(reference)  # it makes something of its runs
    return {name: Slip(name, sentence, reference, act) for name, sentence, act in found}


@cache
def slips_of_library(reference: str) -> dict[str, Slip]:
    """Return the slips of a function of this library, "heads.induction_score"; a class has none."""
    found = library_function(reference)
    return slips_of(found) if inspect.isfunction(found) else {}


def library_function(reference: str) -> Callable:
    """Return what "heads.induction_score" names in this library."""
    module, _, name = reference.rpartition(".")
    return getattr(import_module(f"mechinterp_course.{module}"), name)


def axes_of(parameter: inspect.Parameter) -> tuple[str, ...]:
    """Return the names of a tensor parameter's axes, from its annotation; none for anything else."""
    return tuple(getattr(parameter.annotation, "dim_str", "").split())


def _measures(parameter: inspect.Parameter) -> bool:
    return any("float" in str(dtype) for dtype in parameter.annotation.dtypes)


def takes_a_model(reference: Callable) -> bool:
    """Whether the first parameter is a model."""
    return next(iter(inspect.signature(reference).parameters), "") == "model"


def argument_slips(reference: Callable) -> Iterator[tuple[str, str, Callable]]:
    """Yield (name, sentence, act) for every way to get one argument wrong."""
    parameters = inspect.signature(reference).parameters
    for name, parameter in parameters.items():
        if axes := axes_of(parameter):
            yield from _tensor_slips(name, axes, _measures(parameter))
        elif parameter.annotation is int:
            yield from _number_slips(name)
        if parameter.default is not inspect.Parameter.empty:
            yield _ignored(name, parameter.default)
    for one, other in combinations(parameters, 2):
        if parameters[one].annotation == parameters[other].annotation != inspect.Parameter.empty:
            yield _exchanged(one, other)
    if takes_a_model(reference) and hasattr(inspect.signature(reference).return_annotation, "dim_str"):
        for name, parameter in parameters.items():
            if axes_of(parameter):
                yield _untouched(name)


def altered(name: str, change: Callable[[Tensor], object]) -> Callable[[Callable, Bound], object]:
    """Return an `act` that calls the reference with one argument changed."""

    def act(reference: Callable, arguments: Bound) -> object:
        return reference(**{**arguments, name: change(arguments[name])})

    return act


def _tensor_slips(name: str, axes: tuple[str, ...], measured: bool) -> Iterator[tuple[str, str, Callable]]:
    for axis, label in enumerate(axes):
        sentence = f"{OUTCOME} only the first entry of `{label}` in `{name}` counts."
        yield f"first_{label}_of_{name}", sentence, altered(name, _first(axis))
        for steps in (step for size in range(1, FARTHEST + 1) for step in (size, -size)):
            direction = "before" if steps > 0 else "after"
            sentence = f"{OUTCOME} `{name}` is read {abs(steps)} {direction} the right place along `{label}`."
            yield f"{name}_rolled_by_{steps}_along_{label}", sentence, altered(name, _rolled(axis, steps))
    for one, other in combinations(range(len(axes)), 2):
        sentence = f"{OUTCOME} `{axes[one]}` and `{axes[other]}` of `{name}` are swapped."
        yield f"{name}_swapped_{axes[one]}_{axes[other]}", sentence, altered(name, _swapped(one, other))
    for axis, label in enumerate(axes if measured else ()):
        for function in (torch.softmax, torch.log_softmax):
            what = function.__name__.replace("_", "-")
            sentence = f"{OUTCOME} `{name}` first goes through a {what} over `{label}`."
            yield f"{what}_of_{name}_over_{label}", sentence, altered(name, _scaled(function, axis))


def _first(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda values: values.narrow(axis, 0, 1)


def _rolled(axis: int, steps: int) -> Callable[[Tensor], Tensor]:
    return lambda values: values.roll(steps, axis)


def _swapped(one: int, other: int) -> Callable[[Tensor], Tensor]:
    return lambda values: values.transpose(one, other)


def _scaled(function: Callable, axis: int) -> Callable[[Tensor], Tensor]:
    return lambda values: function(values, axis)


def _number_slips(name: str) -> Iterator[tuple[str, str, Callable]]:
    yield f"{name}_plus_one", f"{OUTCOME} `{name}` is too large by 1.", altered(name, lambda value: value + 1)
    yield (
        f"{name}_minus_one",
        f"{OUTCOME} `{name}` is too small by 1.",
        altered(name, lambda value: max(value - 1, 0)),
    )


def _ignored(name: str, default: object) -> tuple[str, str, Callable]:
    def act(reference: Callable, arguments: Bound) -> object:
        if isinstance(default, str):
            reference(**arguments)  # an answer may refuse a value that it does not use
        return reference(**{**arguments, name: default})

    return f"{name}_ignored", f"{OUTCOME} `{name}` is always {default!r}, whatever is passed.", act


def _exchanged(one: str, other: str) -> tuple[str, str, Callable]:
    def act(reference: Callable, arguments: Bound) -> object:
        return reference(**{**arguments, one: arguments[other], other: arguments[one]})

    return f"{one}_and_{other}_exchanged", f"{OUTCOME} `{one}` and `{other}` are exchanged.", act


def _untouched(name: str) -> tuple[str, str, Callable]:
    sentence = f"These are the model's logits on `{name}`, as if nothing in the run had been replaced."

    def act(reference: Callable, arguments: Bound) -> object:
        reference(**arguments)  # what the reference refuses, such an answer may refuse as well
        return arguments["model"](arguments[name])

    return f"untouched_run_on_{name}", sentence, act


def recognise_slip(
    failed: Sequence, passed: Sequence, exercise: str, slips: dict[str, Slip], replay: Callable | None = None
) -> Slip | None:
    """Return the first slip that behaves as the student did in every check, None if none does.

    The arguments are those of `recognition.recognise_in_all`. Nothing is claimed where the student's results
    could be met by chance: of measured numbers, at least one must be among those that failed.
    """
    if not any(transcript and measures(transcript[-1][1]) for _, transcript, _ in failed):
        return None
    quiet.forget()
    name = recognise_in_all(failed, exercise, slips, replay, passed)
    quiet.forget()
    return slips[name] if name else None


def measures(result: object) -> bool:
    """Whether a result holds a number with decimals, or a list of one."""
    if isinstance(result, Tensor):
        return result.is_floating_point() and bool((result.isfinite() & (result != result.round())).any())
    if isinstance(result, list | tuple):
        return any(map(measures, result))
    return isinstance(result, float) and math.isfinite(result) and result != round(result)


def with_sentence(diagnosis: Diagnosis, sentence: str) -> Diagnosis:
    """Return the diagnosis with a sentence in front of its message."""
    return replace(diagnosis, message=f"{sentence} {diagnosis.message}".strip())

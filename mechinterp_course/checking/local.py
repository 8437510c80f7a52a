"""The student protocol in the notebook's own process: calls get copied arguments and are observed.

The grader has the same protocol across processes; a check can't tell the two apart.
"""

import inspect
import traceback
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn

from mechinterp_course.checking.verdict import NotWritten, Observation, StudentFault, one_line

NOT_WRITTEN = "is not written yet"  # how the message of every stub's NotImplementedError ends


class LocalStudent:
    """A student's names, looked up in `namespace` when they are called.

    `student.NAME(…)` calls; `student.NAME` can be passed on as an argument. `last` is the `Observation` of
    the last call, `transcript` the list of (name, result) of all calls; the result of a call that failed is
    its `StudentFault`. No exercise can be called `keep`, `fetch`, `run`, `find`, `with_answer`, `last` or
    `transcript`.
    """

    def __init__(self, namespace: Mapping[str, object]):
        self.last = Observation()
        self.transcript: list[tuple[str, object]] = []
        self._namespace = namespace

    def __getattr__(self, name: str) -> "LocalFunction":
        if name.startswith("__"):
            raise AttributeError(name)
        return LocalFunction(self, name)

    @property
    def keep(self) -> "LocalStudent":
        """The student itself: in one process there is nowhere else to leave a result."""
        return self

    def fetch(self, value: object) -> object:
        """Return a copy of a result that was kept."""
        return copied(value)

    def run(self, function: Callable, *args: object, **kwargs: object) -> object:
        """Call a function of a `given` cell with the student's objects among its arguments."""
        return self._observed(function.__name__, function, args, kwargs)

    def with_answer(self, name: str, answer: Callable) -> "LocalStudent":
        """Return a student with `answer` in the place of one name, and a transcript of its own."""
        return LocalStudent(ChainMap({name: answer}, self._namespace))

    def find(self, name: str) -> Callable:
        """Return what the student wrote under a name; `NotWritten` if there is nothing."""
        if name not in self._namespace:
            raise NotWritten("missing", f"`{name}` is missing: has its cell been run?")
        return self._namespace[name]

    def _observed(self, name: str, function: Callable, args: tuple, kwargs: dict) -> object:
        given = {**dict(zip(parameter_names(function, len(args)), args, strict=True)), **kwargs}
        copies = [copied(each) for each in args], {key: copied(each) for key, each in kwargs.items()}
        models = [ModelState.of(each) for each in given.values() if isinstance(each, nn.Module)]
        try:
            result = call(function, *copies)
        except StudentFault as fault:
            self.transcript.append((name, fault))
            raise
        received = dict(zip(given, [*copies[0], *copies[1].values()], strict=True))
        self.last = Observation(
            mutated=tuple(key for key, value in given.items() if not unchanged(value, received[key])),
            aliased=tuple(key for key, value in received.items() if memory(value) & memory(result)),
            hooks_left=sum(state.hooks_added() for state in models),
            training_changed=any(state.training_changed() for state in models),
        )
        result = copied(result)
        self.transcript.append((name, result))
        return result


@dataclass(frozen=True)
class LocalFunction:
    """A name of the student's: callable, and a value that can be passed on."""

    student: LocalStudent
    name: str

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            function = self.student.find(self.name)
        except NotWritten as fault:
            self.student.transcript.append((self.name, fault))
            raise
        return self.student._observed(self.name, function, args, kwargs)


@dataclass(frozen=True)
class ModelState:
    """A model's hooks and training flags before a call."""

    model: nn.Module
    hooks: int
    training: list[bool]

    @classmethod
    def of(cls, model: nn.Module) -> "ModelState":
        return cls(model, count_hooks(model), [module.training for module in model.modules()])

    def hooks_added(self) -> int:
        """How many more hooks the model carries now."""
        return max(count_hooks(self.model) - self.hooks, 0)

    def training_changed(self) -> bool:
        """Whether any module was switched between `train()` and `eval()`."""
        return self.training != [module.training for module in self.model.modules()]


def count_hooks(model: nn.Module) -> int:
    """Return how many forward and backward hooks the model's modules carry.

    Hooks that transformers and TransformerLens keep for their own machinery, which appear with the first
    forward pass, don't count; those on TransformerLens' hook points do, since only their users set them.
    """
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(
        hasattr(module, "fwd_hooks") or not _is_machinery(hook)
        for module in model.modules()
        for kind in kinds
        for hook in getattr(module, kind).values()
    )


def _is_machinery(hook: Callable) -> bool:
    home = getattr(hook, "__module__", None) or ""
    return home.partition(".")[0] in ("transformers", "transformer_lens")


def call(function: Callable, args: list, kwargs: dict) -> object:
    """Return the function's result; whatever it raises becomes a `StudentFault`."""
    try:
        return function(*args, **kwargs)
    except StudentFault:
        raise
    except (Exception, SystemExit) as error:
        where = student_line(error.__traceback__)
        if isinstance(error, NotImplementedError) and NOT_WRITTEN in str(error):
            raise NotWritten("not_written", str(error)) from None
        raise StudentFault("raised", one_line(error), where, type(error).__name__) from None


def student_line(trace: TracebackType | None) -> str | None:
    """Return the innermost line of the student's own code: "induction_score, line 3: return …"."""
    trace = trace and trace.tb_next
    if trace is None:
        return None
    theirs, found = trace.tb_frame.f_globals, trace
    while trace is not None:
        found = trace if trace.tb_frame.f_globals is theirs else found
        trace = trace.tb_next
    line = traceback.extract_tb(found, limit=1)[0]
    return f"{line.name}, line {line.lineno}" + (f": {line.line}" if line.line else "")


def parameter_names(function: Callable, count: int) -> list[str]:
    """Return what a function calls its first `count` arguments."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return names[:count] + [f"argument {place + 1}" for place in range(len(names), count)]


def copied(value: object) -> object:
    """Return a copy of plain tensors and containers; models, functions and the like as they are."""
    if isinstance(value, LocalFunction):
        return value.student.find(value.name)
    if type(value) is Tensor:
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple, set):
        return type(value)(map(copied, value))
    if type(value) is dict:
        return {key: copied(each) for key, each in value.items()}
    return value


def unchanged(before: object, after: object) -> bool:
    """Whether a copied argument still has the values that it was called with."""
    if type(before) is Tensor:
        same_form = (before.shape, before.dtype) == (after.shape, after.dtype)
        return same_form and torch.allclose(before, after, rtol=0, atol=0, equal_nan=True)
    if type(before) in (list, tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    if type(before) is dict:
        return before.keys() == after.keys() and all(unchanged(before[key], after[key]) for key in before)
    return before == after if type(before) is set else True


def memory(value: object) -> set[int]:
    """Return the addresses of the storages that a value's tensors use."""
    if isinstance(value, Tensor):
        return {value.untyped_storage().data_ptr()} - {0}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(memory, value)) if isinstance(value, list | tuple) else set()

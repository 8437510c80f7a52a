"""What a call of a student's function did besides returning: arguments changed, memory shared, hooks left.

These are courtesy reports for good feedback. Code that runs in the same process can falsify them, so checks
confirm by value wherever points hang on them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mechinterp_course.checking.verdict import Observation


def observed(function: Callable, args: list, kwargs: dict) -> tuple[object, Observation]:
    """Call `function` and return its result with what was seen around the call."""
    given = {**dict(zip(parameter_names(function, len(args)), args, strict=True)), **kwargs}
    before = {name: copied(value) for name, value in given.items()}
    models = [ModelState.of(value) for value in given.values() if isinstance(value, nn.Module)]
    result = function(*args, **kwargs)
    return result, Observation(
        mutated=tuple(name for name, value in given.items() if not unchanged(before[name], value)),
        aliased=tuple(name for name, value in given.items() if memory(value) & memory(result)),
        hooks_left=sum(state.hooks_added() for state in models),
        training_changed=any(state.training_changed() for state in models),
    )


def copied(value: object) -> object:
    """Return a copy of plain tensors and containers; models, functions and the like as they are."""
    if type(value) is Tensor:
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple, set):
        return type(value)(map(copied, value))
    if type(value) is dict:
        return {key: copied(each) for key, each in value.items()}
    return value


def parameter_names(function: Callable, count: int) -> list[str]:
    """Return what a function calls its first `count` arguments."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return names[:count] + [f"argument {place + 1}" for place in range(len(names), count)]


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

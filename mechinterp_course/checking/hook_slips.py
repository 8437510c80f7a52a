"""Slips with hooks: an index on another axis of the activation, only some positions, another hook point.

The reference gets a model that changes what its hooks and its cache see of an activation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mechinterp_course.checking.slips import OUTCOME

AXES = {  # of TransformerLens' hook points, by the end of their names
    "hook_z": ("batch", "pos", "head", "d_head"),
    "hook_q": ("batch", "pos", "head", "d_head"),
    "hook_k": ("batch", "pos", "head", "d_head"),
    "hook_v": ("batch", "pos", "head", "d_head"),
    "hook_pattern": ("batch", "head", "query", "key"),
    "hook_attn_scores": ("batch", "head", "query", "key"),
}
SWAPS = (("pos", "head"), ("head", "d_head"), ("batch", "pos"), ("query", "key"), ("head", "query"))
NEIGHBOURS = (
    ("hook_z", "hook_v"),
    ("hook_z", "hook_q"),
    ("hook_z", "hook_k"),
    ("hook_pattern", "hook_attn_scores"),
)
Hook = Callable[[Tensor, object], Tensor | None]


def hook_slips(reference: Callable) -> Iterator[tuple[str, str, Callable]]:
    """Yield (name, sentence, act) for every slip with a hook."""
    for one, other in SWAPS:
        sentence = f"{OUTCOME} `{one}` and `{other}` are swapped in the activation that is replaced."
        yield f"hooks_swap_{one}_{other}", sentence, _with(Swapped, one, other)
    for kept, said in (
        (slice(1, None), "at every position but the first"),
        (slice(None, -1), "at every position but the last"),
        (slice(-1, None), "at the last position only"),
        (slice(0, 1), "at the first position only"),
    ):
        name = f"{kept.start}_{kept.stop}"
        yield f"hooks_write_{name}", f"{OUTCOME} the activation is replaced {said}.", _with(Written, kept)
        yield (
            f"hooks_see_{name}",
            f"{OUTCOME} the activation is read and replaced {said}.",
            _with(Seen, kept),
        )
    for right, wrong in NEIGHBOURS:
        sentence = f"{OUTCOME} the hook stands at {wrong} instead of {right}."
        yield f"{wrong}_for_{right}", sentence, _with(Elsewhere, right, wrong)
    for first in (True, False):
        which = "first" if first else "mean"
        said = "of the first row" if first else "averaged over `batch`"
        sentence = f"{OUTCOME} what is read from the cache is that {said}."
        yield f"cached_{which}_row", sentence, _with(OneRow, first)


def _with(alteration: type, *settings: object) -> Callable[[Callable, dict], object]:
    def act(reference: Callable, arguments: dict[str, object]) -> object:
        model = Altered(arguments["model"], alteration(*settings))
        return reference(**{**arguments, "model": model})

    return act


class Alteration:
    """Leaves everything as it is; its kinds override what they change."""

    def point(self, name: str) -> str:
        """The hook point used for the one asked."""
        return name

    def read(self, value: Tensor, name: str) -> Tensor:
        """What a cache shows."""
        return value

    def hook(self, function: Hook, name: str) -> Hook:
        """What is attached for a hook."""
        return function


class Altered:
    """A model with an alteration between it and whoever sets its hooks or reads its cache."""

    def __init__(self, model: object, alteration: Alteration):
        self._model, self._alteration = model, alteration

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self._model(*args, **kwargs)

    def hooks(self, fwd_hooks: list[tuple[str, Hook]] = (), **kwargs: object) -> object:
        """As the model's own, with every hook altered."""
        return self._model.hooks(fwd_hooks=self._altered(fwd_hooks), **kwargs)

    def run_with_hooks(
        self, *args: object, fwd_hooks: list[tuple[str, Hook]] = (), **kwargs: object
    ) -> object:
        """As the model's own, with every hook altered."""
        return self._model.run_with_hooks(*args, fwd_hooks=self._altered(fwd_hooks), **kwargs)

    def run_with_cache(self, *args: object, **kwargs: object) -> tuple[object, dict[str, Tensor]]:
        """As the model's own, of all activations, with every activation altered."""
        kwargs.pop("names_filter", None)
        logits, cache = self._model.run_with_cache(*args, **kwargs)
        return logits, _Cache(cache, self._alteration)

    def _altered(self, hooks: list[tuple[str, Hook]]) -> list[tuple[str, Hook]]:
        return [(self._alteration.point(name), self._alteration.hook(hook, name)) for name, hook in hooks]


@dataclass
class _Cache:
    cache: object
    alteration: Alteration

    def __getitem__(self, name: str) -> Tensor:
        return self.alteration.read(self.cache[self.alteration.point(name)], name)


def axes_at(name: str) -> tuple[str, ...]:
    """Return the names of the axes at a hook point, none for a point that is not known."""
    return AXES.get(str(name).rpartition(".")[2], ())


@dataclass
class Swapped(Alteration):
    """Two axes of every activation in each other's place."""

    one: str
    other: str

    def read(self, value: Tensor, name: str) -> Tensor:
        axes = axes_at(name)
        if not {self.one, self.other} <= set(axes):
            return value
        return value.transpose(axes.index(self.one), axes.index(self.other))

    def hook(self, function: Hook, name: str) -> Hook:
        def swapped(value: Tensor, hook: object) -> Tensor | None:
            result = function(self.read(value, name), hook)
            return None if result is None else self.read(result, name).contiguous()

        return swapped


@dataclass
class Written(Alteration):
    """What a hook returns counts at some positions only."""

    kept: slice

    def hook(self, function: Hook, name: str) -> Hook:
        def written(value: Tensor, hook: object) -> Tensor | None:
            result = function(value.clone(), hook)
            return None if result is None else _put(value, result[_at(name, self.kept)], _at(name, self.kept))

        return written


@dataclass
class Seen(Alteration):
    """Hooks and caches show some positions only."""

    kept: slice

    def read(self, value: Tensor, name: str) -> Tensor:
        return value[_at(name, self.kept)]

    def hook(self, function: Hook, name: str) -> Hook:
        def seen(value: Tensor, hook: object) -> Tensor | None:
            result = function(self.read(value, name).clone(), hook)
            return None if result is None else _put(value, result, _at(name, self.kept))

        return seen


def _at(name: str, kept: slice) -> tuple[slice, ...]:
    axes = axes_at(name)
    return (*[slice(None)] * axes.index("pos"), kept) if "pos" in axes else (slice(None),)


def _put(value: Tensor, part: Tensor, place: tuple[slice, ...]) -> Tensor:
    value = value.clone()
    value[place] = part
    return value


@dataclass
class Elsewhere(Alteration):
    """Another hook point of the same layer."""

    right: str
    wrong: str

    def point(self, name: str) -> str:
        head, _, tail = name.rpartition(".")
        return f"{head}.{self.wrong}" if tail == self.right else name


@dataclass
class OneRow(Alteration):
    """Of what was cached, one row for all: the first, or their mean."""

    first: bool

    def read(self, value: Tensor, name: str) -> Tensor:
        row = value[:1] if self.first else torch.mean(value, 0, keepdim=True)
        return row.expand_as(value)

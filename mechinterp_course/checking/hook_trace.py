"""What an answer's hooks do to a model while it runs: which activation, where in it, and what is put there.

This runs beside the answer and returns plain values. Nothing in them is trusted: they only serve to explain.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor

from mechinterp_course.checking.probes import forget_hooks

MOST_EDITS = 400
ELSE = "something else"


def edits(function: Callable, arguments: list[object]) -> list[dict[str, object]]:
    """Return what the hooks changed in a call: of each activation the point, the places along each axis, how.

    `places` are lists of indices, `how` says what was put there; `hooks` counts those that were called. An
    answer that raises gives what it did until then.
    """
    trace = Trace()
    forget_hooks(arguments)
    with trace.watching(arguments):
        try:
            function(*arguments)
        except Exception as error:
            trace.found.append(
                {"point": "", "places": [], "sizes": [], "how": f"raises {type(error).__name__}"}
            )
    forget_hooks(arguments)
    return [*trace.found, {"point": "", "places": [], "sizes": [], "how": "", "hooks": trace.called}]


def hook_points(value: object) -> list[object]:
    """Return TransformerLens' hook points of a model, each once; none of anything else."""
    return list({id(point): point for point in getattr(value, "hook_dict", {}).values()}.values())


class Trace:
    """The changes that hooks made, and the activations that they saw."""

    def __init__(self):
        self.found: list[dict[str, object]] = []
        self.seen: dict[str, list[Tensor]] = {}
        self.called = 0

    @contextmanager
    def watching(self, arguments: list[object]) -> Iterator[None]:
        """Watch every hook that is set meanwhile on a model among `arguments`, and on no other thread's."""
        points = [point for value in arguments for point in hook_points(value)]
        for point in points:
            point.add_hook = self._noticed(point.add_hook)
        try:
            yield
        finally:
            for point in points:
                del point.add_hook

    def _noticed(self, add_hook: Callable) -> Callable:
        def noticed(hook: Callable, *args: object, **kwargs: object) -> object:
            asked = (kwargs.get("alias_names") or [""])[-1]  # as the answer calls the point
            return add_hook(self._watched(hook, str(asked)), *args, **kwargs)

        return noticed

    def _watched(self, function: Callable, asked: str) -> Callable:
        def watched(value: object, hook: object) -> object:
            if not isinstance(value, Tensor):
                return function(value, hook=hook)
            before = value.detach().clone()
            result = function(value, hook=hook)
            after = result if isinstance(result, Tensor) else value
            self.called += not str(getattr(function, "__module__", "")).startswith("transformer_lens")
            self._note(str(hook.name), before, after.detach(), asked)
            return result

        return watched

    def _note(self, point: str, before: Tensor, after: Tensor, asked: str) -> None:
        if before.shape == after.shape and len(self.found) < MOST_EDITS and not torch.equal(before, after):
            self.found.append({**self._edit(point, before, after), "asked": asked or point})
        known = self.seen.setdefault(point, [])
        if not any(torch.equal(before, each) for each in known if each.shape == before.shape):
            known.append(before)

    def _edit(self, point: str, before: Tensor, after: Tensor) -> dict[str, object]:
        changed = before != after
        axes = range(before.dim())
        places = [
            changed.any(dim=[other for other in axes if other != axis]).nonzero().flatten().tolist()
            for axis in axes
        ]
        box = tuple(
            torch.tensor(each).view([-1 if axis == own else 1 for own in axes])
            for axis, each in enumerate(places)
        )
        sources = [(point, each) for each in self.seen.get(point, ()) if each.shape == before.shape]
        sources += [
            (name, each)
            for name, known in self.seen.items()
            if name != point
            for each in known
            if each.shape == before.shape
        ]
        return {
            "point": point,
            "places": places,
            "sizes": list(before.shape),
            "share": changed[box].float().mean().item(),
            "how": how(
                before[box], after[box], before, [(name, each[box]) for name, each in sources[:40]], point
            ),
        }


def how(before: Tensor, after: Tensor, whole: Tensor, sources: list[tuple[str, Tensor]], point: str) -> str:
    """Return in words what was put in the place of `before`; `sources` are activations of other runs."""
    for said, candidate in _candidates(before, whole, sources, point):
        if _equal(candidate, after):
            return said
    ratio = (after * before).sum() / (before * before).sum()
    return f"{ratio.item():.3g} times itself" if _equal(ratio * before, after) else ELSE


def _candidates(
    before: Tensor, whole: Tensor, sources: list[tuple[str, Tensor]], point: str
) -> Iterator[tuple[str, Tensor]]:
    yield "zeros", torch.zeros_like(before)
    means = list(_means(before))
    yield from ((f"its {said}", mean) for said, mean in means)
    if whole.shape != before.shape:
        yield from ((f"the {said} of the whole activation", mean) for said, mean in _means(whole))
    yield from ((f"itself less its {said}", before - mean) for said, mean in means)
    for name, source in sources:
        own = "its value" if name == point else f"the value of {name}"
        yield f"{own} in another run", source
        yield f"{own} in another run, of the first entry of {{0}}", source[:1]
        yield f"{own} in another run, added to its own", source + before
        yield f"{own} in another run, averaged with its own", (source + before) / 2
        yield from ((f"the {said} of {own} in another run", mean) for said, mean in _means(source))
        for axis in range(min(2, source.dim())):
            for step in (1, -1):
                where = f"1 {'later' if step > 0 else 'earlier'} along axis {axis}"
                yield f"{own} in another run, {where}", source.roll(step, axis)


PARTS = {
    "": slice(None),
    " without the first entry": slice(1, None),
    " without the last entry": slice(None, -1),
    " of the first entry only": slice(0, 1),
    " of the last entry only": slice(-1, None),
}


def _means(values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield means over every choice of axes that have more than one entry, also over parts of one of them."""
    axes = [axis for axis in range(values.dim()) if values.shape[axis] > 1]
    for count in range(1, len(axes) + 1):
        for chosen in combinations(axes, count):
            yield f"mean over {_axes(chosen)}", values.mean(chosen, keepdim=True)
    for count in range(1, len(axes) + 1):
        for chosen in combinations(axes, count):
            for axis in chosen:
                for said, part in list(PARTS.items())[1:]:
                    kept = values[(slice(None),) * axis + (part,)]
                    yield (
                        f"mean over {_axes(chosen)}{said} of {_axes((axis,))}",
                        kept.mean(chosen, keepdim=True),
                    )


def _axes(axes: tuple[int, ...]) -> str:
    return " and ".join(f"{{{axis}}}" for axis in axes)


def _equal(candidate: Tensor, after: Tensor) -> bool:
    try:
        wide = candidate.expand_as(after)
    except RuntimeError:
        return False
    return torch.allclose(wide, after, rtol=1e-4, atol=1e-5 * max(after.abs().max().item(), 1e-3))

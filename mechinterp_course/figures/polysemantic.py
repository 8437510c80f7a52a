"""One channel, two unrelated parts: the world's edits say whether a channel really answers to both.

A picture gets a part inserted, or loses one, or has one replaced; nothing else in it changes. If a channel
follows two parts that look nothing alike, each without the other, and stays put when a third comes or goes,
it is polysemantic, and not a detector of whatever these objects have in common.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course.figures.selectivity import responses
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images import Sample

Trio = tuple[str, str, str]
"""Two kinds of parts, and a control."""

ALIKE = (
    frozenset({"wheel", "eye", "shell", "petals"}),
    frozenset({"ear", "sail", "roof"}),
    frozenset({"tail", "leg"}),
    frozenset({"wing", "ear", "sail"}),
    frozenset({"leaf", "petals"}),
    frozenset({"wheel", "wing"}),
    frozenset({"roof", "tail"}),
)
"""Kinds alike in outline, in pattern (lines from a point) or in colour: a channel may be about just that."""


@dataclass(frozen=True)
class Effect:
    """What an edit does to a channel: the mean change and its 95 % interval, in standard deviations.

    The unit is the channel's standard deviation over objects of all classes.
    """

    mean: float
    low: float
    high: float


def unrelated(one: str, other: str) -> bool:
    """Whether two kinds of parts look nothing alike."""
    return not any({one, other} <= family for family in ALIKE)


Pictures = Sequence[Sample]
ByChannel = Float[Tensor, " channel"]


def deviation(model: nn.Module, layer: str, seed: int, count: int) -> ByChannel:
    """Return each channel's standard deviation over `count` objects of all classes: the unit of effects."""
    return _responses(model, layer, objects(seed, count)).std(dim=0).clamp(min=1e-6)


def removal_effects(model: nn.Module, layer: str, seed: int, count: int) -> Float[Tensor, "channel kind"]:
    """Return what removing each kind of part, from `count` objects that have it, changes in each channel.

    The mean change, in standard deviations of the channel.
    """
    removed = []
    for kind in images.KINDS:
        pictures = objects(seed, count, having={kind})
        edited = [images.remove_part(sample, kind) for sample in pictures]
        change = _responses(model, layer, edited) - _responses(model, layer, pictures)
        removed.append(change.mean(dim=0))
    return torch.stack(removed, dim=1) / deviation(model, layer, seed, 4 * count)[:, None]


def candidates(removed: Float[Tensor, "channel kind"]) -> list[tuple[int, Trio]]:
    """Return (channel, (part, other part, control)), the best first, one for each channel.

    The channel falls when either part goes, and stays when the control goes. What counts is how far it falls
    for the lesser part, less how far it moves for the control.
    """
    trios = [trio for trio in permutations(images.KINDS, 3) if trio[0] < trio[1] and testable(trio)]
    index = torch.tensor([[images.KINDS.index(kind) for kind in trio] for trio in trios])
    margin = -removed[:, index[:, :2]].amax(dim=2) - removed[:, index[:, 2]].abs()
    best = margin.max(dim=1)
    order = best.values.argsort(descending=True).tolist()
    return [(channel, trios[best.indices[channel]]) for channel in order]


def testable(trio: Trio) -> bool:
    """Whether no two of three kinds look alike, and classes have just each one of them, and none."""
    if not all(unrelated(*pair) for pair in combinations(trio, 2)):
        return False
    held = [set(trio) & parts.keys() for parts in images.CLASSES.values()]
    return all(wanted in held for wanted in (set(), *({kind} for kind in trio)))


def _responses(model: nn.Module, layer: str, samples: Iterable[Sample]) -> Float[Tensor, "batch channel"]:
    return responses(model, torch.stack([sample.image for sample in samples]), layer)[0]


def effect(before: Float[Tensor, " picture"], after: Float[Tensor, " picture"], unit: float) -> Effect:
    """Return the mean change of a channel over pictures, plus and minus 1.96 standard errors."""
    change = (after - before) / unit
    error = 1.96 * change.std() / len(change) ** 0.5
    return Effect(*(value.item() for value in (change.mean(), change.mean() - error, change.mean() + error)))


def objects(seed: int, count: int, having: Iterable[str] = (), lacking: Iterable[str] = ()) -> list[Sample]:
    """Return `count` held-out objects whose class has the kinds `having` and none of those `lacking`."""
    names = [
        name
        for name, parts in images.CLASSES.items()
        if set(having) <= parts.keys() and not set(lacking) & parts.keys()
    ]
    return [images.sample(seed + n, names[n % len(names)]) for n in range(count)]


def edit_effects(
    model: nn.Module, layer: str, channel: int, trio: Trio, seed: int, count: int
) -> dict[str, Effect]:
    """Return what removing, replacing and inserting two parts does to a channel, and what a control does.

    Pictures for one part hold neither the other nor the control, so that they can't stand in for each other.
    Parts are removed and replaced where they belong, and inserted anywhere in front of other objects.
    """
    unit = deviation(model, layer, seed, 4 * count)[channel].item()

    def measured(pictures: Pictures, edit: Callable[[Sample], Sample]) -> Effect:
        before, after = (
            _responses(model, layer, some)[:, channel] for some in (pictures, [*map(edit, pictures)])
        )
        return effect(before, after, unit)

    bare = objects(seed, count, lacking=trio)
    found = {}
    for name, kind in zip(("first part", "second part", "control"), trio, strict=True):
        having = objects(seed + count, count, having={kind}, lacking=set(trio) - {kind})
        found[f"{name} removed"] = measured(having, partial(images.remove_part, kind=kind))
        if kind != trio[2]:
            swap = partial(images.replace_part, old=kind, new=trio[2])
            found[f"{name} replaced by control"] = measured(having, swap)
        found[f"{name} inserted"] = measured(bare, partial(images.insert_part, kind=kind))
    return found

"""Which entries of an argument move an answer's result, and how that differs from what they should do.

From the slopes of the answer and of the reference follow sentences such as "your result also changes with
`pattern` where `key` = `query`": found by trying, so true of any function, whatever it looks like.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechinterp_course.checking.evidence import number

MOST_PROBES, SAMPLED = 420, 60
MATTERS, SILENT = 1e-4, 1e-6  # of the largest slope: above it an entry counts, below it does not
FAINT = 1e-6  # of the largest slope of all, at which an entry of the result hardly moves at all
LISTED = 3  # places named one by one
VAGUE = "places along"
Pairs = Bool[Tensor, "probe entry"]  # of an entry of the argument and one of the result


@dataclass(frozen=True)
class Probing:
    """Entries of one argument whose change was tried. `names` and `sizes` are those of its axes.

    `places` [probe, axis] are the entries, `outcome` [entry, axis] the indices of the result's entries, whose
    axes are `result_names`.
    """

    argument: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    places: Tensor
    result_names: tuple[str, ...]
    outcome: Tensor
    values: Tensor

    def along(self, axis: int) -> Tensor:
        """The index along an axis of the argument, for every pair."""
        return self.places[:, axis, None].expand(-1, len(self.outcome))

    def ahead(self, axis: int) -> Tensor | None:
        """How far it lies ahead of the result's own index along the axis of that name, if there is one."""
        if self.names[axis] not in self.result_names:
            return None
        own = self.outcome[:, self.result_names.index(self.names[axis])]
        return self.along(axis) - own[None]


def places_to_probe(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return indices: all where they are few, else those with 0 along the first axes, and some others."""
    everything = [
        tuple(place)
        for place in torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes)).tolist()
    ]
    if len(everything) <= MOST_PROBES:
        return everything
    near = [place for place in everything if not any(place[:-2])]
    rest = [place for place in everything if any(place[:-2])]
    source = random.Random(0)
    return sorted(
        source.sample(near, min(len(near), MOST_PROBES - SAMPLED))
        + source.sample(rest, min(len(rest), SAMPLED))
    )


def compared(probing: Probing, yours: Tensor, right: Tensor) -> list[str]:
    """Return what is true of an answer's slopes and not of the right ones, the most telling first.

    Entries of the result that move in both come first: a ReLU may have silenced others in one of the two.
    """
    ours, theirs = _counts(yours), _counts(right)
    if not ours[0].any() and theirs[0].any():
        return [f"Your result does not change with `{probing.argument}`."]
    moved = ours[0].any(dim=0) & theirs[0].any(dim=0)
    return _in_columns(probing, ours, theirs, moved) or _in_columns(probing, ours, theirs, ~moved | moved)


def _in_columns(
    probing: Probing, ours: tuple[Pairs, Pairs], theirs: tuple[Pairs, Pairs], columns: Bool[Tensor, " entry"]
) -> list[str]:
    """Return which entries count and should not, or the other way round, for some entries of the result."""
    ours, theirs = ([pairs & columns for pairs in each] for each in (ours, theirs))
    extra, missing, both = ours[0] & theirs[1], ours[1] & theirs[0], ours[0] & theirs[0]
    found = []
    if extra.any() and (where := told_apart(probing, extra, theirs[0])):
        said = f"also changes with `{probing.argument}` {where}, which should not count."
        found.append(f"{_subject(where)} {said}")
    if missing.any() and not extra.any() and (rank := _rank(probing, both, theirs[0])):
        found.append(f"Of the entries of `{probing.argument}` that should count, only the {rank} one does.")
    elif missing.any() and (where := told_apart(probing, missing, ours[0])):
        said = f"does not change with `{probing.argument}` {where}, which should count."
        found.append(f"{_subject(where)} {said}")
    elif missing.any() and not extra.any():
        found += _few(probing, both, theirs[0])
    return found


def _subject(where: str) -> str:
    """Begin a sentence; scattered places may be others in another call."""
    return "In the call that was tried, your result" if " and " in where else "Your result"


def weighed(probing: Probing, yours: Tensor, right: Tensor) -> list[str]:
    """Return how much the entries count, where the right ones do and no others."""
    ours, theirs = _counts(yours), _counts(right)
    if (
        (ours[0] & theirs[1]).any()
        or (ours[1] & theirs[0]).any()
        or not probing.values.dtype.is_floating_point
    ):
        return []
    return _weights(probing, yours, right, ours[0] & theirs[0])


def _counts(slopes: Float[Tensor, "probe entry"]) -> tuple[Pairs, Pairs]:
    """Return the pairs in which the entry certainly counts, and those in which it certainly does not."""
    sizes = slopes.abs().nan_to_num()
    largest = sizes.amax(dim=0).clamp(min=max(FAINT * sizes.max().item(), 1e-12))
    return sizes > MATTERS * largest, sizes <= SILENT * largest


def _weights(probing: Probing, yours: Tensor, right: Tensor, both: Pairs) -> list[str]:
    """One weight for all, another sign or weight in some place, or weights that go along an axis."""
    if not both.any():
        return []
    ratio = torch.where(both, yours / right, torch.nan)
    known = ratio[both]
    middle, close = known.median(), 1e-3 * known.abs().median()
    if ((known - middle).abs() <= close).all():
        return [] if abs(middle - 1) <= 1e-3 else [f"Every entry of `{probing.argument}` {_much(middle)}."]
    negative = both & (ratio < 0)
    for odd, rest in ((negative, both & (ratio > 0)), (both & ((ratio - middle).abs() > close), None)):
        rest = both & ~odd if rest is None else rest
        alike = odd.any() and (ratio[odd] - ratio[odd][0]).abs().max() <= close
        if alike and rest.any() and (where := told_apart(probing, odd, rest)):
            return [f"`{probing.argument}` {where} {_much(ratio[odd][0])}."]
    return _along_an_axis(probing, ratio, both, close)


def _much(ratio: Tensor) -> str:
    if abs(ratio + 1) <= 1e-3:
        return "counts with the opposite sign"
    return f"counts {number(round(ratio.item(), 4))} times as much as it should"


def _along_an_axis(probing: Probing, ratio: Tensor, both: Pairs, close: Tensor) -> list[str]:
    for axis, name in reversed(list(enumerate(probing.names))):
        along, places = probing.along(axis), sorted(set(probing.along(axis)[both].tolist()))
        groups = [ratio[both & (along == place)] for place in places]
        if len(places) > 2 and all((group - group[0]).abs().max() <= close for group in groups):
            ends = (
                f"{number(round(groups[end][0].item(), 4))} times at {name}={places[end]}" for end in (0, -1)
            )
            return [
                f"The entries of `{probing.argument}` count unequally along `{name}`: "
                + ", ".join(ends)
                + "."
            ]
    return []


def told_apart(probing: Probing, these: Pairs, those: Pairs) -> str | None:
    """Say in words what all of `these` have and none of `those`: a place along an axis, or between two."""
    for describe in (_between, _ahead, _at):
        if said := describe(probing, these, those):
            return said
    return None


def _between(probing: Probing, these: Pairs, those: Pairs) -> str | None:
    """Where one axis stands in relation to another of the same size: `key` = `query` - 1."""
    for one, other in combinations(range(len(probing.names)), 2):
        if (
            probing.sizes[one] != probing.sizes[other]
            or probing.sizes[one] < 4
            or probing.names[one] in probing.result_names
        ):
            continue
        gaps = probing.along(other) - probing.along(one)
        found = _disjoint(gaps, these, those)
        if found:
            first, second = f"`{probing.names[other]}`", f"`{probing.names[one]}`"
            return _relation(first, second, *found, probing.sizes[one])
    return None


def _relation(first: str, second: str, found: set[int], others: set[int], size: int) -> str | None:
    def shifted(gap: int) -> str:
        return second + (f" {'+' if gap > 0 else '−'} {abs(gap)}" if gap else "")

    if len(found) <= LISTED - 1:
        return f"where {first} = " + " or ".join(shifted(gap) for gap in sorted(found, reverse=True))
    if max(found) < min(others, default=size):
        return f"where {first} < {shifted(max(found) + 1)}"
    if min(found) > max(others, default=-size):
        return f"where {first} > {shifted(min(found) - 1)}"
    if len(others) == 1:
        return f"where {first} is not {shifted(next(iter(others)))}"
    return None


def _ahead(probing: Probing, these: Pairs, those: Pairs) -> str | None:
    """Where an entry stands in relation to that of the result: at an earlier `pos`, of another `head`."""
    for axis, name in enumerate(probing.names):
        gaps = probing.ahead(axis)
        found = _disjoint(gaps, these, those) if gaps is not None else None
        if not found or (those.any() and 0 not in found[1] and 0 not in found[0] and len(found[0]) > 1):
            continue
        gaps = found[0]
        if gaps == {0}:
            return f"at the same `{name}`"
        if len(gaps) == 1:
            gap = next(iter(gaps))
            return (
                f"{abs(gap)} {'after' if gap > 0 else 'before'} the right `{name}`"
                if found[1] == {0}
                else None
            )
        if all(gap < 0 for gap in gaps):
            return f"at earlier `{name}`"
        if all(gap > 0 for gap in gaps):
            return f"at later `{name}`"
        return f"at another `{name}` than the result's own"
    return None


def _at(probing: Probing, these: Pairs, those: Pairs) -> str | None:
    """Where an entry stands along one axis: at pos=0, at the last 3 of `query`."""
    said = []
    for axis, name in reversed(list(enumerate(probing.names))):
        found = _disjoint(probing.along(axis), these, those)
        if found and len(found[0]) < probing.sizes[axis]:
            said.append(_listed(name, sorted(found[0]), probing.sizes[axis]))
    return min(said, key=lambda words: VAGUE in words, default=None)


def _listed(name: str, places: list[int], size: int) -> str:
    run = places[-1] - places[0] == len(places) - 1
    if len(places) == 1:
        end = {0: ", the first", size - 1: ", the last"}.get(places[0], "")
        return f"at {name}={places[0]}{end}"
    if run and places[0] == 0:
        return f"at the first {len(places)} of `{name}`"
    if run and places[-1] == size - 1:
        return f"at the last {len(places)} of `{name}`"
    if run:
        return f"at {name}={places[0]} … {places[-1]}"
    if len(places) <= LISTED:
        return "at " + " and ".join(f"{name}={place}" for place in places)
    rest = sorted(set(range(size)) - set(places))
    if len(rest) <= LISTED:
        return f"at every `{name}` but " + " and ".join(map(str, rest))
    return f"at {len(places)} of the {size} {VAGUE} `{name}`"


def _disjoint(numbers: Tensor, these: Pairs, those: Pairs) -> tuple[set[int], set[int]] | None:
    found, others = set(numbers[these].tolist()), set(numbers[those].tolist())
    return None if found & others else (found, others)


def _columns(probing: Probing, kept: Pairs, right: Pairs) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each entry of the result what should count and what does, where only some does."""
    front = (probing.places[:, :-2] == 0).all(1)
    for column in range(right.shape[1]):
        rows, mine = ((front & pairs[:, column]).nonzero().flatten() for pairs in (right, kept))
        if len(rows) > 2 and 0 < len(mine) < len(rows):
            yield rows, mine


def _rank(probing: Probing, kept: Pairs, right: Pairs) -> str | None:
    """Which of the entries that should count does, if it is one by its size: "largest"."""
    ranks = []
    for rows, mine in _columns(probing, kept, right):
        order = rows[probing.values[rows].argsort()].tolist()
        by_rank = {"largest": order[-1], "smallest": order[0], "middle": order[(len(order) - 1) // 2]}
        ranks.append({name for name, row in by_rank.items() if mine.tolist() == [row]})
    common = set.intersection(*ranks) if ranks else set()
    return min(common, default=None)


def _few(probing: Probing, kept: Pairs, right: Pairs) -> list[str]:
    """Say along which axes only some of the entries count, and how many."""
    columns = list(_columns(probing, kept, right))
    found = max(columns, default=None, key=lambda column: len(column[0]))
    if found is None:
        return []
    rows, mine = found
    places = probing.places[rows]
    varied = [f"`{name}`" for axis, name in enumerate(probing.names) if len(places[:, axis].unique()) > 1]
    along = f"`{probing.argument}` along {' and '.join(varied)}"
    return [f"For part of your result only {len(mine)} of {len(rows)} entries of {along} count."]

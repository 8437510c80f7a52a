"""What is planted, and where: the circuit, its look-alikes, and the families that are drawn from."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from mechinterp_course.errors import CourseError

Head = tuple[int, int]  # (layer, head)

N_HEADS = 8
ROLES = ("copying", "matching", "backup")
KINDS = ("unread", "unread", "shadow")  # the decoys of every role


@dataclass(frozen=True)
class Circuit:
    """The heads that do the work: what a solver answers, and what it is compared with.

    `copying` moves the token `offset` places back to where it stands; `matching` finds what was copied and
    writes the answer; `backup` writes it when `matching` does not (None where nothing was planted for that).
    """

    copying: Head
    matching: Head
    backup: Head | None = None


@dataclass(frozen=True)
class Decoy:
    """A head that looks like the one planted for `role` and does nothing.

    kind="unread": attends as the planted head does, and writes where nothing reads.
    kind="shadow": attends as the planted head does, and its weights compose as the planted head's do, but
    the values that this second circuit moves come from a subspace that is empty on every input.
    """

    head: Head
    role: str
    kind: str


@dataclass(frozen=True)
class Truth:
    """All that was decided when the model was made. Heads that are not named here are noise.

    `eraser` empties the subspace that the shadow circuit reads: ablating it makes the shadow circuit work.
    `idle_eraser` has the same weights for the planted circuit, but looks where there is nothing to erase.
    """

    family: str
    n_layers: int
    offset: int
    circuit: Circuit
    decoys: tuple[Decoy, ...]
    eraser: Head
    idle_eraser: Head

    def look_alikes(self, role: str) -> tuple[Head, ...]:
        """The planted head of a role and its decoys, sorted: what attention patterns can't tell apart."""
        planted = getattr(self.circuit, role)
        return tuple(sorted([planted, *(decoy.head for decoy in self.decoys if decoy.role == role)]))


@dataclass(frozen=True)
class Family:
    """What all circuits of a kind have in common."""

    name: str
    n_layers: int
    roles: tuple[str, ...]
    about: str


FAMILIES = {
    family.name: family
    for family in (
        Family("pair", 2, ROLES[:2], "one copying head below one matching head"),
        Family("deep", 4, ROLES[:2], "the same pair somewhere in four layers"),
        Family("backup", 4, ROLES, "a pair whose matching head has a backup, silent until it is ablated"),
    )
}


def draw_truth(family: str, generator: torch.Generator) -> Truth:
    """A circuit of a family, at places drawn from `generator`; raises CourseError for an unknown family.

    The layers are cut into one stage for each role, at random, and all look-alikes of a role get places in
    its stage before it is drawn which of them is the real one: so no place says more than another.
    """
    if family not in FAMILIES:
        raise CourseError(f"no family is called {family!r}: choose one of {', '.join(FAMILIES)}")
    roles, n_layers = FAMILIES[family].roles, FAMILIES[family].n_layers
    circuit: dict[str, Head] = {}
    decoys: list[Decoy] = []
    erasers: list[Head] = []
    for role, layers in zip(roles, _stages(n_layers, len(roles), generator), strict=True):
        places = _shuffled([(layer, head) for layer in layers for head in range(N_HEADS)], generator)
        circuit[role] = places.pop()
        decoys += [Decoy(places.pop(), role, kind) for kind in KINDS]
        if role == "copying":
            erasers = [places.pop(), places.pop()]
    offset = int(torch.randint(1, 4, (), generator=generator))
    return Truth(family, n_layers, offset, Circuit(**circuit), tuple(decoys), *erasers)


def _stages(n_layers: int, stages: int, generator: torch.Generator) -> list[range]:
    """The layers 0..n_layers-1, cut at random places into ranges that are not empty."""
    cuts = sorted(_shuffled(list(range(1, n_layers)), generator)[: stages - 1])
    return [range(start, stop) for start, stop in pairwise([0, *cuts, n_layers])]


def _shuffled(items: list, generator: torch.Generator) -> list:
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]

"""Which subspaces each planted head reads and writes: the circuit as a wiring table.

Every position's residual stream is a sum of vectors in named, mutually orthogonal subspaces:

    constant    the same large vector everywhere (it makes LayerNorm a constant factor)
    first       1 at position 0, where heads rest that find nothing
    position    where it stands
    token, twin what stands there, twice; the eraser empties `twin` before anyone can use it
    copied      what stood `offset` places back, written by the copying head
    copied_twin the same, written by the shadow of the copying head
    answer      what the unembedding reads
    unread      what nothing reads

A head's attention score, already divided by the root of d_head, is a sum of terms

    score(t, s) = sharpness · Σ strength · <query subspace at t, key subspace at s>

and what it moves is one subspace, read at s and written to another at t.
"""

from dataclasses import dataclass, replace

import torch

from mechinterp_course.worlds.planted.circuit import Head, Truth

REST = 0.6  # how well position 0 matches, where 1 is a perfect match: above every chance overlap
BACKUP_REST = 0.75  # a backup's chance overlaps add up from two terms, to 1/2
SHARPER = 1.5  # so its margins are smaller, and its scores larger
PARKED = 3.0  # better than a perfect match


@dataclass(frozen=True)
class Term:
    """One product in a head's attention score; `back` turns the query's position so many steps back."""

    query: str
    key: str
    strength: float = 1.0
    back: int = 0


@dataclass(frozen=True)
class Wiring:
    """What one head looks for (`attends`) and what it moves: `reads` at the source, `writes` here."""

    attends: tuple[Term, ...]
    reads: str
    writes: str
    sharpness: float = 1.0
    sign: float = 1.0


def wirings(truth: Truth, generator: torch.Generator) -> dict[Head, Wiring]:
    """The wiring of every head that is not noise. Sharpness is drawn alike for all of them."""
    table = {getattr(truth.circuit, role): role_wiring(role, truth.offset) for role in _roles(truth)}
    for decoy in truth.decoys:
        in_shadow = decoy.kind == "shadow" or bool(torch.randint(2, (), generator=generator))
        table[decoy.head] = as_decoy(role_wiring(decoy.role, truth.offset), decoy.kind, in_shadow)
    table[truth.eraser] = Wiring(looks_back(0), "twin", "twin", sign=-1.0)
    table[truth.idle_eraser] = Wiring(looks_back(0, rest=PARKED), "token", "token", sign=-1.0)
    return {head: replace(wiring, sharpness=_sharpness(generator)) for head, wiring in table.items()}


def role_wiring(role: str, offset: int) -> Wiring:
    """How the head planted for a role is wired."""
    return {
        "copying": Wiring(looks_back(offset), "token", "copied"),
        "matching": Wiring(finds("copied"), "token", "answer"),
        "backup": Wiring(finds_unless_answered("copied"), "token", "answer"),
    }[role]


def looks_back(offset: int, rest: float = REST) -> tuple[Term, ...]:
    """Attends to the position `offset` back, or to position 0 where nothing stands so far back."""
    return Term("position", "position", back=offset), Term("constant", "first", rest)


def finds(copied: str) -> tuple[Term, ...]:
    """Attends to where the present token was copied to, or to position 0 where it was copied nowhere."""
    return Term("token", copied), Term("constant", "first", REST)


def finds_unless_answered(copied: str) -> tuple[Term, ...]:
    """The same, but not to a source whose own token is the answer already: then it rests at position 0.

    What silences it is the answer itself and not a flag beside it, so zero, mean and resample ablation of the
    matching head all wake it.
    """
    return (
        Term("token", copied, SHARPER),
        Term("answer", "token", -SHARPER),
        Term("constant", "first", SHARPER * BACKUP_REST),
    )


def as_decoy(wiring: Wiring, kind: str, in_shadow: bool) -> Wiring:
    """The same head as a decoy of a kind; `in_shadow` lets it find by `copied_twin` and not by `copied`."""
    if in_shadow:
        shadow = tuple(replace(t, key="copied_twin") if t.key == "copied" else t for t in wiring.attends)
        wiring = replace(wiring, attends=shadow)
    if kind == "unread":
        return replace(wiring, writes="unread")
    if wiring.writes == "copied":
        return replace(wiring, writes="copied_twin")
    return replace(wiring, reads="twin")


def _roles(truth: Truth) -> list[str]:
    return [role for role, head in vars(truth.circuit).items() if head is not None]


def _sharpness(generator: torch.Generator) -> float:
    return 30.0 + 15.0 * float(torch.rand((), generator=generator))

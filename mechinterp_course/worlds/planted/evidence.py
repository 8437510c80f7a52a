"""An answer with its evidence: experiments that anyone can repeat, and whether they prove the circuit."""

from collections.abc import Collection, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from mechinterp_course.worlds.planted.circuit import Circuit, Head
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import answers_without, solve

Named = dict[str, Head | None]  # the head of each role
Experiment = tuple[list[Head], float]  # heads silenced together, and the share of the answer that is left

PROMPTS = 16  # of `puzzle.samples(0, PROMPTS)`, on which evidence is measured
GONE, STANDS = 0.2, 0.8  # shares of the answer
ROUNDING = 2e-3


def find_circuit(
    weights: Mapping[str, Float[Tensor, "..."]], bos: int, offset: int
) -> tuple[Named, list[Experiment]]:
    """The circuit of a planted model, and the experiments that prove it; the arguments are a `Puzzle`'s.

    Raises ValueError where `solve` does.
    """
    puzzle = Puzzle(dict(weights), bos, offset)
    circuit = solve(puzzle)
    return dict(vars(circuit)), list(prove(puzzle, circuit))


def prove(puzzle: Puzzle, circuit: Circuit) -> list[Experiment]:
    """The fewest experiments in which `missing_evidence` finds no gap if the circuit is the planted one."""
    named = sorted(head for head in vars(circuit).values() if head is not None)
    groups: list[Collection[Head]] = [(), [head for head in puzzle.heads if head not in named]]
    groups += [[head] for head in named]
    groups += [named[1:]] if circuit.backup else []
    return list(zip(map(sorted, groups), shares_left(puzzle, groups), strict=True))


def shares_left(puzzle: Puzzle, groups: Sequence[Collection[Head]]) -> list[float]:
    """For each group of heads, what part of the answer is left when all of it is zero-ablated at once.

    Measured on `puzzle.samples(0, PROMPTS)`, as the logit of the answer above the mean logit at the last
    position, averaged over the prompts and divided by the same of the intact model.
    """
    intact, *left = answers_without(puzzle.load(), puzzle.samples(0, PROMPTS), [(), *groups])
    return [answer / intact for answer in left]


def missing_evidence(
    puzzle: Puzzle, circuit: Mapping[str, Head | None], evidence: Sequence[Experiment]
) -> str | None:
    """A sentence that says what the experiments leave unproven, None if they prove the circuit.

    Every one of them must give, when it is repeated, the share that it states. *Enough*: in one of them
    all heads outside the circuit are silenced and the answer stands (a share of at least 0.8). *Needed*: for
    each head of the circuit there are two that silence heads of the circuit alone and differ in that head;
    with it silenced the answer is gone (at most 0.2), without it stands. No circuit but the planted one can
    be proven so: the shadow circuit is enough, once all else is silent, but nothing needs it.
    """
    named = {head for head in circuit.values() if head is not None}
    told = {frozenset(heads): left for heads, left in evidence}
    for (heads, left), repeated in zip(evidence, shares_left(puzzle, [e[0] for e in evidence]), strict=True):
        if not abs(left - repeated) <= ROUNDING:
            return f"Silencing {sorted(heads)} leaves {repeated:.3f} of the answer, not {left:.3f}."
    outside = frozenset(puzzle.heads) - named
    if told.get(outside, 0.0) < STANDS:
        return "No experiment shows that these heads are enough, with all others silenced."
    for head in sorted(named):
        if not any(_turns_on(head, heads, told) for heads in told if heads <= named):
            return f"No two experiments that differ in {head} alone show that the answer needs it."
    return None


def _turns_on(head: Head, heads: frozenset[Head], told: Mapping[frozenset[Head], float]) -> bool:
    """Whether the answer stands with `heads` silenced and is gone when `head` is silenced too."""
    return head not in heads and told[heads] >= STANDS and told.get(heads | {head}, 1.0) <= GONE

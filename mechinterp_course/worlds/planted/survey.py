"""How often each way of solving names the planted heads, counted over many seeds."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from mechinterp_course.worlds.planted import guessers
from mechinterp_course.worlds.planted.circuit import ROLES, Circuit
from mechinterp_course.worlds.planted.planting import plant
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import solve

METHODS: dict[str, Callable[[Puzzle], Circuit]] = {
    "interventions": solve,
    "attention patterns": guessers.by_attention_patterns,
    "weights": guessers.by_weights,
    "single ablation": guessers.by_single_ablation,
}


@dataclass(frozen=True)
class Rate:
    """How often a method named the planted head of a role or, with role="all", of all roles at once.

    `chance` is how often drawing one of the look-alikes of each role would.
    """

    family: str
    method: str
    role: str
    hits: int
    seeds: int
    chance: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the rate (Wilson 1927)."""
        return wilson_interval(self.hits, self.seeds)


def survey(
    family: str, method: str, seeds: Iterable[int], on_seed: Callable[[], object] = lambda: None
) -> list[Rate]:
    """One Rate for each role of the family and one for all at once; `on_seed` is called after each seed."""
    hits: list[list[bool]] = []
    for seed in seeds:
        puzzle, truth = plant(seed, family)
        answer = METHODS[method](puzzle)
        roles = [role for role in ROLES if getattr(truth.circuit, role) is not None]
        hits.append([getattr(answer, role) == getattr(truth.circuit, role) for role in roles])
        on_seed()
    chances = [1 / len(truth.look_alikes(role)) for role in roles]
    rate = partial(Rate, family, method, seeds=len(hits))
    each = [
        rate(role, hits=sum(column), chance=chance)
        for role, column, chance in zip(roles, zip(*hits, strict=True), chances, strict=True)
    ]
    return [*each, rate("all", hits=sum(map(all, hits)), chance=math.prod(chances))]


def wilson_interval(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The confidence interval of a rate by Wilson's score; z = 1.96 for 95 %."""
    rate, shrink = hits / trials, 1 + z**2 / trials
    middle = (rate + z**2 / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)

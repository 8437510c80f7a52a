"""The measurements of which a certificate consists, one function for each of its sections.

Each returns plain JSON, and depends on the parts of the exercise that `RESTS_ON` names; a section whose parts
have not changed need not be measured again. Every unit of work goes through the journal.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from autograder.certification.equivalence import DRAWS, equivalence
from autograder.certification.giveaways import ORDERS, giveaways
from autograder.certification.journal import Journal
from autograder.certification.keys import combined, library_names
from autograder.certification.mutants import LEAST, MOST, Mutant, mutants
from autograder.certification.subject import Checks, Subject
from autograder.certification.tolerances import MARGIN, Comparison, widest
from autograder.certification.trials import Run, threads, try_here
from mechinterp_course.checking.recognition import same_transcript

if TYPE_CHECKING:
    from autograder.certification.trials import Bench

VERDICT = ("solution", "checks", "library", "models", "tolerances")  # what any verdict rests on
RESTS_ON = {
    "graded": (*VERDICT, "stub"),
    "right": (*VERDICT, "variants"),
    "mistakes": (*VERDICT, "mistakes", "recognition"),
    "mutants": (*VERDICT, "operators", "equivalence", "domain"),
    "seeds": VERDICT,
    "giveaways": (*VERDICT, "room", "giveaways"),
}
CHUNK = 10  # seeds of one unit
THREADS = (1, 2)  # of torch, with which right answers are compared; the grader has one


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    `seeds` of the solution, seeds of other `answers`, `draws` for equivalence, the `most` mutants, and
    `orders` of arguments in which each function of the library is called.
    """

    seeds: int = 200
    answers: int = 2
    draws: int = DRAWS
    most: int = MOST
    orders: int = ORDERS


NOTHING_CALLED = {"modules": {}, "found": []}


@dataclass
class Measurement:
    """One exercise being certified; `bench` opens its room when it is first called.

    `library` holds the names of each module's functions, as hashes; `earlier` is what the committed
    certificate says of those that were called, as far as it still holds.
    """

    subject: Subject
    checks: Checks
    parts: dict[str, str]
    seed: int
    effort: Effort
    journal: Journal
    bench: "Callable[[], Bench]"
    tell: Callable[[str], None] = lambda doing: None
    library: dict[str, str] = field(default_factory=library_names)
    earlier: dict = field(default_factory=lambda: NOTHING_CALLED)

    def key(self, section: str) -> str:
        """Return the hash of all that a section depends on."""
        variants = ("variants",) if section == "mutants" and self.solution_is_short else ()
        return combined(self.parts, {*RESTS_ON[section], *variants})

    @cached_property
    def solution_is_short(self) -> bool:
        """Whether the solution has so few mutants that those of the variants are tried as well."""
        return len(mutants(self.subject.solution, self.subject.name, LEAST)) < LEAST

    def unit(self, section: str, name: str, measure: Callable[[], object]) -> object:
        """Return the facts of one unit of work, measured now or before."""
        self.tell(name)
        return self.journal.measured(name, f"{self.key(section)} {self.seed}", measure)


def graded(m: Measurement) -> dict:
    """The solution and the stub as the grader sees them, in a worker, with the seconds of every check."""

    def measure() -> dict:
        runs = {
            name: list(m.bench().try_source(source, m.seed))
            for name, source in (("solution", m.subject.solution), ("stub", m.subject.exercise.stub))
        }
        return {
            "verdicts": {name: {run.check: run.verdict for run in each} for name, each in runs.items()},
            "seconds": {run.check: round(run.seconds, 3) for run in runs["solution"]},
            "why": next((_why(run) for run in runs["solution"] if run.verdict != "passed"), None),
        }

    return m.unit("graded", "solution and stub in a worker", measure)


def right(m: Measurement) -> dict:
    """The library's answer and every variant at several seeds: who is rejected, and how close they come."""
    answers = {"the library": m.subject.reference(), **m.subject.proofs("variants")}
    rejected, seen = {}, {}
    for name, answer in answers.items():
        for seed in _seeds(m, m.effort.answers):
            facts = m.unit("right", f"variant {name}, seed {seed}", lambda a=answer, s=seed: _right(m, a, s))
            rejected |= {f"{name}, seed {seed}": facts["why"]} if facts["why"] else {}
            _widen(seen, facts["comparisons"])
    return {"answers": list(answers), "rejected": rejected, "comparisons": seen}


def _right(m: Measurement, answer: Callable, seed: int) -> dict:
    """Run a right answer as the grader does, and on other threads: sums in another order are right too."""
    runs = []
    for count in THREADS:
        with threads(count):
            runs += _all_checks(m, answer, seed)
    return {"why": next(filter(None, map(_why, runs)), None), "comparisons": _comparisons(runs)}


def seeds(m: Measurement) -> dict:
    """The solution at many seeds: the checks and seeds at which it fails, and how close it comes."""
    flaky, seen = {}, {}
    everything = _seeds(m, m.effort.seeds)
    for start in range(0, len(everything), CHUNK):
        chunk = everything[start : start + CHUNK]
        facts = m.unit("seeds", f"seeds {chunk[0]} to {chunk[-1]}", lambda c=chunk: _some_seeds(m, c))
        flaky |= facts["flaky"]
        _widen(seen, facts["comparisons"])
    return {"count": len(everything), "flaky": flaky, "comparisons": seen}


def _some_seeds(m: Measurement, chunk: list[int]) -> dict:
    solution, flaky, seen = m.subject.solved()[m.subject.name], {}, {}
    for seed in chunk:
        runs = _all_checks(m, solution, seed)
        flaky |= {f"{run.check}, seed {seed}": _why(run) for run in runs if run.verdict != "passed"}
        _widen(seen, _comparisons(runs))
    return {"flaky": flaky, "comparisons": seen}


def mistakes(m: Measurement) -> dict:
    """Every listed mistake: at which seeds it is accepted, its margin, and for which mistake it is taken."""
    answers = m.subject.proofs("mistakes")
    found = {}
    for seed in _seeds(m, m.effort.answers):
        facts = m.unit("mistakes", f"mistakes, seed {seed}", lambda s=seed: _mistakes(m, answers, s))
        for name, each in facts.items():
            known = found.setdefault(name, {"accepted": [], "margin": None, "taken_for": each["taken_for"]})
            known["accepted"] += [seed] if each["accepted"] else []
            known["margin"] = _smaller(known["margin"], each["margin"])
    return found


def _mistakes(m: Measurement, answers: dict[str, Callable], seed: int) -> dict:
    runs = {name: _all_checks(m, answer, seed) for name, answer in answers.items()}
    return {
        name: {
            "accepted": all(run.verdict == "passed" for run in each),
            "margin": _finite(max(run.margin for run in each)),
            "taken_for": _taken_for(each, runs),
        }
        for name, each in runs.items()
    }


def _taken_for(own: list[Run], runs: dict[str, list[Run]]) -> str | None:
    """Return the first mistake that behaves alike in every check that failed, as recognition would.

    The grader replays the checks with each mistake; here all were run on the same draws already.
    """
    failed = [place for place, run in enumerate(own) if run.verdict == "failed"]
    for name, each in runs.items():
        if failed and all(
            each[p].verdict == "failed" and same_transcript(each[p].transcript, own[p].transcript)
            for p in failed
        ):
            return name
    return None


def tried_mutants(m: Measurement) -> list[dict]:
    """Every mutant: killed by which check and by what margin, equivalent to the solution, or a hole."""
    return [
        m.unit(
            "mutants",
            f"mutant {mutant.name}, {m.effort.draws} draws",
            lambda each=mutant: try_mutant(m, each),
        )
        for mutant in chosen_mutants(m, m.effort.most)
    ]


def chosen_mutants(m: Measurement, most: int) -> list[Mutant]:
    """Return at most `most` mutants of the solution, and if these are too few, some of the variants.

    A variant counts only if it passes in a room: some of them call what is withheld there.
    """
    found = mutants(m.subject.solution, m.subject.name, most)
    for variant, source in m.subject.variant_cells().items() if m.solution_is_short else ():
        missing = LEAST - len(found)
        if missing > 0 and all(run.verdict == "passed" for run in m.bench().try_source(source, m.seed)):
            more = mutants(source, m.subject.name, missing)
            found += [replace(each, name=f"{variant}.{each.name}") for each in more]
    return found


def try_mutant(m: Measurement, mutant: Mutant) -> dict:
    """Return what becomes of one mutant; checks stop at the first that rejects it by a clear margin.

    The fastest check comes first: what one draws does not depend on the others.
    """
    seconds = graded(m)["seconds"]
    about = {name: value for name, value in asdict(mutant).items() if name != "source"}
    by, margin, errors = None, 0.0, []
    for run in m.bench().try_source(mutant.source, m.seed, sorted(seconds, key=seconds.__getitem__)):
        if run.verdict == "grader_error":
            errors.append(_why(run))
        if run.verdict != "passed" and run.margin > margin:
            by, margin = run.check, run.margin
        if margin >= MARGIN:
            break
    if by is not None:
        return about | {"status": "killed", "by": by, "margin": _finite(margin), "errors": errors}
    same = equivalence(m.bench(), mutant.source, m.seed, m.effort.draws)
    status = "hole" if same.difference else "equivalent"
    return about | {"status": status, "draws": same.draws, "difference": same.difference}


def reachable(m: Measurement) -> dict:
    """Which functions of the library, called in a room, give the answer away.

    A module whose names are as they were is not called again.
    """
    held = m.earlier["modules"]
    new = [module for module, names in m.library.items() if held.get(module) != names]

    def measure() -> list[str]:
        return giveaways(m.bench(), m.seed, new, m.effort.orders)

    what = f"functions in {len(new)} modules, {m.effort.orders} orders, {combined(m.library, new)}"
    found = [each for each in m.earlier["found"] if _module(each) in m.library.keys() - set(new)]
    found += m.unit("giveaways", what, measure) if new else []
    return {"modules": m.library, "found": found}


def _module(call: str) -> str:
    """Return the module of "worlds.tokens.repeated_tokens(0, 1)"."""
    return call.partition("(")[0].rpartition(".")[0]


SECTIONS: dict[str, Callable[[Measurement], object]] = {
    "graded": graded,
    "right": right,
    "mistakes": mistakes,
    "mutants": tried_mutants,
    "giveaways": reachable,
    "seeds": seeds,
}


def wrong_answer_passes(m: Measurement, answer: Callable) -> list[str]:
    """Return what is wrong if every check passes a mistake; nothing if one rejects it."""
    passed = all(run.verdict == "passed" for run in _all_checks(m, answer, m.seed))
    return [f"accepted at seed {m.seed}"] if passed else []


def right_answer_fails(m: Measurement, answer: Callable) -> list[str]:
    """Return why checks reject a right answer; nothing if none does."""
    return [_why(run) for run in _all_checks(m, answer, m.seed) if run.verdict != "passed"]


def seed_fails(m: Measurement) -> list[str]:
    """Return why checks reject the solution at the measurement's seed; nothing if none does."""
    return right_answer_fails(m, m.subject.solved()[m.subject.name])


def _seeds(m: Measurement, count: int) -> list[int]:
    return [m.seed + step for step in range(count)]


def _all_checks(m: Measurement, answer: Callable, seed: int) -> list[Run]:
    names = m.subject.solved() | {m.subject.name: answer}
    return [try_here(m.subject, m.checks, names, check, seed) for check in m.checks.functions]


def _why(run: Run) -> str | None:
    diagnosis = run.outcome.diagnosis
    return None if diagnosis is None else f"{run.check}: {run.verdict}, {diagnosis.message}"


def _comparisons(runs: Iterable[Run]) -> dict[str, list[dict]]:
    """Return the widest comparison of each tolerance, by check, of the checks that passed."""
    return {
        run.check: [asdict(each) for each in widest(run.comparisons)]
        for run in runs
        if run.verdict == "passed" and run.comparisons
    }


def _widen(seen: dict[str, list[dict]], more: dict[str, list[dict]]) -> None:
    """Take over comparisons that are wider than those seen before."""
    for check, rows in more.items():
        both = [Comparison(**row) for row in (*seen.get(check, ()), *rows)]
        seen[check] = [asdict(each) for each in widest(both)]


def _finite(margin: float) -> float | None:
    """Return a margin as JSON has it: None for a rejection without numbers, which is as wide as can be."""
    return None if math.isinf(margin) else round(margin, 1)


def _smaller(one: float | None, other: float | None) -> float | None:
    known = [margin for margin in (one, other) if margin is not None]
    return min(known, default=None)

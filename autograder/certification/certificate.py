"""A chapter's certificate: the JSON beside its solution, and what in it can't be trusted.

`solutions/<slug>/certificate.json` holds, for every exercise, the hashes of its parts and the sections that
were measured (see `sections`). All that is said about it is computed from these, without measuring anything.
"""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from autograder.certification.mutants import LEAST
from autograder.certification.operators import OPERATORS
from autograder.certification.sections import RESTS_ON
from autograder.certification.tolerances import MARGIN, Comparison, derivation
from autograder.results import versions, write_json
from mechinterp_course.errors import CourseError

SCHEMA = 2
FILE = "certificate.json"
LEAST_SCORE = 0.97


@dataclass(frozen=True)
class Summary:
    """An exercise's certificate in numbers; `problems` says why its verdicts can't be trusted, if so."""

    exercise: str
    checks: int
    mistakes: int
    false_accepts: tuple[str, ...]
    right_answers: int
    false_rejects: tuple[str, ...]
    mutants: int
    killed: int
    equivalent: tuple[str, ...]
    holes: tuple[str, ...]
    margin: float | None
    nearest: str | None
    seeds: int
    flaky: tuple[str, ...]
    seconds: float
    named: float
    giveaways: tuple[str, ...]
    tolerances: tuple[dict, ...]
    problems: tuple[str, ...]

    @property
    def score(self) -> float:
        """The share of mutants killed, of those that are not the solution in other words."""
        return self.killed / max(1, self.mutants - len(self.equivalent))

    def as_json(self) -> dict:
        """Return it as plain values, as a certificate holds it."""
        return json.loads(json.dumps({**asdict(self), "score": round(self.score, 4)}))


def read_certificate(folder: Path) -> dict[str, dict]:
    """Return {exercise: its part of the certificate} of a chapter's folder, empty if there is none."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return data["exercises"] if data["schema"] == SCHEMA else {}
    except (ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{path} is no certificate: delete it and run `mechinterp certify {folder.name}`"
        ) from error


def write_certificate(folder: Path, slug: str, exercises: dict[str, dict]) -> None:
    """Write the certificate of a chapter; raises CourseError where that can't be done."""
    try:
        said = {name: (apply.__doc__ or "").split("\n")[0] for name, apply in OPERATORS.items()}
        about = {"schema": SCHEMA, "chapter": slug, "measured_with": versions(), "operators": said}
        write_json(folder / FILE, about | {"exercises": exercises})
    except OSError as error:
        raise CourseError(
            f"can't write {folder / FILE} ({error.strerror}); use a checkout that is yours"
        ) from error


def out_of_date(
    entry: dict | None, keys: dict[str, str], effort: dict, library: dict[str, str] | None = None
) -> list[str]:
    """Return the sections that were measured on other parts than there are now, or with another effort.

    With the names in the `library` by module, giveaways are out of date too if there are others now.
    """
    sections = (entry or {}).get("sections", {})
    stale = [
        name
        for name in RESTS_ON
        if sections.get(name, {}).get("key") != keys[name] or sections[name].get("effort") != effort
    ]
    new = library and "giveaways" not in stale and sections["giveaways"]["facts"]["modules"] != library
    return [*stale, "giveaways"] if new else stale


def summary(name: str, sections: dict[str, dict]) -> Summary:
    """Return what the sections of one exercise say."""
    facts = {section: entry["facts"] for section, entry in sections.items()}
    mistakes, mutants, graded = facts["mistakes"], facts["mutants"], facts["graded"]
    accepted = [f"{each}, seeds {told['accepted']}" for each, told in mistakes.items() if told["accepted"]]
    accepted += [f"the stub, {check}" for check, v in graded["verdicts"]["stub"].items() if v == "passed"]
    rejected = [f"{each}: {why}" for each, why in facts["right"]["rejected"].items()]
    rejected += [f"the solution in a worker: {graded['why']}"] if graded["why"] else []
    margin, nearest = _nearest(mistakes, mutants)
    told = Summary(
        exercise=name,
        checks=len(graded["seconds"]),
        mistakes=len(mistakes),
        false_accepts=tuple(accepted),
        right_answers=1 + len(facts["right"]["answers"]),
        false_rejects=tuple(rejected),
        mutants=len(mutants),
        killed=sum(each["status"] == "killed" for each in mutants),
        equivalent=tuple(_survivor(each) for each in mutants if each["status"] == "equivalent"),
        holes=tuple(_survivor(each) for each in mutants if each["status"] == "hole"),
        margin=margin,
        nearest=nearest,
        seeds=facts["seeds"]["count"],
        flaky=tuple(facts["seeds"]["flaky"]),
        seconds=statistics.mean(graded["seconds"].values()) if graded["seconds"] else 0.0,
        named=statistics.mean(t["taken_for"] == each for each, t in mistakes.items()) if mistakes else 0.0,
        giveaways=tuple(facts["giveaways"]["found"]),
        tolerances=tuple(_tolerances(facts)),
        problems=(),
    )
    return _with_problems(told, [error for each in mutants for error in each.get("errors", ())])


def _nearest(mistakes: dict[str, dict], mutants: list[dict]) -> tuple[float | None, str | None]:
    """Return the smallest numeric margin by which a wrong answer was rejected, and whose it is."""
    margins = {name: told["margin"] for name, told in mistakes.items() if not told["accepted"]}
    margins |= {each["name"]: each["margin"] for each in mutants if each["status"] == "killed"}
    known = {name: margin for name, margin in margins.items() if margin is not None}
    nearest = min(known, key=known.__getitem__, default=None)
    return known.get(nearest), nearest


def _survivor(mutant: dict) -> str:
    told = f"{mutant['name']}, line {mutant['line']}: {mutant['before']} → {mutant['after']}"
    return told if mutant["difference"] is None else f"{told} ({mutant['difference']})"


def _tolerances(facts: dict) -> list[dict]:
    """Return the rows of `tolerances.derivation`, over all right answers and seeds, with their `checks`.

    One tolerance serves all checks of an exercise that compare the same kind of value: what counts is how
    far apart right answers come in the worst of them.
    """
    met: dict[Comparison, set[str]] = {}
    for section in ("right", "seeds"):
        for check, rows in facts[section]["comparisons"].items():
            for row in rows:
                met.setdefault(Comparison(**row), set()).add(check)
    return [
        {"checks": sorted({check for each in met if _same(each, row) for check in met[each]})} | row
        for row in derivation(met)
    ]


def _same(met: Comparison, row: dict) -> bool:
    return (met.rtol, met.atol) == (row["rtol"], row["atol"])


def _with_problems(told: Summary, errors: list[str]) -> Summary:
    problems = [f"accepts {each}" for each in told.false_accepts]
    problems += [f"rejects {each}" for each in told.false_rejects]
    problems += [f"no check kills {each}" for each in told.holes]
    problems += [f"fails the solution: {each}" for each in told.flaky]
    problems += [f"the library gives the answer away: {each}" for each in told.giveaways]
    problems += [f"a check itself broke on a mutant: {each}" for each in errors]
    problems += [
        f"the tolerance of {', '.join(row['checks'])}: {row['problem']}"
        for row in told.tolerances
        if row["problem"]
    ]
    if told.mutants < LEAST:
        problems.append(f"only {told.mutants} mutants, of at least {LEAST}")
    if told.score < LEAST_SCORE:
        problems.append(f"{told.score:.1%} of the mutants are killed, of at least {LEAST_SCORE:.0%}")
    if told.margin is not None and told.margin < MARGIN:
        problems.append(f"{told.nearest} is only {told.margin:g} × the tolerance off, of at least {MARGIN}")
    return Summary(**{**vars(told), "problems": tuple(problems)})

"""Certificates made, and checked again where something changed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch

from autograder.certification.certificate import (
    Summary,
    out_of_date,
    read_certificate,
    summary,
    write_certificate,
)
from autograder.certification.journal import Journal
from autograder.certification.keys import library_names, parts
from autograder.certification.mutants import LEAST, MOST
from autograder.certification.sections import (
    RESTS_ON,
    SECTIONS,
    Effort,
    Measurement,
    chosen_mutants,
    right_answer_fails,
    seed_fails,
    try_mutant,
    wrong_answer_passes,
)
from autograder.certification.subject import Checks, Subject, find_subjects
from autograder.certification.tolerances import TOO_WIDE
from autograder.certification.trials import Bench, bench
from autograder.room import RoomBroken, Zygote, machine_slowness
from autograder.sandbox import Limits, probe
from mechinterp_course.errors import CourseError

FULL = Effort()
QUICK = Effort(seeds=3, answers=1, draws=50, most=LEAST, orders=1)
SAMPLED_MUTANTS = 2


@dataclass(frozen=True)
class Step:
    """Progress: the exercise that is certified, what is done now, how many exercises are done of all."""

    exercise: str
    doing: str
    done: int
    total: int


@dataclass(frozen=True)
class Checked:
    """What checking a committed certificate found: stale sections, what is wrong, and what was tried."""

    exercise: str
    stale: tuple[str, ...]
    problems: tuple[str, ...]
    tried: tuple[str, ...] = field(default=())


Tell = Callable[[Step], None]


def certify(
    root: Path,
    names: Sequence[str],
    out: Path,
    seed: int = 0,
    effort: Effort = FULL,
    tell: Tell = lambda step: None,
) -> list[Summary]:
    """Certify exercises, write certificates beside their solutions, and return what these say.

    Sections whose parts have not changed are taken from the committed certificate; what an earlier run that
    was stopped had measured, from the journal in `out`. Raises CourseError for an unknown name.
    """
    subjects = find_subjects(root, names)
    found = []
    with _workshop(subjects, out, seed, effort, tell) as measurements:
        for subject, m in measurements:
            entry = read_certificate(subject.folder).get(subject.name)
            entry = entry if entry and entry["seed"] == seed else None
            stale = _stale(m, entry, effort)
            known = entry["sections"] if entry else {}
            sections = {name: known[name] for name in RESTS_ON if name not in stale} | _measured(m, stale)
            told = summary(subject.name, sections)
            _write(subject, {"parts": m.parts, "seed": seed, "summary": told.as_json(), "sections": sections})
            found.append(told)
    return found


def check_certificates(
    root: Path,
    names: Sequence[str],
    out: Path,
    seed: int,
    tell: Tell = lambda step: None,
) -> list[Checked]:
    """Re-run what changed since the certificates were committed, with less effort, and a sample of the rest.

    `seed` chooses the sample, and the draws on which it is tried. An exercise without a certificate is a
    problem only if it was named.
    """
    subjects = find_subjects(root, names)
    found = []
    with _workshop(subjects, out, seed, QUICK, tell) as measurements:
        for subject, m in measurements:
            entry = read_certificate(subject.folder).get(subject.name)
            if entry is None:
                command = f"run `mechinterp certify {subject.name}` and commit what it writes"
                found.append(Checked(subject.name, (), (f"has no certificate: {command}",) if names else ()))
                continue
            stale = _stale(m, entry, FULL)
            sections = entry["sections"] | _measured(m, stale)
            told = summary(subject.name, sections).problems
            problems = [each for each in told if not (stale and each.endswith(TOO_WIDE))]
            if summary(subject.name, entry["sections"]).as_json() != entry.get("summary"):
                problems.append("its summary is not what its sections say: somebody edited the certificate")
            tried = [] if stale else _sample(m, sections, Random(f"{seed} {subject.name}"), problems)
            found.append(Checked(subject.name, tuple(stale), tuple(problems), tuple(tried)))
    return found


def _write(subject: Subject, entry: dict) -> None:
    """Put an exercise's entry into its chapter's certificate, read anew: others may certify beside us."""
    entries = read_certificate(subject.folder) | {subject.name: entry}
    order = [each.name for each in subject.chapter.exercises]
    write_certificate(
        subject.folder, subject.slug, {name: entries[name] for name in order if name in entries}
    )


@contextmanager
def _workshop(
    subjects: Sequence[Subject], out: Path, seed: int, effort: Effort, tell: Tell
) -> Iterator[Iterator[tuple[Subject, Measurement]]]:
    """Yield the exercises with what is needed to measure them; rooms are opened only when they are needed."""
    torch.set_num_threads(1)  # as in the workers, so that both sides round alike
    with ExitStack() as stack:
        machinery = _Machinery(stack)
        try:
            yield _measurements(subjects, out, seed, effort, tell, machinery)
        except RoomBroken as error:
            message = f"the grader's machinery failed ({error}); run `mechinterp doctor`"
            raise CourseError(message, status=3) from error


@dataclass
class _Machinery:
    """The zygote, started when a room is first asked for, and stopped with `stack`."""

    stack: ExitStack
    zygote: Zygote | None = None
    slowness: float = 1.0

    def bench(self, stack: ExitStack, subject: Subject, checks: Checks) -> Bench:
        if self.zygote is None:
            self.slowness = machine_slowness()
            limits = Limits(cpu_seconds=round(600 * self.slowness))
            self.zygote = self.stack.enter_context(Zygote(probe(), "cpu", limits))
        return stack.enter_context(bench(subject, checks, self.zygote, self.slowness))


def _measurements(
    subjects: Sequence[Subject], out: Path, seed: int, effort: Effort, tell: Tell, machinery: _Machinery
) -> Iterator[tuple[Subject, Measurement]]:
    library = library_names()
    for done, subject in enumerate(subjects):
        checks = Checks.of(subject)
        with ExitStack() as rooms:
            benches: list[Bench] = []

            def open_bench(rooms=rooms, subject=subject, checks=checks, benches=benches) -> Bench:
                if not benches:
                    benches.append(machinery.bench(rooms, subject, checks))
                return benches[0]

            def told(doing: str, subject=subject, done=done) -> None:
                tell(Step(subject.name, doing, done, len(subjects)))

            journal = Journal(out / subject.slug / f"{subject.name}.jsonl")
            known = subject, checks, parts(subject, checks)
            yield subject, Measurement(*known, seed, effort, journal, open_bench, told, library)


def _stale(m: Measurement, entry: dict | None, effort: Effort) -> list[str]:
    """Return the sections of a certificate to measure, and let `m` know what need not be called again."""
    if "giveaways" not in out_of_date(entry, _keys(m), asdict(effort)):
        m.earlier = entry["sections"]["giveaways"]["facts"]
    return out_of_date(entry, _keys(m), asdict(effort), m.library)


def _keys(m: Measurement) -> dict[str, str]:
    return {section: m.key(section) for section in RESTS_ON}


def _measured(m: Measurement, sections: Sequence[str]) -> dict[str, dict]:
    return {
        name: {"key": m.key(name), "effort": asdict(m.effort), "facts": SECTIONS[name](m)}
        for name in SECTIONS
        if name in sections
    }


def _sample(m: Measurement, sections: dict[str, dict], random: Random, problems: list[str]) -> list[str]:
    """Try a few answers again, and return which; add to `problems` what is not as the certificate says."""
    subject = m.subject
    known = {each["name"]: each["status"] for each in sections["mutants"]["facts"]}
    made = {each.name: each for each in chosen_mutants(m, MOST)}
    chosen = random.sample(sorted(known), min(SAMPLED_MUTANTS, len(known)))
    for name in chosen:
        m.tell(f"mutant {name} again")
        status = try_mutant(m, made[name])["status"]
        if status != known[name]:
            problems.append(f"mutant {name} is {status}, and {known[name]} by its certificate")
    mistakes, variants = (subject.proofs(kind) for kind in ("mistakes", "variants"))
    for kind, answers, wrong in (
        ("mistake", mistakes, wrong_answer_passes),
        ("variant", variants, right_answer_fails),
    ):
        for name in random.sample(sorted(answers), min(1, len(answers))):
            m.tell(f"{kind} {name} again")
            problems += [f"{kind} {name}: {why}" for why in wrong(m, answers[name])]
            chosen.append(name)
    m.tell("the solution again")
    problems += [f"fails the solution: {why}" for why in seed_fails(m)]
    return [*chosen, f"the solution at seed {m.seed}"]

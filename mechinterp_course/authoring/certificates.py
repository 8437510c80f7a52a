"""The book's page on how far the verdicts can be trusted, written from the chapters' certificates."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mechinterp_course.errors import CourseError

PAGE = "book/certificate.md"
FILE = "certificate.json"
HEADINGS = (
    "exercise", "wrong answers accepted", "right answers rejected", "mutants killed", "equivalent",
    "nearest wrong answer", "flaky seeds", "seconds a check", "mistakes named",
)  # fmt: skip

INTRODUCTION = """\
% Written from solutions/*/certificate.json by `python -m mechinterp_course.authoring`: edit nothing here.

# Can the verdicts be trusted?

A grader is a measuring instrument, and this page says how well it measures. `mechinterp certify` runs, for
every exercise, the solution, the stub, every mistake on the list, every right answer that is written
differently, and *mutants*: solutions in which one thing has been changed by a fixed list of operators. A
check that a wrong answer passes, or that a right one fails, is a defect of the check.

- **Wrong answers accepted**: of the listed mistakes, those that every check passes at some seed.
- **Right answers rejected**: of the library's answer, the solution and the variants.
- **Mutants killed**: rejected by some check, of all; in brackets the share of those that are not the
  solution in other words. A mutant that survives is compared with the solution on 1,000 draws over all that
  the statement allows (where a task has many right answers, it undergoes 50 further trials, wider than the
  checks). If they agree on every one, it *is* the solution in other words, or right as well, and is listed
  below; if not, a check is missing.
- **Nearest wrong answer**: by how many times its tolerance a numeric comparison rejects the closest of all
  mistakes and mutants. It has to be 10 or more.
- **Flaky seeds**: of so many seeds, those at which the solution fails.
- **Mistakes named**: the share of the listed mistakes for which the explanation names the right one.

To measure it again: `mechinterp certify`. To measure again what changed, and a random sample of the rest:
`mechinterp certify --check`.
"""

TOLERANCES = """\
A tolerance is the larger of what `torch.testing` allows and 4 × the worst gap between two right answers: so
right answers must stay within a quarter of it, and a wider one than `torch.testing`'s must be needed."""


def certificates(root: Path, slugs: Iterable[str]) -> dict[str, dict]:
    """Return the certificates that lie beside solutions, by chapter; raise CourseError for a broken one."""
    found = {}
    for slug in slugs:
        path = root / "solutions" / slug / FILE
        if path.is_file():
            try:
                found[slug] = json.loads(path.read_text(encoding="utf-8"))
                found[slug]["exercises"].values()
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                message = f"{path} is no certificate: delete it and run `mechinterp certify {slug}`"
                raise CourseError(message) from error
    return found


def certificate_page(certified: dict[str, dict], exercises: dict[str, Sequence[str]]) -> str:
    """Return the MyST Markdown text of `book/certificate.md`; `exercises` are all there are, by chapter."""
    blocks = [INTRODUCTION]
    for slug, certificate in certified.items():
        told = {name: entry["summary"] for name, entry in certificate["exercises"].items()}
        blocks += [f"## {slug}", _table(HEADINGS, [_row(name, each) for name, each in told.items()])]
        blocks += [_uncertified([name for name in exercises[slug] if name not in told])]
        blocks += [_survivors(told), "### Tolerances", TOLERANCES, _tolerances(told)]
        blocks += [_giveaways(told), _operators(certificate)]
    return "\n\n".join(block.strip() for block in blocks if block) + "\n"


def _row(name: str, told: dict) -> Sequence[str]:
    nearest = "by form alone" if told["margin"] is None else f"{told['margin']:,.0f} × ({told['nearest']})"
    return (
        f"`{name}`",
        f"{len(told['false_accepts'])} of {told['mistakes']}",
        f"{len(told['false_rejects'])} of {told['right_answers']}",
        f"{told['killed']} of {told['mutants']} ({told['score']:.0%})",
        str(len(told["equivalent"])),
        nearest,
        f"{len(told['flaky'])} of {told['seeds']}",
        f"{told['seconds']:.2f}",
        f"{told['named']:.0%}",
    )


def _uncertified(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"Not certified yet, so nothing is claimed of them: {', '.join(f'`{name}`' for name in names)}."


def _survivors(told: dict[str, dict]) -> str:
    rows = [
        (f"`{name}`", _code(mutant), "same") for name, each in told.items() for mutant in each["equivalent"]
    ]
    rows += [
        (f"`{name}`", _code(mutant), "**hole**") for name, each in told.items() for mutant in each["holes"]
    ]
    if not rows:
        return "### Survivors\n\nNo mutant survived."
    return "### Survivors\n\n" + _table(("exercise", "mutant", "verdict"), rows)


def _tolerances(told: dict[str, dict]) -> str:
    rows = [(f"`{name}`", *_tolerance(row)) for name, each in told.items() for row in each["tolerances"]]
    headings = ("exercise", "checks", "rtol", "atol", "from", "worst gap", "share of the tolerance")
    return _table(headings, rows) if rows else "No check compares numbers."


def _tolerance(row: dict) -> tuple[str, ...]:
    checks = ", ".join(f"`{check}`" for check in row["checks"])
    bounds = f"{row['rtol']:g}", f"{row['atol']:g}"
    return checks, *bounds, row["by"], f"{row['gap']:.1e}", f"{row['closest']:.2f}"


def _giveaways(told: dict[str, dict]) -> str:
    lines = ["### What the library gives away", ""]
    lines += [
        "Every function that a student can call in the room of an exercise was called there on arguments of",
        "its checks, to see whether it returns the answer.",
    ]
    found = [
        f"- `{name}`: {', '.join(each['giveaways'])}" for name, each in told.items() if each["giveaways"]
    ]
    return "\n".join([*lines, "", *(found or ["None does."])])


def _operators(certificate: dict) -> str:
    listed = [f"- `{name}`: {said}" for name, said in certificate["operators"].items()]
    return "\n".join(["### The operators", "", *listed])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(mutant: str) -> str:
    """Return a survivor as code: its text may hold anything that Markdown would read."""
    return f"`` {mutant} ``"

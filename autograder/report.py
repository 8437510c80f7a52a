"""The report a person reads: `index.html` for a batch, and for each submission two pages in its folder:
`report.html` for the teacher, `feedback.html` for the student.

Everything is made from the `results.json` files and the chapters' manifests, so it can be made again at any
time. The pages carry no script and load nothing; see `markup`.
"""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote

from autograder.feedback import for_student
from autograder.manifest import load_manifest
from autograder.markup import page, prose, tag, visible
from autograder.results import write_whole
from autograder.review import GLYPHS, Exercise, Submission, bar, number, review
from mechinterp_course.errors import CourseError

Answers = Mapping[str, Mapping[tuple[str, str], str]]
NO_ANSWERS: Answers = {}
INLINE = 12  # batches up to this size are reviewed on the index page itself


def write_index(folder: Path, answers: Answers = NO_ANSWERS) -> list[Path]:
    """Write the pages of a graded batch and return their paths, the index first.

    `answers` holds, by submission, the cell that answers an exercise (chapter and name); where it is given,
    the review shows the code beside its verdicts.
    """
    few = len(list(folder.glob("*/results.json"))) <= INLINE
    submissions, pages = [], [folder / "index.html"]
    for submission in read_submissions(folder, answers):
        pages += [_write_report(folder, submission), _write_feedback(folder, submission)]
        submissions.append(submission if few else _outline(submission))
    write_whole(pages[0], page("Graded submissions", _index(submissions)))
    return pages


def read_submissions(folder: Path, answers: Answers = NO_ANSWERS) -> Iterator[Submission]:
    """Yield the graded submissions of a batch's folder, by name."""
    for path in sorted(folder.glob("*/results.json")):
        yield _submission(path, answers.get(path.parent.name, {}))


def _outline(submission: Submission) -> Submission:
    """Return what the index tells of a submission; what many have in common is one object."""
    result = {key: value for key, value in submission.result.items() if key not in ("tests", "extra_data")}
    result["extra_data"] = _shared(json.dumps(submission.result["extra_data"] | {"submission_sha256": ""}))
    exercises = (
        replace(exercise, code=None, tests=tuple(map(_outlined, exercise.tests)))
        for exercise in submission.exercises
    )
    return Submission(submission.name, result, tuple(exercises))


def _outlined(test: dict) -> dict:
    extra = {key: test["extra_data"].get(key) for key in ("verdict", "hidden")}
    mistake = (test["extra_data"].get("diagnosis") or {}).get("mistake")
    scores = {"score": test["score"], "max_score": test["max_score"]}
    return _shared(json.dumps(scores | {"extra_data": extra | {"diagnosis": {"mistake": mistake}}}))


@lru_cache(maxsize=10_000)
def _shared(text: str) -> dict:
    return json.loads(text)


def _write_report(folder: Path, submission: Submission) -> Path:
    path = folder / submission.name / "report.html"
    back = tag("p", tag("a", "← all submissions", href="../index.html"), class_="back")
    body = back + review(submission) + _footer([submission])
    write_whole(path, page(f"{submission.name}, graded", body), durable=False)
    return path


def _write_feedback(folder: Path, submission: Submission) -> Path:
    """Write the page for the student: as the report, less what hidden checks may not tell."""
    path = folder / submission.name / "feedback.html"
    body = review(for_student(submission)) + tag("footer", _conditions([submission]))
    write_whole(path, page(f"{submission.name}, feedback", body), durable=False)
    return path


def _submission(path: Path, code: Mapping[tuple[str, str], str]) -> Submission:
    result = json.loads(path.read_text("utf-8"))
    groups: dict[tuple[str, str], list[dict]] = {}
    for test in result.get("tests", []):
        extra = test["extra_data"]
        groups.setdefault((extra["chapter"], extra["exercise"]), []).append(test)
    exercises = tuple(_exercise(*key, tests, code.get(key)) for key, tests in groups.items())
    return Submission(path.parent.name, result, exercises)


def _exercise(chapter: str, name: str, tests: list[dict], code: str | None) -> Exercise:
    wording = _wording(chapter)
    checks = ((test, test["extra_data"]["check"]) for test in tests)
    claimed = tuple(
        test | {"claim": wording.claims.get((name, check)) or check.replace("_", " ")}
        for test, check in checks
    )
    return Exercise(chapter, name, wording.titles.get(name) or name.replace("_", " "), claimed, code)


@dataclass(frozen=True)
class _Wording:
    """A chapter's title, its exercises' titles, and its checks' sentences by exercise and check."""

    title: str
    titles: dict[str, str]
    claims: dict[tuple[str, str], str]


@cache
def _wording(chapter: str) -> _Wording:
    """Return how a chapter says things; names stand in for a chapter that is not here."""
    try:
        manifest = load_manifest(chapter)
    except CourseError:
        return _Wording(chapter.replace("_", " "), {}, {})
    titles = {exercise.name: exercise.title for exercise in manifest.exercises}
    claims = {(e.name, check.name): check.claim for e in manifest.exercises for check in e.checks}
    return _Wording(manifest.title, titles, claims)


def _index(submissions: list[Submission]) -> str:
    reviews = "".join(map(review, submissions)) if len(submissions) <= INLINE else ""
    return (
        tag("header", tag("h1", "Graded submissions") + _chapters(submissions) + _figures(submissions))
        + _batch_table(submissions, inline=bool(reviews))
        + _stumbles(submissions)
        + reviews
        + _footer(submissions)
    )


def _chapters(submissions: list[Submission]) -> str:
    slugs = sorted({exercise.chapter for submission in submissions for exercise in submission.exercises})
    named = (f"{visible(_wording(slug).title)} {tag('code', visible(slug))}" for slug in slugs)
    return tag("p", " · ".join(named), class_="chapters") if slugs else ""


def _figures(submissions: list[Submission]) -> str:
    shares = [share for s in submissions if (share := _share(s)) is not None]
    figures = [
        (len(submissions), "submission" if len(submissions) == 1 else "submissions"),
        (sum(share == 1 for share in shares), "with full marks"),
        (f"{statistics.median(shares):.0%}" if shares else "–", "median score"),
    ]
    unfinished = sum(not s.result["extra_data"]["complete"] for s in submissions)
    if unfinished:
        figures.append((unfinished, "not complete"))
    return tag(
        "ul", "".join(tag("li", tag("b", str(n)) + f" {what}") for n, what in figures), class_="figures"
    )


def _share(submission: Submission) -> float | None:
    most = submission.result["max_score"]
    return submission.result["score"] / most if most else None


def _batch_table(submissions: list[Submission], inline: bool) -> str:
    head = tag("tr", "".join(tag("th", t, scope="col") for t in ("Submission", "Score", "", "Exercises")))
    rows = "".join(_row(submission, inline) for submission in submissions)
    legend = "".join(tag("li", _square(state) + f" {what}") for state, (_, what) in GLYPHS.items())
    table = tag("table", tag("thead", head) + tag("tbody", rows), class_="batch")
    return tag("section", table + tag("ul", legend, class_="legend"), aria_label="All submissions")


def _row(submission: Submission, inline: bool) -> str:
    result, folder = submission.result, quote(submission.name.encode("utf-8", "surrogateescape"), safe="")
    link = tag("a", visible(submission.name), href=f"#{folder}" if inline else f"./{folder}/report.html")
    score = f"{number(result['score'])} <small>/ {number(result['max_score'])}</small>"
    squares = "".join(_square(e.state, f"{e.title}: {GLYPHS[e.state][1]}") for e in submission.exercises)
    note = "" if submission.exercises else tag("em", prose(result.get("output") or "unreadable"))
    return tag(
        "tr",
        tag("th", link, scope="row")
        + tag("td", score, class_="score")
        + tag("td", bar(result["score"], result["max_score"]))
        + tag("td", squares + note, class_="squares"),
    )


def _square(state: str, title: str | None = None) -> str:
    return tag(
        "span", GLYPHS[state][0], class_=f"square {state}", title=title, role="img", aria_label=title or state
    )


def _stumbles(submissions: list[Submission]) -> str:
    """Return, per exercise, the share of points that the batch earned and the commonest mistakes."""
    if len(submissions) < 2:
        return ""
    groups: dict[tuple[str, str], list[Exercise]] = {}
    for exercise in (e for s in submissions for e in s.exercises):
        groups.setdefault((exercise.chapter, exercise.name), []).append(exercise)
    rows = "".join(_stumble(exercises) for exercises in groups.values())
    head = "".join(tag("th", t, scope="col") for t in ("Exercise", "Earned", "", "Recognised misconceptions"))
    table = tag("table", tag("thead", tag("tr", head)) + tag("tbody", rows))
    return tag("section", tag("h2", "Where points were lost") + table, class_="stumbles") if rows else ""


def _stumble(exercises: list[Exercise]) -> str:
    earned, most = sum(e.score for e in exercises), sum(e.max_score for e in exercises)
    mistakes = Counter(name for exercise in exercises for name in _mistakes(exercise.tests))
    listed = ", ".join(f"{visible(name.replace('_', ' '))} ×{n}" for name, n in mistakes.most_common(3))
    return tag(
        "tr",
        tag("th", visible(exercises[0].title), scope="row")
        + tag("td", f"{earned / most:.0%}" if most else "–", class_="score")
        + tag("td", bar(earned, most))
        + tag("td", listed),
    )


def _mistakes(tests: Iterable[dict]) -> set[str]:
    diagnoses = (test["extra_data"].get("diagnosis") for test in tests)
    return {diagnosis["mistake"] for diagnosis in diagnoses if diagnosis and diagnosis.get("mistake")}


def _footer(submissions: list[Submission]) -> str:
    """Return the conditions of the verdicts, and for whom the page is."""
    warning = "Hidden checks are shown here: this page is for whoever grades, not for students."
    hidden = any(t["extra_data"].get("hidden") for s in submissions for e in s.exercises for t in e.tests)
    return tag("footer", _conditions(submissions) + (tag("p", warning) if hidden else ""))


def _conditions(submissions: list[Submission]) -> str:
    """Return what a third party needs to judge the verdicts: isolation, device, versions, how to verify."""
    extras = [submission.result["extra_data"] for submission in submissions]
    tiers, devices = ({str(extra.get(key)) for extra in extras} for key in ("isolation", "device"))
    versions = sorted(
        {f"{name} {v}" for extra in extras for name, v in (extra.get("versions") or {}).items()}
    )
    facts = {
        "Isolation": ", ".join(TIERS.get(tier, tier) for tier in sorted(tiers)),
        "Device": ", ".join(sorted(devices)),
        "Versions": ", ".join(versions),
        "Verify": "`mechinterp verify DIR --head HASH`, with the hash that `grade` printed",
    }
    listed = "".join(tag("dt", name) + tag("dd", prose(fact)) for name, fact in facts.items() if fact)
    return tag("dl", listed)


TIERS = {
    "T0": "T0, none: the code ran inside the grader",
    "T1": "T1, weak: a separate process with limits",
    "T2": "T2: Landlock, seccomp and limits",
    "T3": "T3: a container or virtual machine",
}

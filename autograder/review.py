"""One submission's review as HTML: per exercise what holds, what does not, and why."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from autograder.markup import contrast, prose, tag, visible

LONGEST_CODE = 200  # lines
LINE = re.compile(r"line (\d+) of ")
GLYPHS = {
    "passed": ("✓", "right"),
    "partial": ("◐", "partly right"),
    "failed": ("✕", "wrong"),
    "not_run": ("○", "not written"),
    "grader_error": ("!", "the grader erred"),
}


@dataclass(frozen=True)
class Exercise:
    """One exercise of one submission, with its checks as `results.json` has them.

    `code` is the cell that answers it; line breaks before its first line keep the numbers of the file.
    """

    chapter: str
    name: str
    title: str
    tests: tuple[dict, ...]
    code: str | None = None

    @property
    def score(self) -> float:
        return sum(test["score"] for test in self.tests)

    @property
    def max_score(self) -> float:
        return sum(test["max_score"] for test in self.tests)

    @property
    def state(self) -> str:
        return state_of({test["extra_data"]["verdict"] for test in self.tests})


@dataclass(frozen=True)
class Submission:
    """One graded submission: its name and what its `results.json` says."""

    name: str
    result: dict
    exercises: tuple[Exercise, ...]


def state_of(verdicts: set[str]) -> str:
    """Sum up the verdicts of an exercise's checks: `partial` if only some passed, else as in `GLYPHS`."""
    if "grader_error" in verdicts or len(verdicts) == 1:
        return "grader_error" if "grader_error" in verdicts else next(iter(verdicts))
    return "partial" if "passed" in verdicts else "failed"


def number(value: float) -> str:
    """Return points without needless zeros: 3, 2.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def bar(value: float, most: float) -> str:
    """Return a bar as wide as the share `value / most`; a reader of the screen gets the numbers."""
    width = 100 * value / most if most else 0
    shapes = '<rect class="track" width="100" height="8" rx="2"/>'
    shapes += f'<rect class="filled" width="{width:.1f}" height="8" rx="2"/>'
    label = f"{number(value)} of {number(most)} points"
    return f'<svg class="bar" viewBox="0 0 100 8" role="img" aria-label="{label}">{shapes}</svg>'


def review(submission: Submission) -> str:
    """Return a submission's section: score, notices, then a card per exercise."""
    result = submission.result
    score = tag("b", number(result["score"])) + f" / {number(result['max_score'])}"
    head = tag("h2", visible(submission.name)) + tag("p", score, class_="total")
    head += bar(result["score"], result["max_score"])
    cards = "".join(_card(exercise) for exercise in submission.exercises)
    anchor = quote(submission.name.encode("utf-8", "surrogateescape"), safe="")
    return tag("article", tag("header", head) + _notices(result) + cards, id=anchor, class_="review")


def _notices(result: dict) -> str:
    extra, notices = result["extra_data"], []
    if not extra["complete"]:
        notices.append("This result is not complete: the grader erred. The same command again resumes it.")
    if extra.get("isolation") in ("T0", "T1"):
        notices.append(
            "Graded with weak isolation: the submission could have tampered with its own verdicts."
        )
    notices += extra.get("notes", [])
    if not result.get("tests") and result.get("output"):
        notices.append(result["output"])
    return "".join(tag("p", prose(notice), class_="notice") for notice in notices)


def _card(exercise: Exercise) -> str:
    glyph, meaning = GLYPHS[exercise.state]
    points = tag("span", f"{number(exercise.score)} / {number(exercise.max_score)}", class_="points")
    mark = tag("span", glyph, class_=f"square {exercise.state}", role="img", aria_label=meaning)
    title = tag("h3", f"{visible(exercise.title)} {tag('code', visible(exercise.name))}")
    explained: set[str] = set()
    checks = tag("ul", "".join(_check(test, explained) for test in exercise.tests), class_="checks")
    is_open = None if exercise.state == "passed" else ""
    body = checks + _code(exercise)
    return tag("details", tag("summary", mark + title + points) + body, class_="exercise", open=is_open)


def _code(exercise: Exercise) -> str:
    """Return the student's cell with the numbers of its lines, those that an explanation names marked."""
    kinds = {(test["extra_data"].get("diagnosis") or {}).get("kind") for test in exercise.tests}
    if not (exercise.code or "").strip() or kinds <= {"not_written", "missing"}:
        return ""
    lines = exercise.code.rstrip().split("\n")
    first = next(number for number, line in enumerate(lines) if line.strip())
    named = {_line_number(test["extra_data"].get("where")) for test in exercise.tests}
    items = "".join(
        tag("li", visible(line) or " ", class_="named" if number in named else None)
        for number, line in enumerate(lines[first : first + LONGEST_CODE], start=first + 1)
    )
    summary = tag("summary", "The answer as submitted")
    return tag("details", summary + tag("ol", items, start=str(first + 1)), class_="code", open="")


def _line_number(where: str | None) -> int | None:
    """Return n of "line n of the file: …"."""
    found = LINE.match(where or "")
    return int(found[1]) if found else None


def _check(test: dict, explained: set[str]) -> str:
    """Return one check; an explanation that already stands in the card is not repeated."""
    extra = test["extra_data"]
    verdict = extra["verdict"]
    glyph, meaning = GLYPHS[verdict]
    hidden = tag("span", "hidden check", class_="hidden") if extra.get("hidden") else ""
    points = tag("span", f"{number(test['score'])} / {number(test['max_score'])}", class_="points")
    mark = tag("span", glyph, class_="glyph", role="img", aria_label=meaning)
    why = _explanation(extra)
    if why in explained:
        why = tag("p", "For the same reason as above.", class_="same")
    elif why:
        explained.add(why)
    claim = tag("span", prose(test["claim"]), class_="claim")
    return tag(
        "li", tag("p", mark + claim + hidden + points, class_="line") + (why or _note(test)), class_=verdict
    )


def _note(test: dict) -> str:
    """Return what is to be said of a check that passed: below its sentence, `output` names help it had."""
    said = (test.get("output") or "").partition("\n")[2]
    return tag("p", prose(said), class_="same") if said and test["extra_data"]["verdict"] == "passed" else ""


def _explanation(extra: dict) -> str:
    """Return why a check came out as it did: misconception, message, the first difference."""
    diagnosis = extra.get("diagnosis") or {}
    parts = ""
    if diagnosis.get("mistake"):
        name = tag("b", visible(diagnosis["mistake"].replace("_", " ")))
        parts += tag("p", f"Recognised misconception: {name}", class_="mistake")
    if diagnosis.get("message"):
        parts += tag("p", prose(diagnosis["message"]), class_="message")
    parts += _values(extra)
    return tag("div", parts, class_="why") if parts else ""


def _values(extra: dict) -> str:
    """Return the first difference: its index or its line in the code, the expected value, the actual one."""
    expected, actual, where = (extra.get(key) for key in ("expected", "actual", "where"))
    rows = {"Where": where and visible(where)}
    if expected is not None and actual is not None:
        rows["Expected"], rows["Got"] = contrast(expected, actual)
    else:
        rows |= {"Expected": expected and visible(expected), "Got": actual and visible(actual)}
    listed = "".join(tag("dt", name) + tag("dd", tag("pre", value)) for name, value in rows.items() if value)
    return tag("dl", listed, class_="values") if listed else ""

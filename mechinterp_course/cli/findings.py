"""What was found about one exercise, for a terminal and for a script."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.manifest import Exercise
from autograder.review import GLYPHS, number, state_of
from mechinterp_course.checking.verdict import block_lines
from mechinterp_course.cli.terminal import plain

if TYPE_CHECKING:
    from autograder.examiner import Finding


def exercise_facts(chapter: str, exercise: Exercise, findings: list["Finding"]) -> dict:
    """Return an exercise's state, points and checks as plain values."""
    checks = [
        {
            "check": finding.check.name,
            "claim": finding.check.claim,
            "verdict": finding.outcome.verdict,
            "given_right": list(finding.helped),
            "diagnosis": asdict(finding.outcome.diagnosis) if finding.outcome.diagnosis else None,
        }
        for finding in findings
    ]
    passed = [finding.check.points for finding in findings if finding.outcome.verdict == "passed"]
    state = state_of({finding.outcome.verdict for finding in findings})
    facts = {"chapter": chapter, "exercise": exercise.name, "state": state}
    return facts | {"score": sum(passed), "max_score": exercise.points, "checks": checks}


def print_findings(exercise: Exercise, findings: list["Finding"], path: Path) -> None:
    """Print one line for the exercise; if something is wrong, each claim and why it does not hold."""
    facts = exercise_facts("", exercise, findings)
    glyph, meaning = GLYPHS[facts["state"]]
    print(f"{glyph} {exercise.name}  {number(facts['score'])} of {number(exercise.points)}, {meaning}")
    if facts["state"] in ("passed", "not_run") and all(_is_plain(finding) for finding in findings):
        return
    explained = set()
    for finding in findings:
        diagnosis = finding.outcome.diagnosis
        if diagnosis is None:
            helped = f" (given a right {' and '.join(finding.helped)})" if finding.helped else ""
            lines = [f"✓ {finding.check.claim}{helped}"]
        elif diagnosis in explained:
            lines = [f"✗ {finding.check.claim}", "  for the same reason"]
        else:
            lines = block_lines(diagnosis, finding.check.claim)
        explained.add(diagnosis)
        print("\n".join(f"    {plain(line)}" for text in lines for line in text.split("\n")))
    print(f"    → {path}; stuck? mechinterp hint {exercise.name}")


def _is_plain(finding: "Finding") -> bool:
    """Whether there is nothing to explain: right without help, or not begun."""
    diagnosis = finding.outcome.diagnosis
    return not finding.helped if diagnosis is None else diagnosis.kind in ("not_written", "missing")

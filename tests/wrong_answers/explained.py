"""What the grader tells a student about each answer of this folder, and the file of judgements on it.

`PYTHONPATH=. python tests/wrong_answers/explained.py` writes all texts anew to `judgements.json`,
keeps the judgements of those whose text stayed, and prints the names of those to be judged. Names of
chapters or exercises after it restrict it to these.
"""

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import torch

from autograder.certification.subject import find_subjects
from autograder.manifest import chapters, load_manifest
from autograder.outcomes import judged_by_outcome
from autograder.reuse import Reuse, WarmDraw, remembering
from mechinterp_course import heads, metrics, patching
from mechinterp_course.checking.cases import cases_of
from mechinterp_course.checking.draw import check_seed, seeded_generators
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.questions import Explanation, explained
from mechinterp_course.checking.recognition import load_mistakes, named, without_advice
from mechinterp_course.checking.slips import library_function, slips_of_library, with_sentence
from mechinterp_course.checking.verdict import block_lines, evaluate
from mechinterp_course.worlds import tokens

FOLDER = Path(__file__).parent
ELSEWHERE = (  # a file for each of the other chapters
    "elsewhere",
    "elsewhere_held_out",
    "elsewhere_third",
    "elsewhere_fourth",
    "elsewhere_fifth",
)
JUDGEMENTS = FOLDER / "judgements.json"
CHAPTERS = ("ch03_induction_heads", "ch19_what_a_head_does")
JUDGED_IN = CHAPTERS[0]  # then the chapter of all these exercises: the same draws, hence the same texts
UNANSWERED = {"refute_redundancy"}  # came after these answers
SEED = 3
OF_THE_CHAPTER = {  # what a student's later answers call, right
    "repeated_tokens": tokens.repeated_tokens,
    "loss_per_token": metrics.loss_per_token,
    "induction_score": heads.induction_score,
    "find_induction_heads": heads.find_induction_heads,
    "ablate_head": patching.ablate_head,
}
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
REPEATED = re.compile(r"(\((?:#, )*#\)|#)(?:, \1)+")
CUT = re.compile(r"[-, ]*…")  # how much of a list fits on the line depends on its numbers' digits

REUSE = Reuse()


@cache
def answers(module: str) -> dict[str, Callable]:
    """Return the functions `<exercise>__<name>` of one module of this folder, in order."""
    spec = importlib.util.spec_from_file_location(f"wrong_answers_{module}", FOLDER / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    vars(loaded).update(OF_THE_CHAPTER)
    spec.loader.exec_module(loaded)
    return _named_answers(vars(loaded))


@cache
def answers_elsewhere(slug: str) -> dict[str, Callable]:
    """Return the wrong answers to another chapter's exercises, each called among its right answers."""
    names = find_subjects(FOLDER.parents[1], [slug])[0].solved()
    for path in sorted(FOLDER.glob(f"*/{slug}.py")):
        exec(compile(path.read_text(encoding="utf-8"), path.name, "exec"), names)
    return _named_answers(names)


def _named_answers(names: dict[str, object]) -> dict[str, Callable]:
    return {name: value for name, value in names.items() if "__" in name and not name.startswith("_")}


def wrong_answers() -> dict[str, Callable]:
    """Return the wrong answers to all exercises."""
    names = [exercise.name for slug in CHAPTERS for exercise in load_manifest(slug).exercises]
    written = [name for name in names if name not in UNANSWERED]
    return {name: answer for exercise in written for name, answer in answers(exercise).items()}


@cache
def chapter_of(exercise: str) -> str:
    """Return the chapter that an exercise is in."""
    return next(
        slug for slug in chapters() if exercise in [each.name for each in load_manifest(slug).exercises]
    )


def names_elsewhere(folder: str) -> list[str]:
    """Return the names of the wrong answers in one of the folders, without running anything."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / folder).glob("ch*.py"))]
    found = [getattr(node, "name", "") for tree in trees for node in tree.body]
    return [name for name in found if "__" in name and not name.startswith("_")]


def answers_here() -> dict[str, Callable]:
    """Return every answer to the exercises that the first sets are about."""
    later = ("fresh", "third_for_development", "third_held_out", "right_but_unusual")
    return wrong_answers() | {name: answer for module in later for name, answer in answers(module).items()}


def find_answer(name: str) -> Callable:
    """Return the answer of a name, wherever it is."""
    slug = chapter_of(name.partition("__")[0])
    return (answers_here() if slug in CHAPTERS else answers_elsewhere(slug))[name]


def explanation(name: str, answer: Callable) -> str:
    """Return what the grader says of an answer, a block for each check that fails; "" if it is accepted."""
    slug = chapter_of(name.partition("__")[0])
    manifest, exercise = load_manifest(slug), load_manifest(slug).exercise(name.partition("__")[0])
    mistakes = load_mistakes(slug)[exercise.name]
    torch.set_num_threads(1)
    failed, passed = [], []
    for check in exercise.checks:
        origin = f"{JUDGED_IN if slug in CHAPTERS else slug}.{exercise.name}.{check.name}"
        draw = WarmDraw(check_seed(SEED, origin), "cpu", REUSE.models)
        student, function = LocalStudent({exercise.name: answer}), REUSE.check(manifest.check_function(check))
        with seeded_generators(draw.student_seed):
            outcome = evaluate(function, student, draw)
        draw.give_back()
        run = (function, student.transcript, draw)
        (passed if outcome.verdict == "passed" else failed).append((check.claim, outcome, run))
    runs = [run for _, outcome, run in failed if outcome.verdict == "failed"]
    given = [run for *_, run in passed]
    found = _explained(exercise, answer, runs, given, mistakes) if runs else Explanation()
    for *_, (_, _, draw) in failed + passed:
        draw.give_back()
    seen = [run[1] for *_, run in failed + passed]
    return "\n".join(
        _block(claim, outcome, run, found, mistakes, exercise.name, seen) for claim, outcome, run in failed
    )


def _explained(exercise, answer, failed, passed, mistakes) -> Explanation:
    reference = remembering(library_function(exercise.reference), REUSE.expected)
    student = LocalStudent({exercise.name: answer})
    by_outcome = judged_by_outcome(load_manifest(chapter_of(exercise.name)), exercise)
    cases = cases_of(exercise.name, reference, failed + passed)
    inquiry = Inquiry(student, exercise.name, reference, cases, by_outcome=by_outcome)
    slips = {} if by_outcome else slips_of_library(exercise.reference)
    return explained(inquiry, failed, passed, mistakes, slips, REUSE.replay)


def _block(claim, outcome, run, found, mistakes, exercise, transcripts) -> str:
    diagnosis = without_advice(outcome.diagnosis, exercise, transcripts)
    if found.mistake and any(run is each for each in found.runs):
        diagnosis = named(diagnosis, found.mistake, mistakes[found.mistake])
    elif outcome.verdict == "failed":
        diagnosis = with_sentence(diagnosis, found.sentence)
    lines = block_lines(diagnosis, claim)
    return "\n".join(lines if outcome.verdict == "failed" else [f"({outcome.verdict})", *lines])


def gist(text: str) -> str:
    """Return an explanation without the claims and numbers: the last digits may differ elsewhere."""
    said = "\n".join(line for line in text.split("\n") if not line.startswith("✗"))
    return CUT.sub("…", REPEATED.sub(r"\1", NUMBER.sub("#", said)))


def recorded() -> dict[str, dict]:
    """Return the judgements by the name of the answer."""
    return json.loads(JUDGEMENTS.read_text(encoding="utf-8")) if JUDGEMENTS.exists() else {}


def record(names: Sequence[str]) -> list[str]:
    """Write the explanations of these answers down and return the names of those to be judged (anew)."""
    return write({name: explanation(name, find_answer(name)) for name in names})


def write(texts: dict[str, str]) -> list[str]:
    """Write explanations down with the judgements of those that stayed; return the names of the others."""
    known, open_ones = recorded(), []
    for name, text in texts.items():
        judged = known.get(name, {})
        if gist(judged.get("text", "\0")) != gist(text):
            judged = {"named": None, "false_claim": None}
            open_ones.append(name)
        known[name] = {"text": text, **{key: value for key, value in judged.items() if key != "text"}}
    JUDGEMENTS.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return open_ones


def answers_to(wanted: Sequence[str]) -> list[str]:
    """Return the names of the answers to these exercises, or those of these chapters; of all without any."""
    names = [*answers_here(), *chain.from_iterable(map(names_elsewhere, ELSEWHERE))]
    of = {name: (exercise := name.partition("__")[0], chapter_of(exercise)) for name in names}
    return [name for name in names if not wanted or {*of[name]} & {*wanted}]


if __name__ == "__main__":
    print(*record(answers_to(sys.argv[1:])), sep="\n")

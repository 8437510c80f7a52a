"""A chapter of two small exercises, so that a whole grading takes a moment, and a zygote quick to start."""

import json
from pathlib import Path

CHAPTER = "ch90_tiny"
CHECKS = '''
"""Checks of a chapter that exists in tests only."""

import torch

from mechinterp_course.checking import expect_close


def double__doubles(student, draw):
    """every element is doubled"""
    x = draw.normal(3, 4)
    expect_close(student.double(x), 2 * x, dims="row column")


def double__keeps_zero(student, draw):
    """zero stays zero"""
    expect_close(student.double(torch.zeros(2)), torch.zeros(2), dims="row")


def row_means__agrees(student, draw):
    """the mean of each row agrees with the reference"""
    x = draw.normal(3, 4)
    expect_close(student.row_means(x), x.mean(-1), dims="row")
'''
POINTS = {"double": {"doubles": 2, "keeps_zero": 1}, "row_means": {"agrees": 2}}
ANSWERS = {
    "double": ("return 2 * x", "return x + x", "return x"),
    "row_means": ("return x.mean(-1)", "return x.sum(-1) / x.shape[-1]", "return x.mean(0)"),
}
STUB = 'raise NotImplementedError("this is not written yet")'
ZYGOTE = ("-P", "-c", "import sys, autograder.zygote as z; z.PRELOADED = {light}; z.main(int(sys.argv[1]))")
LIGHT = ("torch", "numpy", "autograder.codec", "autograder.worker")


def manifest() -> str:
    """Return the chapter's manifest."""
    exercises = [_exercise(name, points) for name, points in POINTS.items()]
    about = {"chapter": CHAPTER, "title": "Tiny", "version": "0" * 12, "given": [], "exercises": exercises}
    return json.dumps(about)


def _exercise(name: str, points: dict[str, int]) -> dict:
    checks = [
        {"name": check, "function": f"{name}__{check}", "id": f"{name}-{check}", "claim": check}
        | {"points": worth, "hidden": False}
        for check, worth in points.items()
    ]
    texts = {"title": name, "reference": "heads.induction_score", "stub": ""}
    numbers = {"minutes": 1, "difficulty": 1, "points": sum(points.values())}
    lists = {"needs": [], "withhold": [], "forbid": [], "hints": [], "checks": checks}
    return {"name": name, "ids": {}} | texts | numbers | lists


def install(folder: Path, patch) -> None:
    """Make the chapter known to the grader of this process, and its zygotes quick to start."""
    import autograder.checks
    from autograder import manifest as manifests
    from autograder import room

    (folder / f"{CHAPTER}.json").write_text(manifest())
    (folder / f"{CHAPTER}.py").write_text(CHECKS)
    patch.setattr(manifests, "CHECKS", folder)
    patch.setattr(autograder.checks, "__path__", [*autograder.checks.__path__, str(folder)])
    patch.setattr(room, "PROGRAM", (*ZYGOTE[:2], ZYGOTE[2].format(light=LIGHT)))


def script(double: str = ANSWERS["double"][0], row_means: str = ANSWERS["row_means"][0]) -> str:
    """Return a submission with these bodies."""
    functions = {"double": double, "row_means": row_means}
    cells = (f"# %%\ndef {name}(x):\n    {body}\n" for name, body in functions.items())
    return "# %%\nimport torch\n" + "".join(cells)


def class_of(number: int, folder: Path, written: int = 1) -> list[Path]:
    """Write submissions of mixed quality, no two alike, one in `written` written; return their paths."""
    paths = []
    for index in range(number):
        paths.append(folder / f"student_{index:05d}.py")
        doubles, means = ANSWERS.values()
        answers = doubles[index % 3], means[index // 3 % 3]
        text = script(*(answers if index % written == 0 else (STUB, STUB)))
        paths[-1].write_text(f"{text}# the work of student {index}\n")
    return paths

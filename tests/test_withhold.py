"""A room's library is the library, less the answer."""

import ast
import json

from autograder import room
from autograder.manifest import chapters, load_manifest, parse_manifest
from autograder.withhold import cut_out, write_library
from mechinterp_course.layout import PACKAGE

SOURCE = '''
import torch

def kept(x):
    return x + 1

def answer(x: int) -> int:
    """Return the answer."""
    secret = 42
    return secret

@torch.no_grad()
def bare(x):
    return 7

class Model:
    def encode(self, x):
        """Encode."""
        return x * 3

    def decode(self, x):
        return x / 3
'''


def test_only_the_named_bodies_are_cut_out():
    cut = cut_out(SOURCE, frozenset({"answer", "bare", "Model.encode"}))
    assert "42" not in cut and "return 7" not in cut and "x * 3" not in cut
    assert "x + 1" in cut and "x / 3" in cut and "Return the answer." in cut


def test_a_withheld_class_loses_every_method():
    cut = cut_out(SOURCE, frozenset({"Model"}))
    assert "x * 3" not in cut and "x / 3" not in cut and "x + 1" in cut and "class Model:" in cut


def test_what_answers_are_compared_with_is_withheld_under_any_name():
    exercise = {
        "name": "my_score", "title": "", "minutes": 1, "difficulty": 1, "needs": [], "hints": [],
        "reference": "heads.induction_score", "withhold": ["my_score"], "forbid": ["einops.reduce"],
        "points": 1, "ids": {}, "stub": "", "checks": [],
    }  # fmt: skip
    raw = {"chapter": "", "title": "", "version": "", "given": [], "exercises": [exercise]}
    read = parse_manifest(json.dumps(raw).encode()).exercises[0]
    assert read.withhold == ("my_score", "induction_score") and read.forbid == ("einops.reduce",)


def test_every_exercise_of_the_course_withholds_its_reference():
    for exercise in (each for slug in chapters() for each in load_manifest(slug).exercises):
        assert exercise.reference.rpartition(".")[2] in exercise.withhold


def test_another_copy_of_the_library_cannot_be_read(tmp_path, monkeypatch):
    for place in ("python3.9/site-packages/mechinterp_course", "python3/dist-packages/numpy"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(room, "SYSTEM_FOLDERS", (str(tmp_path),))
    readable = room.readable_paths(tmp_path / "library")
    assert tmp_path / "python3" in readable and tmp_path not in readable
    assert not [
        path
        for path in readable
        if (tmp_path / "python3.9/site-packages/mechinterp_course").is_relative_to(path)
    ]


def test_a_withheld_function_keeps_its_signature_and_says_why_it_raises():
    namespace = {}
    exec(
        cut_out(SOURCE.replace("import torch", "").replace("@torch.no_grad()", ""), frozenset({"answer"})),
        namespace,
    )
    try:
        namespace["answer"](3)
    except Exception as error:
        assert type(error).__name__ == "WithheldAnswer" and "answer is what this exercise asks" in str(error)
    else:
        raise AssertionError("it returned")
    assert namespace["answer"].__annotations__ == {"x": int, "return": int}


def test_a_room_has_no_authoring_no_command_line_and_no_solutions(tmp_path):
    write_library(tmp_path, ["induction_score"])
    names = {path.relative_to(tmp_path / "mechinterp_course").parts[0] for path in tmp_path.rglob("*.py")}
    assert not names & {"authoring", "cli", "course", "training.py"}
    assert "heads.py" in names and (tmp_path / "mechinterp_course" / "data").is_symlink()


def test_every_module_still_parses_without_its_answers(tmp_path):
    every = {
        node.name
        for path in PACKAGE.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    write_library(tmp_path, every)
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text())

"""A class of students who each solve a chapter more or less well: notebooks for any grader to grade."""

import ast
import copy
import random
from pathlib import Path

import nbformat
from nbformat import NotebookNode

WRITTEN = (0.95, 0.75)  # how likely the first and the last exercise of a chapter is written at all
RIGHT = (0.5, 1.0)  # how likely a written answer is right, for the weakest student and the best


def write_class(source: NotebookNode, number: int, folder: Path, seed: int = 0) -> list[Path]:
    """Write `number` notebooks, no two alike, as `folder/<student>/<chapter>.ipynb`, and return their paths.

    `source` is the solved notebook. Each answer is the solution, the solution with one number, comparison or
    operator changed, a sentence that is no Python, or not written.
    """
    chapter = source.metadata["mechinterp_course"]["chapter"]
    paths = []
    for index in range(number):
        student = random.Random(f"{seed} {index}")
        path = folder / f"student_{index:03d}" / f"{chapter}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(_handed_in(source, student), path)
        paths.append(path)
    return paths


def _handed_in(source: NotebookNode, student: random.Random) -> NotebookNode:
    notebook, skill = copy.deepcopy(source), student.uniform(*RIGHT)
    cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    cells = [cell for cell in cells if cell.cell_type == "code"]
    for place, cell in enumerate(cells):
        likely = WRITTEN[0] + (WRITTEN[1] - WRITTEN[0]) * place / max(1, len(cells) - 1)
        cell.source = _answer(cell.source, student, student.random() < likely, student.random() < skill)
    return notebook


def _answer(solution: str, student: random.Random, written: bool, right: bool) -> str:
    if not written:
        tree = ast.parse(solution)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                node.body = ast.parse(f"raise NotImplementedError('{node.name} is not written yet')").body
        return ast.unparse(tree)
    if right:
        return f"{solution}\n# done in {student.randrange(10, 90)} minutes"
    if student.random() < 0.1:
        return f"{solution}\nthis line is no Python"
    return _changed(solution, student)


def _changed(solution: str, student: random.Random) -> str:
    """Return the solution with one number, comparison or operator in a function changed."""
    tree = ast.parse(solution)
    bodies = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    places = [node for body in bodies for part in body.body for node in ast.walk(part) if _is_place(node)]
    if places:
        node = student.choice(places)
        if isinstance(node, ast.Constant):
            node.value += student.choice((-1, 1))
        elif isinstance(node, ast.Compare):
            node.ops[0] = ast.LtE() if isinstance(node.ops[0], ast.Gt) else ast.Gt()
        else:
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
    return ast.unparse(tree)


def _is_place(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    return isinstance(node, ast.Compare) or (
        isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
    )

"""What is asked without a function to write: predictions, written answers, interview questions."""

import ast
import re
from dataclasses import dataclass

from mechinterp_course.authoring.source import Cell, refuse, tree_of

ANSWER = "answer"
"""The name that the demo after a prediction binds to what really happens."""


@dataclass(frozen=True)
class Prediction:
    """A question asked before a demo; `demo` is the id of the cell that computes the answer.

    Either `choices` are given, or the answer is a number, in `unit`, right within `tolerance`.
    """

    name: str
    id: str
    demo: str
    text: str
    choices: tuple[str, ...]
    unit: str
    tolerance: float


@dataclass(frozen=True)
class Rubric:
    """A question answered in writing; `levels[i]` describes an answer worth i points."""

    id: str
    text: str
    levels: tuple[str, ...]

    @property
    def points(self) -> int:
        """What the highest level is worth."""
        return len(self.levels) - 1


def read_prediction(slug: str, cell: Cell, follower: Cell | None) -> Prediction:
    """Return the prediction of a cell, given the cell below it, which must be the demo that settles it."""
    name = _name(slug, cell)
    choices = cell.options.get("choices", [])
    if choices and (len(choices) < 2 or len(set(choices)) < len(choices)):
        refuse(slug, cell.line, f"the prediction `{name}` needs at least two different choices")
    if not choices and not isinstance(cell.options.get("tolerance"), int | float):
        refuse(slug, cell.line, f"the prediction `{name}` needs `choices`, or `tolerance` around a number")
    if follower is None or follower.role != "demo" or not _binds_answer(slug, follower):
        refuse(slug, cell.line, f"the cell below `{name}` must be a demo that computes `{ANSWER} = …`")
    return Prediction(
        name=name,
        id=cell.id,
        demo=follower.id,
        text=cell.text,
        choices=tuple(choices),
        unit=str(cell.options.get("unit", "")),
        tolerance=float(cell.options.get("tolerance", 0)),
    )


def read_rubric(slug: str, cell: Cell) -> Rubric:
    """Return the rubric of a cell: the question, then `Levels:` and a list `- 0: …`, `- 1: …`."""
    _name(slug, cell)
    question, _, listed = cell.text.partition("\nLevels:\n")
    if not question.startswith("#") or "\n\n" not in question.strip():
        refuse(slug, cell.line, "a rubric begins with a heading, then a blank line and the question")
    levels = re.findall(r"^- (\d+): ((?:.|\n(?!- \d))+)", listed, flags=re.MULTILINE)
    if len(levels) < 2 or [int(number) for number, _ in levels] != list(range(len(levels))):
        refuse(slug, cell.line, "a rubric ends with a line `Levels:` and a list `- 0: …`, `- 1: …`")
    return Rubric(cell.id, question.strip(), tuple(" ".join(text.split()) for _, text in levels))


def _name(slug: str, cell: Cell) -> str:
    name = cell.options.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        refuse(slug, cell.line, f'a {cell.role} cell needs `name="a_name"`')
    return name


def _binds_answer(slug: str, cell: Cell) -> bool:
    nodes = ast.walk(tree_of(slug, cell))
    return any(isinstance(n, ast.Name) and n.id == ANSWER and isinstance(n.ctx, ast.Store) for n in nodes)

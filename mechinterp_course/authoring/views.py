"""What a student gets: one notebook and one Python file with the same cells, and no answers."""

import json
import string
from collections.abc import Callable

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mechinterp_course.authoring.cell_ids import cell_id
from mechinterp_course.authoring.chapter import Chapter
from mechinterp_course.authoring.exercises import Exercise
from mechinterp_course.authoring.manifest import view_metadata
from mechinterp_course.authoring.questions import ANSWER, Prediction, Rubric
from mechinterp_course.authoring.source import Cell, refresh_command
from mechinterp_course.authoring.stub import guarded

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
DISCUSSION = "Seen it? Then read what it shows"
"""The fold around the text below a predicted result, which would tell the result."""
SETUP = """\
from mechinterp_course.checking import run_check
from mechinterp_course.predictions import predict"""
"""What the cells need that authoring adds; it stands before the chapter's first code."""
PLAYED = '__name__ == "__main__"'
"""True in a notebook and when the file is run, false when it is graded."""


def student_notebook(chapter: Chapter) -> NotebookNode:
    """Return the student's notebook: stubs, visible checks that run themselves, folded hints."""
    return notebook(chapter, played_cells(chapter, student_cells))


def played_cells(
    chapter: Chapter, render: Callable[[Chapter, Cell], list[NotebookNode]]
) -> list[NotebookNode]:
    """Return the cells that `render` makes of the chapter's, after the line of origin, with the setup."""
    cells = [source_line(chapter)]
    for cell in chapter.cells:
        if cell is first_code_cell(chapter):
            cells.append(new_code_cell(SETUP, id=cell_id(chapter.slug, "setup"), metadata={"tags": ["demo"]}))
        cells += render(chapter, cell)
    return cells


def notebook(chapter: Chapter, cells: list[NotebookNode]) -> NotebookNode:
    """Return a valid notebook of these cells whose metadata name the chapter and its version."""
    metadata = {"kernelspec": KERNEL, "mechinterp_course": view_metadata(chapter)}
    made = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(made)
    return made


def notebook_text(made: NotebookNode) -> str:
    """Return a notebook's bytes-stable JSON text."""
    return nbformat.writes(made) + "\n"


def student_script(chapter: Chapter) -> str:
    """Return the student's `.py`: the notebook's cells in percent format, demos and checks guarded."""
    import jupytext

    made = student_notebook(chapter)
    for cell in made.cells:
        cell.metadata = _script_metadata(cell)
        if cell.cell_type == "code":
            cell.source = script_source(cell)
    made.metadata = {"jupytext": {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags"}}
    return _script_header(chapter) + jupytext.writes(made, fmt="py:percent")


def script_source(cell: NotebookNode) -> str:
    """Return a notebook code cell as it stands in the `.py`, where importing must not run anything."""
    tags = cell.metadata.get("tags", [])
    if "demo" in tags or "predict" in tags:
        return guarded(cell.source, PLAYED)
    if "check" in tags:
        definition, call = cell.source.rsplit("\n\n\n", 1)
        return f"{definition}\n\n\n{guarded(call, PLAYED)}"
    return cell.source


def source_line(chapter: Chapter) -> NotebookNode:
    """Return the first cell of a view, which names its source, its version and what wrote it."""
    text = (
        f"*Chapter `{chapter.slug}`, version `{chapter.version}`, written from `{chapter.source}` "
        f"by `{refresh_command(chapter.slug)}`.*"
    )
    return new_markdown_cell(text, id=cell_id(chapter.slug, "source"))


def first_code_cell(chapter: Chapter) -> Cell:
    """Return the first cell of the chapter that is code."""
    return next(c for c in chapter.cells if c.role in ("code", "given", "demo", "solution", "check"))


def student_cells(chapter: Chapter, cell: Cell) -> list[NotebookNode]:
    """Return the cells of a student's notebook that one cell of the source becomes; none for secrets."""
    if cell.role == "interview" or (cell.role == "check" and cell.hidden):
        return []
    if cell.role == "predict":
        return _prediction(next(p for p in chapter.predictions if p.id == cell.id))
    if cell.role == "rubric":
        return written_answer(next(r for r in chapter.rubrics if r.id == cell.id))
    if cell.role in ("text", "statement", "hint"):
        return [new_markdown_cell(reading_text(chapter, cell), id=cell.id, metadata=_tags(cell))]
    return [new_code_cell(_code(chapter, cell), id=cell.id, metadata=_tags(cell) | _fold(cell))]


def reading_text(chapter: Chapter, cell: Cell) -> str:
    """Return the text of a markdown cell as students read it."""
    if cell.role == "hint":
        return _folded(f"Hint {chapter.hint_number(cell)}", cell.text)
    if cell.role == "statement":
        return with_facts(chapter.exercise(cell.exercise))
    discussion, rest = chapter.discussion(cell)
    return f"{_folded(DISCUSSION, discussion)}\n\n{rest}".rstrip() if discussion else rest


def with_facts(exercise: Exercise, style: str = "*{}*") -> str:
    """Return a statement with one line below its heading: function, time, difficulty, points, needs."""
    heading, _, rest = exercise.statement.text.partition("\n")
    facts = [
        f"`{exercise.name}`",
        f"{exercise.minutes} minutes",
        f"difficulty {exercise.difficulty} of 5",
        f"{exercise.points} point{'s' * (exercise.points != 1)}",
    ]
    if exercise.needs:
        facts.append("builds on " + ", ".join(f"`{need}`" for need in exercise.needs))
    return f"{heading}\n\n{style.format(' · '.join(facts))}\n{rest}".rstrip()


def checked(source: str) -> str:
    """Return a check's source followed by the call that runs it and raises when it fails."""
    name = source.split("def ", 1)[1].split("(", 1)[0]
    return f"{source}\n\n\nrun_check({name})"


def written_answer(rubric: Rubric) -> list[NotebookNode]:
    """Return a rubric's question and the cell for its answer; the levels stay with the teacher."""
    answer = new_markdown_cell("*Your answer:*", id=f"{rubric.id}-answer", metadata={"tags": ["rubric"]})
    return [new_markdown_cell(rubric.text, id=rubric.id), answer]


def question_text(prediction: Prediction) -> str:
    """Return a prediction's question with its lettered choices."""
    lettered = zip(string.ascii_lowercase, prediction.choices, strict=False)
    listed = "\n".join(f"- **{letter}** {choice}" for letter, choice in lettered)
    return f"{prediction.text}\n\n{listed}" if listed else prediction.text


def _folded(summary: str, text: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def _code(chapter: Chapter, cell: Cell) -> str:
    if cell.role == "solution":
        return next(e.stub for e in chapter.exercises if e.solution.id == cell.id)
    if cell.role == "check":
        return checked(cell.text)
    prediction = chapter.predicted_by(cell)
    if prediction is None:
        return cell.text
    return guarded(f"{cell.text}\n{prediction.name}.compare({ANSWER})", f"{prediction.name}.answered()")


def _prediction(prediction: Prediction) -> list[NotebookNode]:
    source = (
        f"{prediction.name} = predict(\n"
        f"    answer=None,  # {_what_to_answer(prediction)}\n"
        "    confidence=None,  # the probability that you are right, from 0 to 1\n"
        f"    {_what_is_right(prediction)},\n"
        ")"
    )
    code = new_code_cell(source, id=f"{prediction.id}-answer", metadata={"tags": ["predict"]})
    return [new_markdown_cell(question_text(prediction), id=prediction.id), code]


def _what_to_answer(prediction: Prediction) -> str:
    if prediction.choices:
        return f'"a" to "{string.ascii_lowercase[len(prediction.choices) - 1]}"'
    return f"a number, in {prediction.unit}" if prediction.unit else "a number"


def _what_is_right(prediction: Prediction) -> str:
    if not prediction.choices:
        return f"tolerance={prediction.tolerance:g}"
    listed = "".join(f"        {json.dumps(choice, ensure_ascii=False)},\n" for choice in prediction.choices)
    return f"choices=(\n{listed}    )"


def _script_header(chapter: Chapter) -> str:
    """Return the YAML header that jupytext reads, without jupytext's own version in it."""
    lines = [
        "---",
        "jupyter:",
        f"  kernelspec: {json.dumps(KERNEL)}",
        f"  mechinterp_course: {json.dumps(view_metadata(chapter))}",
        "---",
    ]
    return "".join(f"# {line}\n" for line in lines) + "\n"


def _tags(cell: Cell) -> dict:
    tags = [cell.role] if cell.role in ("check", "given", "demo") else []
    return {"tags": tags} if tags else {}


def _fold(cell: Cell) -> dict:
    """Return the metadata by which Jupyter shows a cell folded: `given` cells serve the checks."""
    return {"jupyter": {"source_hidden": True}} if cell.role == "given" else {}


def _script_metadata(cell: NotebookNode) -> dict:
    metadata = {"tags": list(cell.metadata["tags"])} if "tags" in cell.metadata else {}
    return metadata | ({"cell_marker": 'r"""'} if cell.cell_type == "markdown" else {})

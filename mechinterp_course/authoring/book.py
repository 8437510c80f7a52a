"""A chapter's page in the book, in MyST Markdown: solved and executed, with solutions and hints folded."""

import json
import re
from collections.abc import Iterable, Sequence

from mechinterp_course.authoring.chapter import Chapter
from mechinterp_course.authoring.manifest import view_metadata
from mechinterp_course.authoring.source import Cell, refresh_command
from mechinterp_course.authoring.stub import without_markers
from mechinterp_course.authoring.views import (
    DISCUSSION,
    KERNEL,
    SETUP,
    checked,
    first_code_cell,
    question_text,
    with_facts,
)

FOLD_CODE, FOLD_ALL = "hide-input", "hide-cell"


def page(chapter: Chapter) -> str:
    """Return the MyST Markdown text of `book/<slug>.md`."""
    header = [
        "---",
        "file_format: mystnb",
        f"kernelspec: {json.dumps(KERNEL)}",
        f"mechinterp_course: {json.dumps(view_metadata(chapter))}",
        "---",
        f"% Written from {chapter.source} by `{refresh_command(chapter.slug)}`: edit the source instead.",
    ]
    blocks = []
    for cell in chapter.cells:
        if cell is first_code_cell(chapter):
            blocks.append(_code_cell(SETUP, ["remove-cell"], ""))
        blocks.append(_block(chapter, cell))
    return "\n".join(header) + "\n\n" + "\n\n".join(block for block in blocks if block) + "\n"


def table_of_contents(pages: Iterable[str]) -> str:
    """Return the text of `book/_toc.yml`: the introduction, then every chapter and what comes after."""
    header = "# Written by `python -m mechinterp_course.authoring` from the folders in solutions/.\n"
    return header + "format: jb-book\nroot: intro\nchapters:\n" + "".join(f"  - file: {p}\n" for p in pages)


def _block(chapter: Chapter, cell: Cell) -> str:
    if cell.role == "interview" or cell.hidden:
        return ""
    if cell.role == "text":
        return _text(chapter, cell)
    if cell.role == "statement":
        return with_facts(chapter.exercise(cell.exercise), style="{{.facts}}\n{}")
    if cell.role == "hint":
        return _dropdown(f"Hint {chapter.hint_number(cell)}", "hint", cell.text)
    if cell.role == "predict":
        prediction = next(p for p in chapter.predictions if p.id == cell.id)
        return _fenced("{admonition} Predict first", ":class: predict", question_text(prediction))
    if cell.role == "rubric":
        rubric = next(r for r in chapter.rubrics if r.id == cell.id)
        heading, _, question = rubric.text.partition("\n\n")
        return heading + "\n\n" + _fenced("{admonition} In your own words", ":class: rubric", question)
    return _code_block(chapter, cell)


def _text(chapter: Chapter, cell: Cell) -> str:
    discussion, rest = chapter.discussion(cell)
    return f"{_dropdown(DISCUSSION, 'discussion', discussion)}\n\n{rest}".rstrip() if discussion else rest


def _dropdown(title: str, kind: str, text: str) -> str:
    return _fenced(f"{{dropdown}} {title}", f":class-container: {kind}", text)


def _code_block(chapter: Chapter, cell: Cell) -> str:
    if cell.role == "solution":
        return _code_cell(without_markers(cell), [FOLD_CODE, "solution"], "Solution")
    if cell.role == "check":
        return _code_cell(checked(cell.text), [FOLD_CODE, "check"], f"Check: {chapter.check(cell).claim}")
    if cell.role == "demo" and chapter.predicted_by(cell):
        return _code_cell(cell.text, [FOLD_ALL, "predicted"], "Predicted? Then see what happens")
    if cell.role == "given":
        return _code_cell(cell.text, [FOLD_CODE, "given"], "Given")
    return _code_cell(cell.text, [], "")


def _code_cell(source: str, tags: Sequence[str], prompt: str) -> str:
    options = ["---", f"tags: {json.dumps(tags)}"] if tags else []
    if prompt:
        show = json.dumps(prompt, ensure_ascii=False)
        options += ["mystnb:", f"  code_prompt_show: {show}", f"  code_prompt_hide: {show}"]
    return _fenced("{code-cell} ipython3", "\n".join([*options, "---"] if options else []), source)


def _fenced(directive: str, options: str, body: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", body)), default=2)
    fence = "`" * (longest + 1)
    separator = "\n\n" if options.startswith(":") else "\n"
    return f"{fence}{directive}\n" + (f"{options}{separator}" if options else "") + f"{body}\n{fence}"

"""Read a chapter's percent-format source into cells that know their role and their line."""

import ast
import io
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from mechinterp_course.errors import CourseError

MARKDOWN_TAGS = {"hint": "hint", "predict": "predict", "rubric": "rubric", "interview": "interview"}
CODE_TAGS = {"check": "check", "given": "given", "demo": "demo"}
MODIFIERS = {"hidden": "check"}
OPTIONS = {
    "text": {"after"},
    "statement": {"exercise", "minutes", "difficulty", "needs", "reference", "withhold", "forbid", "was"},
    "check": {"points"},
    "predict": {"choices", "unit", "tolerance"},
}


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter.

    `role` is one of text, statement, hint, predict, rubric, interview (markdown) and
    code, solution, check, given, demo (Python). `line` is the line of its `# %%` marker.
    `exercise` and `id` are empty until the chapter's structure is known.
    """

    role: str
    text: str
    line: int
    hidden: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    exercise: str = ""
    id: str = ""


def refuse(slug: str, line: int, message: str) -> NoReturn:
    """Raise the CourseError that tells an author where the source is wrong and what to run next."""
    raise CourseError(
        f"{source_label(slug)}, line {line}: {message}; mend it and run `{refresh_command(slug)}`"
    )


def source_label(slug: str) -> str:
    """Return the path of a chapter's source relative to the course's root, with forward slashes."""
    return f"solutions/{slug}/chapter.py"


def refresh_command(slug: str) -> str:
    """Return the command that rewrites every view of a chapter."""
    return f"python -m mechinterp_course.authoring {slug}"


def read_cells(slug: str, text: str) -> tuple[Cell, ...]:
    """Return the cells of a chapter's source in order; raise CourseError at its first slip."""
    import jupytext

    _parse(slug, text, first_line=1)
    lines = _marker_lines(text)
    cells = jupytext.reads(text, fmt="py:percent").cells
    if len(cells) != len(lines):
        refuse(slug, 1, "the source has text before its first `# %%` marker")
    return tuple(_cell(slug, line, cell) for line, cell in zip(lines, cells, strict=True))


def tree_of(slug: str, cell: Cell) -> ast.Module:
    """Return the syntax tree of a code cell; its line numbers count from the cell's first line."""
    return _parse(slug, cell.text, first_line=cell.line + 1)


def _parse(slug: str, text: str, first_line: int) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        refuse(slug, first_line + (error.lineno or 1) - 1, f"not valid Python ({error.msg})")


def _marker_lines(text: str) -> list[int]:
    """Return the lines of `# %%` markers, ignoring those inside strings."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (t for t in tokens if t.type == tokenize.COMMENT and t.start[1] == 0)
    return [t.start[0] for t in comments if t.string.startswith("# %%")]


def _cell(slug: str, line: int, cell) -> Cell:
    options = {k: v for k, v in cell.metadata.items() if k not in {"cell_marker", "lines_to_next_cell"}}
    tags = options.pop("tags", [])
    role = _role(slug, line, cell, tags, options)
    for key in options:
        if key not in OPTIONS.get(role, set()) | {"name"}:
            refuse(slug, line, f"a {role} cell takes no `{key}`")
    text = cell.source.strip("\n")
    return Cell(role, text, line, "hidden" in tags, options)


def _role(slug: str, line: int, cell, tags: list[str], options: Mapping[str, object]) -> str:
    markdown = cell.cell_type == "markdown"
    if not markdown and cell.cell_type != "code":
        refuse(slug, line, f"a chapter has markdown and code cells, not {cell.cell_type} cells")
    allowed = MARKDOWN_TAGS if markdown else CODE_TAGS
    for tag in tags:
        if tag not in MARKDOWN_TAGS | CODE_TAGS | MODIFIERS:
            known = ", ".join([*MARKDOWN_TAGS, *CODE_TAGS, *MODIFIERS])
            refuse(slug, line, f"unknown tag `{tag}` (known: {known})")
        if MODIFIERS.get(tag, tag) not in tags:
            refuse(slug, line, f"the tag `{tag}` needs the tag `{MODIFIERS[tag]}`")
        if tag not in MODIFIERS and tag not in allowed:
            refuse(slug, line, f"a {cell.cell_type} cell can't have the tag `{tag}`")
    roles = [tag for tag in tags if tag not in MODIFIERS]
    if len(roles) > 1:
        refuse(slug, line, f"a cell has one role, not {' and '.join(roles)}")
    return roles[0] if roles else _untagged_role(cell, options)


def _untagged_role(cell, options: Mapping[str, object]) -> str:
    if cell.cell_type == "markdown":
        return "statement" if "exercise" in options else "text"
    return "solution" if "BEGIN SOLUTION" in cell.source or "END SOLUTION" in cell.source else "code"

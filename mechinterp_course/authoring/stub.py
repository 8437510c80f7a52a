"""Cut answers out of code cells, and guard what only runs when a chapter is played."""

import ast
import io
import re
import textwrap
import tokenize

from mechinterp_course.authoring.source import Cell, refuse, tree_of

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"


def stub(slug: str, cell: Cell) -> str:
    """Return a solution cell with each region between BEGIN and END replaced by one `raise`."""
    lines = cell.text.split("\n")
    tree = tree_of(slug, cell)
    kept: list[str] = []
    position = 0
    for begin, end in solution_regions(slug, cell):
        kept += lines[position:begin]
        indent = re.match(r"\s*", lines[begin]).group()
        name = _enclosing_name(tree, begin + 1)
        if not name:
            refuse(slug, cell.line + 1 + begin, "BEGIN SOLUTION must stand inside a function or method")
        kept.append(f'{indent}raise NotImplementedError("{name} is not written yet")')
        position = end + 1
    return "\n".join(kept + lines[position:])


def solution_regions(slug: str, cell: Cell) -> list[tuple[int, int]]:
    """Return the (begin, end) line indices of a cell's solution regions, markers included."""
    regions: list[tuple[int, int]] = []
    begin = None
    for index, line in enumerate(cell.text.split("\n")):
        if line.strip() == BEGIN:
            if begin is not None:
                refuse(slug, cell.line + 1 + index, "BEGIN SOLUTION inside a solution")
            begin = index
        elif line.strip() == END:
            if begin is None:
                refuse(slug, cell.line + 1 + index, "END SOLUTION without BEGIN SOLUTION")
            regions.append((begin, index))
            begin = None
        elif "BEGIN SOLUTION" in line or "END SOLUTION" in line:
            refuse(slug, cell.line + 1 + index, f"write `{BEGIN}` and `{END}`, each alone on its line")
    if begin is not None:
        refuse(slug, cell.line + 1 + begin, "BEGIN SOLUTION without END SOLUTION")
    return regions


def without_markers(cell: Cell) -> str:
    """Return a solution cell as a reader of the book sees it: solved, without the two comments."""
    lines = cell.text.split("\n")
    return "\n".join(line for line in lines if line.strip() not in (BEGIN, END))


def solution_lines(slug: str, cell: Cell) -> list[str]:
    """Return the stripped lines that a student view must not contain."""
    lines = cell.text.split("\n")
    regions = solution_regions(slug, cell)
    return [lines[i].strip() for begin, end in regions for i in range(begin + 1, end) if lines[i].strip()]


def guarded(source: str, condition: str) -> str:
    """Return `source` as the body of `if condition:`; text inside multi-line strings is not indented."""
    inside_strings = _string_continuation_lines(source)
    lines = [
        line if number in inside_strings else textwrap.indent(line, "    ")
        for number, line in enumerate(source.split("\n"), start=1)
    ]
    return f"if {condition}:\n" + "\n".join(lines)


def _string_continuation_lines(source: str) -> set[int]:
    lines: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            lines.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind == "FSTRING_START":
            opened.append(token.start[0])
        elif kind == "FSTRING_END":
            lines.update(range(opened.pop() + 1, token.end[0] + 1))
    return lines


def _enclosing_name(tree: ast.Module, line: int) -> str:
    """Return the qualified name of the function that holds a line, or an empty string."""
    names: list[str] = []
    body = tree.body
    in_function = False
    while body:
        inner = next((n for n in body if _is_definition(n) and n.lineno <= line <= n.end_lineno), None)
        if inner is None:
            break
        names.append(inner.name)
        in_function = not isinstance(inner, ast.ClassDef)
        body = [] if in_function else inner.body
    return ".".join(names) if in_function else ""


def _is_definition(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)

"""A chapter's file cut into cells: one that does not parse costs only what it defines."""

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from autograder.parsing import parse
from autograder.submission import Source, Unreadable
from mechinterp_course.checking.verdict import NotWritten, StudentFault

MAX_CELLS = 20_000
MAX_CODE = 3 << 20  # bytes of code as JSON, which is how it goes to a worker; outputs don't count
MAX_PADDING = 1 << 20  # line breaks put before a script's cells, so that tracebacks show the file's lines
MAX_PARTS = 10_000_000  # commas and brackets of a notebook's JSON: each costs its reader memory
NOT_RUN = frozenset({"demo", "check", "given", "predict", "rubric", "interview", "hint"})


@dataclass(frozen=True)
class Cell:
    """A code cell: what it defines, and why it can't run if it does not parse."""

    label: str
    source: str
    defines: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    stubs: frozenset[str] = frozenset()
    fault: StudentFault | None = None


@dataclass(frozen=True)
class Reading:
    """One chapter's file, read: its cells, and what it says of the chapter it belongs to."""

    cells: tuple[Cell, ...]
    chapter: str | None = None
    version: str | None = None
    names: frozenset[str] = field(default_factory=frozenset)


def read_source(source: Source) -> Reading:
    """Return the code cells of a `.py` or `.ipynb`; raises Unreadable when there are none to be had."""
    encoding = "utf-16" if source.data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = source.data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{source.path} is not UTF-8 text") from error
    if "\0" in text:
        raise Unreadable(f"{source.path} holds null bytes")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _read_notebook(text, source.path) if source.path.endswith(".ipynb") else _read_script(text)


def _read_notebook(text: str, path: str) -> Reading:
    if sum(map(text.count, ",[{")) > MAX_PARTS:
        raise Unreadable(f"{path} has more than {MAX_PARTS:,} parts")
    try:
        notebook = json.loads(text)
        raw_cells, metadata = notebook["cells"], notebook.get("metadata", {})
        if not isinstance(raw_cells, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{path} is not a notebook") from error
    cells = []
    for number, raw in enumerate(raw_cells, start=1):
        if isinstance(raw, dict) and raw.get("cell_type") == "code":
            about_cell, source = raw.get("metadata"), raw.get("source") or ""
            tags = about_cell.get("tags") if isinstance(about_cell, dict) else None
            tags = frozenset(map(str, tags)) if isinstance(tags, list) else frozenset()
            source = "".join(map(str, source)) if isinstance(source, list) else str(source)
            cells.append((f"cell {number}", source, tags))
    about = metadata.get("mechinterp_course") if isinstance(metadata, dict) else None
    about = about if isinstance(about, dict) else {}
    return _reading(cells, about.get("chapter"), about.get("version"))


MARKER = re.compile(r"^# %%(?P<rest>.*)$", re.MULTILINE)
TAGS = re.compile(r"tags=(\[[^\]]*\])")
HEADER = re.compile(r"^# +mechinterp_course: *(\{.*\}) *$", re.MULTILINE)


Piece = tuple[int, str, frozenset[str]]
"""How many lines of the file stand before a cell, its source, its tags."""


def _read_script(text: str) -> Reading:
    if len(text) > MAX_CODE:
        raise Unreadable(f"it has more than {MAX_CODE >> 20} MB of code")
    first = MARKER.search(text)
    about = _about(text[: first.start()] if first else "")
    pieces = list(_marked_cells(text) if first else _pieces(text))
    return _reading(_padded(pieces), about.get("chapter"), about.get("version"))


def _marked_cells(text: str) -> Iterable[Piece]:
    """Yield the code cells of a file with markers; what stands before the first is one too."""
    marks = list(MARKER.finditer(text))
    starts = [(0, "")] + [(mark.end(), mark["rest"]) for mark in marks]
    ends = [mark.start() for mark in marks] + [len(text)]
    lines, before = 0, 0
    for (start, rest), end in zip(starts, ends, strict=True):
        lines, before = lines + text.count("\n", before, start), start
        if "[markdown]" not in rest and "[raw]" not in rest:
            yield lines, text[start:end], _tags(rest)


def _padded(pieces: list[Piece]) -> Iterable[tuple[str, str, frozenset[str]]]:
    """Yield cells after as many line breaks as lines before them, so that tracebacks show the file's lines.

    Where that would be too many, cells have numbers instead.
    """
    pad = sum(lines for lines, _, _ in pieces) <= MAX_PADDING
    for number, (lines, source, tags) in enumerate(pieces, start=1):
        yield ("the file", "\n" * lines + source, tags) if pad else (f"code cell {number}", source, tags)


def _about(header: str) -> dict:
    """Return what a script's header says of the chapter it is a view of."""
    found = HEADER.search(header)
    try:
        about = json.loads(found[1]) if found else {}
    except (ValueError, RecursionError):
        about = {}
    return about


def _tags(rest: str) -> frozenset[str]:
    found = TAGS.search(rest)
    try:
        return frozenset(map(str, json.loads(found[1]))) if found else frozenset()
    except (ValueError, RecursionError):
        return frozenset()


def _pieces(text: str) -> Iterable[Piece]:
    """Yield a file without cell markers in pieces: each top-level definition, and what stands between two."""
    lines = text.splitlines(keepends=True)
    cuts = sorted({0, *_definition_borders(text), len(lines)})
    for start, end in pairwise(cuts):
        yield start, "".join(lines[start:end]), frozenset()


def _definition_borders(text: str) -> set[int]:
    """Return the lines before which to cut: around definitions where the text parses, else before each."""
    tree = _parse(text)
    if tree is not None:
        nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        starts = {min([node.lineno, *(part.lineno for part in node.decorator_list)]) - 1 for node in nodes}
        return starts | {node.end_lineno for node in nodes}
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if re.match(r"@|def |class |async def ", line)]
    return {number for number in begins if not (number and lines[number - 1].startswith("@"))}


def _reading(cells: Iterable[tuple[str, str, frozenset[str]]], chapter: object, version: object) -> Reading:
    code = [(label, source) for label, source, tags in cells if not tags & NOT_RUN and source.strip()]
    if len(code) > MAX_CELLS:
        raise Unreadable(f"it has more than {MAX_CELLS:,} cells of code")
    if sum(len(json.dumps(source)) for _, source in code) > MAX_CODE:
        raise Unreadable(f"it has more than {MAX_CODE >> 20} MB of code")
    kept = tuple(_cell(label, source) for label, source in code)
    names = frozenset().union(*(cell.mentions for cell in kept))
    return Reading(kept, str(chapter) if chapter else None, str(version) if version else None, names)


def _cell(label: str, source: str) -> Cell:
    tree = _parse(source)
    if tree is None:
        source = without_magics(source)
        tree = _parse(source)
    if tree is None:
        names = frozenset(re.findall(r"^(?:def|class)\s+(\w+)", source, re.MULTILINE))
        return Cell(label, source, mentions=names, fault=_syntax_fault(label, source))
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = frozenset(node.name for node in nodes)
    stubs = frozenset(node.name for node in nodes if _is_stub(node))
    return Cell(label, source, defines=names, mentions=names, stubs=stubs)


def without_magics(source: str) -> str:
    """Return the source with IPython's magics, shell lines and questions blanked, line numbers kept."""
    plain = re.sub(r"^(?:[%!?].*|\w+\s*=\s*[%!].*|.*\?\??[ \t]*)$", "", source, flags=re.MULTILINE)
    return plain if _parse(plain) is not None else re.sub(r"^[ \t]+[%!].*$", "", plain, flags=re.MULTILINE)


def _parse(source: str) -> ast.Module | None:
    try:
        return parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _syntax_fault(label: str, source: str) -> NotWritten:
    try:
        parse(source)
    except SyntaxError as error:
        line = f"line {error.lineno} of {label}: {(error.text or '').strip()[:120]}"
        return NotWritten("syntax_error", f"Python can't read this cell: {error.msg}", line)
    except (ValueError, RecursionError, MemoryError) as error:
        return NotWritten("syntax_error", f"Python can't read this cell: {error}", label)
    raise AssertionError("the cell parses after all")


def _is_stub(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a function only raises NotImplementedError, or all the methods of a class do."""
    if isinstance(node, ast.ClassDef):
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        return bool(methods) and all(map(_is_stub, methods))
    constants = [
        part for part in node.body if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
    ]
    body = [part for part in node.body if part not in constants]
    raised = body[0].exc if len(body) == 1 and isinstance(body[0], ast.Raise) else None
    raised = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"

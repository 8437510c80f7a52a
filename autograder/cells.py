"""A chapter's file cut into cells: one that does not parse costs only what it defines."""

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from autograder.submission import Source, Unreadable
from mechinterp_course.checking.verdict import NotWritten, StudentFault

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
    try:
        text = source.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{source.path} is not UTF-8 text") from error
    if "\0" in text:
        raise Unreadable(f"{source.path} holds null bytes")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _read_notebook(text, source.path) if source.path.endswith(".ipynb") else _read_script(text)


def _read_notebook(text: str, path: str) -> Reading:
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
            tags = (raw.get("metadata") or {}).get("tags") or []
            source = raw.get("source") or ""
            source = "".join(map(str, source)) if isinstance(source, list) else str(source)
            cells.append(
                (
                    f"cell {number}",
                    source,
                    frozenset(map(str, tags)) if isinstance(tags, list) else frozenset(),
                )
            )
    about = metadata.get("mechinterp_course") if isinstance(metadata, dict) else None
    about = about if isinstance(about, dict) else {}
    return _reading(cells, about.get("chapter"), about.get("version"))


MARKER = re.compile(r"^# %%(?P<rest>.*)$", re.MULTILINE)
TAGS = re.compile(r"tags=(\[[^\]]*\])")
HEADER = re.compile(r"^# +mechinterp_course: *(\{.*\}) *$", re.MULTILINE)


def _read_script(text: str) -> Reading:
    marks = list(MARKER.finditer(text))
    about = _about(text[: marks[0].start()] if marks else "")
    starts = [(0, "")] + [(mark.end(), mark["rest"]) for mark in marks]
    ends = [mark.start() for mark in marks] + [len(text)]
    cells = []
    for (start, rest), end in zip(starts, ends, strict=True):
        if "[markdown]" not in rest and "[raw]" not in rest:
            first_line = text.count("\n", 0, start) + 1
            padded = "\n" * (first_line - 1) + text[start:end]  # tracebacks then show the file's own lines
            cells.append(("the file", padded, _tags(rest)))
    if not marks:
        cells = list(_pieces(text))
    return _reading(cells, about.get("chapter"), about.get("version"))


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
    except ValueError:
        return frozenset()


def _pieces(text: str) -> Iterable[tuple[str, str, frozenset[str]]]:
    """Yield a file without cell markers whole if it parses, else cut before each top-level definition."""
    if _parse(text) is not None:
        yield "the file", text, frozenset()
        return
    starts = [match.start() for match in re.finditer(r"^(?:@|def |class |async def )", text, re.MULTILINE)]
    starts = [start for start in starts if not re.search(r"^@.*\n\Z", text[:start], re.MULTILINE)]
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        yield "the file", "\n" * text.count("\n", 0, start) + text[start:end], frozenset()


def _reading(cells: Iterable[tuple[str, str, frozenset[str]]], chapter: object, version: object) -> Reading:
    kept = tuple(
        _cell(label, source) for label, source, tags in cells if not tags & NOT_RUN and source.strip()
    )
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
    """Return the source with IPython's magics and shell lines blanked, line numbers kept."""
    return re.sub(r"^[ \t]*[%!?].*$", "", source, flags=re.MULTILINE)


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _syntax_fault(label: str, source: str) -> NotWritten:
    try:
        ast.parse(source)
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
    body = [
        part
        for part in node.body
        if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
    ]
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.dump(body[0])

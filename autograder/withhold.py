"""The library as a room may see it: the same source, with the body of the exercise's answer cut out."""

import ast
from collections.abc import Iterable
from pathlib import Path

from autograder.parsing import parse
from mechinterp_course.layout import PACKAGE

NOT_FOR_ROOMS = ("authoring", "cli", "course", "data", "making", "__pycache__")


def write_library(folder: Path, withheld: Iterable[str]) -> None:
    """Write `mechinterp_course` into `folder` with the bodies of the `withheld` functions replaced.

    A withheld function keeps its name, signature and docstring; calling it raises WithheldAnswer with a
    sentence that says so. `withheld` are names of functions, of methods as `Class.method`, and of classes,
    which lose all their methods.
    """
    withheld = frozenset(withheld)
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if not set(relative.parts) & set(NOT_FOR_ROOMS):
            target = folder / "mechinterp_course" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(cut_out(path.read_text(encoding="utf8"), withheld), encoding="utf8")
    (folder / "mechinterp_course" / "data").symlink_to(PACKAGE / "data", target_is_directory=True)


def cut_out(source: str, withheld: frozenset[str]) -> str:
    """Return `source` with each withheld function's body replaced by one that raises."""
    lines = source.split("\n")
    for function, name in reversed(list(_functions(parse(source)))):
        if name in withheld or name.partition(".")[0] in withheld:
            first = (
                function.body[1]
                if ast.get_docstring(function) and len(function.body) > 1
                else function.body[0]
            )
            indent = " " * function.body[0].col_offset
            message = f"{name} is what this exercise asks you to write, so the library's own is withheld"
            lines[first.lineno - 1 : function.end_lineno] = [
                f"{indent}from mechinterp_course.errors import WithheldAnswer",
                f"{indent}raise WithheldAnswer({message!r})",
            ]
    return "\n".join(lines)


def _functions(tree: ast.Module) -> Iterable[tuple[ast.FunctionDef, str]]:
    """Yield the functions and methods of a module in order, with their dotted names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, node.name
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield part, f"{node.name}.{part.name}"

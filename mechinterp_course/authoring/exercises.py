"""An exercise and its checks, read from a chapter's cells."""

import ast
import builtins
import inspect
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mechinterp_course.authoring.source import Cell, refuse, tree_of
from mechinterp_course.authoring.stub import solution_regions, stub
from mechinterp_course.layout import PACKAGE

MOST_HINTS = 3


@dataclass(frozen=True)
class Check:
    """One claim about an exercise: `name` lacks `check_`, `claim` is its docstring's first paragraph."""

    name: str
    exercise: str
    id: str
    claim: str
    points: int
    hidden: bool
    source: str

    @property
    def function(self) -> str:
        """The check's name in the grader's module, where every exercise's checks stand together."""
        return f"{self.exercise.replace('.', '_')}__{self.name}"


@dataclass(frozen=True)
class Exercise:
    """A function, class or method (`SparseAutoencoder.encode`) that a student writes."""

    name: str
    title: str
    minutes: int
    difficulty: int
    needs: tuple[str, ...]
    reference: str
    withhold: tuple[str, ...]
    forbid: tuple[str, ...]
    was: str | None
    statement: Cell
    solution: Cell
    stub: str
    hints: tuple[Cell, ...]
    checks: tuple[Check, ...]

    @property
    def points(self) -> int:
        """The sum of the points of its checks."""
        return sum(check.points for check in self.checks)


def read_exercise(slug: str, statement: Cell, cells: Sequence[Cell], known: Sequence[str]) -> Exercise:
    """Return the exercise that a statement opens; `known` are the exercises above it."""
    options = statement.options
    name = str(options["exercise"])
    solution = _solution(slug, statement, cells)
    hints = tuple(c for c in cells if c.role == "hint" and c.exercise == name)
    if len(hints) > MOST_HINTS:
        refuse(slug, hints[MOST_HINTS].line, f"`{name}` has more than {MOST_HINTS} hints")
    for need in options.get("needs", []):
        if need not in known:
            refuse(slug, statement.line, f"`{name}` needs `{need}`, which is no exercise above it")
    return Exercise(
        name=name,
        title=_title(slug, statement),
        minutes=_whole(slug, statement, "minutes", 1, 240),
        difficulty=_whole(slug, statement, "difficulty", 1, 5),
        needs=tuple(options.get("needs", [])),
        reference=_reference(slug, statement),
        withhold=tuple(options.get("withhold", [name])),
        forbid=tuple(options.get("forbid", [])),
        was=options.get("was"),
        statement=statement,
        solution=solution,
        stub=stub(slug, solution),
        hints=hints,
        checks=_checks(slug, statement, cells),
    )


def read_check(slug: str, cell: Cell) -> Check:
    """Return the one check that a check cell defines."""
    body = tree_of(slug, cell).body
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        refuse(
            slug, cell.line, f"a check cell holds exactly one function, this one has {len(body)} statements"
        )
    function = body[0]
    line = cell.line + function.lineno
    if not function.name.startswith("check_"):
        refuse(slug, line, f"a check's name begins with `check_`, not `{function.name}`")
    if [a.arg for a in function.args.args] != ["student", "draw"]:
        refuse(slug, line, f"a check takes (student, draw): `{function.name}`")
    docstring = ast.get_docstring(function)
    if not docstring:
        refuse(slug, line, f"`{function.name}` lacks the docstring that states its claim")
    return Check(
        name=function.name.removeprefix("check_"),
        exercise=cell.exercise,
        id=cell.id,
        claim=" ".join(inspect.cleandoc(docstring).split("\n\n")[0].split()),
        points=_whole(slug, cell, "points", 1, 100),
        hidden=cell.hidden,
        source=cell.text,
    )


def _checks(slug: str, statement: Cell, cells: Sequence[Cell]) -> tuple[Check, ...]:
    name = statement.options["exercise"]
    own = [c for c in cells if c.role == "check" and c.exercise == name]
    if not own:
        refuse(slug, statement.line, f"`{name}` has no check")
    for cell in own:
        given = "\n".join(c.text for c in cells if c.role == "given" and c.line < cell.line)
        for unknown in sorted(free_names(cell.text) - bound_names(given) - set(dir(builtins))):
            refuse(slug, cell.line, f"a check uses `{unknown}`, which no `given` cell above it defines")
    return tuple(read_check(slug, cell) for cell in own)


def bound_names(source: str) -> set[str]:
    """Return the names that code binds at its top level: assigned, imported or defined."""
    symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}


def free_names(source: str) -> set[str]:
    """Return the names that code reads, in functions too, and does not bind itself."""
    tables = [symtable.symtable(source, "cell", "exec")]
    names: set[str] = set()
    while tables:
        table = tables.pop()
        names |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        tables += table.get_children()
    return names - bound_names(source)


def _solution(slug: str, statement: Cell, cells: Sequence[Cell]) -> Cell:
    """Return the solution cell that defines the exercise's function, or its method's class."""
    name = str(statement.options["exercise"])
    root = name.split(".")[0]
    candidates = [c for c in cells if c.role == "solution" and root in _defined(tree_of(slug, c).body)]
    if "." not in name:
        candidates = [c for c in candidates if c.exercise == name]
    if not candidates:
        unmarked = [c for c in cells if c.role == "code" and root in _defined(tree_of(slug, c).body)]
        if unmarked:
            refuse(slug, unmarked[0].line, f"`{root}` lacks `# BEGIN SOLUTION` and `# END SOLUTION`")
        refuse(slug, statement.line, f"no solution cell below this statement defines `{root}`")
    if not solution_regions(slug, candidates[0]):
        refuse(slug, candidates[0].line, f"`{root}` lacks `# BEGIN SOLUTION` and `# END SOLUTION`")
    if "." in name and not _has_method(slug, candidates[0], name):
        refuse(slug, candidates[0].line, f"`{root}` has no method for the exercise `{name}`")
    return candidates[0]


def _has_method(slug: str, cell: Cell, name: str) -> bool:
    root, method = name.split(".", 1)
    classes = [n for n in tree_of(slug, cell).body if isinstance(n, ast.ClassDef) and n.name == root]
    return any(method in _defined(c.body) for c in classes)


def _defined(body: Iterable[ast.stmt]) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in body if isinstance(node, kinds)}


def _title(slug: str, statement: Cell) -> str:
    first = statement.text.split("\n")[0]
    if not first.startswith("#"):
        refuse(slug, statement.line, "a statement begins with a heading, the exercise's title")
    return first.lstrip("#").strip()


def _reference(slug: str, statement: Cell) -> str:
    """Return the dotted name, below `mechinterp_course`, of the function that answers are compared with."""
    reference = statement.options.get("reference")
    name = statement.options["exercise"]
    if not isinstance(reference, str) or "." not in reference:
        refuse(slug, statement.line, f'`{name}` lacks its reference, such as `reference="heads.{name}"`')
    depth = 2 if "." in str(name) else 1
    module, *attributes = reference.rsplit(".", depth)
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file() or attributes[0] not in _defined(ast.parse(path.read_text("utf-8")).body):
        refuse(slug, statement.line, f"the library has no `{reference}`")
    return reference


def _whole(slug: str, cell: Cell, option: str, least: int, most: int) -> int:
    value = cell.options.get(option)
    if type(value) is not int or not least <= value <= most:
        refuse(slug, cell.line, f"a {cell.role} cell needs `{option}`, a whole number from {least} to {most}")
    return value

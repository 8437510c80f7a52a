"""Hashes of what a certificate rests on, part by part, so that it says which of its sections are out of date.

Code counts by what it says: comments, docstrings and layout make no difference, except in the exercise's own
cells. Of the library only those functions count that the checks, the reference and the mistakes reach, and of
a class only what is private and the methods that some function reached calls by name.
"""

import ast
import hashlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable, Set
from pathlib import Path

from autograder.certification import equivalence, giveaways, mutants, operators, tolerances
from autograder.certification.subject import Checks, Subject
from mechinterp_course.checking.comparison import expect_close
from mechinterp_course.checking.draw import Draw
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.recognition import same_transcript
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.layout import PACKAGE, embedded_data

ALWAYS = (
    expect_close,
    Draw,
    LocalStudent,
    evaluate,
)  # where the verdict of any check begins
OURS = "mechinterp_course"
NOT_REACHED = ("mechinterp_course.checking.verdict",)  # names of things only
MODULES = {  # of this package, by the part they count for
    "operators": (operators, mutants),
    "equivalence": (equivalence,),
    "giveaways": (giveaways,),
    "tolerances": (tolerances.compared, tolerances.margin),
}


def parts(subject: Subject, checks: Checks) -> dict[str, str]:
    """Return the hash of each part that the exercise's certificate depends on.

    solution (with what it needs), stub, checks (with what is used of given cells), mistakes, variants,
    domain, library (the functions reached), recognition, room (what a student may not call), models, and what
    is done in operators, equivalence, giveaways and tolerances.
    """
    checked = [check.source for check in subject.exercise.checks]
    solved = [*subject.needed, subject.solution]
    sources = [*_given_to(subject.given, [*checked, *solved, subject.exercise.stub]), *checked]
    hashes = {
        "solution": _digest(solved),
        "stub": _digest([subject.exercise.stub]),
        "checks": _digest(sources),
        "library": _reached([subject.reference(), *checks.functions.values(), *ALWAYS]),
        "recognition": _reached([same_transcript]),
        "room": _digest([*subject.graded.forbid, "withheld", *sorted(subject.graded.withhold)]),
        "models": _digest(map(_file_digest, _model_files(" ".join(sources)))),
    }
    for kind in ("mistakes", "variants", "domain"):
        hashes[kind] = _digest([_own_source(subject.folder / f"{kind}.py", subject.name)])
    for part, modules in MODULES.items():
        hashes[part] = _digest(_said(module) for module in modules)
    return hashes


def library_names() -> dict[str, str]:
    """Return the hash of the names of functions and classes in each module of the library that rooms have."""
    from autograder.withhold import NOT_FOR_ROOMS

    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if not {*parts, path.name} & set(NOT_FOR_ROOMS):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            module = ".".join(part for part in parts if part != "__init__")
            found[module] = _digest(sorted(names))[:8]
    return found


def combined(hashes: dict[str, str], wanted: Iterable[str]) -> str:
    """Return one hash for some of the parts."""
    return _digest(f"{part} {hashes[part]}" for part in sorted(wanted))


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _said(thing: object, called: Set[str] | None = None) -> str:
    """Return the code of a function, class or module, without docstrings and layout.

    With `called`, public methods of other names are left out of a class.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    if called is not None and inspect.isclass(thing):
        body = tree.body[0].body
        body[:] = [node for node in body if not _is_uncalled(getattr(node, "name", "_"), called)]
    return _without_docstrings(tree)


def _is_uncalled(name: str, called: Set[str]) -> bool:
    return not name.startswith("_") and name not in called


def _without_docstrings(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]) and not isinstance(node, ast.Lambda):
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _reached(functions: Iterable[Callable]) -> str:
    """Return the hash of the library's functions and classes that some functions reach, by name."""
    found, called = dict.fromkeys(functions), set()
    while True:
        size = len(found), len(called)
        for function in [one for thing in found for one in _functions(thing, called)]:
            called |= _names(function.__code__)
            found |= dict.fromkeys(_mentioned(function))
        if size == (len(found), len(called)):
            ours = sorted(filter(_is_ours, found), key=lambda thing: (thing.__module__, thing.__qualname__))
            return _digest(_said(thing, called) for thing in ours)


def _functions(thing: object, called: Set[str]) -> list[types.FunctionType]:
    """Return a function, or the methods of a class that are private or called."""
    if inspect.isfunction(thing):
        return [thing]
    methods = [value for value in vars(thing).values() if inspect.isfunction(value)]
    return [method for method in methods if not _is_uncalled(method.__name__, called)]


def _mentioned(function: types.FunctionType) -> Iterable[object]:
    """Yield what of the library a function names."""
    names = _names(function.__code__)
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType) and value.__name__.startswith(OURS):
            yield from filter(_is_ours, (getattr(value, each, None) for each in sorted(names)))
        elif _is_ours(value):
            yield value


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*inner)


def _is_ours(value: object) -> bool:
    home = getattr(value, "__module__", None) or ""
    return (inspect.isfunction(value) or inspect.isclass(value)) and (
        home.startswith(OURS) and home not in NOT_REACHED
    )


def _model_files(text: str) -> list[Path]:
    """Return the weights of the embedded models that code names; `language_model()` means course-gpt2."""
    known = sorted(path.name for path in embedded_data("").iterdir() if path.is_dir())
    named = [name for name in known if f'"{name}"' in text]
    if "language_model()" in text and "course-gpt2" in known:
        named = sorted({*named, "course-gpt2"})
    return [path for name in named for path in sorted(embedded_data(name).glob("*.safetensors"))]


def _file_digest(path: Path) -> str:
    return f"{path.parent.name}/{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _given_to(given: Iterable[str], cells: Iterable[str]) -> list[str]:
    """Return the statements of given cells that count for some cells: those that bind names which these use.

    What a statement uses counts in turn, and so does one that binds no name, for what it may do.
    """
    statements = [part for cell in given for node in ast.parse(cell).body for part in _single(node)]
    used = {name for cell in cells for name in _names_used(ast.parse(cell))}
    while True:
        reached = [node for node in statements if _names_bound(node) & used or not _names_bound(node)]
        more = used.union(*map(_names_used, reached))
        if more == used:
            return [_without_docstrings(ast.Module([node], [])) for node in reached]
        used = more


def _single(statement: ast.stmt) -> list[ast.stmt]:
    """Return an import as one statement for each name, anything else as it is."""
    match statement:
        case ast.Import(names):
            return [ast.Import([alias]) for alias in names]
        case ast.ImportFrom(module, names, level):
            return [ast.ImportFrom(module, [alias], level) for alias in names]
    return [statement]


def _names_used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _names_bound(statement: ast.stmt) -> set[str]:
    """Return the names that a top-level statement defines, imports or assigns to."""
    match statement:
        case ast.FunctionDef(name) | ast.ClassDef(name):
            return {name}
        case ast.Import(names) | ast.ImportFrom(_, names):
            return {(alias.asname or alias.name).partition(".")[0] for alias in names}
    stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return {node.id for node in stored if isinstance(node.ctx, ast.Store)}


def _own_source(path: Path, exercise: str) -> str:
    """Return the code of a proof's file that is the exercise's own, after what of the rest this uses."""
    if not path.is_file():
        return ""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    own = [node for node in statements if _is_own(node, exercise)]
    if not own:
        return ""
    others = ast.Module([node for node in statements if node not in own], [])
    mine = ast.unparse(ast.Module(own, []))
    return "\n".join([*_given_to([ast.unparse(others)], [mine]), mine])


def _is_own(node: ast.stmt, exercise: str) -> bool:
    name = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
    return name == exercise or name.startswith(f"{exercise}__")

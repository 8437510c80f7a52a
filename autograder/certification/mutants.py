"""The mutants of one solution: every operator at every place, at most `MOST`, chosen the same way always."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from autograder.certification.operators import OPERATORS, Parameter, Scope

LEAST, MOST = 20, 40


@dataclass(frozen=True)
class Mutant:
    """A solution with one thing changed: `before` and `after` is the code that differs, `source` the cell."""

    name: str
    operator: str
    line: int
    before: str
    after: str
    source: str


def mutants(cell: str, exercise: str, most: int | None = MOST) -> list[Mutant]:
    """Return the mutants of the function, or class, that a solution cell defines.

    Those of one operator are numbered in the order of the code, before any is left out. Where there are more
    than `most` they are taken from the operators in turn, evenly spread over the code; always the same ones.
    """
    by_operator: dict[str, list[Mutant]] = {name: [] for name in OPERATORS}
    seen = {_meaning(cell)}
    for operator, mutant in _all_mutants(cell, exercise):
        meaning = _meaning(mutant.source)
        if meaning is not None and meaning not in seen:
            seen.add(meaning)
            found = by_operator[operator]
            found.append(replace(mutant, name=f"{operator}_{len(found) + 1}"))
    return _taken_in_turn(list(by_operator.values()), most)


def _taken_in_turn(groups: list[list[Mutant]], most: int | None) -> list[Mutant]:
    """Return mutants of every group until there are `most`, in the order of the groups."""
    if most is None or sum(map(len, groups)) <= most:
        return [mutant for group in groups for mutant in group]
    wanted = [0] * len(groups)
    while sum(wanted) < most:
        for place, group in enumerate(groups):
            if wanted[place] < len(group) and sum(wanted) < most:
                wanted[place] += 1
    return [
        mutant for group, count in zip(groups, wanted, strict=True) for mutant in _spread_out(group, count)
    ]


def _spread_out(group: list[Mutant], count: int) -> list[Mutant]:
    return [group[place * len(group) // count] for place in range(count)]


def _all_mutants(cell: str, exercise: str) -> Iterator[tuple[str, Mutant]]:
    wrapper = MetadataWrapper(cst.parse_module(cell))
    module, positions = wrapper.module, wrapper.resolve(PositionProvider)
    for function in _functions(module, exercise):
        scope = _scope(function)
        for operator, apply in OPERATORS.items():
            for node in _nodes(function.body):
                for new in apply(node, scope):
                    changed = module.deep_replace(node, new)
                    texts = (_one_line(module, part) for part in (node, new))
                    line = positions[node].start.line
                    yield operator, Mutant("", operator, line, *texts, changed.code)


def _functions(module: cst.Module, exercise: str) -> list[cst.FunctionDef]:
    """Return the function that an exercise names, the method, or the methods of a class."""
    root, _, method = exercise.partition(".")
    for node in module.body:
        if isinstance(node, cst.FunctionDef) and node.name.value == root:
            return [node]
        if isinstance(node, cst.ClassDef) and node.name.value == root:
            own = [part for part in node.body.body if isinstance(part, cst.FunctionDef)]
            return [part for part in own if not method or part.name.value == method]
    return []


def _scope(function: cst.FunctionDef) -> Scope:
    code = cst.Module([]).code_for_node
    parameters = tuple(
        Parameter(
            part.name.value,
            code(part.annotation.annotation) if part.annotation else "",
            code(part.default) if part.default else "",
        )
        for part in (*function.params.params, *function.params.kwonly_params)
    )
    body = _nodes(function.body)
    strings = [str(node.evaluated_value) for node in body if isinstance(node, cst.SimpleString)]
    strings = tuple(dict.fromkeys(text for text in strings if text.isidentifier()))
    returns = code(function.returns.annotation) if function.returns else ""
    return Scope(parameters, returns, strings, frozenset(map(id, _own_returns(function.body))))


def _own_returns(node: cst.CSTNode) -> Iterator[cst.Return]:
    """Yield the `return`s of a function, and not those of functions inside it."""
    for child in node.children:
        if isinstance(child, cst.Return):
            yield child
        elif not isinstance(child, cst.FunctionDef | cst.Lambda):
            yield from _own_returns(child)


def _nodes(body: cst.CSTNode) -> list[cst.CSTNode]:
    """Return the nodes of a function's body in order, without docstring, raised messages and bare names."""
    return list(_walk(body))


def _walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.Raise) or _is_docstring(node):
        return
    yield node
    match node:
        case cst.Attribute():
            children = [node.value]
        case cst.Arg():
            children = [node.value]
        case cst.AssignTarget():
            children = [node.target] if isinstance(node.target, cst.Subscript) else []
        case cst.For() | cst.CompFor():
            children = [child for child in node.children if child is not node.target]
        case cst.FunctionDef():
            children = [node.body]
        case cst.Param() | cst.Annotation():
            children = []
        case _:
            children = node.children
    for child in children:
        yield from _walk(child)


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and all(
        isinstance(part, cst.Expr) and isinstance(part.value, cst.SimpleString) for part in node.body
    )


def _one_line(module: cst.Module, node: cst.CSTNode) -> str:
    text = " ".join(module.code_for_node(node).split())
    return text if len(text) <= 100 else text[:99] + "…"


def _meaning(source: str) -> str | None:
    """Return a digest of what the code says, however it is laid out; None for what does not parse."""
    try:
        return hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()
    except SyntaxError:
        return None

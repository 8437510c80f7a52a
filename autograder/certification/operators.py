"""What is done to a solution to make it wrong: a fixed list of operators over its syntax tree.

An operator is given one node and yields what might stand in its place. Each stands for a way in which people
are wrong about tensors: `OPERATORS` says which, in the order in which mutants are taken from them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import libcst as cst

Operator = Callable[[cst.CSTNode, "Scope"], Iterator[cst.CSTNode]]

AXIS_KEYWORDS = {"dim", "dims", "axis", "axes", "dim1", "dim2", "start_dim", "end_dim"}
AXIS_FIRST = {
    "mean", "sum", "softmax", "log_softmax", "logsumexp", "amax", "amin", "argmax", "argmin", "flip", "any",
    "unsqueeze", "squeeze", "gather", "size", "all", "cumsum", "chunk", "diagonal", "flatten", "transpose",
}  # fmt: skip
REDUCTIONS = {
    "mean": ("sum", "amax"), "sum": ("mean", "amax"), "logsumexp": ("sum", "amax"), "amax": ("mean", "amin"),
    "max": ("min", "mean"), "min": ("max", "mean"), "argmax": ("argmin",), "argmin": ("argmax",),
    "any": ("all",), "all": ("any",), "median": ("mean",), "norm": ("sum",), "topk": ("sort",),
}  # fmt: skip
STEPS = {
    "detach", "clone", "masked_fill", "tril", "triu", "clamp", "abs", "item", "tolist", "softmax", "flatten",
    "log_softmax", "log", "exp", "sort", "mean", "sum", "squeeze", "unsqueeze", "nonzero", "to", "relu",
}  # fmt: skip
STEP_FUNCTIONS = {"sorted", "abs", "list", "set", "reversed", "float", "int", "bool"}
OTHER_HOOKS = {"hook_z": "hook_v", "z": "v", "hook_pattern": "hook_attn_scores", "pattern": "attn_scores"}
OTHER_DTYPES = {
    "int64": ("int32", "float32"), "long": ("int32",), "float32": ("float64", "int64"),
    "float64": ("float32",), "bool": ("int64",),
}  # fmt: skip
CASTS = {  # by how the annotation of a returned value begins
    "Float": ("({}).double()", "({}).half()"),
    "Int": ("({}).int()", "({}).float()"),
    "float": ("int({})", "torch.tensor({})"),
    "bool": ("int({})",),
    "int": ("float({})",),
    "list": ("torch.tensor({})", "set({})"),
}
COMPARISONS = {
    cst.LessThan: (cst.LessThanEqual, cst.GreaterThan),
    cst.LessThanEqual: (cst.LessThan, cst.GreaterThanEqual),
    cst.GreaterThan: (cst.GreaterThanEqual, cst.LessThan),
    cst.GreaterThanEqual: (cst.GreaterThan, cst.LessThanEqual),
    cst.Equal: (cst.NotEqual,),
    cst.NotEqual: (cst.Equal,),
    cst.In: (cst.NotIn,),
    cst.NotIn: (cst.In,),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the mutated function, with its annotation and default as code ("" if none)."""

    name: str
    annotation: str
    default: str

    @property
    def is_tensor(self) -> bool:
        """Whether the annotation is jaxtyping's or torch's."""
        return "Tensor" in self.annotation


@dataclass(frozen=True)
class Scope:
    """What an operator may know of the function around a node: parameters, result, strings, own returns."""

    parameters: tuple[Parameter, ...]
    returns: str
    strings: tuple[str, ...]
    own_returns: frozenset[int]

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, if there is one."""
        return next((each for each in self.parameters if each.name == name), None)


def axis(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Another axis: in `dim=`, in `shape[…]`, or in the pattern of an einops call."""
    if isinstance(node, cst.Call):
        for argument in _axis_arguments(node):
            for number in _integers(argument.value):
                for text in _neighbours(number):
                    yield node.deep_replace(number, _expression(text))
            if isinstance(argument.value, cst.Tuple) and len(argument.value.elements) > 1:
                for element in argument.value.elements:
                    yield node.deep_replace(argument, argument.with_changes(value=element.value))
        for string in _einops_patterns(node):
            for text in _other_patterns(string.value):
                yield node.deep_replace(string, string.with_changes(value=text))
    if isinstance(node, cst.Subscript) and _code(node.value).endswith(".shape"):
        for number in _integers(node):
            for text in _neighbours(number):
                yield node.deep_replace(number, _expression(text))


def sign(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Plus for minus, a difference the other way round, or the whole result negated."""
    match node:
        case cst.BinaryOperation(operator=cst.Add()):
            yield node.with_changes(operator=cst.Subtract())
        case cst.BinaryOperation(operator=cst.Subtract()):
            yield node.with_changes(operator=cst.Add())
            yield node.with_changes(left=_atom(node.right), right=_atom(node.left))
        case cst.AugAssign(operator=cst.SubtractAssign()):
            yield node.with_changes(operator=cst.AddAssign())
        case cst.AugAssign(operator=cst.AddAssign()):
            yield node.with_changes(operator=cst.SubtractAssign())
        case cst.UnaryOperation(operator=cst.Minus()) if not isinstance(node.expression, cst.Integer):
            yield node.expression
    if _is_own_return(node, scope) and scope.returns.startswith(("Float", "float")):
        yield node.with_changes(value=_expression(f"-({_code(node.value)})"))


def off_by_one(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A whole number one larger or one smaller."""
    if isinstance(node, cst.Integer):
        yield node.with_changes(value=str(int(node.value) + 1))
        if int(node.value) > 0:
            yield node.with_changes(value=str(int(node.value) - 1))


def dropped_term(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """One side of a sum, difference, product or quotient left out."""
    if isinstance(node, cst.BinaryOperation):
        yield _atom(node.left)
        yield _atom(node.right)
    if isinstance(node, cst.AugAssign):
        yield cst.Assign([cst.AssignTarget(node.target)], node.value)


def wrong_reduction(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A sum for a mean, a maximum for a mean, any for all."""
    if isinstance(node, cst.Call):
        name = _called(node)
        for other in REDUCTIONS.get(name, ()):
            if not node.args and other == "amax":
                other = "max"
            yield node.with_changes(func=_renamed(node.func, other))
        if name in ("reduce",):
            for argument in node.args:
                for other in REDUCTIONS.get(_string(argument.value) or "", ()):
                    other = other.removeprefix("a") if other != "all" else other
                    yield node.deep_replace(argument.value, _expression(repr(other)))


def missing_step(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A step left out: detach, clone, a mask, an absolute value, a mean, a conversion, a sort."""
    if not isinstance(node, cst.Call):
        return
    match node.func:
        case cst.Attribute(value=cst.Name("torch" | "F"), attr=cst.Name("where")) if len(node.args) == 3:
            yield node.args[1].value
            yield node.args[2].value
        case cst.Attribute(value=cst.Name("torch" | "F"), attr=cst.Name(name)) if name in STEPS and node.args:
            yield node.args[0].value
        case cst.Attribute(value=value, attr=cst.Name(name)) if name in STEPS:
            yield value
        case cst.Name(name) if name in STEP_FUNCTIONS and node.args:
            yield _atom(node.args[0].value)


def constant(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Another constant: a float doubled or zero, a truth value flipped, a string that stands elsewhere."""
    match node:
        case cst.Float(value=value):
            yield node.with_changes(value=repr(2 * float(value)))
            yield node.with_changes(value="0.0")
        case cst.Name("True"):
            yield node.with_changes(value="False")
        case cst.Name("False"):
            yield node.with_changes(value="True")
        case cst.SimpleString():
            own = _string(node)
            for other in [text for text in scope.strings if text != own][:2]:
                yield _expression(repr(other))


def comparison(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Another comparison, a condition negated, `or` for `and`."""
    match node:
        case cst.Comparison(comparisons=[target]):
            for other in COMPARISONS.get(type(target.operator), ()):
                yield node.with_changes(comparisons=[target.with_changes(operator=other())])
        case cst.BooleanOperation(operator=cst.And()):
            yield node.with_changes(operator=cst.Or())
        case cst.BooleanOperation(operator=cst.Or()):
            yield node.with_changes(operator=cst.And())
        case cst.If() | cst.While() | cst.IfExp():
            yield node.with_changes(test=_expression(f"not ({_code(node.test)})"))


def dtype(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Another dtype, of a tensor made on the way or of what is returned; a tensor for a number."""
    match node:
        case cst.Attribute(value=cst.Name("torch"), attr=cst.Name(name)):
            for other in OTHER_DTYPES.get(name, ()):
                yield node.with_changes(attr=cst.Name(other))
    if _is_own_return(node, scope):
        casts = next((casts for start, casts in CASTS.items() if scope.returns.startswith(start)), ())
        for template in casts:
            yield node.with_changes(value=_expression(template.format(_code(node.value))))


def edited_input(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """The right result, and an argument changed in place on the way."""
    if _is_own_return(node, scope):
        for each in scope.parameters:
            if each.is_tensor:
                yield node.with_changes(value=_expression(f"({_code(node.value)}, {each.name}.zero_())[0]"))


def swapped_arguments(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """Two neighbouring arguments, indices or entries of a tuple in each other's place."""
    if isinstance(node, cst.Call):
        plain = [arg for arg in node.args if arg.keyword is None and not arg.star]
        for one, other in pairwise(plain):
            yield _exchanged(node, "args", node.args, one, other)
    elif isinstance(node, cst.Subscript):
        for one, other in pairwise(node.slice):
            swapped = {id(one): other.slice, id(other): one.slice}
            parts = [p.with_changes(slice=swapped.get(id(p), p.slice)) for p in node.slice]
            yield node.with_changes(slice=parts)
    elif isinstance(node, cst.Tuple):
        for one, other in pairwise(node.elements):
            if not isinstance(one, cst.StarredElement) and not isinstance(other, cst.StarredElement):
                yield _exchanged(node, "elements", node.elements, one, other)


def slice_bounds(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A bound of a slice left out, moved by one, or on the other side."""
    if not isinstance(node, cst.Slice):
        return
    for bound in ("lower", "upper"):
        value = getattr(node, bound)
        if value is None:
            continue
        yield node.with_changes(**{bound: None})
        if not _integers(value):
            yield node.with_changes(**{bound: _expression(f"{_code(value)} + 1")})
            yield node.with_changes(**{bound: _expression(f"{_code(value)} - 1")})
    if (node.lower is None) != (node.upper is None):
        yield node.with_changes(lower=node.upper, upper=node.lower)


def other_parameter(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A parameter in the place of another of the same kind."""
    own = scope.parameter(node.value) if isinstance(node, cst.Name) else None
    for each in scope.parameters:
        if own is not None and each.name != own.name and each.annotation == own.annotation:
            yield cst.Name(each.name)


def ignored_parameter(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A fixed value in the place of a parameter: its default, or 1 for a whole number."""
    own = scope.parameter(node.value) if isinstance(node, cst.Name) else None
    if own is not None and own.default:
        yield _expression(own.default)
    elif own is not None and own.annotation == "int":
        yield cst.Integer("1")


def wrong_hook(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A neighbouring activation in the place of the one that is asked for."""
    if isinstance(node, cst.SimpleString) and _string(node) in OTHER_HOOKS:
        yield _expression(repr(OTHER_HOOKS[_string(node)]))
    if isinstance(node, cst.FormattedString):
        text = _code(node)
        for name, other in OTHER_HOOKS.items():
            if name.startswith("hook_") and name in text:
                yield _expression(text.replace(name, other))


def first_only(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A loop that stops after its first round."""
    if isinstance(node, cst.For) and isinstance(node.body, cst.IndentedBlock):
        stop = cst.SimpleStatementLine([cst.Break()])
        yield node.with_changes(body=node.body.with_changes(body=[*node.body.body, stop]))
    if isinstance(node, cst.CompFor):
        yield node.with_changes(iter=_expression(f"list({_code(node.iter)})[:1]"))


def dropped_statement(node: cst.CSTNode, scope: Scope) -> Iterator[cst.CSTNode]:
    """A statement left out whose effect is not a new name: a call, a write into a tensor, a refusal."""
    nothing = cst.SimpleStatementLine([cst.Pass()])
    match node:
        case cst.SimpleStatementLine(body=[cst.AugAssign() | cst.Expr(value=cst.Call())]):
            yield nothing
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Subscript())])]):
            yield nothing
        case cst.If(orelse=None):
            yield nothing


OPERATORS: dict[str, Operator] = {
    function.__name__: function
    for function in (
        axis, off_by_one, slice_bounds, sign, dropped_term, wrong_reduction, missing_step, edited_input,
        swapped_arguments, dtype, other_parameter, constant, comparison, ignored_parameter, wrong_hook,
        first_only, dropped_statement,
    )
}  # fmt: skip


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _expression(text: str) -> cst.BaseExpression:
    return cst.parse_expression(text)


def _atom(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return an expression that keeps its meaning wherever it is put."""
    plain = isinstance(node, cst.Name | cst.Call | cst.Subscript | cst.Attribute | cst.BaseNumber)
    return node if plain or node.lpar else _expression(f"({_code(node)})")


def _is_own_return(node: cst.CSTNode, scope: Scope) -> bool:
    return isinstance(node, cst.Return) and node.value is not None and id(node) in scope.own_returns


def _called(call: cst.Call) -> str:
    """Return the last name of what is called: `mean` for `z.mean(…)` and for `torch.mean(…)`."""
    function = call.func.attr if isinstance(call.func, cst.Attribute) else call.func
    return function.value if isinstance(function, cst.Name) else ""


def _renamed(function: cst.BaseExpression, name: str) -> cst.BaseExpression:
    new = cst.Name(name)
    return function.with_changes(attr=new) if isinstance(function, cst.Attribute) else new


def _string(node: cst.CSTNode) -> str | None:
    return str(node.evaluated_value) if isinstance(node, cst.SimpleString) else None


def _integers(node: cst.CSTNode) -> list[cst.BaseExpression]:
    """Return the whole numbers in an expression, with their signs."""
    if isinstance(node, cst.Integer):
        return [node]
    if isinstance(node, cst.UnaryOperation) and isinstance(node.expression, cst.Integer):
        return [node]
    return [found for child in node.children for found in _integers(child)]


def _neighbours(number: cst.BaseExpression) -> tuple[str, str]:
    value = int(_code(number).replace(" ", ""))
    return str(value + 1), str(value - 1)


def _axis_arguments(call: cst.Call) -> list[cst.Arg]:
    keyed = [arg for arg in call.args if arg.keyword is not None and arg.keyword.value in AXIS_KEYWORDS]
    first = [arg for arg in call.args if arg.keyword is None][:1]
    return keyed or (first if _called(call) in AXIS_FIRST and isinstance(call.func, cst.Attribute) else [])


def _einops_patterns(call: cst.Call) -> list[cst.SimpleString]:
    return [arg.value for arg in call.args if "->" in (_string(arg.value) or "")]


def _other_patterns(pattern: str) -> Iterator[str]:
    """Yield a quoted einops pattern with a group turned round, two results swapped, or one left out."""
    left, _, right = pattern.rpartition("->")
    for text, put in ((left, "{}->" + right), (right, left + "->{}")):
        start, end = text.find("("), text.find(")")
        if 0 <= start < end:
            group = " ".join(reversed(text[start + 1 : end].split()))
            yield put.format(text[: start + 1] + group + text[end:])
    names = right.strip("\"' ").split(" ")
    if len(names) > 1 and "(" not in right:
        quote = right[-1]
        for place in range(len(names) - 1):
            swapped = [*names[:place], names[place + 1], names[place], *names[place + 2 :]]
            yield f"{left}-> {' '.join(swapped)}{quote}"


def _exchanged(
    node: cst.CSTNode, name: str, parts: Sequence[cst.CSTNode], one: cst.CSTNode, other: cst.CSTNode
) -> cst.CSTNode:
    """Return the node with the values of two of its parts exchanged."""
    values = {id(one): other.value, id(other): one.value}
    return node.with_changes(**{name: [p.with_changes(value=values.get(id(p), p.value)) for p in parts]})

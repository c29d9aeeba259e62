"""Compiles label expressions such as `clicks > 0 and not skipped`, a small, safe part of Python."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Iterator

from samplejoin.core.json_values import MAX_BITS, NUMBERS, named
from samplejoin.errors import RefusedError, did_you_mean

FUNCTIONS: dict[str, Callable[..., object]] = {"len": len, "min": min, "max": max, "abs": abs}
ARITHMETIC: dict[type[ast.operator], Callable[[object, object], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
MAX_LENGTH = 2000
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.UAdd,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.In,
    ast.NotIn,
    ast.Is,
    ast.IsNot,
    ast.IfExp,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.Call,
)
_HINT = "fields, constants, comparisons, and/or/not, + - * / // %, in, a if b else c, len, min, max, abs"


def names_in(text: str) -> set[str]:
    """Returns the names of the fields that an expression uses. Raises RefusedError as `compile_expression` does."""
    return {node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name) and node.id not in FUNCTIONS}


def compile_expression(text: str, fields: Collection[str]) -> Callable[[dict[str, object]], object]:
    """Returns a function from the sample's fields to the label, in which true and false become 1 and 0.

    Its arithmetic takes numbers (true and false count as 1 and 0). It raises TypeError for other values, because a text
    times a number can fill the memory, and ValueError for integers of more than `MAX_BITS` bits or a label that is NaN.
    Otherwise it raises what Python raises.

    Raises RefusedError if the text is not an expression, does something that is not allowed, or uses an unknown field.
    """
    tree = _parse(text)
    for name in sorted(names_in(text)):
        if name not in fields:
            hint = did_you_mean(name, fields) or f"the fields are {', '.join(sorted(fields))}"
            raise RefusedError(f"there is no field {name!r}", hint)
    try:
        code = compile(ast.fix_missing_locations(_Guarded().visit(tree)), "<label>", "eval")
    except (RecursionError, MemoryError, ValueError):
        raise RefusedError("is nested too deeply", _HINT) from None
    scope = {"__builtins__": {}, **FUNCTIONS, **_GUARDS}

    def label(sample: dict[str, object]) -> object:
        try:
            value = eval(code, scope, sample)  # only nodes of _ALLOWED: no attribute, no subscript, no other call
        except TypeError as error:
            raise TypeError(f"{text[:60]}: {error}") from None
        if value != value:
            raise ValueError("the label is NaN")
        return int(value) if value is True or value is False else value

    return label


def results_in(text: str) -> Iterator[object]:
    """Yields the constants that an expression can return as they are, through `and`, `or` and `if`."""
    waiting: list[ast.expr] = [_parse(text).body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.BoolOp):
            waiting += node.values
        elif isinstance(node, ast.IfExp):
            waiting += [node.body, node.orelse]
        elif isinstance(node, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            yield []
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            yield -node.operand.value  # type: ignore[operator]  # text is refused


class _Guarded(ast.NodeTransformer):
    """Turns arithmetic into calls of `_GUARDS`, whose names no field can have."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.Call:
        """Turns `a + b` into the call `Add()(a, b, "a", "b")`."""
        texts = [ast.Constant(_source(side)) for side in (node.left, node.right)]
        name = ast.Name(type(node.op).__name__ + "()", ast.Load())
        return ast.Call(name, [self.visit(node.left), self.visit(node.right), *texts], [])


def _guarded(compute: Callable[[object, object], object]) -> Callable[[object, object, str, str], object]:
    def guarded(a: object, b: object, left: str, right: str) -> object:
        for value, text in ((a, left), (b, right)):
            if type(value) not in NUMBERS and type(value) is not bool:
                kind = "null" if value is None else named(value)
                raise TypeError(f"arithmetic is for numbers: {text} is {kind}")
        result = compute(a, b)
        if type(result) is int and result.bit_length() > MAX_BITS:
            raise ValueError(f"{left} and {right} make an integer of more than {MAX_BITS} bits")
        return result

    return guarded


_GUARDS = {f"{kind.__name__}()": _guarded(compute) for kind, compute in ARITHMETIC.items()}


def _parse(text: str) -> ast.Expression:
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"is longer than {MAX_LENGTH} characters", "write a function: label: functions:my_label")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python only warns of invalid escapes: here they are errors
            tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise RefusedError(f"{text!r} is not a valid expression: {error.msg}", _HINT) from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise RefusedError(f"is not a valid expression: {type(error).__name__}", _HINT) from None
    try:
        for node in ast.walk(tree):
            _check(node)
    except RecursionError:
        raise RefusedError("is nested too deeply", _HINT) from None
    return tree


#: nodes that can result in a number or a boolean; the guard checks the value when the label is computed
_COMPUTED = ast.Constant | ast.Name | ast.BinOp | ast.Compare | ast.UnaryOp | ast.Call | ast.IfExp


def _check(node: ast.AST) -> None:
    if not isinstance(node, _ALLOWED) or not isinstance(getattr(node, "op", node), _ALLOWED):
        raise RefusedError(f"{_source(node)} is not allowed", f"allowed: {_HINT}; else write a function")
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            raise RefusedError(f"{_source(node)} is not allowed", f"only {', '.join(FUNCTIONS)} can be called")
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            if not isinstance(side, _COMPUTED) or (
                isinstance(side, ast.Constant) and type(side.value) not in (int, float)
            ):
                raise RefusedError(f"{_source(node)}: arithmetic is for numbers", "compare texts with == or in")
    elif isinstance(node, ast.Compare):
        for operator, side in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.Is | ast.IsNot) and not (isinstance(side, ast.Constant) and side.value is None):
                raise RefusedError(f"{_source(node)}: 'is' is for None", "compare with ==")
    elif isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | bool | None):
        raise RefusedError(f"{_source(node)} is not allowed", "constants are numbers, texts, True, False, None")


def _source(node: ast.AST) -> str:
    try:
        return ast.unparse(node)[:60]
    except (RecursionError, ValueError, AttributeError):
        return type(node).__name__

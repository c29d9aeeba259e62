"""Label expressions such as `clicks > 0 and not skipped`: a small, safe part of Python over the sample's fields."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection
from typing import Any

from samplejoin.job.errors import RefusedError, did_you_mean

FUNCTIONS: dict[str, Callable[..., Any]] = {"len": len, "min": min, "max": max, "abs": abs}
MAX_LENGTH = 2000
_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
    ast.IfExp, ast.Constant, ast.Name, ast.Load, ast.Tuple, ast.List, ast.Set, ast.Call,
)  # fmt: skip
_HINT = "fields, constants, comparisons, and/or/not, + - * / // %, in, a if b else c, len, min, max, abs"


def names_in(text: str) -> set[str]:
    """The fields an expression uses. Raises RefusedError as `compile_expression`."""
    return {node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name) and node.id not in FUNCTIONS}


def compile_expression(text: str, fields: Collection[str]) -> Callable[[dict[str, Any]], Any]:
    """A function of the sample; true and false come out as 1 and 0. It raises what Python raises, e.g. TypeError.

    Raises RefusedError if the text is no expression, does something that is not allowed, or uses an unknown field.
    """
    tree = _parse(text)
    for name in sorted(names_in(text)):
        if name not in fields:
            hint = did_you_mean(name, fields) or f"the fields are {', '.join(sorted(fields))}"
            raise RefusedError(f"there is no field {name!r}", hint)
    try:
        code = compile(tree, "<label>", "eval")
    except (RecursionError, MemoryError, ValueError):
        raise RefusedError("is nested too deeply", _HINT) from None
    scope = {"__builtins__": {}, **FUNCTIONS}

    def label(sample: dict[str, Any]) -> Any:
        value = eval(code, scope, sample)  # only nodes of _ALLOWED: no attribute, subscript or call of anything else
        return int(value) if value is True or value is False else value

    return label


def _parse(text: str) -> ast.Expression:
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"is longer than {MAX_LENGTH} characters", "write a function: label: functions:my_label")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python warns of odd escapes: here they are mistakes
            tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise RefusedError(f"{text!r} is no expression: {error.msg}", _HINT) from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise RefusedError(f"is no expression: {type(error).__name__}", _HINT) from None
    try:
        for node in ast.walk(tree):
            _check(node)
    except RecursionError:
        raise RefusedError("is nested too deeply", _HINT) from None
    return tree


def _check(node: ast.AST) -> None:
    if not isinstance(node, _ALLOWED) or not isinstance(getattr(node, "op", node), _ALLOWED):
        raise RefusedError(f"{_source(node)} is not allowed", f"allowed: {_HINT}; else write a function")
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            raise RefusedError(f"{_source(node)} is not allowed", f"only {', '.join(FUNCTIONS)} can be called")
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            if not isinstance(side, ast.Constant | ast.Name | ast.BinOp | ast.UnaryOp | ast.Call | ast.IfExp) or (
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

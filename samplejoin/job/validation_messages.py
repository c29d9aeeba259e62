"""Translates pydantic's errors to the terms of the job file, with hints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from samplejoin.errors import RefusedError, did_you_mean
from samplejoin.job.errors import ConflictError, Issue, Path
from samplejoin.job.model import JobModel

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "bool_parsing": "true or false",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def issues_of(errors: Iterable[Mapping[str, object]]) -> list[Issue]:
    """Returns the issues of the errors of a `ValidationError`."""
    return [issue for error in errors for issue in _explain(error)]


def keys_at(path: Path) -> list[str]:
    """Returns the keys that the job file allows at a path; empty if it allows none or any."""
    kind: object = JobModel
    for part in path:
        kind = _below(_bare(kind), part)
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _explain(error: Mapping[str, Any]) -> list[Issue]:
    kind, context = error["type"], error.get("ctx") or {}
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    cause = context.get("error")
    if isinstance(cause, ConflictError):
        return cause.issues
    if isinstance(cause, RefusedError):
        return [Issue(path, str(cause), cause.hint)]
    if kind == "extra_forbidden":
        known = keys_at(path[:-1])
        few = f"known: {', '.join(known)}" if len(known) <= 12 else "samplejoin schema prints all keys"
        return [Issue(path, "unknown key", did_you_mean(str(path[-1]), known) or few)]
    if kind == "missing":
        return [Issue(path, "is missing")]
    if kind == "literal_error":
        hint = did_you_mean(error["input"], _words(context)) if isinstance(error["input"], str) else None
        return [Issue(path, f"must be {context['expected']}", hint)]
    if kind in _EXPECTED:
        given = error["input"]
        return [Issue(path, f"must be {_EXPECTED[kind]}, not {_what(given)}", _type_hint(path, kind, given))]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return [Issue(path, f"must be {words} {context[key]}")]
    if kind == "too_short" and error["input"]:
        return []  # its items are invalid, each of which has an error of its own
    if kind in ("too_short", "string_too_short"):
        return [Issue(path, "must not be empty")]
    return [Issue(path, error["msg"][0].lower() + error["msg"][1:])]


def _words(context: Mapping[str, Any]) -> list[str]:
    return str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")


def _what(value: Any) -> str:
    names = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a decimal number",
        list: "a list",
        dict: "a mapping",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def _type_hint(path: Path, kind: str, value: object) -> str | None:
    if path == ("label",) and isinstance(value, bool | int | float):
        return f'an expression, such as clicks > 0; "{str(value).lower()}" in quotes gives every sample that label'
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "quote it"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind == "bool_type" and isinstance(value, str):
        return "yes, no, on and off are text here"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        if not value.strip().removeprefix("-").replace(".", "", 1).isdecimal():
            return "e.g. 4" if kind == "int_type" else "e.g. 0.5"
        return "write it without quotes; a value from the environment goes into SAMPLEJOIN_..."
    if kind == "tuple_type" and isinstance(value, str):
        return "[a, b], or one line each with a dash"
    return None


def _bare(kind: object) -> object:
    """Returns the type without `Annotated` and `| None`."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif type(None) in get_args(kind):
            kind = next(arg for arg in get_args(kind) if arg is not type(None))
        else:
            return kind


def _below(kind: object, part: str | int) -> object:
    """Returns the type of the value of a key; None if there is no such key."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
    return None

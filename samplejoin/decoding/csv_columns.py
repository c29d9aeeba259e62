"""Reads the columns of a CSV record as values of the types in the job file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

from samplejoin.core.values import Fields, Value
from samplejoin.errors import RefusedError, did_you_mean

ColumnType = Literal["str", "int", "float", "bool"]
TYPES: tuple[str, ...] = get_args(ColumnType)
Columns = Iterable[str] | Mapping[str, ColumnType]
"""Names of columns, whose values are text; or names with types."""

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*").fullmatch
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def columns_of(value: Value) -> tuple[str, ...] | dict[str, ColumnType]:
    """Returns the columns of a job file. Raises RefusedError if there are none, or if a type is unknown."""
    if isinstance(value, list | tuple) and value and all(type(name) is str for name in value):
        return tuple(value)
    if not isinstance(value, dict) or not value or not all(type(name) is str for name in value):
        raise RefusedError("must be a list of names, or a mapping of names to types", "[uid, item], or {item: int}")
    for name, of in value.items():
        if of not in TYPES:
            near = did_you_mean(str(of), TYPES)
            raise RefusedError(f"{of!r} is not a type of column {name}", near or f"one of {', '.join(TYPES)}")
    return dict(value)


def reader(columns: Columns) -> Callable[[list[str]], Fields]:
    """Returns a function from the texts of a line, one per column, to a dict.

    Empty text becomes null in a column of a type other than `str`. The function raises ValueError, which names the
    column, for text that is not of the column's type.
    """
    names = tuple(columns)
    types = columns if isinstance(columns, Mapping) else {}
    typed = [(name, of, _READERS[of]) for name, of in types.items() if of != "str"]

    def read(texts: list[str]) -> Fields:
        row: Fields = dict(zip(names, texts, strict=True))
        for name, of, value_of in typed:
            text = row[name]
            try:
                row[name] = value_of(text) if text else None
            except (ValueError, KeyError):
                taken = ": 1, 0, true or false, in any case" if of == "bool" else ""
                raise ValueError(f"column {name}: {text!r:.60} is not of type {of}{taken}") from None
        return row

    return read


def _int(text: str) -> int:
    if not _INTEGER(text):
        raise ValueError
    return int(text)


def _float(text: str) -> float:
    if "_" in text:  # float() allows underscores, which only Python writes
        raise ValueError
    return float(text)


def _bool(text: str) -> bool:
    return _TRUTH[text.strip().lower()]


_READERS: dict[str, Callable[[str], object]] = {"int": _int, "float": _float, "bool": _bool}

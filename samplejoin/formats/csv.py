"""Samples as lines of CSV (RFC 4180, without header and line end), for trainers, not for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from samplejoin.core.json_values import named
from samplejoin.core.values import Fields, Value
from samplejoin.formats.json import dumps

_must_quote = re.compile(r'[",\r\n]|^\s|\s$').search


def encoder(columns: Sequence[str]) -> Callable[[Fields], bytes]:
    """Returns a function that writes these fields of a sample, in this order.

    Null becomes an empty cell, empty text `""`, true and false 1 and 0, lists and objects JSON. Floats are written in
    the shortest form that reads back equal (`nan`, `inf`), integers exactly, at any size. The function raises KeyError
    if the sample lacks a field, and TypeError, which names the field, for a value of another type.
    """
    names = tuple(columns)

    def encode(sample: Fields) -> bytes:
        try:
            return ",".join([_cell(sample[name]) for name in names]).encode()
        except TypeError:
            for name in names:
                _named_cell(name, sample[name])
            raise

    return encode


def decoder(columns: Sequence[str]) -> Callable[[bytes], dict[str, str]]:
    """Returns a function that reads these fields back as text. It raises ValueError for another number of fields."""
    names = tuple(columns)

    def decode(payload: bytes) -> dict[str, str]:
        try:
            (values,) = csv.reader(io.StringIO(payload.decode(), newline=""))
        except csv.Error as error:
            raise ValueError(f"not CSV: {error}") from error
        return dict(zip(names, values, strict=True))

    return decode


def _named_cell(name: str, value: Value) -> None:
    try:
        _cell(value)
    except TypeError as error:
        raise TypeError(f"field {name}: {error}") from None


def _cell(value: Value) -> str:
    kind = type(value)
    if value is None:
        return ""
    if kind is str:
        text: str = value
    elif kind is bool:
        return "1" if value else "0"
    elif kind is int or kind is float:
        return repr(value)
    elif kind is list or kind is dict or kind is tuple:
        text = dumps(value).decode()
    else:  # a subclass can have a repr of its own
        raise TypeError(f"not a value for CSV: {named(value)}")
    if not text or _must_quote(text):
        return '"' + text.replace('"', '""') + '"'
    return text

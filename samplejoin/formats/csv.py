"""Samples as lines of CSV (RFC 4180, without header and line end), for trainers; not meant for spreadsheets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

_must_quote = re.compile(r'[",\r\n]|^\s|\s$').search


def encoder(columns: Sequence[str]) -> Callable[[dict[str, Any]], bytes]:
    """A function that writes those fields of a sample, in that order.

    Null is nothing, empty text is `""`, true and false are 1 and 0, lists and objects are JSON. Floats are written in
    the shortest form that reads back equal (`nan`, `inf`). A field the sample lacks raises KeyError.
    """
    names = tuple(columns)

    def encode(sample: dict[str, Any]) -> bytes:
        return ",".join([_cell(sample[name]) for name in names]).encode()

    return encode


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        return "1" if value else "0"
    elif isinstance(value, int | float):
        return repr(value)
    else:
        text = orjson.dumps(value).decode()
    if not text or _must_quote(text):
        return '"' + text.replace('"', '""') + '"'
    return text

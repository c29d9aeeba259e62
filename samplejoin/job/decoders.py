"""Records to dicts: JSON, CSV, raw. A record has `key`, `value`, `timestamp` (ms) and `headers`, as in aiokafka."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import orjson

Decode = Callable[[Any], Any]


def decode_json(record: Any) -> dict[str, Any]:
    """The record's JSON object. Raises ValueError if it is empty, no JSON, or no object."""
    value = record.value
    if not value:
        raise ValueError("empty record")
    data: Any = orjson.loads(value)
    if type(data) is not dict:
        raise ValueError(f"the record is a JSON {type(data).__name__}, not an object")
    return data


def decode_raw(record: Any) -> dict[str, Any]:
    """Key and value as bytes (or None), timestamp in ms, headers as a dict of bytes (of equal names the last)."""
    return {
        "key": record.key,
        "value": record.value,
        "timestamp": record.timestamp,
        "headers": dict(record.headers or ()),
    }


def csv_decoder(columns: Sequence[str]) -> Decode:
    """Reads a record as one CSV line without header; all values are text.

    The function raises ValueError if the record is empty, not UTF-8, not one line, or has another number of columns.
    """
    names = tuple(columns)

    def decode_csv(record: Any) -> dict[str, Any]:
        if not record.value:
            raise ValueError("empty record")
        try:
            lines = list(csv.reader(io.StringIO(record.value.decode(), newline=""), strict=True))
        except csv.Error as error:
            raise ValueError(f"no CSV: {error}") from error
        if len(lines) != 1:
            raise ValueError(f"{len(lines)} lines of CSV in one record")
        if len(lines[0]) != len(names):
            raise ValueError(f"{len(lines[0])} columns, expected {len(names)}: {', '.join(names)}")
        return dict(zip(names, lines[0], strict=True))

    return decode_csv


def user_decoder(name: str, function: Callable[[Any], Any]) -> Decode:
    """A user's decoder, held to its promise of a dict; what it raises comes out as it is."""

    def decode(record: Any) -> dict[str, Any]:
        data = function(record)
        if not isinstance(data, dict):
            raise ValueError(f"{name} returned {type(data).__name__}, expected a dict")
        return data

    return decode


def read_path(data: Any, path: str) -> Any:
    """The value at a dotted path of nested dicts; a key with the dots in it wins. Raises ValueError if absent."""
    if path in data:
        return data[path]
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            raise ValueError(f"the record has no field {path}")
        data = data[name]
    return data

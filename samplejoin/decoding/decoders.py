"""Decodes records (JSON, CSV, raw) to dicts. A record has aiokafka's `key`, `value`, `timestamp` (ms) and `headers`.

A decoder that returns None filters the record before its time is read (rule 13). JSON and CSV filter tombstones, which
are records whose value is null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.user_errors import counted
from samplejoin.core.values import Fields
from samplejoin.decoding.csv_columns import Columns, reader
from samplejoin.decoding.undecodable import not_csv, not_json
from samplejoin.formats.json import loads

Decode = Callable[[KafkaRecord], Any]

_LARGEST_FIELD = (1 << 31) - 1
"""Bytes of a CSV field. The csv module's default is far below the largest record; `limits.row` is the real limit."""


def decode_json(record: KafkaRecord) -> Fields | None:
    """Returns the record's JSON object. Raises ValueError if the record is empty, not JSON, or not an object."""
    value = record.value
    if value is None:
        return None
    if not value:
        raise ValueError("empty record")
    try:
        data: Any = loads(value)
    except ValueError as error:
        raise ValueError(not_json(value, error)) from error
    if type(data) is not dict:
        raise ValueError(f"the record is a JSON {type(data).__name__}, not an object")
    return data


def decode_raw(record: KafkaRecord) -> Fields:
    """Returns key and value as bytes or None, timestamp in ms, and headers as a dict (last value of a name)."""
    return {
        "key": record.key,
        "value": record.value,
        "timestamp": record.timestamp,
        "headers": dict(record.headers or ()),
    }


def csv_decoder(columns: Columns, delimiter: str = ",") -> Decode:
    """Returns a decoder of records that are one CSV line without header. It skips a byte order mark.

    The decoder raises ValueError if the record is empty, not UTF-8, not one line, or has another number of columns,
    or text that is not of its column's type.
    """
    names, read = tuple(columns), reader(columns)
    csv.field_size_limit(_LARGEST_FIELD)

    def decode_csv(record: KafkaRecord) -> Fields | None:
        if record.value is None:
            return None
        if not record.value:
            raise ValueError("empty record")
        try:
            text = io.StringIO(record.value.decode("utf-8-sig"), newline="")
            lines = list(csv.reader(text, strict=True, delimiter=delimiter))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(not_csv(record.value, error)) from error
        if len(lines) != 1:
            raise ValueError(f"{counted(len(lines), 'line')} of CSV in one record")
        if len(lines[0]) != len(names):
            raise ValueError(_other_columns(lines[0], names, delimiter))
        return read(lines[0])

    return decode_csv


def user_decoder(name: str, function: Callable[[object], object]) -> Decode:
    """Wraps a user's decoder to raise ValueError if it returns neither a dict nor None; its own errors pass through."""

    def decode(record: KafkaRecord) -> Fields | None:
        data = function(record)
        if data is not None and not isinstance(data, dict):
            raise ValueError(f"{name} returned {type(data).__name__}, expected a dict or None")
        return data

    return decode


def _other_columns(found: list[str], names: tuple[str, ...], delimiter: str) -> str:
    said = f"{counted(len(found), 'column')}, expected {len(names)}: {', '.join(names)}"
    for other, written in (("\t", r"\t"), (";", ";"), ("|", "|"), (",", ",")):
        if other != delimiter and sum(text.count(other) for text in found) == len(names) - 1 > 0:
            what = "tabs" if other == "\t" else repr(other)
            return f'{said}; the line has {what} between them: delimiter: "{written}"'
    return said

"""Reads JSON of records and writes JSON of samples. Integers keep their value at any size; orjson alone reads those
beyond 64 bits as floats, and refuses to write them. NaN and infinities become null, because JSON does not have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import orjson

from samplejoin.core.json_values import MAX_DEPTH, given
from samplejoin.core.values import Fields, Value

decode: Callable[[bytes | str], object] = msgspec.json.Decoder().decode
"""As fast as orjson, but with less precise errors: `loads` raises better ones."""


def loads(value: bytes | str) -> Any:
    """Returns the JSON value. Raises ValueError (orjson's, with line and column) if it is not JSON or too deep."""
    try:
        try:
            return decode(value)
        except RecursionError:
            return _on_a_stack_of_its_own(value)
    except (ValueError, RecursionError) as error:
        orjson.loads(value)
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _on_a_stack_of_its_own(value: bytes | str) -> Any:
    """Decodes in a thread, because the parser counts nesting levels together with its callers' stack frames.

    Thus the allowed depth of a record, close to Python's limit of 1000, is the same in worker, test kit, offline run
    and verify. Counting brackets beforehand would cost every record a few percent.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(decode, value).result()


def dumps(value: Value) -> bytes:
    """Returns the value as JSON. Raises TypeError or ValueError for other data; for an object it names the field."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if _holds_large(value, MAX_DEPTH):
            return msgspec.json.encode(given(value))
        if isinstance(value, dict):
            _name(value)
        raise error


def encoder(columns: Sequence[str]) -> Callable[[Fields], bytes]:
    """Returns `dumps`; a sample's fields are in this order already."""
    return dumps


def decoder(columns: Sequence[str]) -> Callable[[bytes], Any]:
    """Returns `loads`; the names are in the bytes."""
    return loads


def _holds_large(value: Value, levels: int) -> bool:
    """Returns whether the value contains an integer beyond 64 bits, which orjson refuses, within that many levels."""
    if type(value) is int:
        return not -(1 << 63) <= value < 1 << 64
    items = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return levels > 0 and any(_holds_large(item, levels - 1) for item in items)


def _name(fields: dict[object, object]) -> None:
    for name, value in fields.items():
        try:
            orjson.dumps({name: value})
        except TypeError as error:
            raise TypeError(f"field {name}: {error}") from None

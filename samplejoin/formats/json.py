"""JSON as records have it and samples get it. Integers keep their value at any size: orjson reads those beyond 64 bits
as floats, and writes none. NaN and infinities become null: JSON has no such numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import orjson

from samplejoin.core.json_values import MAX_DEPTH, given
from samplejoin.core.values import Fields, Value

decode: Callable[[bytes | str], object] = msgspec.json.Decoder().decode
"""As fast as orjson, but of bytes that are not JSON it says little: `loads` says more."""


def loads(value: bytes | str) -> Any:
    """The JSON value. Raises ValueError (orjson's, with line and column) for what is not JSON, or nested too deeply."""
    try:
        try:
            return decode(value)
        except RecursionError:
            return _on_a_stack_of_its_own(value)
    except (ValueError, RecursionError) as error:
        orjson.loads(value)
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _on_a_stack_of_its_own(value: bytes | str) -> Any:
    """The JSON value, by a thread: the parser counts its levels together with its callers'.

    So how deep a record may be, close to Python's limit of 1000, does not depend on who reads it: worker, test kit,
    offline run and verify come to the same. Counting brackets beforehand would cost every record a few percent.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(decode, value).result()


def dumps(value: Value) -> bytes:
    """The value as JSON. Raises TypeError or ValueError for other data, and names the field of an object."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if _holds_large(value, MAX_DEPTH):
            return msgspec.json.encode(given(value))
        if isinstance(value, dict):
            _name(value)
        raise error


def encoder(columns: Sequence[str]) -> Callable[[Fields], bytes]:
    """`dumps`: a sample's fields stand in their order already."""
    return dumps


def decoder(columns: Sequence[str]) -> Callable[[bytes], Any]:
    """`loads`: names stand in the bytes."""
    return loads


def _holds_large(value: Value, levels: int) -> bool:
    """Whether it is an integer beyond 64 bits that orjson has refused; what is nested deeper is not looked at."""
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

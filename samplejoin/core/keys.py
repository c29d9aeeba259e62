"""Join keys: one unambiguous text per combination of field values, and the partition it belongs to (rule 10)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring
from typing import Any

from samplejoin.core.field_paths import value_at
from samplejoin.core.json_values import half_a_character, named, text
from samplejoin.core.values import Fields, Value

_TYPES = (str, int, bool)

MAX_KEY_BYTES = 1024
"""Bytes of an encoded key. A worker holds the key of every open window in memory, whatever else is on disk."""

_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # public, but not in the stubs
"""json.loads without its search for white space and encodings, which these keys do not have."""


def encode_key(values: Iterable[Any]) -> bytes:
    """The key as a JSON array, e.g. `["u1",42]`, so that no value can run into its neighbour.

    Strings and integers stay apart: "1" and 1 are different users. Raises TypeError for values of other types, and
    ValueError for text with half a character.
    """
    try:
        return ("[" + ",".join([encode_basestring(v) if type(v) is str else _scalar(v) for v in values]) + "]").encode()
    except UnicodeEncodeError as error:
        raise half_a_character(error) from None


def decode_key(key: bytes) -> list[Any]:
    """Returns the values that `encode_key` was given."""
    values: list[Any] = _scan(key.decode("utf-8", "surrogatepass"), 0)[0]
    return values


def key_values(row: Fields, fields: Sequence[str], junk: frozenset[object]) -> list[object] | None:
    """The row's values at the paths `fields`, or None if one is missing, null or junk (rule 10).

    Raises as `encode_key`, and names the field.
    """
    values = [value_at(row, name) for name in fields]
    for name, value in zip(fields, values, strict=True):
        if value is None or (type(value) in _TYPES and value in junk and _is_one_of(value, junk)):
            return None
        if type(value) not in _TYPES:
            raise TypeError(f"key field {name} must be text, an integer or a boolean, got {named(value)}")
        if type(value) is str and not value.isascii():
            try:
                text(value)
            except ValueError as error:
                raise ValueError(f"key field {name}: {error}") from None
    return values


def too_long(fields: Sequence[str], values: Sequence[object], key: bytes) -> ValueError:
    """Returns the error for a key of more than `MAX_KEY_BYTES`; it names the longest field."""
    size, field = max((len(encode_key([value])) - 2, field) for field, value in zip(fields, values, strict=True))
    return ValueError(
        f"a key of {len(key)} bytes is over {MAX_KEY_BYTES}; its longest field is {field}, {size} bytes: "
        "send a hash of it as the key"
    )


def partition_of(key: bytes, partitions: int) -> int:
    """The join partition of a key: CRC-32 (zlib's) modulo the count. Stable for ever: state depends on it."""
    return zlib.crc32(key) % partitions


def _is_one_of(value: Value, junk: frozenset[object]) -> bool:
    """Whether the value is in `junk` with its exact type: neither True nor 1.0 is 1."""
    return any(type(value) is type(other) and value == other for other in junk)


def _scalar(value: Value) -> str:
    if type(value) in _TYPES:
        return json.dumps(value)
    raise TypeError(f"a key field must be text, an integer or a boolean, got {named(value)}")

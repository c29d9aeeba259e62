"""How payloads wait between cleaning and formatting: msgpack, for JSON data and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec

from samplejoin.core.keys import decode_key
from samplejoin.core.spec import Codec

_encode = msgspec.msgpack.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_SCALARS = frozenset((str, int, float, bool, type(None)))
_all_scalar = _SCALARS.issuperset


def dumps(value: Any) -> bytes:
    """msgpack of JSON data. Raises TypeError for other data, ValueError for integers beyond 64 bits and for depth."""
    try:
        # msgspec would also take sets, dates and bytes, which do not come back as they were
        if type(value) is not list:
            _check(value)
        elif not _all_scalar(map(type, value)):
            for item in value:
                kind = type(item)
                if kind not in _SCALARS and (kind is not list or not _all_scalar(map(type, item))):
                    _check(item)
        return _encode(value)
    except OverflowError:
        raise ValueError("an integer does not fit into 64 bits") from None
    except RecursionError:
        raise ValueError("data is nested too deeply") from None


def _check(value: Any) -> None:
    if type(value) in _SCALARS:
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a key of an object must be a string, got {type(key).__name__} {key!r:.60}")
            _check(item)
    else:
        raise TypeError(f"{type(value).__name__} is not JSON data: {value!r:.60}")


def _key(key: bytes) -> list[Any]:
    """The twin of `decode_key`, which takes what is no UTF-8 or an integer of thousands of digits."""
    try:
        values: list[Any] = _decode_json(key)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return decode_key(key)
    return values


#: what stands around a cell in the msgpack of `[[cell], None, []]`
_LONE = (b"\x93\x91", b"\xc0\x90")

CODEC = Codec(dumps, msgspec.msgpack.Decoder().decode, _LONE, _key)
"""What `loads` returns equals what `dumps` was given; tuples come back as lists."""

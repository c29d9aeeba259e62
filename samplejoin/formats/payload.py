"""Packs payloads between cleaning and formatting as msgpack. It takes JSON data and nothing else."""

from __future__ import annotations

import msgspec

from samplejoin.core.json_values import SCALARS, half_a_character, kept
from samplejoin.core.keys import decode_key
from samplejoin.core.spec import Codec
from samplejoin.core.values import Value

_encode = msgspec.msgpack.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_all_scalar = SCALARS.issuperset


def dumps(value: Value) -> bytes:
    """Returns JSON data as msgpack. Raises TypeError or ValueError for values that `core.json_values.kept` refuses."""
    try:
        # msgspec would also take sets, dates, enums and bytes, which do not decode to what they were
        if type(value) is not list:
            kept(value)
        elif not _all_scalar(map(type, value)):
            for item in value:
                kind = type(item)
                if kind not in SCALARS and (kind is not list or not _all_scalar(map(type, item))):
                    kept(item)
        return _encode(value)
    except OverflowError:
        raise ValueError("an integer does not fit into 64 bits: send it as text") from None
    except UnicodeEncodeError as error:
        raise half_a_character(error) from None


def _key(key: bytes) -> list[object]:
    """Decodes a key as `decode_key`, but faster; leaves to it keys that are not UTF-8 or have a very long integer."""
    try:
        values: list[object] = _decode_json(key)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return decode_key(key)
    return values


#: the bytes around a cell in the msgpack of `[[cell], None, []]`
_LONE = (b"\x93\x91", b"\xc0\x90")

CODEC = Codec(dumps, msgspec.msgpack.Decoder().decode, _LONE, _key, _encode)
"""Values decode to what they were, except that tuples become lists."""

"""Recognizes common kinds of records that cannot be decoded, for the error of a dead letter."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x82SNAPPY\x00", "snappy"),
)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_REGISTRY_BYTES = 5
_NO_NUMBER = re.compile(rb"[:,\[]\s*(-?(?:NaN|Infinity|inf|nan))\b")
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_FUNCTION = "decode it with a function of your own"


def not_json(value: bytes, error: Exception) -> str:
    """Returns why the bytes are not JSON: the parser's error if nothing better is known."""
    return f"not JSON: {_known(value) or _near_json(value) or error}"


def not_csv(value: bytes, error: Exception) -> str:
    """Returns why the bytes are not a line of CSV."""
    return f"not CSV: {_known(value) or error}"


def _known(value: bytes) -> str | None:
    """Recognizes bytes that are not text."""
    for start, name in _COMPRESSED:
        if value.startswith(start):
            return f"the value is compressed by {name}: {_FUNCTION}"
    if value.startswith(b"\x00\x00") and len(value) > _REGISTRY_BYTES:
        schema = int.from_bytes(value[1:_REGISTRY_BYTES])
        return f"it starts with the magic byte of a schema registry (schema {schema}): {_FUNCTION}"
    if value.startswith(_UTF16) or (len(value) > 1 and 0 in value[:2]):
        return f"it is UTF-16 text, not UTF-8: {_FUNCTION}"
    return None


def _near_json(value: bytes) -> str | None:
    """Recognizes text that is almost JSON, or CSV."""
    if value.startswith(codecs.BOM_UTF8):
        return "it starts with a byte order mark, which JSON does not allow"
    for says, applies in _SUSPECTS:
        found = applies(value)
        if found:
            return says.format(found)
    return None


def _no_number(value: bytes) -> str | None:
    match = _NO_NUMBER.search(value)
    return match[1].decode() if match else None


def _half_character(value: bytes) -> str | None:
    """Returns the first escape of an unpaired surrogate."""
    rest = re.sub(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}", b"", value)
    match = _HALF.search(rest)
    return match[0].decode() if match else None


def _documents(value: bytes) -> str | None:
    found = len(re.findall(rb"^\s*\{.*\}\s*$", value, re.MULTILINE))
    return str(found) if found > 1 else None


def _tabs(value: bytes) -> str | None:
    return "tabs" if b"\t" in value and not value.lstrip().startswith((b"{", b"[", b'"')) else None


_SUSPECTS: tuple[tuple[str, Callable[[bytes], str | None]], ...] = (
    ("{} is not a JSON number; producers send null in its place", _no_number),
    ("{} is half of a character (a text was cut in the middle of an emoji)", _half_character),
    ("it contains {} documents, one per line; a record must be one", _documents),
    ("it is text with {}; use decode: csv with delimiter", _tabs),
)

"""Parses a batch record by record, for batches in which aiokafka's parser fails.

Brokers store a header name that is not UTF-8 as it was sent; aiokafka's parser fails at it and does not say where. This
parser replaces only the invalid bytes of such a name, and reports the offset of a damaged record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from samplejoin.engine.decompression import ExpandError

_RECORDS_AT = 61
#: attributes, last offset delta, first and highest timestamp, producer, epoch, sequence, number of records
HEADER = struct.Struct(">hiqqqhii")
HEADER_AT = 21
LOG_APPEND_TIME = 0x08


@dataclass(slots=True)
class Record:
    """A record with the attributes of aiokafka's own."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


@dataclass(slots=True)
class Damaged:
    """Offsets that cannot be read: one record, or all up to the batch's last if the next record cannot be found."""

    offset: int
    last: int
    why: str


def varint(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """Reads a zigzag varint at `at`; returns it and the index after it. Raises IndexError or ExpandError."""
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            raise ExpandError("a record with a length of over ten bytes")


def records_of(raw: bytes | memoryview) -> Iterator[Record | Damaged]:
    """Yields the records of an uncompressed batch, with a `Damaged` for those that cannot be read."""
    (base,) = struct.unpack_from(">q", raw)
    attributes, last_delta, first_ms, highest_ms, *_, count = HEADER.unpack_from(raw, HEADER_AT)
    by_broker = bool(attributes & LOG_APPEND_TIME)
    at, offset = _RECORDS_AT, base
    for _ in range(count):
        try:
            size, at = varint(raw, at)
            if not 0 <= size <= len(raw) - at:
                raise ExpandError(f"a record of {size} bytes, where {len(raw) - at} are left")
        except (IndexError, ExpandError) as error:
            yield Damaged(offset, base + last_delta, str(error))
            return
        try:
            delta_ms, delta, key, value, headers = _fields(bytes(raw[at : at + size]))
        except (IndexError, ExpandError) as error:
            yield Damaged(offset, offset, str(error))
        else:
            offset = base + delta
            yield Record(offset, highest_ms if by_broker else first_ms + delta_ms, int(by_broker), key, value, headers)
        at, offset = at + size, offset + 1
    if at != len(raw):
        yield Damaged(offset, max(offset, base + last_delta), f"{len(raw) - at} bytes behind the last record")


def _fields(record: bytes) -> tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
    """Returns (time delta in ms, offset delta, key, value, headers). Raises IndexError or ExpandError if damaged."""
    delta_ms, at = varint(record, 1)
    delta, at = varint(record, at)
    key, at = _text(record, at)
    value, at = _text(record, at)
    number, at = varint(record, at)
    if number < 0:
        raise ExpandError(f"{number} headers")
    headers = []
    for _ in range(number):
        name, at = _text(record, at)
        content, at = _text(record, at)
        headers.append(((name or b"").decode("utf-8", "replace"), content))
    if at != len(record):
        raise ExpandError(f"{len(record) - at} bytes behind its headers")
    return delta_ms, delta, key, value, headers


def _text(record: bytes, at: int) -> tuple[bytes | None, int]:
    """Returns length-prefixed bytes (None for a negative length), and the index after them."""
    length, at = varint(record, at)
    if length < 0:
        return None, at
    if length > len(record) - at:
        raise ExpandError(f"a field of {length} bytes, where {len(record) - at} are left")
    return record[at : at + length], at + length

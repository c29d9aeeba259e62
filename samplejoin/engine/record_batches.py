"""Cuts record batches into parts that fit into memory, whatever they expand to, and refuses too large records.

A part is an uncompressed batch of its own, whose records aiokafka's code parses. The ends of records are looked for
only in a batch that expands to more than one piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain

from aiokafka.record.default_records import DefaultRecordBatch

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.refused_record import RefusedRecord
from samplejoin.engine.damaged_batches import HEADER, HEADER_AT, LOG_APPEND_TIME, varint
from samplejoin.engine.decompression import NONE, ExpandError, pieces

#: bytes that are expanded at once
PIECE_BYTES = 8 << 20
#: records of a part
PART_RECORDS = 4000
#: bytes of a refused record's value that its dead letter carries
HEAD_BYTES = 64 << 10
HEADER_BYTES = 61
_CODEC = 0x07


class BatchPart:
    """Some records of a batch as an uncompressed batch of their own: its bytes, and aiokafka's parser for it."""

    def __init__(self, raw: bytes | memoryview, parser: object = None) -> None:
        self.raw = raw
        self.parser = parser or DefaultRecordBatch(raw)


class Header:
    """The fields of a batch's header that reading its records needs."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw[:HEADER_BYTES]
        fields = HEADER.unpack_from(raw, HEADER_AT)
        self.attributes, self.first_ms, self.highest_ms, self.count = fields[0], fields[2], fields[3], fields[-1]
        (self.base_offset,) = struct.unpack_from(">q", raw)
        self.last_offset = self.base_offset + fields[1]
        self.codec = self.attributes & _CODEC

    def batch(self, records: bytes | bytearray, count: int) -> BatchPart:
        """Returns the same batch with these records, uncompressed."""
        header = bytearray(self.raw)
        struct.pack_into(">h", header, HEADER_AT, self.attributes & ~_CODEC)
        struct.pack_into(">i", header, HEADER_BYTES - 4, count)
        return BatchPart(bytes(header + records))

    def refused(self, head: bytes, size: int, limit: int) -> RefusedRecord:
        """Returns the stand-in for a record that is not read, from the beginning of its bytes."""
        delta_ms, at = varint(head, 1)
        offset, at = varint(head, at)
        length, at = varint(head, at)
        key = None if length < 0 else bytes(head[at : at + min(length, HEAD_BYTES)])
        behind, value_length = at + max(0, length), 0
        if behind < HEAD_BYTES:
            value_length, at = varint(head, behind)
        value = bytes(head[at : at + min(max(0, value_length), HEAD_BYTES)])
        by_broker = bool(self.attributes & LOG_APPEND_TIME)
        stamp = self.highest_ms if by_broker else self.first_ms + delta_ms
        return RefusedRecord(
            self.base_offset + offset, stamp, int(by_broker), size, limit, max(0, value_length), value, key
        )


def parts(raw: bytes, limit: int) -> Iterator[tuple[BatchPart | list[KafkaRecord], int]]:
    """The records of a batch in parts, with the bytes that each takes. None is over `limit` but a `RefusedRecord`.

    A part can be an empty list, while a large record is passed over. Raises ExpandError if the batch cannot be read.
    """
    header = Header(raw)
    expanded = pieces(header.codec, raw[HEADER_BYTES:], PIECE_BYTES)
    first, size = _first_piece(expanded)
    second = next(expanded, None)
    if second is None and size <= limit:
        yield header.batch(first, header.count), size
    else:
        yield from _cut(header, chain([first, second or b""], expanded), limit)


def _first_piece(expanded: Iterator[bytes]) -> tuple[bytes, int]:
    """Joins small expanded blocks into pieces of the size that may be expanded at once."""
    got: list[bytes] = []
    size = 0
    for piece in expanded:
        got.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            break
    return got[0] if len(got) == 1 else b"".join(got), size


def _cut(header: Header, expanded: Iterator[bytes], limit: int) -> Iterator[tuple[BatchPart | list[KafkaRecord], int]]:
    data = bytearray()
    at = count = 0  # the end of the whole records in `data`, and their number
    for _ in range(header.count):
        while len(data) - at < 10 and (piece := next(expanded, None)) is not None:
            data += piece
        try:
            size, body = varint(data, at)
        except IndexError:
            raise ExpandError("it ends within a record") from None
        if size > limit:
            if count:
                yield header.batch(data[:at], count), at
            yield from _skip(header, data, expanded, body, size, limit)
            at = count = 0
            continue
        if body + size > len(data):
            if count:
                yield header.batch(data[:at], count), at
            del data[:at]
            body, at, count = body - at, 0, 0
            while body + size > len(data):
                piece = next(expanded, None)
                if piece is None:
                    raise ExpandError("it ends within a record")
                data += piece
        at, count = body + size, count + 1
        if count == PART_RECORDS:
            yield header.batch(data[:at], count), at
            del data[:at]
            at = count = 0
    if count:
        yield header.batch(data[:at], count), at


def _skip(
    header: Header, data: bytearray, expanded: Iterator[bytes], body: int, size: int, limit: int
) -> Iterator[tuple[BatchPart | list[KafkaRecord], int]]:
    """Passes over a record whose bytes begin at `body`; leaves in `data` what follows it."""
    del data[:body]
    while len(data) < min(size, 3 * HEAD_BYTES):
        piece = next(expanded, None)
        if piece is None:
            raise ExpandError("it ends within a record")
        data += piece
    try:
        yield [header.refused(bytes(data[: 3 * HEAD_BYTES]), size, limit)], len(data)
    except IndexError:
        raise ExpandError("a record that is cut off") from None
    left = size - len(data)
    if left < 0:
        del data[:size]
        return
    data.clear()
    while left > 0:
        piece = next(expanded, None)
        if piece is None:
            raise ExpandError("it ends within a record")
        if len(piece) > left:
            data += piece[left:]
        left -= len(piece)
        yield [], len(piece)


def is_small(raw_bytes: int, attributes: int, limit: int) -> bool:
    """Whether a batch can be read as it is: it is not compressed, and no record can be over the limit."""
    return attributes & _CODEC == NONE and raw_bytes <= min(limit, PIECE_BYTES)

"""Decompresses record batches piece by piece: a batch of 1 MB can expand to 10 GB, and memory must stay bounded.

A decompressor's one-call function returns everything at once, so each codec is asked for one piece or block at a time.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator

import cramjam

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
#: the largest window of a zstd frame, as a power of two; levels up to 20 need no larger one
WINDOW_LOG = 25
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16
_LZ4_MAGIC = 0x184D2204
_LZ4_BLOCK_BYTES = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}


class ExpandError(Exception):
    """The batch is damaged, or cannot be decompressed in bounded memory; the message says why."""


def pieces(codec: int, data: bytes, size: int) -> Iterator[bytes]:
    """Yields the expanded `data` in pieces of about `size` bytes at most. Raises ExpandError."""
    expand = {NONE: _plain, GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}.get(codec)
    if expand is None:
        raise ExpandError(f"compressed by unknown codec {codec}")
    try:
        yield from filter(None, expand(data, size))
    except (zlib.error, zstd.ZstdError, cramjam.DecompressionError, struct.error, EOFError) as error:
        raise ExpandError(f"cannot be decompressed: {error}") from error


def _plain(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def _gzip(data: bytes, size: int) -> Iterator[bytes]:
    while data:  # one member follows another
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while not member.eof:
            piece = member.decompress(data, size)
            if not piece and not member.unconsumed_tail and not member.eof:
                raise EOFError("it is cut off")
            data = member.unconsumed_tail
            yield piece
        data = member.unused_data


def _zstd(data: bytes, size: int) -> Iterator[bytes]:
    while data:  # one frame follows another
        frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        while not frame.eof:
            piece = frame.decompress(data, max_length=size)
            if not piece and frame.needs_input and not frame.eof:
                raise EOFError("it is cut off")
            data = b""
            yield piece
        data = frame.unused_data


def _snappy(data: bytes, size: int) -> Iterator[bytes]:
    """Expands the frame of Java's clients, in blocks of about 32 KiB, or the one block that librdkafka writes."""
    if not data.startswith(_XERIAL):
        yield _snappy_block(data, size)
        return
    at = _XERIAL_HEADER
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        yield _snappy_block(data[at + 4 : at + 4 + length], size)
        at += 4 + length


def _snappy_block(data: bytes, size: int) -> bytes:
    length = cramjam.snappy.decompress_raw_len(data)
    if length > 4 * size:
        raise ExpandError(f"one block of snappy that expands to {length} bytes, over {4 * size}")
    return bytes(cramjam.snappy.decompress_raw(data))


def _lz4(data: bytes, size: int) -> Iterator[bytes]:
    """Expands the frame's blocks, which are independent of each other in Kafka (KIP-57)."""
    magic, flags, kind = struct.unpack_from("<IBB", data)
    if magic != _LZ4_MAGIC or not flags & 0x20:
        raise ExpandError("not an LZ4 frame of independent blocks")
    most = _LZ4_BLOCK_BYTES.get(kind >> 4 & 7)
    if most is None:
        raise ExpandError("an LZ4 frame with blocks of unknown size")
    room = bytearray(most)
    view = memoryview(room)
    at = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    while True:
        (length,) = struct.unpack_from("<I", data, at)
        if not length:
            return
        length, stored = length & 0x7FFFFFFF, length >> 31
        block = data[at + 4 : at + 4 + length]
        yield block if stored else bytes(view[: cramjam.lz4.decompress_block_into(block, room, output_len=most)])
        at += 4 + length + (4 if flags & 0x10 else 0)

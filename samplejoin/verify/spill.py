"""Keeps rows by key on disk: writes them as they come, and reads them bucket by bucket, so that memory is bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import cramjam
import msgspec

BUCKETS = 256
BUFFER_BYTES = 24 << 20
#: limit of a bucket's rows as msgpack; as Python objects they take about five times as much
BUCKET_BYTES = 16 << 20

COMPRESSED = 16
"""Approximate ratio of the size of rows as Python objects to their size on disk."""

Frames = list[tuple[int, int]]
"""(position, size in bytes) of each frame in the file."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Spill:
    """Rows of several kinds, by key. A row is a list that begins with its key.

    `bucket_bytes` limits what `buckets` yields at a time; a single key can be larger.
    """

    def __init__(
        self, kinds: int, folder: Path | None = None, buffer_bytes: int = BUFFER_BYTES, bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        self._file = tempfile.TemporaryFile(prefix="samplejoin-verify-", dir=folder)  # noqa: SIM115  # closed by `close`
        self._end = 0
        self._buffer_bytes, self._bucket_bytes = buffer_bytes, bucket_bytes
        self._waiting: list[list[list[list[object]]]] = [[[] for _ in range(BUCKETS)] for _ in range(kinds)]
        self._waiting_bytes = 0
        self._frames: list[list[Frames]] = [[[] for _ in range(BUCKETS)] for _ in range(kinds)]
        self._sizes = [0] * BUCKETS

    @property
    def size_bytes(self) -> int:
        """Returns the bytes on disk."""
        return self._end

    def add(self, kind: int, row: list[Any], size_bytes: int) -> None:
        """Adds a row. `size_bytes`: its approximate size as Python objects."""
        self._waiting[kind][bucket_of(row[0])].append(row)
        self._waiting_bytes += size_bytes
        if self._waiting_bytes > self._buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Writes all buffered rows to disk."""
        for kind, buckets in enumerate(self._waiting):
            for number, rows in enumerate(buckets):
                if rows:
                    self._write(kind, number, rows)
                    buckets[number] = []
        self._waiting_bytes = 0

    def _write(self, kind: int, number: int, rows: list[list[Any]]) -> None:
        packed = _encode(rows)
        self._frames[kind][number].append(self._append(packed))
        self._sizes[number] += len(packed)

    def _append(self, packed: bytes) -> tuple[int, int]:
        frame = bytes(cramjam.zstd.compress(packed, level=1))
        self._file.seek(self._end)
        self._file.write(frame)
        self._end += len(frame)
        return self._end - len(frame), len(frame)

    def buckets(self, wanted: set[int] | None = None) -> Iterator[tuple[int, list[dict[bytes, list[list[Any]]]]]]:
        """Yields (bucket, rows by key for each kind). A large bucket comes in parts. `wanted`: only these buckets."""
        self.flush()
        for number in range(BUCKETS) if wanted is None else sorted(wanted):
            parts = 1 + self._sizes[number] // self._bucket_bytes
            frames = [kind[number] for kind in self._frames]
            for part in [frames] if parts == 1 else self._split(frames, parts):
                yield number, [self._keys(kind) for kind in part]

    def _split(self, frames: list[Frames], parts: int) -> list[list[Frames]]:
        """Returns a bucket's frames by part and kind. Writes them again by part, so that no part reads all of them."""
        made: list[list[Frames]] = [[[] for _ in frames] for _ in range(parts)]
        for kind, of_kind in enumerate(frames):
            waiting: list[list[list[Any]]] = [[] for _ in range(parts)]
            waiting_bytes = 0
            for at, size in of_kind:
                for row in self._read(at, size):
                    waiting[crc32(row[0]) // BUCKETS % parts].append(row)
                waiting_bytes += size
                if waiting_bytes > self._buffer_bytes // COMPRESSED:
                    self._write_parts(waiting, made, kind)
                    waiting_bytes = 0
            self._write_parts(waiting, made, kind)
        return made

    def _write_parts(self, waiting: list[list[list[Any]]], made: list[list[Frames]], kind: int) -> None:
        for part, rows in enumerate(waiting):
            if rows:
                made[part][kind].append(self._append(_encode(rows)))
                waiting[part] = []

    def _read(self, at: int, size: int) -> list[list[Any]]:
        self._file.seek(at)
        rows: list[list[Any]] = _decode(cramjam.zstd.decompress(self._file.read(size)))
        return rows

    def _keys(self, frames: Frames) -> dict[bytes, list[list[object]]]:
        keys: dict[bytes, list[list[object]]] = {}
        for at, size in frames:
            for row in self._read(at, size):
                known = keys.get(row[0])
                if known is None:
                    keys[row[0]] = [row]
                else:
                    known.append(row)
        return keys

    def close(self) -> None:
        """Closes the file, which frees its disk space."""
        self._file.close()


def bucket_of(key: bytes) -> int:
    """Returns the bucket of a key's rows."""
    return crc32(key) % BUCKETS

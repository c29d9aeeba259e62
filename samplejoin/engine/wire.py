"""The bytes of the job's internal topics: msgpack, compressed by zstd level 1, after two bytes for kind and version.

Records are compressed here and not in the producer, since aiokafka compresses at fixed, slower levels.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict

import cramjam
import msgspec

from samplejoin.core.cells import WireCell
from samplejoin.core.messages import Block, Entry, Tick, TickEntry
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.values import Fields, Partials
from samplejoin.engine.config import WorkerError
from samplejoin.engine.decompression import zstd
from samplejoin.engine.record_format import NEWEST, OLDEST

#: bytes that a record of ours may expand to
MOST_BYTES = 64 << 20
_BLOCK, _TICK, _COMMIT = b"B", b"T", b"C"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


_all_packed = frozenset((bytes,)).issuperset


class FormatError(WorkerError):
    """A record of an internal topic that this version cannot read."""


class GarbageError(FormatError):
    """A record in an internal topic that no version of samplejoin wrote; the message says how it shows."""


#: a zstd frame's first bytes. In all formats, future ones too, a record begins with its kind, its format and a zstd
#: frame, so that a newer record can be told from one that samplejoin did not write
_MAGIC = b"\x28\xb5\x2f\xfd"
#: keys, streams, slices, low offsets, high offsets, rows, packed cells
_Columns = tuple[list[bytes], list[int], list[int], list[int], list[int], list[int], list[bytes]]
_decode_block = msgspec.msgpack.Decoder(tuple[str, int, int | None, int, _Columns]).decode
_decode_bare = msgspec.msgpack.Decoder(tuple[str, int, int | None, int, tuple[()]]).decode
_decode_tick = msgspec.msgpack.Decoder(
    tuple[list[tuple[str, int, int | None, int, int | None, bool, int | None]], dict[str, int]]
).decode


class _Part(TypedDict, total=False):
    """One part of a commit; only the last part has the fields after `page`."""

    id: Required[bytes]
    part: Required[int]
    last: Required[bool]
    puts: list[tuple[bytes, bytes]]
    cut: bool
    deletes: list[bytes]
    until: int
    page: bytes
    start: int
    position: int
    state: bytes
    fingerprint: str
    deadline: int
    swept: int | None
    needed: int | None
    format: int


_decode_commit = msgspec.msgpack.Decoder(_Part).decode
#: fields that every last part has; `swept` and `needed` were added later
_ENDS = {"start", "position", "state", "fingerprint", "deadline", "format"}
_NOT_OURS = (msgspec.MsgspecError, ValueError, RecursionError)


def known_format(number: int) -> int:
    """Returns the number if this version can write that format. Raises FormatError if not."""
    if not OLDEST <= number <= NEWEST:
        raise FormatError(f"the group writes record format {number}, this version {OLDEST} to {NEWEST}: upgrade it")
    return number


def pack_entry(entry: Entry, writes: int = NEWEST) -> bytes:
    """Packs a block or tick as a record value of format `writes`; a block in columns, each cell packed by itself."""
    if isinstance(entry, Block):
        columns = list(zip(*entry.cells, strict=True))
        if columns and not _all_packed(map(type, columns[-1])):
            columns[-1] = tuple(map(_packed, entry.cells))
        return _seal(_BLOCK, writes, [entry.source, entry.generation, entry.after, entry.upto, columns])
    entries = [[e.source, e.generation, e.after, e.upto, e.row_time, e.at_end, e.prev] for e in entry.entries]
    return _seal(_TICK, writes, [entries, entry.partitions])


def unpack_entry(value: bytes | None) -> Entry:
    """The block or tick of a record value. Raises GarbageError, or FormatError for a format that is newer."""
    return unpack_sized(value)[0]


def unpack_sized(value: bytes | None) -> tuple[Entry, int]:
    """As `unpack_entry`, with the approximate bytes of its rows."""
    kind, body = _open(value)
    try:
        if kind == _BLOCK:
            source, generation, after, upto, columns = _block(body)
            return Block(source, generation, after, upto, list(zip(*columns, strict=True))), len(body)
        if kind == _TICK:
            entries, partitions = _decode_tick(body)
            return Tick([TickEntry(*fields) for fields in entries], partitions), 0
    except _NOT_OURS as error:
        raise GarbageError(f"its fields are not those of a block or tick ({error})") from error
    raise GarbageError("it is a commit, which belongs in the changelog")


def _block(body: Any) -> tuple[str, int, int | None, int, Any]:
    try:
        return _decode_block(body)
    except msgspec.ValidationError:  # a block without cells, which is rare, or a record that is not ours
        return _decode_bare(body)


def pack_commit(body: Fields, writes: int = NEWEST) -> bytes:
    """One part of a commit record, in format `writes`."""
    return _seal(_COMMIT, writes, body)


def unpack_commit(value: bytes | None) -> Fields:
    """Returns the body that `pack_commit` was given. Raises GarbageError, or FormatError for a format that is newer."""
    kind, body = _open(value)
    if kind != _COMMIT:
        raise GarbageError("it is a block or tick, which belongs in the repartition topic")
    try:
        part: Fields = _decode_commit(body)  # type: ignore[assignment]
    except _NOT_OURS as error:
        raise GarbageError(f"its fields are not those of a commit ({error})") from error
    if part["last"] and not part.keys() >= _ENDS:
        raise GarbageError(f"it ends a commit, and lacks {', '.join(sorted(_ENDS - part.keys()))}")
    return part


def pack_state(state: Any) -> bytes:
    """Packs a key's or a partition's state, uncompressed: it is small, and its batch is compressed."""
    return _encode(state)


def unpack_state(value: bytes) -> Any:
    """Returns what `pack_state` was given, with lists in place of tuples."""
    return _decode(value)


def unpack_partition_state(value: bytes) -> PartitionState:
    """Returns the `PartitionState` that `pack_state` was given."""
    return PartitionState.read(_decode(value))


def pack_cell(cell: tuple[int, int, int, Partials]) -> bytes:
    """A cell of a key's state, `(stream, slice, rows, partials)`, as it travels and rests."""
    return _encode(cell)


def _packed(cell: WireCell) -> bytes:
    _, stream, slice_, _, _, rows, partials = cell
    return partials if type(partials) is bytes else _encode((stream, slice_, rows, partials))


def _seal(kind: bytes, writes: int, body: Any) -> bytes:
    return kind + bytes([writes]) + bytes(cramjam.zstd.compress(_encode(body), level=1))


def _open(value: bytes | None) -> tuple[bytes, bytes]:
    """Returns kind and packed fields of a record. Raises GarbageError or FormatError."""
    if not value or value[:1] not in (_BLOCK, _TICK, _COMMIT) or value[2:6] != _MAGIC:
        raise GarbageError("it does not begin as records of samplejoin do")
    if not OLDEST <= value[1] <= NEWEST:
        raise FormatError(
            f"record format {value[1]}, this version reads {OLDEST} to {NEWEST}: another version of samplejoin wrote "
            "it. Run that version, or one that reads both"
        )
    frame = zstd.ZstdDecompressor()
    try:
        body = frame.decompress(value[2:], max_length=MOST_BYTES)
    except zstd.ZstdError as error:
        raise GarbageError(f"it cannot be decompressed ({error})") from error
    if not frame.eof:
        raise GarbageError(f"it is cut off, or expands to over {MOST_BYTES} bytes")
    return value[:1], body

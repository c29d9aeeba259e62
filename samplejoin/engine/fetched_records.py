"""Hands out fetched records as aiokafka's parser makes them, without the object that its consumer wraps round each,
and expands only a few megabytes of them at once.

Control batches, aborted transactions, checksums and positions are still handled by aiokafka (`PartitionRecords`). The
records are its Cython objects: `offset`, `timestamp`, `timestamp_type`, `key`, `value`, `headers`. They have no topic
and partition, which the caller knows.
"""

from __future__ import annotations

import asyncio
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.skipped_offsets import Skips
from samplejoin.engine.aiokafka_private import fetched_partitions
from samplejoin.engine.damaged_batches import Damaged, records_of
from samplejoin.engine.decompression import ExpandError
from samplejoin.engine.record_batches import BatchPart, Header, is_small, parts

#: expanded bytes after which one call of `getmany` returns
FETCHED_BYTES = 8 << 20
RECORD_BYTES = 8 << 20
#: how many records pass through aiokafka's loops as one
CHUNK_RECORDS = 500
_LENGTH_AT, _OVERHEAD = 8, 12
_ANY_BYTES = _ANY_NUMBER = 1 << 62
_FAILED = (CorruptRecordException, ValueError, LookupError, OverflowError)
"""The errors of aiokafka's parser for a record that it cannot read; UnicodeDecodeError is a ValueError."""


class Reading:
    """Makes a consumer return bare records, those over `record_bytes` refused; passed to it as `value_deserializer`.

    Records of such a consumer are fetched by `fetch` only. `skips` are offsets to pass over; `skipped` is called with
    topic, partition and the number of records passed over.
    """

    def __init__(
        self,
        record_bytes: int = RECORD_BYTES,
        skips: Skips | None = None,
        skipped: Callable[[str, int, int], None] = lambda topic, partition, records: None,
        fetched_bytes: int = FETCHED_BYTES,
    ) -> None:
        self.record_bytes, self.skips, self.skipped = record_bytes, skips or {}, skipped
        #: bytes that may still be expanded before the fetch under way returns
        self.room = self._fetched_bytes = fetched_bytes
        #: partitions of which some is fetched, but not expanded yet
        self.unfinished: set[TopicPartition] = set()

    async def fetch(
        self, consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], timeout_ms: int, most: int
    ) -> dict[TopicPartition, list[KafkaRecord]]:
        """The consumer's next records, by partition: `most` at the most, and not much over `fetched_bytes`."""
        wait_ms = 0 if self.unfinished.intersection(tps) else timeout_ms  # nobody wakes who waits for what is here
        self.begin(tps)
        fetched: dict[TopicPartition, list[KafkaRecord]] = await consumer.getmany(
            *tps, timeout_ms=wait_ms, max_records=most
        )
        waiting = fetched_partitions(consumer)
        for tp in self.unfinished.intersection(waiting):
            waiting.move_to_end(tp)  # other partitions come first
        if not fetched:
            await asyncio.sleep(0)
        return fetched

    def begin(self, tps: Iterable[TopicPartition]) -> None:
        """Starts a fetch of these partitions: gives it room for `fetched_bytes`."""
        self.room = self._fetched_bytes
        self.unfinished.difference_update(tps)

    def __call__(self, value: object) -> object:
        """Never called: the records stay as they are."""
        return value


class _Batches:
    """Replaces aiokafka's `MemoryRecords`; a consumer with a `Reading` gets its batches in parts."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0
        self._inner = MemoryRecords(raw)
        self._owner: Any = None
        self.opened: _Opened | None = None

    def belong_to(self, owner: _Records) -> None:
        """Sets the `_Records` that these batches are read for."""
        self._owner = owner

    def size_in_bytes(self) -> object:
        return self._inner.size_in_bytes()

    def has_more(self) -> bool:
        """Whether any batch or part is left, even if there is no room for it now."""
        return self.opened is not None or bool(self._inner.has_next())

    def has_next(self) -> bool:
        owner = self._owner
        return self.has_more() and (owner is None or not owner.bare or owner.reading.room > 0)

    def next_batch(self) -> object:
        if self.opened is not None:
            return self.opened
        batch, owner, start = self._inner.next_batch(), self._owner, self._at
        (length,) = struct.unpack_from(">i", self._raw, start + _LENGTH_AT)
        self._at = end = start + _OVERHEAD + length
        if owner is None or batch.magic < 2 or batch.is_control_batch:
            return batch
        if not owner.bare:
            return _Whole(owner, batch, memoryview(self._raw)[start:end])
        if is_small(end - start, batch.attributes, owner.reading.record_bytes) and not owner.skips:
            owner.reading.room -= end - start
            return _Whole(owner, batch, memoryview(self._raw)[start:end])
        self.opened = _Opened(self, owner, batch, memoryview(self._raw)[start:end])
        return self.opened


class _Whole:
    """A batch that is read at once, with the attributes that aiokafka needs."""

    is_control_batch = False

    def __init__(self, owner: _Records, batch: Any, raw: memoryview) -> None:
        self._owner, self._batch, self._raw = owner, batch, raw
        self.base_offset, self.next_offset = batch.base_offset, batch.next_offset
        self.producer_id, self.is_transactional = batch.producer_id, batch.is_transactional
        self.validate_crc = batch.validate_crc

    def __iter__(self) -> Iterator[KafkaRecord | _Chunk]:
        return self._owner.parsed(self._batch, self._raw)


class _Opened:
    """A batch in parts, with the attributes that aiokafka needs; aiokafka gets it again until no part is left."""

    def __init__(self, batches: _Batches, owner: _Records, batch: Any, raw: memoryview) -> None:
        self._batches, self._owner, self._batch, self._raw = batches, owner, batch, raw
        self.base_offset, self.producer_id = batch.base_offset, batch.producer_id
        self.is_control_batch, self.is_transactional = False, batch.is_transactional
        self._end = batch.next_offset
        self._passed = owner.passes_over(self.base_offset, self._end - 1)
        self._parts: Iterator[tuple[BatchPart | list[KafkaRecord], int]] | None = None

    @property
    def next_offset(self) -> int:
        """The offset at which reading goes on; aiokafka asks for it after each part, and if the batch was aborted."""
        if self._parts is None:  # it was aborted
            self._close()
        at: int = self._end if self._batches.opened is None else self._owner.next_fetch_offset
        return at

    def validate_crc(self) -> bool:
        if self._parts is None and not self._passed and not self._batch.validate_crc():
            raise self._owner.corrupt(self.base_offset, self._end - 1, "its checksum is wrong")
        return True

    def __iter__(self) -> Iterator[KafkaRecord | _Chunk]:
        """The records of the next part."""
        owner = self._owner
        try:
            if self._parts is None:
                self._parts = self._open()
            part, size = next(self._parts, ([], -1))
        except ExpandError as error:
            raise owner.corrupt(self.base_offset, self._end - 1, str(error)) from error
        owner.reading.room -= max(0, size)
        if size < 0:
            self._close()
        return owner.parsed(part.parser, part.raw) if isinstance(part, BatchPart) else owner.kept(part)

    def _open(self) -> Iterator[tuple[BatchPart | list[KafkaRecord], int]]:
        if self._passed:
            self._owner.count_from(self.base_offset, self._end - 1)
            return iter(())
        return parts(self._raw.tobytes(), self._owner.reading.record_bytes)

    def _close(self) -> None:
        self._batches.opened = None


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Replaces aiokafka's `PartitionRecords`. A consumer without a `Reading` gets the same records as from aiokafka's
    class, and those with invalid header names too."""

    next_fetch_offset: int

    def __init__(self, tp: TopicPartition, records: Any, *args: Any) -> None:
        super().__init__(tp, records, *args)
        reading = self._value_deserializer
        self.bare = isinstance(reading, Reading)
        self.skips: Sequence[tuple[int, int]] = ()
        if self.bare:
            self.reading: Reading = reading
            self.skips = reading.skips.get((tp.topic, tp.partition), ())
            self._consumer_record = _as_it_is
        #: of the chunk that was taken last, what the call before had no room for
        self._rest: list[KafkaRecord] = []
        records.belong_to(self)

    def corrupt(self, first: int, last: int, why: str) -> Exception:
        """Returns the error for offsets that cannot be read."""
        offsets = f"offset {first}" if first == last else f"offsets {first} to {last}"
        error: Exception = CorruptRecordException(
            f"topic {self._tp.topic} partition {self._tp.partition} {offsets}: {why}"
        )
        return error

    def parsed(self, parser: Any, raw: bytes | memoryview) -> Iterator[KafkaRecord | _Chunk]:
        """The records of a batch that are to be read, in chunks; one by one if aiokafka's parser fails, and none of
        them twice: those that it has read are below `next_fetch_offset`."""
        try:
            yield from self.kept(parser) if self.skips or not self.bare else _chunks(parser, self.next_fetch_offset)
        except _FAILED:
            yield from self.kept(self._one_by_one(bytes(raw)))

    def _one_by_one(self, raw: bytes) -> Iterator[KafkaRecord]:
        try:
            for part, _ in parts(raw, _ANY_BYTES):
                for record in records_of(part.raw) if isinstance(part, BatchPart) else part:
                    if not isinstance(record, Damaged):
                        yield record
                    elif record.last >= self.next_fetch_offset:
                        self._pass_over(record)
        except ExpandError as error:
            raise self.corrupt(self.next_fetch_offset, Header(raw).last_offset, str(error)) from error

    def _pass_over(self, damaged: Damaged) -> None:
        first = max(damaged.offset, self.next_fetch_offset)
        if not self.passes_over(first, damaged.last):
            raise self.corrupt(first, damaged.last, damaged.why)
        self._count(damaged.last + 1 - first)
        self.next_fetch_offset = damaged.last + 1

    def __iter__(self) -> Iterator[KafkaRecord | _Chunk]:
        """The generator itself: one call per record less than going through `__next__`."""
        records: Iterator[KafkaRecord] | None = self._records_iterator
        return iter(()) if records is None else records

    def take(self, most: int) -> tuple[list[KafkaRecord], bool]:
        """The next records, at most so many, and whether there may be more. `next_fetch_offset` is behind them."""
        taken, self._rest = self._rest, []
        if taken:
            self.next_fetch_offset = taken[-1].offset + 1
        more = True
        while more and len(taken) < most:
            each = next(self._records_iterator, None)
            if each is None:
                more = False
            elif type(each) is _Chunk:
                taken += each
            else:
                taken.append(each)
        if len(taken) > most:
            self._rest = taken[most:]
            del taken[most:]
            self.next_fetch_offset = self._rest[0].offset
        return taken, more

    def go_on(self) -> bool:
        """Whether iterating ended only for lack of room; then prepares it for the next fetch."""
        if not self.bare or not self._records.has_more():
            return False
        self.reading.unfinished.add(self._tp)
        self._records_iterator = self._unpack_records()
        return True

    # ---- passing over -------------------------------------------------------------------------------------------

    def passes_over(self, first: int, last: int) -> bool:
        """Whether all of these offsets are to be passed over."""
        at = bisect_right(self.skips, (first, 1 << 62)) - 1
        return at >= 0 and bool(self.skips[at][1] >= last)

    def count_from(self, first: int, last: int) -> None:
        """Counts the offsets of a range that was passed over, those already passed left out."""
        self._count(last + 1 - max(first, self.next_fetch_offset))

    def kept(self, records: Iterable[KafkaRecord]) -> Iterator[KafkaRecord]:
        """The records that are to be read."""
        skips = self.skips
        for record in records:
            offset = record.offset
            at = bisect_right(skips, (offset, 1 << 62)) - 1
            if at < 0 or skips[at][1] < offset:
                yield record
            elif offset >= self.next_fetch_offset:
                self._count(1)
                self.next_fetch_offset = offset + 1

    def _count(self, records: int) -> None:
        if records > 0:
            self.reading.skipped(self._tp.topic, self._tp.partition, records)


class _Chunk(list[Any]):
    """Consecutive records of a batch, which aiokafka's loops handle as one record with the last one's offset."""

    __slots__ = ("offset",)

    offset: int


def _chunks(parser: Any, first: int) -> Iterator[_Chunk]:
    """Yields the records from offset `first` on, in chunks."""
    records = chain(parser)  # the parser gives its iterator only once
    while chunk := _Chunk(islice(records, CHUNK_RECORDS)):
        chunk.offset = chunk[-1].offset
        if chunk[0].offset < first:  # the batch begins before `first`
            chunk[:] = [record for record in chunk if record.offset >= first]
        yield chunk


def _as_it_is(_: object, record: ConsumerRecord) -> object:
    return record


class _Result(fetcher.FetchResult):  # type: ignore[misc]  # as above
    """Replaces aiokafka's `FetchResult`: keeps data that were not expanded for lack of room."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[KafkaRecord]:
        records = self._partition_records
        if records is None or not records.bare:
            others: list[KafkaRecord] = super().getall(max_records)
            return others
        if not self.check_assignment(self._topic_partition):
            return []
        taken: list[KafkaRecord]
        taken, more = records.take(_ANY_NUMBER if max_records is None else max_records)
        self._update_position()
        if not more and not records.go_on():
            self._partition_records = None
        return taken


fetcher.MemoryRecords = _Batches
fetcher.PartitionRecords = _Records
fetcher.FetchResult = _Result

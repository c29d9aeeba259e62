"""The clean side of a worker: the source partitions it owns, and how far each is read, acknowledged and committed."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import OffsetAndMetadata

from samplejoin.core.covering import SourceWriter
from samplejoin.core.identity import source_id
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.messages import Tick
from samplejoin.core.user_errors import said
from samplejoin.engine.config import EngineConfig, WorkerError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class SourceBlock:
    """Records of one source partition that were fetched together. They cover its offsets up to `upto`."""

    owned: OwnedSource
    records: list[KafkaRecord]
    upto: int


@dataclass(eq=False)
class OwnedSource:
    """One source partition, from its assignment until it is given up."""

    tp: TopicPartition
    writer: SourceWriter
    #: last offset that a block has handed to the clean agent
    delivered: int
    #: fetched records beyond the writer's limit
    held: deque[KafkaRecord] = field(default_factory=deque)
    held_upto: int = -1
    alive: bool = True
    #: the highest event time handed to the clean agent, for alignment
    read_time: int | None = None

    def next_block(self) -> SourceBlock | None:
        """Returns the held records that may be sent now as a block; None if there are none."""
        limit = self.writer.limit
        if self.held and self.held[0].offset > limit and self.held[0].offset - 1 > self.delivered:
            # a gap in the offsets wider than max_in_flight holds no records, so it can be covered and committed
            return self._block([], self.held[0].offset - 1)
        records = []
        while self.held and self.held[0].offset <= limit:
            records.append(self.held.popleft())
        if self.held:
            return self._block(records, records[-1].offset) if records else None
        if self.held_upto > self.delivered:
            return self._block(records, self.held_upto)
        return None

    def hold_back(self, records: Iterable[KafkaRecord], upto: int) -> None:
        """Keeps fetched records; `upto` is the offset before the next one to be fetched."""
        self.held.extend(records)
        self.held_upto = max(self.held_upto, upto)

    def _block(self, records: list[KafkaRecord], upto: int) -> SourceBlock:
        self.delivered = upto
        return SourceBlock(self, records, upto)


class Sources:
    """All source partitions that this worker owns now."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.owned: dict[TopicPartition, OwnedSource] = {}
        #: partition counts of the input topics, as this worker knows them
        self.partitions: dict[str, int] = {}
        #: topic -> its id; empty with brokers that have no topic ids
        self.topic_ids: dict[str, UUID] = {}
        #: whether this worker sends ticks
        self.ticking = True
        #: whether records arrived within the last second
        self.flowing = False

    def add(self, tp: TopicPartition, generation: int, committed: int, metadata: str, log_end: int) -> OwnedSource:
        """Takes over a partition whose next offset is `committed` and whose log ends at `log_end` now."""
        writer = SourceWriter(
            source_id(tp.topic, tp.partition),
            generation,
            committed - 1,
            self.config.max_in_flight,
            row_time=_Noted.of(metadata).row_time_ms,
            log_end=log_end - 1,  # even where an offset was committed: a commit can be lost (ADR 11)
        )
        owned = OwnedSource(tp, writer, delivered=committed - 1, held_upto=committed - 1)
        self.owned[tp] = owned
        return owned

    def _noted(self, topic: str, row_time_ms: int | None) -> str:
        id_ = self.topic_ids.get(topic)
        return str(_Noted(row_time_ms or None, id_.hex if id_ else ""))

    def learn_topic_ids(self, ids: Mapping[str, UUID]) -> None:
        """Keeps topic ids. Raises WorkerError if one is not that known before: the old offsets mean nothing in the new
        topic, and a consumer would go on at them or begin at its start."""
        if again := sorted(topic for topic, id_ in ids.items() if self.topic_ids.get(topic, id_) != id_):
            raise WorkerError(
                f"topics {', '.join(again)} were deleted and made again while the job ran: what was read and written "
                "before means nothing in the new ones. Start from the beginning by `samplejoin reset`"
            )
        self.topic_ids |= ids

    def refuse_recreated(self, tp: TopicPartition, metadata: str) -> None:
        """Raises WorkerError if the offset was committed for an earlier topic of the same name."""
        noted, id_ = _Noted.of(metadata).topic_id, self.topic_ids.get(tp.topic)
        if noted and id_ and noted != id_.hex:
            raise WorkerError(
                f"topic {tp.topic}: it was deleted and made again since it was last read: the offsets that group "
                f"{self.config.group} has committed mean nothing in it. Start from the beginning by `samplejoin reset`"
            )

    def drop(self, tps: Iterable[TopicPartition]) -> None:
        """Gives partitions up: nothing more is read, sent or committed for them."""
        for tp in tps:
            owned = self.owned.pop(tp, None)
            if owned is not None:
                owned.alive = False

    def offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Returns the offsets that can be committed: next offsets, with the highest event time below them."""
        return {
            tp: OffsetAndMetadata(owned.writer.acked + 1, self._noted(tp.topic, owned.writer.row_time))
            for tp, owned in self.owned.items()
            if owned.writer.acked > owned.writer.confirmed
        }

    def confirm(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """Records that the group has committed `offsets`."""
        for tp, offset in offsets.items():
            owned = self.owned.get(tp)
            if owned is not None:
                owned.writer.confirm(offset.offset - 1)

    def confirmed(self) -> int:
        """Returns for how many sources every acknowledged offset is committed."""
        return sum(owned.writer.acked == owned.writer.confirmed for owned in self.owned.values())

    def record_fetches(self, consumer: AIOKafkaConsumer) -> None:
        """Passes the latest fetch response of each partition to its writer."""
        for tp, owned in self.owned.items():
            stamp = consumer.last_poll_timestamp(tp)
            high, stable = consumer.highwater(tp), consumer.last_stable_offset(tp)
            if stamp is not None and high is not None:
                end = high if stable is None else max(high, stable)
                owned.writer.record_fetch(stamp, owned.delivered + 1, end)

    def slice(self) -> int | None:
        """Returns the slice that all owned sources have reached; None while one of them has no event time."""
        spec, lowest = self.config.spec, None
        for owned in self.owned.values():
            row_time = owned.writer.row_time
            if row_time is None:
                return None
            watermark = row_time - spec.lateness_ms(owned.tp.topic)
            lowest = watermark if lowest is None else min(lowest, watermark)
        return None if lowest is None else lowest // spec.resolution_ms

    def tick(self, partition: int) -> tuple[Tick, list[OwnedSource]]:
        """Returns a tick for one join partition, and the sources it reports."""
        owned = list(self.owned.values())
        return Tick([o.writer.tick(partition) for o in owned], dict(self.partitions)), owned


_ID = re.compile("[0-9a-f]{32}")


class _Noted(NamedTuple):
    """The metadata of a committed offset: the highest event time below it, and the id of the topic."""

    row_time_ms: int | None
    topic_id: str

    @classmethod
    def of(cls, metadata: str) -> _Noted:
        """Parses committed metadata; metadata that no worker wrote gives no time and no id."""
        time, _, id_ = metadata.partition(" ")
        return cls(int(time) if time.lstrip("-").isdecimal() else None, id_ if _ID.fullmatch(id_) else "")

    def __str__(self) -> str:
        time = "" if self.row_time_ms is None else str(self.row_time_ms)
        return f"{time} {self.topic_id}" if self.topic_id else time


def check_start(tp: TopicPartition, committed: int, begin: int, end: int) -> None:
    """Raises WorkerError if the committed offset is outside the log: rows were lost, or the topic is a new one."""
    if not begin <= committed <= end:
        raise WorkerError(
            f"topic {tp.topic} partition {tp.partition}: the committed offset {committed} lies outside its log "
            f"[{begin}, {end}]. Its records were deleted by retention before they were read, or the topic was created "
            "again. Start the job under a new name, or from the beginning by `samplejoin reset`"
        )


def unreadable(error: CorruptRecordException) -> WorkerError:
    """Returns the error that ends a worker which cannot read a batch."""
    return WorkerError(
        f"{said(error)}. The records cannot be read, here or by any other worker. If they cannot be restored on the "
        "brokers, pass over them: samplejoin skip JOB TOPIC/PARTITION/FIRST-LAST --reason TEXT"
    )

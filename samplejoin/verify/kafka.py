"""Reads a job's topics with a plain consumer, without a group, and writes and commits nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from samplejoin.connection_errors import Refused, why_away
from samplejoin.core.skipped_offsets import Skip, Skips, ranges, unpack
from samplejoin.engine.fetched_records import RECORD_BYTES, Reading
from samplejoin.errors import SamplejoinError

FETCH_BYTES = 1 << 20
"""Limit per partition and fetch; a larger record is still returned, alone (KIP-74)."""
POLL_RECORDS = 1000
POLL_MS = 200


class VerifyError(SamplejoinError):
    """Raised if nothing can be verified."""


class TopicReader:
    """Read-only access to the brokers of a job.

    `connection`: the arguments of aiokafka's clients. `record_bytes`: the limit above which an input record is refused.
    """

    def __init__(self, connection: Mapping[str, object], record_bytes: int = RECORD_BYTES) -> None:
        self._connection, self._record_bytes = dict(connection), record_bytes
        #: offsets to skip, as workers skip them, and topic -> number of records skipped
        self.skips: Skips = {}
        self.skipped: dict[str, int] = {}

    @asynccontextmanager
    async def _consumer(self, reading: Reading | None = None) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            **self._connection,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=4 * FETCH_BYTES,
            max_poll_records=POLL_RECORDS,
            value_deserializer=reading,
        )
        try:
            await self._reach(consumer)
            yield consumer
        finally:
            await consumer.stop()

    def read_inputs(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[Any, list[Any]]]:
        """Reads like `read`, but as workers do: leaves out skipped records, and yields too large ones as `Refused`."""

        def skipped(topic: str, _: int, records: int) -> None:
            self.skipped[topic] = self.skipped.get(topic, 0) + records

        return self.read(begins, ends, Reading(self._record_bytes, self.skips, skipped))

    async def read_skips(self, topic: str) -> None:
        """Reads the entries of `samplejoin skip` from the topic, and ignores any other record, as workers do."""
        begins, ends = await self.bounds(partition_list(topic, [0]))
        found: dict[bytes, Skip] = {}
        async for _, records in self.read(begins, ends):
            for record in records:
                with suppress(ValueError):
                    found[record.key] = unpack(record.value)
        self.skips = ranges(found.values())

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        client = AIOKafkaAdminClient(**self._connection)
        try:
            await self._reach(client)
            yield client
        finally:
            await client.close()

    async def _reach(self, client: Any) -> None:
        since = time.monotonic()
        try:
            await client.start()
        except Refused as error:
            raise VerifyError(str(error)) from error
        except (KafkaError, OSError, AssertionError) as error:
            brokers = self._connection.get("bootstrap_servers")
            raise VerifyError(f"no broker answers at {brokers}: {why_away(error, since)}") from error

    async def partitions(self) -> dict[str, set[int]]:
        """Returns all topics that this user may see, with the numbers of their partitions."""
        async with self._admin() as client:
            found = await client.describe_topics()
        return {each["topic"]: {part["partition"] for part in each["partitions"]} for each in found}

    async def bounds(
        self, tps: Iterable[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Returns, by partition, the first offsets and the offsets after the last committed records."""
        tps = list(tps)
        if not tps:
            return {}, {}
        async with self._consumer() as consumer:
            return dict(await consumer.beginning_offsets(tps)), dict(await consumer.end_offsets(tps))

    async def at_time(self, tps: Iterable[TopicPartition], time_ms: int) -> dict[TopicPartition, int | None]:
        """Returns each partition's offset of the first record with that Kafka timestamp or a later one, else None."""
        async with self._consumer() as consumer:
            found = await consumer.offsets_for_times(dict.fromkeys(tps, time_ms))
        return {tp: None if at is None else at.offset for tp, at in found.items()}

    async def committed(self, group: str, tps: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
        """Returns the group's committed offsets of these partitions: the next offsets to read."""
        async with self._admin() as client:
            found = await client.list_consumer_group_offsets(group, partitions=list(tps))
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def read(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], reading: Reading | None = None
    ) -> AsyncIterator[tuple[object, list[Any]]]:
        """Yields (partition, records) from `begins` up to, not including, `ends`, each partition in offset order.

        Raises VerifyError if a record was deleted meanwhile, or cannot be read.
        """
        left = {tp for tp, end in ends.items() if begins[tp] < end}
        if not left:
            return
        async with self._consumer(reading) as consumer:
            consumer.assign(list(left))
            for tp in left:
                consumer.seek(tp, begins[tp])
            while left:
                for tp, records in (await _poll(consumer, left, reading)).items():
                    end = ends[tp]
                    yield tp, records if records[-1].offset < end else [r for r in records if r.offset < end]
                done = {tp for tp in left if await consumer.position(tp) >= ends[tp]}
                if done:
                    consumer.pause(*done)
                    left -= done


async def _poll(
    consumer: AIOKafkaConsumer, left: set[TopicPartition], reading: Reading | None
) -> dict[TopicPartition, list[Any]]:
    try:
        if reading is not None:
            return await reading.fetch(consumer, list(left), POLL_MS, POLL_RECORDS)
        found: dict[TopicPartition, list[object]] = await consumer.getmany(*left, timeout_ms=POLL_MS)
        return found
    except OffsetOutOfRangeError as error:
        gone = ", ".join(sorted({str(tp.topic) for tp in left}))
        raise VerifyError(f"records were deleted while they were read ({gone}): run it again ({error})") from error
    except CorruptRecordException as error:
        raise VerifyError(f"{error}. No worker can read it either: skip it with `samplejoin skip`") from error


def partition_list(topic: str, partitions: Iterable[int]) -> list[Any]:
    """Returns the partitions of a topic as the client's TopicPartition objects, in order."""
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]

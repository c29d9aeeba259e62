"""Reads Kafka by whole record batches, without an object per record, and tells when each could first be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import COMMIT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

REQUEST_BYTES = 50 << 20
READ_UNCOMMITTED = 0


class Log:
    """Some partitions of a single-broker Kafka, read from their beginning over a separate connection."""

    def __init__(self, bootstrap: str, partitions: Iterable[tuple[str, int]], fetch_bytes: int = 1 << 20) -> None:
        self.next_offset = dict.fromkeys(partitions, 0)
        self._fetch_bytes = fetch_bytes
        self._client = AIOKafkaClient(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> Log:
        await self._client.bootstrap()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def fetch(
        self, partitions: Iterable[tuple[str, int]] | None = None, wait_ms: int = 100
    ) -> list[tuple[tuple[str, int], list[Any]]]:
        """One request: (partition, its batches) of those asked for, else of all; no batches at a partition's end.

        Raises aiokafka's error for a partition that cannot be read.
        """
        wanted: dict[str, list[tuple[int, int, int]]] = {}
        for topic, number in self.next_offset if partitions is None else partitions:
            wanted.setdefault(topic, []).append((number, self.next_offset[topic, number], self._fetch_bytes))
        request = FetchRequest(wait_ms, 1, REQUEST_BYTES, READ_UNCOMMITTED, list(wanted.items()))
        response = await self._client.send(self._client.get_random_node(), request)
        return [((topic, part[0]), self._batches(topic, *part)) for topic, parts in response.topics for part in parts]

    def _batches(self, topic: str, number: int, error_code: int, *rest: Any) -> list[Any]:
        if error_code:
            raise for_code(error_code)(f"{topic} partition {number}")
        records, batches = MemoryRecords(rest[-1]), []
        while records.has_next():
            batches.append(records.next_batch())
        if batches:
            self.next_offset[topic, number] = batches[-1].next_offset
        return batches


async def committed(bootstrap: str, topic: str, partitions: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yields (time when it could first be read, value) of every record up to the topic's end, without aborted ones.

    The time is the broker's, in ms: the append of the record or, in a transaction, of its commit marker. The topic's
    timestamps must be of LogAppendTime.
    """
    open_: dict[tuple[tuple[str, int], int], list[Any]] = {}
    async with Log(bootstrap, ((topic, number) for number in range(partitions))) as log:
        unread = set(log.next_offset)
        while unread:
            for partition, batches in await log.fetch(unread):
                if not batches:
                    unread.discard(partition)
                for batch in batches:
                    visible = [batch]
                    if batch.is_control_batch:
                        visible = open_.pop((partition, batch.producer_id), [])
                        if ControlRecord.parse(next(iter(batch)).key) != COMMIT_MARKER:
                            continue
                    elif batch.is_transactional:
                        open_.setdefault((partition, batch.producer_id), []).append(batch)
                        continue
                    for each in visible:
                        for record in each:
                            yield batch.max_timestamp, record.value

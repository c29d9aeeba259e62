"""The topic of records to pass over: `samplejoin skip` writes it, and every worker of the job obeys it.

The first skip creates the topic. It is compacted by range of offsets, so it keeps every range. A reset of the
job deletes it with the other topics.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from samplejoin.core.skipped_offsets import Skip, Skips, ranges, unpack
from samplejoin.core.user_errors import counted
from samplejoin.engine.clients import admin, committed_offsets, producer, reader, running
from samplejoin.engine.cluster import FIRST_COORDINATOR_S, default_replication, while_moving
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.topics import SKIPS, existing

log = logging.getLogger(__name__)

POLL_MS = 200


class SkipList:
    """The skips of the topic as last read; none without a topic. `refuse` is called for every other record in it."""

    def __init__(self, config: EngineConfig, refuse: Callable[[str, int, int, Exception], None]) -> None:
        self.config, self._refuse = config, refuse
        self.skips: list[Skip] = []
        self._end = 0

    async def has_grown(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether the topic has new records, asked through an existing consumer."""
        topic = self.config.topics.skips
        if topic not in await consumer.topics():
            return False
        ends = await consumer.end_offsets([TopicPartition(topic, 0)])
        return bool(max(ends.values()) != self._end)

    async def read(self) -> None:
        """Reads the topic to its end; passes over records that `samplejoin skip` did not write."""
        if self.config.topics.skips not in await existing(self.config):
            return
        tp = TopicPartition(self.config.topics.skips, 0)
        async with running(reader(self.config)) as consumer:
            end = (await consumer.end_offsets([tp]))[tp]
            self.skips = await self._read(consumer, tp, end)
        self._end = end

    async def obey(self) -> Skips:
        """Reads the topic, logs each new skip once, and returns the offsets to pass over."""
        known = list(self.skips)
        await self.read()
        for skip in self.skips:
            if skip not in known:
                log.warning("%s is passed over: asked for by %s: %s", skip.place, skip.by, skip.reason)
        return ranges(self.skips)

    async def _read(self, consumer: AIOKafkaConsumer, tp: TopicPartition, end: int) -> list[Skip]:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        found: dict[bytes, Skip] = {}
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, ()):
                try:
                    found[record.key] = unpack(record.value)
                except ValueError as error:
                    if record.offset >= self._end:  # counted once, however often the topic is read
                        self._refuse(tp.topic, tp.partition, record.offset, error)
        return list(found.values())


# ---- writing ------------------------------------------------------------------------------------------------------


async def refuse_wrong(config: EngineConfig, skips: Iterable[Skip]) -> None:
    """Raises WorkerError for a skip that does not name unread records of an input topic."""
    known, skips = await existing(config), list(skips)
    for skip in skips:
        if skip.topic not in config.spec.topics():
            inputs = ", ".join(sorted(config.spec.topics()))
            raise WorkerError(f"{skip.place}: {skip.topic} is not an input topic of the job; those are {inputs}")
        if skip.partition >= known.get(skip.topic, 0):
            raise WorkerError(f"{skip.place}: topic {skip.topic} has {counted(known.get(skip.topic, 0), 'partition')}")
    tps = {TopicPartition(skip.topic, skip.partition) for skip in skips}
    async with running(reader(config)) as consumer:
        begins, ends = await consumer.beginning_offsets(list(tps)), await consumer.end_offsets(list(tps))
    committed = await while_moving(lambda: committed_offsets(config, tps), FIRST_COORDINATOR_S)
    for skip in skips:
        tp = TopicPartition(skip.topic, skip.partition)
        if not begins[tp] <= skip.first <= skip.last < ends[tp]:
            holds = f"holds offsets {begins[tp]} to {ends[tp] - 1}" if begins[tp] < ends[tp] else "is empty"
            raise WorkerError(f"{skip.place}: outside its log, which {holds}")
        read_to = committed.get(tp, (0, ""))[0]
        if skip.first < read_to:
            raise WorkerError(
                f"{skip.place}: the job has read {skip.topic}/{skip.partition} up to offset {read_to - 1}: what it "
                "made of that record is joined, or a dead letter, and cannot be taken back"
            )


async def write(config: EngineConfig, skips: Iterable[Skip]) -> None:
    """Writes the skips, for every worker to obey. Raises WorkerError if the topic cannot be made."""
    topic = config.topics.skips
    if topic not in await existing(config):
        await _create(config, topic)
    async with running(producer(config)) as client:
        for skip in skips:
            key, value = skip.pack()
            await client.send_and_wait(topic, value, key=key, partition=0)


async def _create(config: EngineConfig, topic: str) -> None:
    async with running(admin(config)) as client:
        replication = config.replication_factor or await default_replication(client)
        response = await client.create_topics([NewTopic(topic, 1, replication, topic_configs=SKIPS)])
        for name, code, *detail in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise WorkerError(
                    f"cannot create topic {name}: {for_code(code).__name__} {detail[0] if detail else ''}"
                )
        for _ in range(100):
            (described,) = await client.describe_topics([topic])
            if not described["error_code"] and described["partitions"]:
                return
            await asyncio.sleep(0.1)

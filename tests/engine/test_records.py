"""Bare records are what the group's consumer reads, and no other consumer."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.kafka import group_consumer
from samplejoin.engine.records import bare

TP = TopicPartition("clicks", 0)


def read(value_deserializer):
    """What a consumer with this deserializer makes of one batch."""
    batch = BatchBuilder(1 << 20, 0)
    batch.append(timestamp=5, key=b"k", value=b"v", headers=[("name", b"x")])
    batch.append(timestamp=6, key=None, value=b"w", headers=[])
    batch.close()
    records = MemoryRecords(bytes(batch._build()))
    return fetcher.PartitionRecords(TP, records, [], 0, None, value_deserializer, True, fetcher.READ_COMMITTED)


def test_bare_records_say_the_same():
    """All that cleaning and joining look at; without the object that costs more than the parsing."""
    plain, short = list(read(None)), list(read(bare))
    assert all(isinstance(r, ConsumerRecord) for r in plain)
    assert not any(isinstance(r, ConsumerRecord) for r in short)
    names = ("offset", "timestamp", "timestamp_type", "key", "value")
    assert [[getattr(r, n) for n in names] for r in short] == [[getattr(r, n) for n in names] for r in plain]
    assert [tuple(r.headers) for r in short] == [r.headers for r in plain]


def test_the_position_follows_record_by_record():
    records = read(bare)
    first = iter(records)
    assert (next(first).offset, records.next_fetch_offset) == (0, 1)
    assert ([r.offset for r in records], records.next_fetch_offset) == ([1], 2)


async def test_the_group_reads_bare_records(tmp_path):
    config = EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]
    consumer = group_consumer(config, None)
    assert consumer._value_deserializer is bare
    await consumer.stop()
    other = AIOKafkaConsumer()
    assert other._value_deserializer is None
    await other.stop()

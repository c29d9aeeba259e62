"""A real Kafka for tests: one broker in one JVM, and what a test needs to fill and read topics.

The helpers use confluent-kafka, which shares no code with the client under test.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # where its type lives

from tests.support.server import MAX_MESSAGE, KafkaServer, KafkaUnavailableError, jar_dir, unique

__all__ = [
    "KafkaServer", "KafkaUnavailableError", "Record", "Row", "consume_all", "create_topics", "jar_dir",
    "produce", "unique",
]  # fmt: skip

# ---------------------------------------------------------------------------------------------------------- topics


def create_topics(
    bootstrap: str,
    topics: Mapping[str, int],
    config: Mapping[str, str] | None = None,
    *,
    replication: int = 1,
    timeout: float = 30.0,
) -> None:
    """Create topics (name to partition count) and wait until every partition has a leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [
        NewTopic(name, num_partitions=count, replication_factor=replication, config=dict(config or {}))
        for name, count in topics.items()
    ]
    for created in admin.create_topics(wanted, operation_timeout=timeout).values():
        created.result()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=timeout).topics
        if all(
            name in known and sum(p.leader >= 0 for p in known[name].partitions.values()) == count
            for name, count in topics.items()
        ):
            return
        time.sleep(0.02)
    raise TimeoutError(f"topics without leaders after {timeout:.0f} s: {sorted(topics)}")


Row = tuple[int, bytes | None, int | None, bytes | None]
"""What `produce` takes: partition, value, timestamp in milliseconds (None: now), key."""


def produce(
    bootstrap: str,
    topic: str,
    rows: Iterable[Row],
    *,
    commit: bool | None = None,
    compression: str = "none",
    timeout: float = 120.0,
) -> None:
    """Produce rows, in order within each partition, and wait until all are acknowledged.

    `commit`: None sends without a transaction; True and False send all rows in one that is committed or aborted.
    """
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "message.max.bytes": MAX_MESSAGE,
        "compression.type": compression,
        "linger.ms": 20,
    }
    if commit is not None:
        settings["transactional.id"] = unique("produce")
    producer = Producer(settings)
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            errors.append(error)

    if commit is not None:
        producer.init_transactions(timeout)
        producer.begin_transaction()
    for partition, value, timestamp, key in rows:
        if timestamp is not None and timestamp <= 0:
            raise ValueError(f"timestamp {timestamp}: librdkafka takes 0 for 'now' and nothing below")
        message: dict[str, Any] = {"partition": partition, "value": value, "key": key, "timestamp": timestamp or 0}
        while True:
            try:
                producer.produce(topic, on_delivery=delivered, **message)
                break
            except BufferError:  # the local queue is full
                producer.poll(0.1)
    left = producer.flush(timeout)
    if errors or left:
        raise RuntimeError(f"{topic}: {left} records not acknowledged, {len(errors)} failed: {errors[:1]}")
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(timeout)


class Record(NamedTuple):
    """A record read back by `consume_all`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def consume_all(
    bootstrap: str, topic: str, isolation: str = "read_committed", *, timeout: float = 120.0
) -> list[Record]:
    """All records of a topic up to its end (`read_committed`: its last stable offset), by (partition, offset)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": unique("consume-all"),  # required by the client; partitions are assigned by hand
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": MAX_MESSAGE,
        }
    )
    records: list[Record] = []
    try:
        metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        unread = set(metadata.partitions)
        # Not OFFSET_BEGINNING but 0: a trimmed log then goes to its start by auto.offset.reset.
        consumer.assign([TopicPartition(topic, partition, 0) for partition in sorted(unread)])
        deadline = time.monotonic() + timeout
        while unread:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}: partitions {sorted(unread)} not read to their end in {timeout:.0f} s")
            for message in consumer.consume(10_000, timeout=0.1):
                error, partition = message.error(), message.partition()
                if error is None:
                    records.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(partition)
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        dict(message.headers() or ()),
    )

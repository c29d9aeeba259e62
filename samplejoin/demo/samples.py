"""Reads finished samples back from their topic, as a trainer would: committed ones only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from samplejoin.demo.broker import PARTITIONS, QUIET
from samplejoin.demo.errors import DemoError
from samplejoin.samples import read_headers

READ_S = 30.0


@dataclass(frozen=True)
class DemoSample:
    """One finished sample: its headers and its bytes."""

    job: str
    sample_id: str
    revision: int
    weight: float
    payload: bytes

    @property
    def fields(self) -> dict[str, object]:
        """The decoded payload."""
        fields: dict[str, object] = orjson.loads(self.payload)
        return fields


def read_samples(bootstrap: str, topic: str) -> list[DemoSample]:
    """Returns all committed samples of a topic, by partition and offset. Raises DemoError."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            **QUIET,
        }
    )
    records: list[Any] = []
    try:
        unread = set(range(PARTITIONS))
        consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
        deadline = time.monotonic() + READ_S
        while unread:
            if time.monotonic() > deadline:
                raise DemoError(f"topic {topic} could not be read to its end within {READ_S:.0f} s")
            for message in consumer.consume(1000, timeout=0.2):
                error = message.error()
                if error is None:
                    records.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                else:
                    raise DemoError(f"topic {topic} cannot be read: {error.str()}")
    finally:
        consumer.close()
    return [_finished(each) for each in sorted(records, key=lambda m: (m.partition(), m.offset()))]


def _finished(message: Any) -> DemoSample:
    said = read_headers(message.headers())
    return DemoSample(said.job, said.sample_id, said.revision, said.weight, message.value())


def write_samples(path: Path, samples: list[DemoSample]) -> None:
    """Writes JSON lines: a sample's id, revision, weight and job, and its payload as text. Raises DemoError."""
    try:
        with path.open("wb") as file:
            for s in samples:
                line = {
                    "job": s.job,
                    "sample_id": s.sample_id,
                    "revision": s.revision,
                    "weight": s.weight,
                    "payload": s.payload.decode(),
                }
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise DemoError(f"{path} cannot be written: {error.strerror}") from None

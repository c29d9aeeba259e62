"""The largest records that a worker sends, and the messages for topics that take only smaller ones."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from samplejoin.engine.config import EngineConfig, WorkerError

#: the most JSON of a side row: with key and headers it fits Kafka's default `max.message.bytes`, even uncompressed
SIDE_BYTES = 1000 << 10
#: the most bytes of key, headers and framing of a record
BESIDE_BYTES = 24 << 10
#: the most bytes of a dead letter: 64 KiB of the record, 64 KiB of its key, and headers of at most 8 KiB each
LETTER_BYTES = 256 << 10
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class TooLarge(WorkerError):
    """The brokers refused a record for its size; they would refuse it again."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"topic {topic} takes no record as large as one of this job: raise the topic's max.message.bytes, as "
            "`samplejoin check JOB` says, or lower limits.sample"
        )


def too_small(config: EngineConfig, topic: str, settings: Mapping[str, str]) -> list[str]:
    """Returns a message if an output topic's `max.message.bytes` is below what the job may send there, else []."""
    topics, sample = config.topics, config.spec.max_sample_bytes
    sent = [
        (topics.dead_letter, LETTER_BYTES, "a dead letter"),
        (topics.late, SIDE_BYTES + BESIDE_BYTES, "a late row"),
        (topics.orphan, SIDE_BYTES + BESIDE_BYTES, "an orphan row"),
        (topics.samples, sample + BESIDE_BYTES, f"a sample by limits.sample ({sample} bytes) with its headers"),
    ]
    most, what = max(((size, what) for name, size, what in sent if name == topic), default=(0, ""))
    there = settings.get("max.message.bytes")
    if there is None or int(there) >= most:
        return []
    remedy = " or lower limits.sample" if topic == topics.samples else ""
    return [
        f"topic {topic} has max.message.bytes={there}, {what} can have {most}: one that does not fit ends the worker. "
        f"Set it to {most} or more by kafka-configs.sh{remedy}"
    ]

"""Dead letters: records and samples that could not be used, with place and reason, in one format (rule 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka.structs import RecordMetadata

from samplejoin.cleaning.cleaned import DeadRecord
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.refused_record import RefusedRecord
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.plain_producer import PlainProducer
from samplejoin.engine.record_size import TOO_LARGE, TooLarge

MAX_ORIGINAL_BYTES = 64 << 10
MAX_TRACEBACK_BYTES = 8 << 10


def headers_of(**fields: object) -> list[tuple[str, bytes]]:
    """Returns the Kafka headers of a dead letter, without empty ones. Their names are a contract with its readers."""
    return [
        (f"samplejoin.{name}", text.encode("utf-8", "replace")[:MAX_TRACEBACK_BYTES])
        for name, value in fields.items()
        if (text := "" if value is None else str(value)) != ""
    ]


def headers_of_record(dead: DeadRecord, job: str) -> list[tuple[str, bytes]]:
    """Returns the Kafka headers of a record's dead letter."""
    return headers_of(
        source=f"{dead.topic}/{dead.partition}/{dead.offset}",
        stream=dead.stream,
        reason=dead.reason,
        function=dead.function,
        error=dead.error,
        traceback=dead.traceback,
        latest_ms=dead.latest_ms,
        length=length_of(dead.record),
        timestamp_ms=dead.record.timestamp,
        job=job,
    )


def original(record: KafkaRecord) -> bytes:
    """As much of a record's value as its dead letter carries."""
    value: bytes | None = record.head if type(record) is RefusedRecord else record.value
    return (value or b"")[:MAX_ORIGINAL_BYTES]


def length_of(record: KafkaRecord) -> int:
    """Bytes of a record's value."""
    return record.length if type(record) is RefusedRecord else len(record.value or b"")


class RecordLetters:
    """Sends the dead letters of records outside transactions. Those of samples are part of a commit (`Emitter`)."""

    def __init__(self, config: EngineConfig, producer: PlainProducer, fatal: Callable[[BaseException], None]) -> None:
        self._config, self._producer, self._fatal = config, producer, fatal

    async def send(self, dead: DeadRecord, acked: Callable[[], None]) -> None:
        """Sends a dead letter, and calls `acked` when it is acknowledged. A send that fails ends the worker."""
        key, topic = dead.record.key, self._config.topics.dead_letter
        headers = headers_of_record(dead, self._config.spec.name)
        key = key and key[:MAX_ORIGINAL_BYTES]
        future = await self._producer.send(topic, value=original(dead.record), key=key, headers=headers)

        def done(sent: asyncio.Future[RecordMetadata]) -> None:
            error = sent.exception() if not sent.cancelled() else None
            if error is not None:
                self._fatal(TooLarge(topic) if isinstance(error, TOO_LARGE) else error)
            elif not sent.cancelled():
                acked()

        future.add_done_callback(done)

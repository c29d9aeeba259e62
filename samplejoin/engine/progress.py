"""The progress topic: every worker reports its sources and the lag of its join partitions.

It serves alignment (sources read too far ahead in event time wait) and back-pressure (cleaning waits for a join that
is behind). Losing or doubling a message costs speed or memory, never a row: nothing that decides
about a row reads it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import RecordMetadata
from mode import Service

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.user_errors import said
from samplejoin.engine.clients import is_away, reader, until_there
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.foreign_records import RefusedRecords
from samplejoin.engine.meters import Meters
from samplejoin.engine.plain_producer import PlainProducer

log = logging.getLogger(__name__)

FRESH_S = 5.0
#: a worker whose own messages Kafka accepts but does not return for this long counts as deaf
DEAF_S = 30.0
RETRY_S = 1.0


class ProgressMessage(msgspec.Struct, forbid_unknown_fields=True):
    """One report of a worker: per source the event time read up to, in ms, and whether it is at its end; per join
    partition the records that it is behind; `HOST:PORT` of its web port, empty without one."""

    worker: str
    sources: dict[str, tuple[int, bool]]
    lags: dict[int, int]
    web: str = ""


_encode, decode_progress = msgspec.json.Encoder().encode, msgspec.json.Decoder(ProgressMessage).decode


class ProgressBoard(Service):
    """Keeps the latest report of every worker, which decides before each fetch whether a source may be read."""

    def __init__(
        self,
        config: EngineConfig,
        worker: str,
        producer: PlainProducer,
        meters: Meters,
        fatal: Callable[[BaseException], None],
        web: Callable[[], str] = lambda: "",
        **kwargs: Any,
    ) -> None:
        self.config, self.worker, self.producer, self.fatal, self.web = config, worker, producer, fatal, web
        self.refused = RefusedRecords(meters, "Nothing is lost: speed depends on this topic, and no row")
        #: source -> (event time read up to in ms, at its end, time of the report)
        self.sources: dict[str, tuple[int, bool, float]] = {}
        #: join partition -> (records behind, time of the report)
        self.lags: dict[int, tuple[int, float]] = {}
        #: when this worker's own report last came back through the topic
        self.heard_itself_at = -FRESH_S
        #: since when this worker has reported without a pause, and when it last did
        self._speaking_since = self._spoke_at = -FRESH_S
        self._rose: tuple[int, float] = (-1, 0.0)
        self._unanswered_since: float | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self.add_future(self._listen_or_end())

    async def publish(self, sources: dict[str, tuple[int, bool]], lags: dict[int, int]) -> None:
        """Sends a report to all workers, this one included."""
        word = ProgressMessage(self.worker, sources, lags, self.web())
        self._receive(word)
        now = time.monotonic()
        if now - self._spoke_at > FRESH_S:
            self._speaking_since = now
        self._spoke_at = now
        if self._unanswered_since is None:
            self._unanswered_since = now
        sent = await self.producer.send(self.config.topics.progress, _encode(word), partition=0)
        sent.add_done_callback(self._sent)

    def silent_s(self) -> float:
        """Returns for how many seconds the brokers have not acknowledged a report; one is sent every second."""
        return 0.0 if self._unanswered_since is None else time.monotonic() - self._unanswered_since

    def _sent(self, word: asyncio.Future[RecordMetadata]) -> None:
        if not word.cancelled() and word.exception() is None:
            self._unanswered_since = None

    def is_listening(self) -> bool:
        """Whether reports of others arrive here: this worker's own come back."""
        return time.monotonic() - self.heard_itself_at < FRESH_S

    def deafness(self) -> str | None:
        """Returns the problem in words if this worker's own reports do not come back; None while they do."""
        deaf_s = self._spoke_at - max(self.heard_itself_at, self._speaking_since)
        if deaf_s < DEAF_S or self.silent_s() > FRESH_S:
            return None
        return f"nothing heard from topic {self.config.topics.progress} for {deaf_s:.0f} s, not even its own words"

    def backlogged(self) -> bool:
        """Whether a join partition is further behind than `max_backlog` records of its log."""
        oldest = time.monotonic() - FRESH_S
        return any(lag > self.config.max_backlog and at > oldest for lag, at in self.lags.values())

    def too_far_ahead(self, source: str, read_time: int | None) -> bool:
        """Whether a source must wait: it is more than `align` of event time ahead of the slowest one.

        A slowest source that has not advanced for `max_wait` (default here: 10 s) makes no source wait.
        """
        if read_time is None:
            return False
        now = time.monotonic()
        others = [
            event_time
            for name, (event_time, at_end, at) in self.sources.items()
            if name != source and not at_end and at > now - FRESH_S
        ]
        if not others:
            return False
        slowest = min(others)
        if slowest > self._rose[0]:
            self._rose = (slowest, now)
        patience_s = (self.config.spec.max_wait_ms or 10_000) / 1000
        return read_time > slowest + self.config.align_ms and now - self._rose[1] < patience_s

    def _receive(self, word: ProgressMessage, back: bool = False) -> None:
        """Records a report; `back`: it came through the topic."""
        now, topics = time.monotonic(), self.config.spec.topics()
        if back and word.worker == self.worker:
            self.heard_itself_at = now
        for source, (event_time, at_end) in word.sources.items():
            if source.partition(" ")[0] in topics:
                self.sources[source] = (event_time, at_end, now)
        for partition, lag in word.lags.items():
            if 0 <= partition < self.config.partitions:
                self.lags[partition] = (lag, now)

    def receive_record(self, record: KafkaRecord) -> None:
        """Records a report from the topic; a record that is not one is counted and passed over."""
        try:
            word = decode_progress(record.value or b"")
        except (msgspec.MsgspecError, ValueError) as error:
            self.refused.add(self.config.topics.progress, 0, record.offset, error)
            return
        self._receive(word, back=True)

    async def _listen_or_end(self) -> None:
        """Ends the worker if reading the topic fails: it would go on without knowing of the others."""
        try:
            await self._listen()
        except Exception as error:
            self.fatal(error)

    async def _listen(self) -> None:
        tp = TopicPartition(self.config.topics.progress, 0)
        consumer = reader(self.config, fetch_max_wait_ms=1000)
        await until_there("reading the progress topic", self.config, consumer.start)
        try:
            consumer.assign([tp])
            await consumer.seek_to_end(tp)
            while not self.should_stop:
                try:
                    heard = await consumer.getmany(tp, timeout_ms=1000)
                except OffsetOutOfRangeError:  # this worker was away for longer than the topic's retention
                    await consumer.seek_to_end(tp)
                    continue
                except KafkaError as error:
                    if not is_away(error):
                        raise
                    log.info("reading the progress topic: %s; trying again", said(error))
                    await asyncio.sleep(RETRY_S)
                    continue
                for records in heard.values():
                    for record in records:
                        self.receive_record(record)
                await asyncio.sleep(0)
        finally:
            async with asyncio.timeout(1):
                await consumer.stop()

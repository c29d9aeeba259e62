"""The control topic: what every worker says of its sources and of the lag of its join partitions.

It serves alignment (sources read too far ahead in event time wait) and back-pressure (cleaning waits for a join that
is behind). Losing or doubling any of it costs speed or memory, never a row: correctness does not read it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from mode import Service

from samplejoin.engine.config import EngineConfig
from samplejoin.engine.kafka import reader, until_there

FRESH_S = 5.0


class Control(Service):
    """Keeps the latest word of every worker; `may_read` is asked before each fetch."""

    def __init__(self, config: EngineConfig, worker: str, producer: Any, **kwargs: Any) -> None:
        self.config, self.worker, self.producer = config, worker, producer
        #: source -> (event time read up to in ms, at its end, heard at)
        self.sources: dict[str, tuple[int, bool, float]] = {}
        #: join partition -> (records behind, heard at)
        self.lags: dict[int, tuple[int, float]] = {}
        #: when this worker's own word last came back through the topic
        self.heard_itself_at = -FRESH_S
        self._rose: tuple[int, float] = (-1, 0.0)
        self._unanswered_since: float | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self.add_future(self._listen())

    async def say(self, sources: dict[str, tuple[int, bool]], lags: dict[int, int]) -> None:
        """One word to everybody, this worker included."""
        body = orjson.dumps({"worker": self.worker, "sources": sources, "lags": {str(p): n for p, n in lags.items()}})
        self._hear(body)
        if self._unanswered_since is None:
            self._unanswered_since = time.monotonic()
        (await self.producer.send(self.config.topics.control, body, partition=0)).add_done_callback(self._sent)

    def silent_s(self) -> float:
        """For how long the brokers have owed an acknowledgement to this worker, which speaks every second."""
        return 0.0 if self._unanswered_since is None else time.monotonic() - self._unanswered_since

    def _sent(self, word: asyncio.Future[Any]) -> None:
        if not word.cancelled() and word.exception() is None:
            self._unanswered_since = None

    def is_listening(self) -> bool:
        """Whether what others say is heard here: this worker's own words come back."""
        return time.monotonic() - self.heard_itself_at < FRESH_S

    def backlogged(self) -> bool:
        """Whether a join partition is further behind than `max_backlog` records of its log."""
        oldest = time.monotonic() - FRESH_S
        return any(lag > self.config.max_backlog and at > oldest for lag, at in self.lags.values())

    def too_far_ahead(self, source: str, read_time: int | None) -> bool:
        """Whether a source must wait for slower ones: more than `align` of event time ahead of the slowest.

        A slowest source that has not risen for `max_wait` (10 s without one) holds nobody up.
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

    def _hear(self, body: bytes, back: bool = False) -> None:
        """Takes a word in; `back`: it has come through the topic."""
        now = time.monotonic()
        word = orjson.loads(body)
        if back and word["worker"] == self.worker:
            self.heard_itself_at = now
        for source, (event_time, at_end) in word["sources"].items():
            self.sources[source] = (event_time, at_end, now)
        for partition, lag in word["lags"].items():
            self.lags[int(partition)] = (lag, now)

    async def _listen(self) -> None:
        tp = TopicPartition(self.config.topics.control, 0)
        consumer = reader(self.config, fetch_max_wait_ms=1000)
        await until_there("reading the control topic", self.config, consumer.start)
        try:
            consumer.assign([tp])
            await consumer.seek_to_end(tp)
            while not self.should_stop:
                try:
                    heard = await consumer.getmany(tp, timeout_ms=1000)
                except OffsetOutOfRangeError:  # away for longer than the topic is kept
                    await consumer.seek_to_end(tp)
                    continue
                for records in heard.values():
                    for record in records:
                        self._hear(record.value, back=True)
                await asyncio.sleep(0)
        finally:
            async with asyncio.timeout(2):
                await consumer.stop()

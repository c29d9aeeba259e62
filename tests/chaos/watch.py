"""Watches a round: when samples came, when all workers were ready, and so how long each fault had an effect."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

EVERY_S = 0.25


class Watch(threading.Thread):
    """Looks at the samples topic's end offsets, and asks `ready` whether every worker is well, until it is ended."""

    def __init__(self, bootstrap: str, topic: str, ready: Callable[[], bool]) -> None:
        super().__init__(name="watch", daemon=True)
        self.topic, self._ready = topic, ready
        self._ended = threading.Event()
        #: when the end offset rose, and to what; moments when all workers were ready
        self.grew: list[tuple[float, int]] = []
        self.ready_at: list[float] = []
        self._consumer: Any = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"{topic}-watch", "log_level": 0, "error_cb": lambda _: None}
        )
        self._partitions: list[TopicPartition] = []

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                written = self._written()
            except KafkaException:
                written = None
            now = time.monotonic()
            if written is not None and written > self.written:
                self.grew.append((now, written))
            if self._ready():
                self.ready_at.append(now)

    def end(self) -> None:
        """Stops watching."""
        self._ended.set()
        if self.is_alive():
            self.join()
        self._consumer.close()

    @property
    def written(self) -> int:
        """The topic's end offsets, transaction markers included, as last seen."""
        return self.grew[-1][1] if self.grew else 0

    def quiet_s(self) -> float:
        """How long nothing has come; 0 before the first sample."""
        return time.monotonic() - self.grew[-1][0] if self.grew else 0.0

    def longest_stall_s(self, since: float, until: float) -> float:
        """The longest time without a new sample from `since` to `until`."""
        times = [since, *(at for at, _ in self.grew if since <= at <= until)]
        return max(b - a for a, b in zip(times, [*times[1:], until], strict=True))

    def next_sample_s(self, at: float) -> float | None:
        """From `at` to the next new sample."""
        times = [when for when, _ in self.grew]
        place = bisect_right(times, at)
        return times[place] - at if place < len(times) else None

    def next_ready_s(self, at: float) -> float | None:
        """From `at` to when every worker was ready again."""
        place = bisect_right(self.ready_at, at)
        return self.ready_at[place] - at if place < len(self.ready_at) else None

    def _written(self) -> int | None:
        if not self._partitions:
            known = self._consumer.list_topics(self.topic, timeout=2).topics[self.topic].partitions
            self._partitions = [TopicPartition(self.topic, p) for p in known]
        ends: int = sum(self._consumer.get_watermark_offsets(tp, timeout=2)[1] for tp in self._partitions)
        return ends

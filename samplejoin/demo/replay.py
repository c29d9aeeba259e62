"""Sends an example's events to its topics at the pace of their event times, compressed."""

from __future__ import annotations

from typing import Any

import orjson

from samplejoin.demo.broker import PARTITIONS, QUIET
from samplejoin.demo.data import Event
from samplejoin.demo.errors import DemoError
from samplejoin.job.model import JobModel

HEARTBEAT_S = 0.5


class Replay:
    """A replay that takes `seconds`. Heartbeats carry its current event time; the last one closes every window."""

    def __init__(self, model: JobModel, topics: dict[str, str], events: list[Event], bootstrap: str, seconds: float):
        from confluent_kafka import Producer

        self._events, self._topics, self._seconds = events, topics, seconds
        self._errors: list[str] = []
        self._next_heartbeat_s = 0.0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 20,
                **QUIET,
            }
        )
        self.begin_ms, last_ms = events[0].time_ms, events[-1].time_ms
        #: event time of the last heartbeat: beyond it every window has ended
        self.end_ms = last_ms + model.window_ms + model.before_ms + model.largest_lateness_ms + 2 * model.resolution_ms
        self._span_ms = max(1, last_ms - self.begin_ms)
        self.sent = 0
        #: event time up to which all events have been sent
        self.time_ms = self.begin_ms
        self.ended = False

    @property
    def compress(self) -> float:
        """Seconds of event time per second of the replay."""
        return self._span_ms / 1000 / self._seconds

    def step(self, elapsed_s: float) -> None:
        """Sends the events due `elapsed_s` after the start. Raises DemoError if the broker refuses them."""
        if self.ended:
            self._poll()
            return
        self.time_ms = self.begin_ms + round(self._span_ms * min(1.0, elapsed_s / self._seconds))
        while self.sent < len(self._events) and self._events[self.sent].time_ms <= self.time_ms:
            event = self._events[self.sent]
            self._send(event.stream, event.partition(PARTITIONS), event.value, event.key.encode())
            self.sent += 1
        if self.sent == len(self._events):
            self.time_ms, self.ended = self.end_ms, True
        if self.ended or elapsed_s >= self._next_heartbeat_s:
            self._next_heartbeat_s = elapsed_s + HEARTBEAT_S
            self._heartbeat()
        self._poll()

    def finish(self) -> None:
        """Waits until all events are acknowledged. Raises DemoError."""
        left = self._producer.flush(10)
        if left:
            raise DemoError(f"the broker has not acknowledged {left} events within 10 s")
        self._poll()

    def _heartbeat(self) -> None:
        value = orjson.dumps({"type": "heartbeat", "ts": self.time_ms})
        for stream in self._topics:
            for partition in range(PARTITIONS):
                self._send(stream, partition, value, None)

    def _send(self, stream: str, partition: int, value: bytes, key: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topics[stream], value, key, partition=partition, on_delivery=self._delivered
                )
                return
            except BufferError:  # its queue is full
                self._producer.poll(0.1)

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._errors.append(error.str())

    def _poll(self) -> None:
        self._producer.poll(0)
        if self._errors:
            raise DemoError(f"the broker refuses the events: {self._errors[0]}")

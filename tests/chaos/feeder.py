"""Produces a load while workers run: paced, chunk after chunk, each acknowledged before the next."""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import KafkaError, Producer

from tests.chaos.load import STREAMS, Load, chunks, payload


class Feeder(threading.Thread):
    """A thread that produces `load` into the topics of job `name`, `events_per_second` as long as brokers take them."""

    def __init__(self, bootstrap: str, name: str, load: Load, events_per_second: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self.load, self.rate = load, events_per_second
        self.topics = [f"{name}-{stream}" for stream in STREAMS]
        #: events acknowledged so far
        self.sent = 0
        self.error: BaseException | None = None
        self._cancelled = threading.Event()
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,  # so that offsets are those that the truth counts
                "message.timeout.ms": 0,  # however long brokers are away
                "linger.ms": 2,
                "compression.type": "lz4",
                "delivery.report.only.error": True,
                "reconnect.backoff.max.ms": 500,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 500,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
                "error_cb": lambda _error: None,  # brokers that are away: it goes on trying
            }
        )

    def run(self) -> None:
        try:
            self._feed()
        except Exception as error:
            self.error = error

    def cancel(self) -> None:
        """Ends early."""
        self._cancelled.set()
        if self.is_alive():
            self.join()

    def _feed(self) -> None:
        due = time.monotonic()
        for events in chunks(self.load):
            wait_s = due - time.monotonic()
            if self._cancelled.wait(max(0.0, wait_s)):
                return
            due = max(due, time.monotonic() - 0.2) + len(events) / self.rate  # what was missed is not made up for
            for event in events:
                self._produce(self.topics[event.stream], event.partition, payload(event))
            while self._producer.flush(0.5):
                if self._cancelled.is_set():
                    self._producer.purge()
                    return
            if self._failed:
                raise RuntimeError(f"{len(self._failed)} records not produced: {self._failed[0]}")
            self.sent += len(events)

    def _produce(self, topic: str, partition: int, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, partition=partition, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._failed.append(error)

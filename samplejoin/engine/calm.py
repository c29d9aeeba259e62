"""Keeps the Kafka client from filling the log while a broker is away: it says the same twenty times a second."""

from __future__ import annotations

import logging
import time

CLIENT = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)
EVERY_S = 10.0


class Calm(logging.Filter):
    """Lets a message through once in ten seconds, whatever its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        now, what = time.monotonic(), (record.name, str(record.msg))
        if now - self._said.get(what, -EVERY_S) < EVERY_S:
            return False
        self._said[what] = now
        return True


def calm_client() -> None:
    """Calms the loggers of the client, once."""
    for name in CLIENT:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Calm) for each in logger.filters):
            logger.addFilter(Calm())

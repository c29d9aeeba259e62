"""Handles "offset out of range": records are gone, or the broker has just lost the leadership of the partition.

A broker that was frozen or cut off does not know yet that it is no longer the leader, and may hold less of the log than
its successor. For a moment it answers "out of range" for a position that the successor has (KIP-320). The Kafka client
sends no leader epochs, by which the broker would notice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from samplejoin.engine.aiokafka_private import network_client
from samplejoin.engine.clients import is_away
from samplejoin.engine.config import WorkerError

log = logging.getLogger(__name__)

#: how long the leaders must report bounds that exclude a position before it counts as outside
OUTSIDE_S = 5.0


class OutsideLog:
    """Tells positions that are outside their log from those that a former leader did not have."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        #: partition -> since when its leader has reported bounds that exclude the position, and when it last did
        self._outside: dict[TopicPartition, tuple[float, float]] = {}

    async def refuse(self, consumer: AIOKafkaConsumer, error: OffsetOutOfRangeError) -> None:
        """Raises WorkerError if a position is outside its log for good; if it returns, the caller fetches again."""
        positions: dict[TopicPartition, int] = error.args[0]
        try:
            await network_client(consumer).force_metadata_update()
            begins = await consumer.beginning_offsets(list(positions))
            ends = await consumer.end_offsets(list(positions))
        except KafkaError as asking:
            if not is_away(asking):
                raise
            return
        now = self._monotonic()
        for tp, offset in positions.items():
            bounds = f"[{begins[tp]}, {ends[tp]}]"
            if begins[tp] <= offset <= ends[tp]:
                self._outside.pop(tp, None)
                log.warning(
                    "%s partition %d: a broker that no longer leads it did not have offset %d; its log is %s, reading "
                    "goes on",
                    tp.topic,
                    tp.partition,
                    offset,
                    bounds,
                )
            elif self._lasts(tp, now):
                raise WorkerError(
                    f"topic {tp.topic} partition {tp.partition}: offset {offset}, which is to be read next, lies "
                    f"outside its log {bounds}. Its records were deleted by retention before they were read, or the "
                    "topic was created again. Start the job under a new name, or from the beginning by `samplejoin "
                    "reset`"
                )

    def _lasts(self, tp: TopicPartition, now_s: float) -> bool:
        """Whether the position has been outside for `OUTSIDE_S` without a pause; after a longer one it begins again."""
        since, last = self._outside.get(tp, (now_s, now_s))
        if now_s - last > OUTSIDE_S:
            since = now_s
        self._outside[tp] = since, now_s
        return now_s - since >= OUTSIDE_S

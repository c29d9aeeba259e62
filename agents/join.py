"""The join agent: steps the entries of the repartition log; each partition's commits send samples and state changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import faust

from samplejoin.core.kafka_record import KafkaRecord


class Joins(Protocol):
    """The join partitions of the worker: `worker/join_tasks.py`."""

    async def apply(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        """Steps records of the repartition log, in offset order."""

    def fatal(self, error: BaseException) -> None:
        """Ends the worker."""


def join_agent(app: faust.App, channel: Any, joins: Joins) -> None:
    """Registers the agent on the channel of (join partition, fetched records)."""

    @app.agent(channel, name="join", concurrency=1)
    async def join(fetched: faust.StreamT[tuple[int, list[Any]]]) -> None:
        """Joins rows into samples, and commits them with the state."""
        async for partition, records in fetched:
            try:
                await joins.apply(partition, records)
            except Exception as error:
                joins.fatal(error)
                raise

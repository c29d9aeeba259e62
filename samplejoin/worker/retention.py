"""Deletes old records of internal topics, by position and clock, never by time alone (docs/architecture.md)."""

from __future__ import annotations

import logging
import time

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from samplejoin.core.user_errors import brief
from samplejoin.engine.clients import admin, reader, running
from samplejoin.engine.config import EngineConfig
from samplejoin.worker.join_tasks import JoinTasks

log = logging.getLogger(__name__)

KEEP_MS = 24 * 3600 * 1000


async def trim(config: EngineConfig, joins: JoinTasks) -> None:
    """Trims the owned changelogs up to the first record that a recovery needs, and the owned repartition logs.

    A log keeps everything from the committed position on, and the records of the last 24 hours.
    """
    below: dict[TopicPartition, int] = {}
    for number, join in joins.running.items():
        if (offset := join.table.replica.needed) is not None:
            below[TopicPartition(config.topics.changelog, number)] = offset
    try:
        below |= await _old_entries(config, joins)
        if not below:
            return
        async with running(admin(config)) as client:
            await client.delete_records({tp: RecordsToDelete(before_offset=offset) for tp, offset in below.items()})
    except IncompatibleBrokerVersion:  # `samplejoin broker`, which drops old records itself
        log.debug("old records of internal topics are kept: the broker cannot delete records")
    except (KafkaError, OSError, AssertionError) as error:
        log.warning("old records of internal topics not deleted, will be tried again: %s", brief(error))


async def _old_entries(config: EngineConfig, joins: JoinTasks) -> dict[TopicPartition, int]:
    """Returns, by partition of the log, the offset of the first entry of the last 24 hours.

    It is at most the committed position.
    """
    tps = {TopicPartition(config.topics.repartition, n): j for n, j in joins.running.items()}
    if not tps:
        return {}
    async with running(reader(config)) as consumer:
        found = await consumer.offsets_for_times(dict.fromkeys(tps, int(time.time() * 1000) - KEEP_MS))
    return {
        tp: min(found[tp].offset, join.table.committed_position)
        for tp, join in tps.items()
        if found.get(tp) is not None
    }

"""Offsets and state that a worker checks before it joins its group, and the start of a job that never ran."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from samplejoin.engine.changelog import Commit, join_parts
from samplejoin.engine.clients import committed_offsets, reader, running
from samplejoin.engine.config import EngineConfig, Start, WorkerError, refuse_edited
from samplejoin.engine.topics import existing
from samplejoin.engine.wire import unpack_partition_state

log = logging.getLogger(__name__)

TAIL_RECORDS = 8
"""How many offsets before the end are searched first for the last commit; transaction markers take offsets too."""


async def refuse_other_state(config: EngineConfig) -> None:
    """Raises WorkerError if the open keys are of another version of the job; names the edited job-file keys.

    It fences nobody, so workers that run the job as it was before the edit go on.
    """
    commits = await last_commits(config)
    for partition, commit in sorted(commits.items()):
        refuse_edited(config, partition, commit.fingerprint)
    await _refuse_forgotten_sources(config, commits.values())


async def _refuse_forgotten_sources(config: EngineConfig, commits: Iterable[Commit]) -> None:
    """Raises WorkerError for a source that was joined before and has no committed offset now, while others have one.

    Kafka deletes a topic's committed offsets with the topic. If a new topic of that name were read from its beginning,
    its rows would be skipped as joined before.
    """
    joined = {source for commit in commits for source in unpack_partition_state(commit.partition_state).covered}
    tps = {_source(source): source for source in joined if _source(source).topic in config.spec.topics()}
    committed = await committed_offsets(config, set(tps)) if tps else {}
    forgotten = sorted(tps[tp] for tp in tps.keys() - committed.keys()) if committed else []
    if forgotten:
        topics = sorted({_source(source).topic for source in forgotten})
        raise WorkerError(
            f"topic {', '.join(topics)}: its records were joined before, but group {config.group} has no offset for "
            f"{len(forgotten)} of its partitions (the first is {forgotten[0]}): the topic was deleted and created "
            "again, or the offsets have expired. Commit them again with Kafka's own tool if it is the same topic, or "
            "start from the beginning by `samplejoin reset`"
        )


def _source(source: str) -> Any:
    topic, _, partition = source.rpartition(" ")
    return TopicPartition(topic, int(partition))


async def last_commits(config: EngineConfig) -> dict[int, Commit]:
    """Returns changelog partition -> its last commit, without its keys and pages."""
    tps = {TopicPartition(config.topics.changelog, p) for p in range(config.partitions)}
    async with running(reader(config)) as consumer:
        while True:
            try:
                consumer.assign(tps)
                return await _last_commits(
                    consumer, await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
                )
            except OffsetOutOfRangeError:  # the running workers have trimmed it meanwhile
                await asyncio.sleep(0)


async def _last_commits(
    consumer: AIOKafkaConsumer, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> dict[int, Commit]:
    found: dict[int, Commit] = {}
    missing, reach = {tp for tp, end in ends.items() if begins[tp] < end}, TAIL_RECORDS
    while missing:
        starts = {tp: max(begins[tp], ends[tp] - reach) for tp in missing}
        for tp, records in (await _read(consumer, starts, ends)).items():
            commits = list(join_parts(records))
            if commits:
                found[tp.partition] = replace(commits[-1], puts=[], deletes=[], pages=[])
        missing = {tp for tp in missing if tp.partition not in found and starts[tp] > begins[tp]}
        reach *= 8  # the last commit has many records, or aborted ones follow it
    return found


async def _read(
    consumer: AIOKafkaConsumer, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> dict[TopicPartition, list[tuple[int, bytes]]]:
    """(offset, value) of the records of each partition from its start up to its end."""
    consumer.assign(set(starts))
    for tp, start in starts.items():
        consumer.seek(tp, start)
    read: dict[TopicPartition, list[tuple[int, bytes]]] = {tp: [] for tp in starts}
    open_ = set(starts)
    while open_:
        for tp, records in (await consumer.getmany(*open_, timeout_ms=200)).items():
            read[tp] += [(record.offset, record.value) for record in records if record.offset < ends[tp]]
        for tp in list(open_):
            if await consumer.position(tp) >= ends[tp]:
                open_.remove(tp)
                consumer.pause(tp)
    return read


async def commit_start(config: EngineConfig, partitions: dict[str, int]) -> None:
    """For a job that has never run, resolves `start` to offsets of all sources at once and commits them.

    `partitions` maps topics to partition counts. A group with live members refuses the commit: its workers have made it
    already. Raises WorkerError if there is state without offsets.
    """
    tps = {TopicPartition(t, p) for t, count in partitions.items() for p in range(count)}
    if await committed_offsets(config, tps):
        return
    if await _has_state(config) and not await committed_offsets(config, tps):
        await _refuse_migrated(config)
        raise WorkerError(
            f"group {config.group} has no committed offsets, but topic {config.topics.changelog} holds its state: "
            "the offsets have expired (offsets.retention.minutes) or were deleted, so where to read on is not known. "
            "Commit them again with Kafka's own tool, or start from the beginning by `samplejoin reset`"
        )
    offsets = {tp: OffsetAndMetadata(offset, "") for tp, offset in (await start_offsets(config, tps)).items()}
    try:
        await commit_offsets(config, offsets)
    except CommitFailedError:
        log.info("other workers have started the job already: its start is committed")


async def _refuse_migrated(config: EngineConfig) -> None:
    """Raises WorkerError if a later generation has state: a migration deletes the old one's group and offsets."""
    of_job = re.compile(rf"{re.escape(config.spec.name)}-g(\d+)-changelog")
    found = [int(match[1]) for topic in await existing(config) if (match := of_job.fullmatch(topic))]
    latest = max(found, default=0)
    if latest > config.generation:
        raise WorkerError(
            f"group {config.group} has no committed offsets, and generation {latest} of the job has state: this "
            f"generation was migrated. Run the job file that says `generation: {latest}`; what is left of this one "
            "`samplejoin reset` deletes. Do not commit offsets for it: both generations would join the same events"
        )


async def commit_offsets(config: EngineConfig, offsets: dict[TopicPartition, object]) -> None:
    """Commits next offsets for the group, which must have no members (CommitFailedError else)."""
    async with running(AIOKafkaConsumer(**config.connection, group_id=config.group, enable_auto_commit=False)) as group:
        group.assign(set(offsets))
        await group.commit(offsets)


async def start_offsets(
    config: EngineConfig, tps: set[TopicPartition], start: Start | None = None
) -> dict[TopicPartition, int]:
    """Returns per partition the offset that `start` stands for: the job's, unless another is given."""
    start = config.start if start is None else start
    async with running(reader(config)) as consumer:
        if start == "earliest":
            return dict(await consumer.beginning_offsets(tps))
        ends = dict(await consumer.end_offsets(tps))
        if start == "latest":
            return ends
        found = await consumer.offsets_for_times(dict.fromkeys(tps, start))
        return {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in tps}


async def _has_state(config: EngineConfig) -> bool:
    """Whether the changelog holds, or has held, any record."""
    tps = {TopicPartition(config.topics.changelog, p) for p in range(config.partitions)}
    async with running(reader(config)) as consumer:
        return any((await consumer.end_offsets(tps)).values())

"""Finds how far a job has come, by its internal topics, before anything else is read."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from samplejoin.core.cells import WIRE_LOW
from samplejoin.core.clock import NEVER
from samplejoin.core.messages import Block
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.values import Fields
from samplejoin.engine.wire import FormatError, GarbageError, unpack_commit, unpack_entry, unpack_partition_state
from samplejoin.verify.kafka import TopicReader, VerifyError, partition_list
from samplejoin.verify.spill_rows import Scope

TAIL_RECORDS = 16
START_RECORDS = 5000
"""Entries at the beginning of a log in which the first offset of each source is searched."""


async def enter_clocks(topics: TopicReader, changelog: str, scope: Scope, resolution_ms: int) -> None:
    """Enters in `scope`, per join partition, the last commit's slice up to which all windows are sent, and its offsets.

    Raises VerifyError if a changelog partition has records, but no commit that can be read.
    """
    tps = partition_list(changelog, range(scope.partitions))
    begins, ends = await topics.bounds(tps)
    for tp in tps:
        last = await _last_state(topics, tp, begins[tp], ends[tp])
        if last is not None:
            state, swept, fingerprint = last
            value = state.clock.value
            clock = value // resolution_ms if value > NEVER else NEVER
            scope.clocks[tp.partition] = clock if swept is None else swept
            scope.covered[tp.partition] = state.covered
            scope.made_by.add(fingerprint)
        elif ends[tp]:
            raise VerifyError(f"topic {changelog} partition {tp.partition} holds no commit that can be read")


async def _last_state(
    topics: TopicReader, tp: TopicPartition, begin: int, end: int
) -> tuple[PartitionState, int | None, str] | None:
    """Returns (state, swept slice, job's fingerprint) of the partition's last commit that had swept all due windows.

    If no commit that was looked at had, the state of another one is returned, with None as the slice.
    """
    reach, found = TAIL_RECORDS, None
    while begin < end:
        first = max(begin, end - reach)
        async for _, records in topics.read({tp: first}, {tp: end}):
            for record in records:
                body = _commit(record, tp)
                if body.get("last") and (body.get("swept") is not None or found is None or found.get("swept") is None):
                    found = body
        if first == begin or (found is not None and found.get("swept") is not None):
            break
        reach *= 8
    return None if found is None else (unpack_partition_state(found["state"]), found.get("swept"), found["fingerprint"])


def _commit(record: ConsumerRecord, tp: TopicPartition) -> Fields:
    try:
        return unpack_commit(record.value)
    except GarbageError:  # the join skips it too
        return {}
    except FormatError as error:
        raise VerifyError(f"topic {tp.topic} partition {tp.partition} offset {record.offset}: {error}") from error


async def first_offsets(topics: TopicReader, repartition: str, partitions: int) -> dict[str, int] | None:
    """Returns, by source id, the offset at which the job began to read it, from the beginning of the repartition log.

    Returns None if the beginning is trimmed, or names no source.
    """
    tps = partition_list(repartition, range(partitions))
    begins, ends = await topics.bounds(tps)
    if any(begins.values()):
        return None
    ends = {tp: min(end, START_RECORDS) for tp, end in ends.items()}
    first: dict[str, int] = {}
    async for _, records in topics.read(begins, ends):
        for record in records:
            try:
                entry = unpack_entry(record.value)
            except GarbageError:  # the join skips it too
                continue
            for source, offset in _first_in(entry):
                first[source] = min(offset, first.get(source, offset))
    return first or None


def _first_in(entry: Any) -> list[tuple[str, int]]:
    """Returns (source, lowest offset that the entry covers) for each source of the entry."""
    if isinstance(entry, Block):
        return [(entry.source, min((cell[WIRE_LOW] for cell in entry.cells), default=entry.upto + 1))]
    return [(each.source, each.upto + 1) for each in entry.entries]

"""Moves the open keys of a drained generation to another one, with any number of partitions (ADR 18)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from samplejoin.core.identity import source_id
from samplejoin.core.keys import partition_of
from samplejoin.core.leaves import home_of, is_leaf
from samplejoin.core.partition import Partition
from samplejoin.core.rescale import NoCutError, merged_state
from samplejoin.core.user_errors import counted
from samplejoin.engine.changelog import Commit, pages_of, parts_of
from samplejoin.engine.clients import admin, committed_offsets, reader, running
from samplejoin.engine.cluster import FIRST_COORDINATOR_S, delete_group, delete_topics, refuse_members, while_moving
from samplejoin.engine.config import EngineConfig, WorkerError, refuse_edited
from samplejoin.engine.offsets import commit_offsets, last_commits
from samplejoin.engine.topics import existing, prepare
from samplejoin.engine.transaction import Outbox, Transactions
from samplejoin.engine.wire import pack_state, unpack_partition_state, unpack_state
from samplejoin.stores.memory import MemoryStore
from samplejoin.tables.durable_state import Replica

log = logging.getLogger(__name__)

COMMIT_BYTES = 16 << 20
"""Bytes of state per transaction: few enough to be sent well within its timeout."""
AT_ONCE = 64
"""New partitions that are filled together. Each has its own producer with several sockets."""
DRAIN = "run `samplejoin worker JOB --drain` with the old generation's job file first"

Offsets = dict[TopicPartition, tuple[int, str]]


@dataclass(frozen=True)
class MigrationPlan:
    """A migration that is possible: the old and the new generation, and the input offsets where the new one starts."""

    old: EngineConfig
    new: EngineConfig
    offsets: Offsets
    #: the new generation has everything already; only the old group must still be deleted
    done: bool = False


async def partitions_of(old: EngineConfig) -> int:
    """Returns the number of join partitions of the generation. Raises WorkerError if it never ran."""
    partitions = (await existing(old)).get(old.topics.changelog)
    if partitions is None:
        raise WorkerError(
            f"topic {old.topics.changelog} does not exist: there is no state of {old.group}. Correct --from-generation "
            "or the job's `name`; a generation without state needs no migration"
        )
    return partitions


async def plan_migration(old: EngineConfig, new: EngineConfig) -> MigrationPlan:
    """Plans and changes nothing. Raises WorkerError if the old generation is not at a cut, or the new one has run."""
    async with running(admin(old)) as client:
        await client.need_controller()
    known = await existing(old)
    for config in (old, new):
        await refuse_members(config, "before its state moves")
    tps = {TopicPartition(topic, p) for topic in old.spec.topics() for p in range(known.get(topic, 0))}
    offsets = await while_moving(lambda: committed_offsets(old, tps), FIRST_COORDINATOR_S)
    there = await while_moving(lambda: committed_offsets(new, tps), FIRST_COORDINATOR_S)
    if there and there == offsets:
        return MigrationPlan(old, new, offsets, done=True)
    if there or await _log_ends(new, known.get(new.topics.repartition, 0)):
        raise WorkerError(
            f"generation {new.group} has run already: if {old.group} was migrated to it before, start its workers; "
            "else take another `generation`"
        )
    await _refuse_no_cut(old, tps, offsets, await last_commits(old))
    return MigrationPlan(old, new, offsets)


async def _refuse_no_cut(
    old: EngineConfig, tps: set[TopicPartition], offsets: Offsets, last: dict[int, Commit]
) -> None:
    """Raises WorkerError unless all join partitions have joined their whole log and covered the committed offsets."""
    ends = await _log_ends(old, old.partitions)
    covered = {source_id(tp.topic, tp.partition): offset - 1 for tp, (offset, _) in offsets.items()}
    if len(offsets) < len(tps):
        raise WorkerError(
            f"group {old.group} has no offsets for {counted(len(tps) - len(offsets), 'partition')}: {DRAIN}"
        )
    for number in range(old.partitions):
        commit, end = last.get(number), ends.get(number, 0)
        if commit is None or commit.position != end:
            at = "nothing" if commit is None else f"position {commit.position}"
            raise WorkerError(f"join partition {number} has committed {at}, its log ends at {end}: {DRAIN}")
        refuse_edited(old, number, commit.fingerprint)
        has = unpack_partition_state(commit.partition_state).covered  # may include sources that the job no longer has
        if any(has.get(source, -1) != upto for source, upto in covered.items()):
            raise WorkerError(f"join partition {number} has covered other records than those committed: {DRAIN}")


async def _log_ends(config: EngineConfig, partitions: int) -> dict[int, int]:
    """Returns the end offsets of the repartition log by partition, without empty partitions."""
    tps = {TopicPartition(config.topics.repartition, p) for p in range(partitions)}
    if not tps:
        return {}
    async with running(reader(config)) as consumer:
        return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items() if end}


async def migrate_state(plan: MigrationPlan) -> int:
    """Moves the state and returns the number of open keys. Can be repeated after an interruption."""
    old, new = plan.old, plan.new
    keys = 0
    if not plan.done:
        known = await existing(new)
        left = [name for name in new.topics.internal if name in known]
        await delete_topics(new, left)  # of an interrupted attempt: the new generation never had offsets
        await prepare(new)
        for number in range(old.partitions):  # from here on no paused owner can commit
            async with _fenced(old, number):
                pass
        last = await last_commits(old)
        await _refuse_no_cut(old, set(plan.offsets), plan.offsets, last)
        keys = await _copy(old, new, last)
        await refuse_members(new, "before its state moves")
        await commit_offsets(new, {tp: OffsetAndMetadata(*at) for tp, at in plan.offsets.items()})
    await delete_group(old)
    return keys


@asynccontextmanager
async def _fenced(config: EngineConfig, number: int) -> AsyncIterator[Transactions]:
    transactions = Transactions(config, number)
    try:
        await transactions.start()
        yield transactions
    finally:
        await transactions.close()


async def _copy(old: EngineConfig, new: EngineConfig, last: dict[int, Commit]) -> int:
    try:
        state = merged_state(old.spec, [unpack_partition_state(commit.partition_state) for commit in last.values()])
    except NoCutError as error:
        raise WorkerError(f"{error}: {DRAIN}") from None
    count = 0
    for first in range(0, new.partitions, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, new.partitions))
        async with AsyncExitStack() as stack:
            fenced = {number: await stack.enter_async_context(_fenced(new, number)) for number in numbers}
            count += await _fill({n: _Home(new, each, pack_state(state)) for n, each in fenced.items()}, old, new)
    return count


async def _fill(homes: dict[int, _Home], old: EngineConfig, new: EngineConfig) -> int:
    """Copies to these new partitions their keys from all old ones. Returns the number of open keys."""
    count = 0
    for number in range(old.partitions):
        replica = Replica(old, number, MemoryStore())
        for key, key_state in (await replica.recover(1 << 62, 1 << 62) or {}).items():
            home = homes.get(partition_of(home_of(key), new.partitions))
            if home is not None:
                await home.put(key, key_state)
                count += not is_leaf(key)
        log.info("took over join partition %d of %d: %d open keys so far", number + 1, old.partitions, count)
    for home in homes.values():
        await home.commit()
    return count


class _Home:
    """A join partition of the new generation while it is filled. All its commits start and end at position 0."""

    def __init__(self, config: EngineConfig, transactions: Transactions, state: bytes) -> None:
        self.config, self.transactions, self.state = config, transactions, state
        self._puts: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        self._first: int | None = None
        self._deadline = 0

    async def put(self, key: bytes, state: bytes) -> None:
        """Adds one open key, or a leaf of a large one."""
        self._puts.append((key, state))
        self._bytes += len(key) + len(state)
        if self._bytes > COMMIT_BYTES:
            await self.commit()

    async def commit(self) -> None:
        """Commits the keys added since the last commit, with their deadlines. Commits even if there are none."""
        watching = Partition(self.config.spec)
        for key, state in self._puts:
            watching.watch(key, unpack_state(state))
        deadlines = watching.deadlines
        self._deadline = max(self._deadline, deadlines.furthest() or 0)
        commit = Commit(0, 0, self._puts, [], self.state, self.config.fingerprint, self._deadline)
        commit.pages, commit.needed = pages_of(deadlines.take_new()), self._first
        outbox = Outbox(self.transactions.kafka)
        first, _ = await self.transactions.commit(outbox, list(parts_of(commit)))
        self._first = first if self._first is None else self._first
        self._puts, self._bytes = [], 0

"""Ends a generation at a cut: everything in the inputs is joined, and every join partition is at the end of its log.

At a cut, all join partitions have covered the same offsets of every source: those below the group's committed offsets.
So the state can be moved to another number of partitions (ADR 18).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka import TopicPartition

from samplejoin.engine.clients import until_there
from samplejoin.engine.cluster import members_of, named, refuse_members
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.group import Group
from samplejoin.engine.sender import Sender
from samplejoin.engine.sources import OwnedSource, Sources
from samplejoin.worker.join_task import JoinTask
from samplejoin.worker.join_tasks import JoinTasks

log = logging.getLogger(__name__)

POLL_S = 0.05


class Drain:
    """Reads the inputs to their ends, then stops reading and ticking until everything is at the cut.

    The worker must be the only member of its group.
    """

    def __init__(self, config: EngineConfig, group: Group, sources: Sources, sender: Sender, joins: JoinTasks) -> None:
        self.config, self.group, self.sources, self.sender, self.joins = config, group, sources, sender, joins
        self._reading = True

    def may_read(self) -> bool:
        """Returns whether inputs are still read."""
        return self._reading

    async def refuse_company(self) -> None:
        """Raises WorkerError if the group has other members, which would go on reading."""
        await refuse_members(self.config, "before one drains it")

    async def run(self) -> None:
        """Runs until the cut, with everything committed. Raises WorkerError if another worker joins the group."""
        await self._until(lambda: self._all_owned() and self._all_join())
        await self._round()
        while off := await self._off_the_cut():
            log.info("draining: not at the cut yet, %s; going on", off)
            await self._round()
        log.info("drained: all that was read is joined and committed, every join partition is at the end of its log")

    async def _round(self) -> None:
        """Reads the inputs to their ends, then has a last tick stepped, since late labels are corrected only then.

        Each round reads, because after a rebalance the sources begin again at their committed offsets.
        """
        ends = await self.group.consumer.end_offsets(self._inputs())
        log.info("draining: reading %d source partitions up to where they end now", len(ends))
        self._reading = self.sources.ticking = True
        await self._until(lambda: self._all_owned() and self._have_read(ends))
        self._reading = self.sources.ticking = False
        await self._until(lambda: self._all_owned() and all(map(_settled, self.sources.owned.values())))
        await self._tick()
        log_ends = await self.group.consumer.end_offsets(self._logs())
        await self._until(lambda: self._all_join() and self._have_stepped(log_ends))
        await self.joins.commit(recover=True)
        await self.group.commit()

    async def _tick(self) -> None:
        """Sends every join partition a last tick of all sources; returns when all that was sent is acknowledged."""
        for partition in range(self.config.partitions):
            tick, owned = self.sources.tick(partition)
            self.sender.enqueue(partition, tick, _tick_acked(partition, owned))
        await self._until(lambda: not self.sender.unacked)

    async def _off_the_cut(self) -> str:
        """Returns in words what is not at the cut yet, an empty text if everything is."""
        ends = await self.group.consumer.end_offsets(self._logs())
        if not (self._all_owned() and self._all_join()):
            return "partitions are being reassigned or recovered"
        owned = self.sources.owned.values()
        sources = [each.writer.source for each in owned if not _settled(each)]
        if sources:
            return f"not everything read from {', '.join(sources)} is acknowledged and committed"
        committed = {each.writer.source: each.writer.confirmed for each in owned}
        joins = [n for n, join in self.joins.running.items() if not _at_cut(join, committed)]
        if joins or not self._have_stepped(ends):
            return f"join partitions {', '.join(map(str, joins))}" if joins else "the log has new entries"
        return ""

    def _have_read(self, ends: dict[TopicPartition, int]) -> bool:
        """Returns whether all sources are read up to `ends`; a partition not in `ends` is new and need not be read."""
        return all(owned.delivered + 1 >= ends.get(tp, 0) for tp, owned in self.sources.owned.items())

    def _have_stepped(self, ends: dict[TopicPartition, int]) -> bool:
        return all(
            join.position >= ends[TopicPartition(self.config.topics.repartition, number)] and not join.partition.due()
            for number, join in self.joins.running.items()
        )

    def _all_owned(self) -> bool:
        return self.sources.owned.keys() == self._inputs()

    def _all_join(self) -> bool:
        return len(self.joins.running) == self.config.partitions

    def _inputs(self) -> set[TopicPartition]:
        return {TopicPartition(t, p) for t, count in self.sources.partitions.items() for p in range(count)}

    def _logs(self) -> set[TopicPartition]:
        return {TopicPartition(self.config.topics.repartition, p) for p in range(self.config.partitions)}

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Waits for the condition. Raises WorkerError if another worker joins the group meanwhile."""
        while not condition():
            if self.group.assigned and set(self.group.consumer.assignment()) != self._inputs() | self._logs():
                await self._refuse_others()
            await asyncio.sleep(POLL_S)

    async def _refuse_others(self) -> None:
        """Raises WorkerError if the group has another member.

        The members are asked for, because an input that has just grown is missing from the assignment too.
        """
        members = await until_there("looking for other workers", self.config, lambda: members_of(self.config))
        if len(members) > 1:
            raise WorkerError(
                f"group {self.config.group}: another worker has joined it while this one drains it. Its members are "
                f"{named(members)}. Stop all workers of the job, then drain it with one"
            )


def _settled(owned: OwnedSource) -> bool:
    """Returns whether everything fetched from a source is acknowledged and committed."""
    writer = owned.writer
    return not owned.held and max(owned.held_upto, owned.delivered) == writer.acked == writer.confirmed


def _at_cut(join: JoinTask, committed: dict[str, int]) -> bool:
    """Returns whether a join partition has covered exactly the committed offsets of all sources, and committed that.

    It may also know sources that the job no longer has, for example of a deleted topic that matched a pattern.
    """
    covered = join.partition.covered
    return (
        all(covered.get(source, -1) == upto for source, upto in committed.items())
        and join.table.committed_position == join.position
    )


def _tick_acked(partition: int, owned: list[OwnedSource]) -> Callable[[int], None]:
    def acked(log_offset: int) -> None:
        for source in owned:
            source.writer.tick_acked(partition, log_offset)

    return acked

"""The worker's membership in its consumer group: assignments, reading, and the commit of source offsets.

Partitions of input topics become `OwnedSource`s, partitions of the repartition topic are handed to the join side.
Nothing is fetched for a partition before it is ready: sources need their committed offset, joins their recovery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
)
from aiokafka.structs import OffsetAndMetadata
from mode import Service

from samplejoin.core.user_errors import brief, said
from samplejoin.engine.aiokafka_private import group_generation, network_client, raise_group_error, request_rejoin
from samplejoin.engine.assignor import JoinAssignor, same_job
from samplejoin.engine.clients import committed_offsets, group_consumer, is_away, pace, until_there, was_cancelled
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.coordinator import CoordinatorFailed, Failures, Listener
from samplejoin.engine.failpoints import reached
from samplejoin.engine.fetched_records import Reading
from samplejoin.engine.group_handler import GroupHandler
from samplejoin.engine.log_bounds import OutsideLog
from samplejoin.engine.sources import Sources, check_start, unreadable
from samplejoin.engine.topic_ids import topic_ids
from samplejoin.engine.wire import known_format

log = logging.getLogger(__name__)

POLL_MS = 250
MAX_RECORDS = 4000
COMMIT_TIMEOUT_S = 10.0
RETRY_S = 0.5
#: after so long without a record the sources are still
STILL_S = 1.0


class Group(Service):
    """Reads blocks and hands them on; owns the aiokafka consumer."""

    def __init__(
        self,
        config: EngineConfig,
        sources: Sources,
        handler: GroupHandler,
        assignor: JoinAssignor,
        reading: Reading,
        fatal: Callable[[BaseException], None],
        **kwargs: Any,
    ) -> None:
        self.config, self.sources, self.handler = config, sources, handler
        self.assignor, self.reading, self.fatal = assignor, reading, fatal
        self.consumer: AIOKafkaConsumer = None
        self.joined = False
        #: join partitions of the present assignment
        self.joins: set[int] = set()
        #: positions last committed to the group, by join partition
        self._said: dict[int, int] = {}
        self.assigned = False
        self._ready_joins: dict[int, TopicPartition] = {}
        self._flowed_at = -STILL_S
        self._starting: set[asyncio.Task[None]] = set()
        self._outside = OutsideLog()
        self._failures = Failures(config.group, config.session_timeout_ms)
        self._commit_lock = asyncio.Lock()
        self._ending = False
        self._given_up = False
        super().__init__(**kwargs)

    # ---- life ---------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        topics = [*self.config.spec.topics(), self.config.topics.repartition]

        async def start() -> None:
            self.consumer = group_consumer(self.config, self.assignor, self.reading)
            self.consumer.subscribe(topics, listener=Listener(self.revoked, self.start_on, self.fatal))
            try:
                await self.consumer.start()
            except BaseException as error:
                await self.consumer.stop()
                self._failures.raise_known(error)
                raise

        await until_there(f"joining group {self.config.group}", self.config, start)
        self.joined = True
        self.add_future(self._pump(self._read_sources))
        self.add_future(self._pump(self._read_joins))
        self.add_future(self._pump(self._commit_regularly))

    def end_reading(self) -> None:
        """No further block is fetched."""
        self._ending = True
        for task in self._starting:
            task.cancel()

    def give_up(self) -> None:
        """No offset is committed any more."""
        self._given_up = True

    async def leave(self, commit: bool) -> str:
        """Leaves the group within 1.5 s, after a last commit if asked for; returns what was done, in words."""
        if not self.joined:
            return "not in the group yet"
        end = asyncio.get_running_loop().time() + 1.5
        try:
            if commit:
                async with asyncio.timeout_at(end - 0.5):
                    await self.commit()
        except TimeoutError:
            log.warning("offsets not committed: no answer in time")
        finally:
            left = await self._close_consumer(end)
        return f"offsets of {self.sources.confirmed()} of {len(self.sources.owned)} sources, {left}"

    async def _close_consumer(self, end_s: float) -> str:
        stopping = asyncio.ensure_future(self.consumer.stop())  # apart: it can end as cancelled, by tasks of its own
        await asyncio.wait([stopping], timeout=max(0.0, end_s - asyncio.get_running_loop().time()))
        if not stopping.done() or stopping.cancelled():
            stopping.cancel()
            return "left the group without a last word: no answer in time"
        try:
            stopping.result()
        except KafkaError as error:
            return f"left the group without a last word: {brief(error)}"
        return "left the group" if self.config.instance_id is None else "its place in the group is kept"

    @property
    def generation(self) -> int:
        """The group generation of the present assignment, -1 before the first."""
        return group_generation(self.consumer)

    # ---- assignments --------------------------------------------------------------------------------------------

    async def revoked(self) -> None:
        """All partitions may go: what is under way is finished and committed as far as it goes."""
        self.assigned = False
        reached("revoked")
        for task in self._starting:
            task.cancel()
        self._ready_joins.clear()
        member = await self._was_member()
        await self.handler.on_revoked(member)
        if member:
            await self.commit()
        self.sources.drop(list(self.sources.owned))

    def start_on(self, tps: set[TopicPartition]) -> None:
        """A new assignment. Runs without heartbeats, so it only parks the partitions and starts tasks."""
        reached("assigned")
        self._failures.over()
        self._said = {}
        self._ready_joins.clear()  # one may have become ready while it was being revoked
        deal = self.assignor.last
        if not same_job(deal.job, self.config.fingerprint):  # a static member's from before its job file was edited
            self.rejoin()
            return
        if deal.refused:
            self.fatal(WorkerError(f"group {self.config.group}: {deal.refused}"))
            return
        self.config.record_format.writes = known_format(deal.writes)
        for tp in tps:
            self.consumer.seek(tp, 0)
            self.consumer.pause(tp)
        joins = {tp.partition for tp in tps if tp.topic == self.config.topics.repartition}
        inputs = {tp for tp in tps if tp.topic != self.config.topics.repartition}
        self._start(lambda: self._start_sources(inputs))
        self.joins = joins
        self._start(lambda: self._start_joins(joins, set(deal.standby)))
        self.assigned = True

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` in a task of its own; again, if the Kafka client has broken it off."""

        async def guarded() -> None:
            while True:
                try:
                    return await work()
                except asyncio.CancelledError:
                    if was_cancelled():
                        raise
                    log.warning("starting on an assignment was broken off by the Kafka client: trying again")
                    await asyncio.sleep(RETRY_S)
                except Exception as error:
                    return self.fatal(error)

        task = asyncio.create_task(guarded())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start_sources(self, tps: set[TopicPartition]) -> None:
        """Finds every source's committed offset (or commits its start first), then reads on from there."""
        if not tps:
            return
        generation = self.generation

        async def look() -> tuple[dict[object, tuple[int, str]], dict[TopicPartition, int], dict[TopicPartition, int]]:
            consumer = self.consumer
            # of all: a topic that is made again has no offsets any more, and a new owner would begin at its start
            self.sources.learn_topic_ids(await topic_ids(network_client(consumer), self.config.spec.topics()))
            return await self._committed(tps), await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)

        committed, begins, ends = await until_there("reading committed offsets", self.config, look)
        fresh = {tp: begins[tp] for tp in tps if tp not in committed}
        try:
            if fresh:
                await self.consumer.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in fresh.items()})
        except (CommitFailedError, IllegalStateError):
            log.info("start not committed: the group is changing")
            return  # another assignment follows
        for tp in tps:
            offset, metadata = committed.get(tp, (fresh.get(tp, 0), ""))
            self.sources.refuse_recreated(tp, metadata)
            check_start(tp, offset, begins[tp], ends[tp])
            self.sources.add(tp, generation, offset, metadata, ends[tp])
            self.consumer.seek(tp, offset)
            self.consumer.resume(tp)

    async def _start_joins(self, joins: set[int], standbys: set[int]) -> None:
        """Hands the join partitions over, with the positions that they have certainly reached."""
        tps = {TopicPartition(self.config.topics.repartition, number) for number in joins}

        async def look() -> dict[TopicPartition, tuple[int, str]]:
            return await committed_offsets(self.config, tps) if tps else {}

        committed = await until_there("reading committed positions", self.config, look)
        self._said = dict.fromkeys(joins, 0) | {tp.partition: offset for tp, (offset, _) in committed.items()}
        await self.handler.on_joins(joins, standbys, dict(self._said))

    def rejoin(self) -> None:
        """Has the group deal again."""
        self.assignor.rejoins += 1
        request_rejoin(self.consumer)

    async def _committed(self, tps: set[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        """Committed next offset and metadata per partition that has one."""
        return await committed_offsets(self.config, tps)

    def join_ready(self, partition: int, position: int) -> None:
        """The join partition is recovered: its log is read from `position` on."""
        tp = TopicPartition(self.config.topics.repartition, partition)
        if tp in self.consumer.assignment():
            self.consumer.seek(tp, position)
            self.consumer.resume(tp)
            self._ready_joins[partition] = tp

    def join_lost(self, partition: int) -> None:
        """The join partition must be recovered again: nothing is read for it until then."""
        tp = self._ready_joins.pop(partition, None)
        if tp is not None and tp in self.consumer.assignment():
            self.consumer.pause(tp)

    def end_of(self, tp: TopicPartition) -> int | None:
        """The end of a partition's log as last fetched; None if it is not known, or not of this worker any more."""
        end: int | None = self.consumer.highwater(tp) if tp in self.consumer.assignment() else None
        return end

    # ---- reading ------------------------------------------------------------------------------------------------

    async def _pump(self, step: Callable[[], Awaitable[None]]) -> None:
        """Runs `step` until the service stops; what it raises ends the worker."""
        while not self.should_stop and not self._ending:
            try:
                await step()
            except asyncio.CancelledError:
                raise
            except OffsetOutOfRangeError as error:
                await self._outside_log(error)
            except RecordTooLargeError as error:
                self.fatal(WorkerError(f"a record is larger than a fetch may be: {error}"))
            except CorruptRecordException as error:
                self.fatal(unreadable(error))
            except (IllegalStateError, AssertionError):
                await asyncio.sleep(0.02)  # the assignment changed while we were reading
            except Exception as error:
                known = self._failures.known(error)
                if not is_away(known):
                    self.fatal(known)
                    return
                log.warning("group %s: %s; trying again", self.config.group, said(known))
                if isinstance(known, CoordinatorFailed):
                    request_rejoin(self.consumer)
                await asyncio.sleep(1.0)

    async def _outside_log(self, error: OffsetOutOfRangeError) -> None:
        try:
            await self._outside.refuse(self.consumer, error)
        except (KafkaError, WorkerError) as final:
            self.fatal(final)
        await asyncio.sleep(RETRY_S)

    async def _read_sources(self) -> None:
        """One fetch of all sources that may be read now, one block of each that has something."""
        readable = [o.tp for o in self.sources.owned.values() if not o.held and self.handler.may_read(o)]
        fetched = await self._fetch(readable)
        for tp, owned in list(self.sources.owned.items()):
            if tp in readable and owned.alive:
                position = await self.consumer.position(tp)
                owned.hold_back(fetched.get(tp, ()), position - 1)
            block = owned.next_block()
            if block is not None:
                await self.handler.on_source_block(block)
        self.sources.record_fetches(self.consumer)
        now = time.monotonic()
        if fetched:
            self._flowed_at = now
        self.sources.flowing = now - self._flowed_at < STILL_S
        pace(self.consumer, self.sources.flowing)
        if not fetched:
            await asyncio.sleep(0.01)

    async def _read_joins(self) -> None:
        """One fetch of all recovered join partitions."""
        for tp, records in (await self._fetch(list(self._ready_joins.values()))).items():
            if tp.partition in self._ready_joins:
                await self.handler.on_join_records(tp.partition, records)

    async def _fetch(self, tps: list[TopicPartition]) -> dict[TopicPartition, list[Any]]:
        if not tps:
            raise_group_error(self.consumer)
            await asyncio.sleep(0.02)
            return {}
        return await self.reading.fetch(self.consumer, tps, POLL_MS, MAX_RECORDS)

    # ---- committing ---------------------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        await asyncio.sleep(self.config.commit_interval_ms / 1000)
        await self.commit()

    async def commit(self) -> None:
        """Commits how far the sources are acknowledged, and the joins' positions, which a recovery may not fall below.

        A commit that fails confirms nothing; the next one retries.
        """
        async with self._commit_lock:
            if self._given_up:
                return
            positions = {
                n: at for n, at in self.handler.positions().items() if at > self._said.get(n, 0) and n in self.joins
            }
            offsets = self.sources.offsets() | {
                TopicPartition(self.config.topics.repartition, n): OffsetAndMetadata(at, "")
                for n, at in positions.items()
            }
            if not offsets:
                return
            reached("offsets-begin")
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):  # aiokafka itself would try for ever
                    await self.consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                log.info("offsets not committed: the group is changing")
            except (KafkaError, TimeoutError) as error:
                log.warning("offsets not committed: %s; will be tried again", brief(error))
            else:
                reached("offsets-done")
                self.sources.confirm(offsets)
                self._said |= positions

    async def is_member(self) -> bool:
        """Whether the group still counts this worker in: it takes a commit of this generation."""
        async with self._commit_lock:  # or it would put back what is being committed
            try:
                # of what is committed already
                assigned = self.consumer.assignment()
                own = [tp for n in self._said if (tp := TopicPartition(self.config.topics.repartition, n)) in assigned]
                if not own:
                    return False
                await self.consumer.commit({own[0]: OffsetAndMetadata(self._said[own[0].partition], "")})
            except (CommitFailedError, IllegalStateError):
                return False
            return True

    async def _was_member(self) -> bool:
        """Whether what this worker still holds is its own: not so after a pause in which the group has gone on."""
        if not self._said:
            return True
        try:
            async with asyncio.timeout(2):
                return await self.is_member()
        except (KafkaError, TimeoutError):  # brokers that do not answer have not let others in either
            return True

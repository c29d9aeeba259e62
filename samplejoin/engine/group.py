"""The worker's membership in its consumer group: assignments, reading, and committing offsets.

Partitions of input topics become `OwnedSource`s; partitions of the repartition topic are handed to the join side.
Nothing is fetched for a partition before it is ready: a source needs its committed offset, a join its recovery.
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
#: the sources count as still after this time without a record
STILL_S = 1.0


class Group(Service):
    """Fetches records and hands them to `handler`; owns the aiokafka consumer. `fatal` ends the worker."""

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
        #: join partitions of the current assignment
        self.joins: set[int] = set()
        #: join partition -> its position last committed to the group
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
        """Stops fetching."""
        self._ending = True
        for task in self._starting:
            task.cancel()

    def give_up(self) -> None:
        """Stops committing offsets."""
        self._given_up = True

    async def leave(self, commit: bool) -> str:
        """Leaves the group within 1.5 s, after a last commit if `commit`; returns what was done as text for the log."""
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
        stopping = asyncio.ensure_future(self.consumer.stop())  # its own task: aiokafka can end it as cancelled
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
        """The group generation of the current assignment, -1 before the first."""
        return group_generation(self.consumer)

    # ---- assignments --------------------------------------------------------------------------------------------

    async def revoked(self) -> None:
        """Prepares for losing all partitions: finishes and commits what is under way, as far as possible."""
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
        """Starts on a new assignment. No heartbeats are sent meanwhile: it only pauses partitions and starts tasks."""
        reached("assigned")
        self._failures.over()
        self._said = {}
        self._ready_joins.clear()  # a join may have become ready while it was being revoked
        deal = self.assignor.last
        if not same_job(deal.job, self.config.fingerprint):  # a static member's, from before an edit of its job
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
        """Runs `work` in a task of its own, and again if the Kafka client has cancelled it."""

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
        """Looks up every source's committed offset, or commits its start if it has none, and reads on from there."""
        if not tps:
            return
        generation = self.generation

        async def look() -> tuple[
            dict[TopicPartition, tuple[int, str]], dict[TopicPartition, int], dict[TopicPartition, int]
        ]:
            consumer = self.consumer
            # of all input topics: one that was created again has no offsets, and a new owner would begin at its start
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
        """Hands the join partitions to the handler, with the committed positions, which a recovery must reach."""
        tps = {TopicPartition(self.config.topics.repartition, number) for number in joins}

        async def look() -> dict[TopicPartition, tuple[int, str]]:
            return await committed_offsets(self.config, tps) if tps else {}

        committed = await until_there("reading committed positions", self.config, look)
        self._said = dict.fromkeys(joins, 0) | {tp.partition: offset for tp, (offset, _) in committed.items()}
        await self.handler.on_joins(joins, standbys, dict(self._said))

    def rejoin(self) -> None:
        """Asks the group for a new assignment."""
        self.assignor.rejoins += 1
        request_rejoin(self.consumer)

    async def _committed(self, tps: set[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        """Committed next offset and metadata per partition that has one."""
        return await committed_offsets(self.config, tps)

    def join_ready(self, partition: int, position: int) -> None:
        """Reads the log of a recovered join partition from `position` on."""
        tp = TopicPartition(self.config.topics.repartition, partition)
        if tp in self.consumer.assignment():
            self.consumer.seek(tp, position)
            self.consumer.resume(tp)
            self._ready_joins[partition] = tp

    def join_lost(self, partition: int) -> None:
        """Stops reading for a join partition that must be recovered again."""
        tp = self._ready_joins.pop(partition, None)
        if tp is not None and tp in self.consumer.assignment():
            self.consumer.pause(tp)

    def end_of(self, tp: TopicPartition) -> int | None:
        """Returns the end of a partition's log at the last fetch; None if unknown or if it is not assigned here."""
        end: int | None = self.consumer.highwater(tp) if tp in self.consumer.assignment() else None
        return end

    # ---- reading ------------------------------------------------------------------------------------------------

    async def _pump(self, step: Callable[[], Awaitable[None]]) -> None:
        """Runs `step` until the service stops. Errors that a retry cannot cure end the worker."""
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
        """Fetches once from all sources that may be read now, and hands on one block of each that has any."""
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
        """Fetches once from all recovered join partitions, and hands the records on."""
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
        """Commits the sources' acknowledged offsets, and the joins' positions, which a recovery may not end below.

        A commit that fails confirms nothing; the next one includes its offsets again.
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
        """Whether the group still has this worker as a member: it accepts a commit of this generation."""
        async with self._commit_lock:  # or this commit could set a position back that is just being committed
            try:
                # commits a position again that is committed already
                assigned = self.consumer.assignment()
                own = [tp for n in self._said if (tp := TopicPartition(self.config.topics.repartition, n)) in assigned]
                if not own:
                    return False
                await self.consumer.commit({own[0]: OffsetAndMetadata(self._said[own[0].partition], "")})
            except (CommitFailedError, IllegalStateError):
                return False
            return True

    async def _was_member(self) -> bool:
        """Whether this worker still owned its partitions: false after a pause in which the group went on without it."""
        if not self._said:
            return True
        try:
            async with asyncio.timeout(2):
                return await self.is_member()
        except (KafkaError, TimeoutError):  # brokers that do not answer have not admitted other members either
            return True

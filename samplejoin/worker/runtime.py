"""Starts and stops, in order, everything a worker runs apart from its agents: topics, producers, group, joins."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from mode import Service

from samplejoin.core.identity import source_id
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.engine import topics
from samplejoin.engine.assignor import JoinAssignor, MemberState
from samplejoin.engine.clients import until_there
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.failpoints import reached
from samplejoin.engine.fetched_records import Reading
from samplejoin.engine.foreign_records import RefusedRecords
from samplejoin.engine.group import Group
from samplejoin.engine.hot_keys import HotKeys
from samplejoin.engine.offsets import commit_start, refuse_other_state
from samplejoin.engine.plain_producer import PlainProducer
from samplejoin.engine.progress import ProgressBoard
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.sender import Sender
from samplejoin.engine.skip_topic import SkipList
from samplejoin.engine.sources import OwnedSource, SourceBlock, Sources
from samplejoin.engine.state_dir import StateDir
from samplejoin.stores.rocks import RocksStore, shared_cache
from samplejoin.tables.partial_samples import PartialSamples
from samplejoin.tables.standby import Standby
from samplejoin.worker.clock_report import Clocks
from samplejoin.worker.drain import Drain
from samplejoin.worker.health import BrokerWatch, OwnerWatch, TopicWatch
from samplejoin.worker.join_tasks import JoinTasks
from samplejoin.worker.metrics import Metrics
from samplejoin.worker.retention import trim
from samplejoin.worker.snapshot import set_gauges, snapshot_of

log = logging.getLogger(__name__)

#: gauges of partitions that this worker owns: set from the beginning every second, so that none outlives its partition
OWNED = (
    "state_keys",
    "remembered_keys",
    "clock_ms",
    "watermark_delay",
    "held_by",
    "source_lag",
    "join_lag",
    "last_event",
    "left_out",
    "last_commit_seconds",
)
#: limits in a stop: for the last sends and commits together, and at least for the commits; leaving the group and
#: closing come after them, and all of it must fit in `forced_exit.STOP_S`
LAST_COMMIT_S, LEAST_COMMIT_S = 2.5, 1.0


class Runtime(Service):
    """The engine of one worker, and the `GroupHandler` of its group.

    `deliver_source` and `deliver_join` pass fetched records to the agents. `fatal` ends the worker. If `drained` is
    given, the runtime ends its generation at a cut and then calls it.
    """

    def __init__(
        self,
        config: EngineConfig,
        metrics: Metrics,
        *,
        deliver_source: Callable[[SourceBlock], Awaitable[None]],
        deliver_join: Callable[[int, Sequence[KafkaRecord]], Awaitable[None]],
        fatal: Callable[[BaseException], None],
        worker: str,
        drained: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.config, self.metrics, self.fatal = config, metrics, fatal
        self.sources = Sources(config)
        self._cache = shared_cache(config.memory.block_cache, config.memory.write_buffers)
        self.emitter = Emitter(config, metrics, {})
        self.scheduler = FairScheduler()
        self._deliver_source, self._deliver_join = deliver_source, deliver_join
        self.repartition = PlainProducer(config)
        self.sender = Sender(
            self.repartition, config.topics.repartition, fatal, config.memory.unacked, config.record_format
        )
        self.dead_letters = PlainProducer(config)
        self.progress = ProgressBoard(config, worker, self.dead_letters, metrics, fatal)
        refused = RefusedRecords(metrics, "Nothing is passed over because of it")
        self.skips = SkipList(config, refused.add)
        self.reading = Reading(config.max_record_bytes, skipped=self._skipped, fetched_bytes=config.memory.fetched)
        assignor = JoinAssignor(self._word, config.topics.repartition, config.standby_replicas)
        self.group = Group(config, self.sources, self, assignor, self.reading, fatal)
        self.joins = JoinTasks(
            config, self.group, self.emitter, metrics, self._table, self._standby, fatal, self.scheduler
        )
        self._drained = drained
        self._drain = Drain(config, self.group, self.sources, self.sender, self.joins)
        self.hot_keys = HotKeys()
        self.clocks = Clocks(config.spec, metrics)
        self._worker = worker
        self.state_dir = StateDir(config.state_dir / config.topics.prefix)
        self._given_up = False
        self.brokers = BrokerWatch(str(config.connection.get("bootstrap_servers")), self.progress)
        self._topics = TopicWatch(config, self.sources, self.group, fatal)
        self._owners = OwnerWatch(config.session_timeout_ms, self.progress, self.group)
        super().__init__(**kwargs)

    def _table(self, partition: int) -> PartialSamples:
        path = self.state_dir.path / str(partition)
        return PartialSamples(self.config, partition, RocksStore(path, self._cache))

    def _standby(self, partition: int) -> Standby:
        path = self.state_dir.path / str(partition)
        return Standby(self.config, partition, lambda: RocksStore(path, self._cache), self.fatal)

    def _word(self) -> MemberState:
        """Returns what the worker tells the leader of its group: its last partitions, and the state on its disk."""
        stocked = dict.fromkeys(self.state_dir.stocked(), 0)
        return MemberState(
            self._worker,
            self.config.fingerprint,
            generation=self.group.generation,
            had=self.group.assignor.last.tps,
            state=stocked | self.joins.state(),
        )

    # ---- life ---------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        self.add_future(self._run())

    async def _run(self) -> None:
        """Starts everything in order. Any error ends the worker with a message."""
        try:
            config = self.config
            self.state_dir.lock()
            self.sources.partitions = await until_there("preparing topics", config, lambda: topics.prepare(config))
            self.emitter.partitions = await until_there(
                "preparing topics", config, lambda: topics.output_partitions(config)
            )
            await until_there("looking at the state", config, lambda: refuse_other_state(config))
            for each in (self.repartition, self.dead_letters):
                await until_there("starting a producer", config, each.start)
            await until_there("committing the start", config, lambda: commit_start(config, self.sources.partitions))
            self.reading.skips = await until_there("reading the skips", config, self.skips.obey)
            await self.progress.start()
            if self._drained is not None:
                await until_there("looking for other workers", config, self._drain.refuse_company)
            await self.group.start()
            if self._drained is not None:
                await self._drain.run()
                self._drained()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(error)

    def give_up(self) -> None:
        """Prevents every commit after a failure; the next owner repeats the work."""
        self._given_up = True
        self.joins.give_up()
        self.group.give_up()

    async def on_stop(self) -> None:
        """Stops within 8 s, even if brokers are silent: waits for acknowledgements, and commits what is under way.

        After a step that fails, nothing more is committed; the later steps only close what is open.
        """
        began = time.monotonic()
        self._commit_until_s = began + LAST_COMMIT_S
        did: list[str] = []
        self.group.end_reading()
        for step in (self._send_rest, self._end_joins, self._leave, self._close):
            try:
                did += filter(None, [await step(self.brokers.away_since is None and not self._given_up)])
            except Exception as error:
                self.fatal(error)
        if self._given_up and not self.started:
            did = ["it failed while it started, and has joined nothing"]
        elif self._given_up:
            did = ["nothing was committed after the failure; the next owner repeats it"]
        elif self.brokers.away_since is not None:
            did.append("the brokers do not answer; the next owner repeats what is not committed")
        log.info("stopped in %.1f s: %s", time.monotonic() - began, ", ".join(did))

    async def _send_rest(self, commit: bool) -> None:
        reached("stop-begin")
        if commit:
            await self.sender.drain(1.5)
        reached("stop-sent")

    async def _end_joins(self, commit: bool) -> str:
        left_s = self._commit_until_s - time.monotonic()
        done = await self.joins.stop(max(LEAST_COMMIT_S, left_s) if commit else None)
        reached("stop-joined")
        return done

    async def _leave(self, commit: bool) -> str:
        done = await self.group.leave(commit)
        reached("stop-left")
        return done

    async def _close(self, _: bool) -> None:
        await self.sender.close()
        await asyncio.gather(
            self.group.stop(),
            self.progress.stop(),
            self.repartition.close(),
            self.dead_letters.close(),
            return_exceptions=True,
        )
        self.state_dir.unlock()

    # ---- called by the group ------------------------------------------------------------------------------------

    async def on_source_block(self, block: SourceBlock) -> None:
        """Passes a fetched block to the clean agent."""
        await self._deliver_source(block)

    async def on_join_records(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        """Passes fetched entries of a join partition to the join agent."""
        await self._deliver_join(partition, records)

    async def on_joins(self, joins: set[int], standbys: set[int], floors: dict[int, int]) -> None:
        """Starts and ends join partitions; see `JoinTasks.assign`."""
        await self.joins.assign(joins, standbys, floors)

    def positions(self) -> dict[int, int]:
        """Returns the position of each join partition's last commit."""
        return self.joins.positions()

    async def on_revoked(self, member: bool) -> None:
        """Sends and commits what is under way, or drops it if this worker is not a `member` of the group any more."""
        self.metrics.add("rebalances", ())
        if not member:
            log.warning("the group had gone on without this worker: its join partitions are recovered")
            self.joins.drop()
            return
        await self.sender.drain(5.0)
        await self.joins.commit()

    async def obey_skips(self) -> None:
        """Applies new entries of `samplejoin skip`."""
        if not self.started:
            return
        try:
            if await self.skips.has_grown(self.group.consumer):
                self.reading.skips = await self.skips.obey()
        except KafkaError as error:
            log.debug("looking for skips: %r", error)

    def _skipped(self, topic: str, partition: int, records: int) -> None:
        self.metrics.add("skipped_records", (topic,), records)

    def may_read(self, owned: OwnedSource) -> bool:
        """Returns whether a source may be read: not if the joins are behind, or it is too far ahead of others."""
        if not self._drain.may_read():
            return False
        return not self.progress.backlogged() and not self.progress.too_far_ahead(owned.writer.source, owned.read_time)

    # ---- called by the web port, the status line and timers -----------------------------------------------------

    @property
    def started(self) -> bool:
        """Returns whether the worker has joined its group."""
        return self.group.joined

    def problems(self) -> list[str]:
        """Returns why the worker is not ready; empty if it is."""
        if not self.started:
            return ["not in the group yet"]
        found = []
        if problem := self.brokers.problem():
            found.append(problem)
        if not self.group.assigned:
            return [*found, "no assignment yet, or a rebalance is under way"]
        missing = sorted(self.group.joins - set(self.joins.running))
        return found + [f"join partition {n} is recovering ({self.joins.phase(n)})" for n in missing]

    def record_fetches(self) -> None:
        """Tells the sources' writers which fetches are answered."""
        self.sources.record_fetches(self.group.consumer)

    def join_end(self, partition: int) -> int | None:
        """Returns the end offset of a join partition's log as of the last fetch, None if not known."""
        tp = self.group._ready_joins.get(partition)
        return self.group.end_of(tp) if tp is not None else None

    async def trim(self) -> None:
        """Deletes records of internal topics that neither a recovery nor a replay needs any more."""
        if self.started and self.brokers.away_since is None:
            await trim(self.config, self.joins)

    async def find_recreated_topics(self) -> None:
        """Raises WorkerError if a topic of the job was deleted and created again."""
        if self.started:
            await self._topics.find_recreated()

    async def find_deleted_topics(self) -> None:
        """Ends the worker if a topic of the job was deleted."""
        if self.started:
            await self._topics.find_deleted()

    async def publish_progress(self) -> None:
        """Reports this worker's progress to the other workers, and refreshes the gauges."""
        if not self.started:
            return
        self.brokers.update()
        self._topics.update_growth()
        if self.group.assigned:
            self._owners.update(self.sources.partitions)
        for name in OWNED:
            self.metrics.forget(name)
        self.clocks.update({number: join.partition.clock for number, join in self.joins.running.items()})
        snapshot = snapshot_of(self)
        set_gauges(self.metrics, snapshot)
        said = {
            source_id(source.topic, source.partition): (source.read_time_ms or 0, source.holds_nobody)
            for source in snapshot.sources
        }
        lags = {join.partition: join.lag for join in snapshot.joins if join.lag is not None}
        try:
            await self.progress.publish(said, lags)
        except KafkaError as error:
            log.debug("progress topic: %r", error)

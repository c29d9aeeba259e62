"""Everything a worker runs apart from its agents, started and stopped in order: topics, producers, group, joins."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError
from mode import Service

from samplejoin.core.identity import source_id
from samplejoin.engine import topics
from samplejoin.engine.assignor import JoinAssignor, MemberState
from samplejoin.engine.clients import close_producer, producer, until_there
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.failpoints import reached
from samplejoin.engine.fetched_records import Reading
from samplejoin.engine.foreign_records import RefusedRecords
from samplejoin.engine.group import Group
from samplejoin.engine.hot_keys import HotKeys
from samplejoin.engine.offsets import commit_start, refuse_other_state
from samplejoin.engine.progress import ProgressBoard
from samplejoin.engine.scheduler import Turns
from samplejoin.engine.sender import Sender
from samplejoin.engine.skip_topic import SkipList
from samplejoin.engine.sources import OwnedSource, Sources
from samplejoin.engine.state_dir import StateDir
from samplejoin.stores.rocks import RocksStore, shared_cache
from samplejoin.tables.partial_samples import PartialSamples
from samplejoin.tables.standby import Standby
from samplejoin.worker.clock_report import Clocks
from samplejoin.worker.drain import Drain
from samplejoin.worker.join_tasks import JoinTasks
from samplejoin.worker.metrics import Metrics
from samplejoin.worker.retention import trim

log = logging.getLogger(__name__)

#: gauges of partitions that this worker owns: replaced every second, so that none outlives its partition
OWNED = (
    "state_keys", "remembered_keys", "clock_ms", "watermark_delay", "held_by", "source_lag", "join_lag", "last_event",
    "left_out", "last_commit_seconds",
)  # fmt: skip
AWAY_AFTER_S = 5.0
#: what a stop gives to the last sends and the last commits together, and to the commits at least; leaving the group and
#: closing come after them, and all must fit in `forced_exit.STOP_S`
LAST_COMMIT_S, LEAST_COMMIT_S = 2.5, 1.0
#: exponential backoff between requests to rejoin: doubled so many times at most
MOST_ASKED = 6


class Runtime(Service):
    """The engine of one worker. `deliver_*` hand fetched blocks to the agents; `fatal` ends the worker.

    With `drained` it ends its generation at a cut, and then calls it.
    """

    def __init__(
        self,
        config: EngineConfig,
        metrics: Metrics,
        *,
        deliver_source: Callable[[Any], Awaitable[None]],
        deliver_join: Callable[[int, list[Any]], Awaitable[None]],
        fatal: Callable[[BaseException], None],
        worker: str,
        drained: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.config, self.metrics, self.fatal = config, metrics, fatal
        self.sources = Sources(config)
        self._cache = shared_cache(config.memory.block_cache, config.memory.write_buffers)
        self.emitter = Emitter(config, metrics, {})
        self.turns = Turns()
        self.joins = JoinTasks(config, self.emitter, metrics, self._table, self._standby, fatal, self.turns)
        self.repartition = LateProducer()
        self.sender = Sender(
            self.repartition, config.topics.repartition, fatal, config.memory.unacked, config.record_format
        )
        self.dead_letters = LateProducer()
        self.progress = ProgressBoard(config, worker, self.dead_letters, metrics, fatal)
        refused = RefusedRecords(metrics, "Nothing is passed over because of it")
        self.skips = SkipList(config, refused.add)
        self.reading = Reading(config.max_record_bytes, skipped=self._skipped, fetched_bytes=config.memory.fetched)
        self.group = self._make_group(deliver_source, deliver_join)
        self._drained = drained
        self._drain = Drain(config, self.group, self.sources, self.sender, self.joins)
        self.hot_keys = HotKeys()
        self.clocks = Clocks(config.spec, metrics)
        self._worker = worker
        self.state_dir = StateDir(config.state_dir / config.topics.prefix)
        self._away_since: float | None = None
        self._given_up = False
        self._gone: set[str] = set()
        #: since when a source partition has been waited for, and how often the group has been asked about it
        self._unheard: dict[str, float] = {}
        self._asked = 0
        super().__init__(**kwargs)

    def _make_group(
        self,
        deliver_source: Callable[[Any], Awaitable[None]],
        deliver_join: Callable[[int, list[Any]], Awaitable[None]],
    ) -> Group:
        """The membership of the consumer group; it and the join partitions know each other."""
        config, joins = self.config, self.joins
        group = Group(
            config,
            self.sources,
            deliver_source=deliver_source,
            deliver_join=deliver_join,
            may_read=self._may_read,
            on_revoked=self._revoked,
            on_joins=joins.assign,
            positions=joins.positions,
            assignor=JoinAssignor(self._word, config.topics.repartition, config.standby_replicas),
            reading=self.reading,
            fatal=self.fatal,
        )
        joins.on_ready, joins.on_lost, joins.is_member = group.join_ready, group.join_lost, group.is_member
        return group

    def _table(self, partition: int) -> PartialSamples:
        path = self.state_dir.path / str(partition)
        return PartialSamples(self.config, partition, RocksStore(path, self._cache))

    def _standby(self, partition: int) -> Standby:
        path = self.state_dir.path / str(partition)
        return Standby(self.config, partition, lambda: RocksStore(path, self._cache), self.fatal)

    def _word(self) -> MemberState:
        """What this worker tells the leader of its group: what it had, and what state it has on its disk."""
        stocked = dict.fromkeys(self.state_dir.stocked(), 0)
        return MemberState(
            self._worker, self.config.fingerprint, generation=self.group.generation,
            had=self.group.assignor.last.tps, state=stocked | self.joins.state(),
        )  # fmt: skip

    # ---- life ---------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        self.add_future(self._run())

    async def _run(self) -> None:
        """Starts everything in order; what it raises ends the worker with a clear word."""
        try:
            config = self.config
            self.state_dir.lock()
            self.sources.partitions = await until_there("preparing topics", config, lambda: topics.prepare(config))
            self.emitter.partitions = await until_there(
                "preparing topics", config, lambda: topics.output_partitions(config)
            )
            await until_there("looking at the state", config, lambda: refuse_other_state(config))
            self.repartition.become(producer(config))
            self.dead_letters.become(producer(config))
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
        """From a failure on, nothing more is committed by any path: the next owner does it again."""
        self._given_up = True
        self.joins.give_up()
        self.group.give_up()

    async def on_stop(self) -> None:
        """Graceful end within 8 s, also of brokers that are silent: what is under way is acknowledged and committed.

        A step that fails ends the committing; the steps after it only close what is open.
        """
        began = time.monotonic()
        self._commit_until_s = began + LAST_COMMIT_S
        did: list[str] = []
        self.group.end_reading()
        for step in (self._send_rest, self._end_joins, self._leave, self._close):
            try:
                did += filter(None, [await step(self._away_since is None and not self._given_up)])
            except Exception as error:
                self.fatal(error)
        if self._given_up and not self.started:
            did = ["it failed while it started, and has joined nothing"]
        elif self._given_up:
            did = ["nothing was committed after the failure; the next owner does it again"]
        elif self._away_since is not None:
            did.append("the brokers do not answer; the next owner does again what is not committed")
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
            self.group.stop(), self.progress.stop(), self.repartition.close(), self.dead_letters.close(),
            return_exceptions=True,
        )  # fmt: skip
        self.state_dir.unlock()

    async def _revoked(self, member: bool) -> None:
        self.metrics.add("rebalances", ())
        if not member:
            log.warning("the group had gone on without this worker: its join partitions are recovered")
            self.joins.drop()
            return
        await self.sender.drain(5.0)
        await self.joins.commit()

    async def look_for_skips(self) -> None:
        """Obeys what `samplejoin skip` has been told."""
        if not self.started:
            return
        try:
            if await self.skips.has_grown(self.group.consumer):
                self.reading.skips = await self.skips.obey()
        except KafkaError as error:
            log.debug("looking for skips: %r", error)

    def _skipped(self, topic: str, partition: int, records: int) -> None:
        self.metrics.add("skipped_records", (topic,), records)

    def _may_read(self, owned: OwnedSource) -> bool:
        if not self._drain.may_read():
            return False
        return not self.progress.backlogged() and not self.progress.too_far_ahead(owned.writer.source, owned.read_time)

    # ---- what the web port and the status line ask --------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether the worker is in its group."""
        return self.group.joined

    def problems(self) -> list[str]:
        """Why the worker is not ready; empty if it is."""
        if not self.started:
            return ["not in the group yet"]
        found = []
        if self._away_since is not None:
            found.append(f"no answer from the brokers for {time.monotonic() - self._away_since:.0f} s")
        elif deafness := self.progress.deafness():
            found.append(deafness)
        if not self.group.assigned:
            return [*found, "no assignment yet, or a rebalance is under way"]
        missing = sorted(self.group.joins - set(self.joins.running))
        return found + [f"join partition {n} is recovering ({self.joins.phase(n)})" for n in missing]

    def _look_for_brokers(self) -> None:
        """Says it once when they go, and once when they come back."""
        silent_s, brokers = self.progress.silent_s(), self.config.connection.get("bootstrap_servers")
        if silent_s > AWAY_AFTER_S and self._away_since is None:
            self._away_since = time.monotonic() - silent_s
            log.warning(
                "no answer from the brokers %s for %.0f s: waiting for them; nothing is lost", brokers, silent_s
            )
        elif silent_s <= AWAY_AFTER_S and self._away_since is not None:
            log.warning("the brokers %s answer again after %.0f s", brokers, time.monotonic() - self._away_since)
            self._away_since = None

    def _look_at_topics(self) -> None:
        """Input topics may grow while the job runs: their new partitions hold the clock until their first tick."""
        for topic, known in self.sources.partitions.items():
            now = len(self.group.consumer.partitions_for_topic(topic) or ())
            if now > known:
                log.info("topic %s has grown from %d to %d partitions", topic, known, now)
                self.sources.partitions[topic] = now

    def _look_for_owners(self) -> None:
        """Has the group deal again if nobody has spoken of a partition for longer than an owner can be away unnoticed.

        Only a leader that was elected watches topics for growth; a static member that restarts as one is not elected
        again.
        """
        if not self.progress.is_listening():
            self._unheard.clear()
            return
        now, patience_s = time.monotonic(), self.config.session_timeout_ms / 1000 * 2**self._asked
        sources = (source_id(topic, p) for topic, count in self.sources.partitions.items() for p in range(count))
        unheard = [source for source in sources if source not in self.progress.sources]
        if not unheard:
            self._asked = 0
        for source in unheard:
            if now - self._unheard.setdefault(source, now) > patience_s:
                log.info("no worker reads %s: asking the group to deal again", source)
                self._unheard.clear()
                self._asked = min(self._asked + 1, MOST_ASKED)
                self.group.rejoin()
                return

    def look_at_fetches(self) -> None:
        """Tells the writers which fetches have been answered by now."""
        self.sources.saw_fetches(self.group.consumer)

    def join_end(self, partition: int) -> int | None:
        """End of a join partition's log as last fetched."""
        tp = self.group._ready_joins.get(partition)
        return self.group.end_of(tp) if tp is not None else None

    async def trim(self) -> None:
        """Deletes what no recovery and no replay needs any more from our own topics."""
        if self.started and self._away_since is None:
            await trim(self.config, self.joins)

    async def look_for_topics(self) -> None:
        """Ends the worker if a topic of the job is gone, twice in a row: brokers that have just come know few."""
        if not self.started:
            return
        try:
            gone = await topics.gone(self.config, self.group.consumer)
        except KafkaError as error:
            log.debug("looking for topics: %r", error)
            return
        if missed := sorted(set(gone) & self._gone):
            self.fatal(WorkerError(
                f"topics {', '.join(missed)} were deleted while the job ran. Restore them; else, for an internal or "
                "output topic, start over by `samplejoin reset`, and take an input topic out of the job file"
            ))  # fmt: skip
        self._gone = set(gone)

    async def say(self) -> None:
        """Tells the other workers how far this one is; refreshes gauges."""
        if not self.started:
            return
        self._look_for_brokers()
        self._look_at_topics()
        if self.group.assigned:
            self._look_for_owners()
        for name in OWNED:
            self.metrics.forget(name)
        said: dict[str, tuple[int, bool]] = {}
        for tp, owned in self.sources.owned.items():
            high = self.group.end_of(tp)
            at_end = high is not None and owned.delivered + 1 >= high
            said[owned.writer.source] = (owned.read_time or 0, at_end or owned.read_time is None)
            labels = (tp.topic, str(tp.partition))
            self.metrics.set("source_lag", labels, max(0, (high or 0) - owned.delivered - 1))
            self.metrics.set("last_event", labels, (owned.read_time or 0) / 1000)
        lags = self.joins.lags(self.join_end)
        for number, join in self.joins.running.items():
            label = (str(number),)
            self.metrics.set("state_keys", label, len(join.table))
            self.metrics.set("remembered_keys", label, len(join.partition.remembered))
            self.metrics.set("join_lag", label, lags.get(number, 0))
            self.metrics.set("left_out", label, len(join.partition.clock.left_out))
            if join.committed_at is not None:
                self.metrics.set("last_commit_seconds", label, join.committed_at)
        self.clocks.look({number: join.partition.clock for number, join in self.joins.running.items()})
        try:
            await self.progress.publish(said, lags)
        except KafkaError as error:
            log.debug("progress topic: %r", error)


class LateProducer:
    """A producer that is made once the broker answers; what is built on it before can already hold it."""

    def __init__(self) -> None:
        self._producer: Any = None

    def become(self, real: Any) -> None:
        """The producer that this one is from now on."""
        self._producer = real

    async def start(self) -> None:
        await self._producer.start()

    async def close(self) -> None:
        """Stops it, for one and a half seconds at most."""
        if self._producer is not None and not await close_producer(self._producer, 0.5):
            log.warning("a producer did not stop in time; what it had not sent will be sent by the next owner")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

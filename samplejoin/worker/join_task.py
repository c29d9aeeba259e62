"""Runs the join of one partition in a worker: steps the entries of its log, commits, and recovers.

Steps are synchronous and sliced by time. At most one commit is under way, and the join goes on meanwhile. A step or
a commit that fails leaves a state that cannot be used any more: `running` becomes false, so nothing more is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.outcomes import Outcomes, Sample
from samplejoin.core.partition import Partition
from samplejoin.core.user_errors import said
from samplejoin.engine.changelog import parts_of
from samplejoin.engine.clients import BATCH_BYTES
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.failpoints import reached
from samplejoin.engine.foreign_records import RefusedRecords
from samplejoin.engine.rewinds import Rewinds
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.transaction import CommitFailed, Outbox, Transactions
from samplejoin.engine.wire import GarbageError, unpack_sized
from samplejoin.tables.partial_samples import PartialSamples

log = logging.getLogger(__name__)

SLICE_S = 0.012
SWEEP_BYTES = 4 << 20
#: keys in the first slice of a sweep, and at most in a later one: the first shows how large their samples are
FIRST_SWEEP_KEYS, SWEEP_KEYS = 16, 256
#: limit of the assumed ratio of changed state to stepped rows, in bytes
MOST_GROWTH = 1000.0
#: changed keys that make a commit due: collecting, packing and writing them each take about 50 ms
COMMIT_KEYS = 20_000
IDLE_COMMIT_S = 10.0


class JoinTask:
    """One join partition that this worker owns."""

    def __init__(
        self,
        config: EngineConfig,
        number: int,
        table: PartialSamples,
        transactions: Transactions,
        emitter: Emitter,
        scheduler: FairScheduler,
        on_lost: Callable[[int], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self.config, self.number, self.table, self.emitter, self.scheduler = config, number, table, emitter, scheduler
        self.transactions = transactions
        self.on_lost, self.fatal = on_lost, fatal
        self.partition = Partition(config.spec, table)
        self.rewinds = Rewinds(config.max_in_flight, emitter.meters)
        self.refused = RefusedRecords(
            emitter.meters,
            "No row is lost: if one of the job's own records was overwritten, the clock of this join partition stands "
            "and samplejoin_gap_refused_total rises; then start over: samplejoin reset",
        )
        self.position = 0
        #: the phase of the recovery, in words
        self.phase = "waiting until its last owner is fenced"
        self.running = False
        self._outbox: Outbox | None = None
        self._dirty = False
        #: bytes of rows stepped since the last commit, and the last commit's ratio of changed state to stepped rows
        self._grown, self._growth = 0, 1.0
        #: bytes of states read back from the store up to the last commit
        self._loaded = 0
        #: set when there is more to commit than a position
        self._changes = asyncio.Event()
        #: set when the next commit must come soon: windows were closed since the last one, or it holds much already
        self._hurry = asyncio.Event()
        self._last_commit = time.monotonic()
        #: time of the last commit by this machine's clock, for display
        self.committed_at: float | None = None
        self._committing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._applied = asyncio.Lock()

    # ---- life ---------------------------------------------------------------------------------------------------

    async def start(self, floor: int) -> int:
        """Fences earlier owners, recovers, finishes the sweep, and returns the position to read from.

        Raises WorkerError if the recovered position is below `floor`, a position that the join has committed before.
        """
        await self.transactions.start()
        reached("recovery-fenced")
        started = time.monotonic()
        self.phase = "reading the changelog"
        await self.table.recover()
        self._refuse_lost_state(floor)
        self._outbox = Outbox(self.transactions.kafka)
        self.phase = "entering the deadlines of its open keys"
        for _ in self.table.fill(self.partition):
            await self.scheduler.next_turn()
        self.position = self.table.position
        self.phase = "closing windows that have ended"
        self.running = True
        async with self._applied:
            await self._sweep(Outcomes(emit=self._sample))
        reached("recovery-swept")
        self._tasks = [
            asyncio.create_task(self._commit_regularly(), name=f"commit-{self.number}"),
            asyncio.create_task(self._warm(), name=f"warm-{self.number}"),
        ]
        log.info(
            "join partition %d recovered in %.2f s: position %d, %d rows replayed",
            self.number,
            time.monotonic() - started,
            self.position,
            self.table.replica.replayed,
        )
        return self.position

    def _refuse_lost_state(self, floor: int) -> None:
        if self.table.position < floor:
            changelog = self.config.topics.changelog
            if not self.config.exactly_once:  # the replay leaves a paused owner's commits out
                log.warning(
                    "join partition %d goes back to position %d of its log from position %d: samples since then are "
                    "sent again, with the same ids",
                    self.number,
                    self.table.position,
                    floor,
                )
                return
            raise WorkerError(
                f"topic {changelog} partition {self.number} holds the state up to position {self.table.position} of "
                f"the repartition log, but the join has committed {floor}: the topic was deleted, recreated, or has "
                "lost its end. Going on would send samples again. If it was deleted on purpose, or cannot be restored, "
                "start over: samplejoin reset"
            )

    async def _warm(self) -> None:
        try:
            await self.table.warm()
        except Exception as error:
            self.fatal(error)

    def give_up(self) -> None:
        """Prevents every later commit of this partition, because its state cannot be trusted any more."""
        self.running = False

    async def stop(self, commit_s: float | None) -> None:
        """Ends the partition on this worker, after a last commit within `commit_s` seconds unless None or failed."""
        if commit_s is not None and self.running:
            await self._commit_last(commit_s)
        self.running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.transactions.close()
        finally:
            self.table.store.close()

    async def _commit_last(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                async with self._applied:
                    reached("join-ending")
                    await self.commit()
                    reached("join-ended")
        except Exception as error:  # the next owner repeats what is not committed
            why = "no answer in time" if isinstance(error, TimeoutError) else said(error)
            log.warning("join partition %d stopped without a last commit: %s", self.number, why)

    # ---- stepping -----------------------------------------------------------------------------------------------

    async def apply(self, records: Sequence[KafkaRecord]) -> None:
        """Steps the entries of the log. Records below the position were applied before, and are skipped.

        A record above the position was fetched before a recovery rewound the partition. It is ignored, because it will
        be fetched again: the log has no gaps. An error ends the partition on this worker.
        """
        async with self._applied:
            try:
                await self._step(records)
            except Exception:  # an entry may be partly merged
                self.give_up()
                raise

    async def _step(self, records: Sequence[KafkaRecord]) -> None:
        await self._next_turn()
        until = time.monotonic() + SLICE_S
        for record in records:
            if not self.running:
                return
            if record.offset < self.position:
                continue
            if record.offset > self.position:
                return
            try:
                entry, size = unpack_sized(record.value)
            except GarbageError as error:  # it covers no offsets: if it replaced rows, later blocks show the gap
                self.refused.add(self.config.topics.repartition, self.number, record.offset, error)
                self.position, self._dirty = record.offset + 1, True
                continue
            self.rewinds.count(entry, self.partition.covered)
            out = Outcomes(emit=self._sample)
            self.partition.apply(entry, record.offset, record.timestamp, out)
            self.position = record.offset + 1
            self._dirty = True
            await self._sweep(out)
            if self.partition.changed or (self._outbox and self._outbox.records):
                self._changes.set()
            self._grown += size
            if self._is_heavy():
                await self.commit()
            elif len(self.partition.changed) > COMMIT_KEYS or self._is_heavy(0.5):
                self._hurry.set()
            if time.monotonic() >= until:
                await self._next_turn()
                until = time.monotonic() + SLICE_S

    def _moved(self) -> int:
        """Returns the bytes of states read and of samples made so far. Their growth tells how heavy a slice is."""
        read = int(self.table.loaded + self.table.peeked)
        return read + (self._outbox.full * BATCH_BYTES if self._outbox is not None else 0)

    def _is_heavy(self, part: float = 1.0) -> bool:
        """Returns whether what is to be committed fills more than `part` of its share of memory."""
        emitted = self._outbox.full * BATCH_BYTES if self._outbox is not None else 0
        changed: float = max(self._grown * self._growth, self.table.loaded - self._loaded)
        return changed + emitted > self.config.memory.uncommitted * part

    async def _next_turn(self) -> None:
        await self.scheduler.next_turn()
        if self._outbox is not None:
            self._outbox.refresh_timestamp()

    async def _sweep(self, out: Outcomes) -> None:
        """Closes the windows that the clock has passed, in slices of keys; then commits if samples were corrected."""
        partition = self.partition
        closed, keys = partition.due(), FIRST_SWEEP_KEYS
        while True:
            before = self._moved()
            more = partition.due() and partition.sweep(out, keys)
            revised = out.revised
            self._emit(out)
            if not more:
                break
            out = Outcomes(emit=self._sample, revised=revised)
            if len(partition.changed) > COMMIT_KEYS or self._is_heavy():  # a jump of the clock closes many windows
                await self.commit()
            elif self._moved() - before > SWEEP_BYTES:  # large keys or samples: take fewer at a time
                keys = max(1, keys // 4)
            else:
                keys = min(2 * keys, SWEEP_KEYS)
            await self._next_turn()
            if not self.running:
                return
        if revised:
            await self.commit()
        elif closed:
            self._hurry.set()

    def _sample(self, sample: Sample) -> None:
        assert self._outbox is not None
        self.emitter.sample(sample, self._outbox)

    def _emit(self, out: Outcomes) -> None:
        if out.counts or out:
            assert self._outbox is not None
            self.emitter.emit(out, self._outbox)

    # ---- committing ---------------------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        interval_s = self.config.commit_interval_ms / 1000
        await asyncio.sleep(interval_s * (self.number % 8) / 8)  # a worker's partitions commit in turn
        while self.running:
            await self._until_due(interval_s)
            idle = not self._changes.is_set() and time.monotonic() - self._last_commit < IDLE_COMMIT_S
            if not self._dirty or idle:
                continue
            try:
                await self.commit()
            except CommitFailed as error:
                log.warning("%s; the partition will be recovered", error)
                self.on_lost(self.number)
                return
            except Exception as error:  # for example, the state cannot be written
                self.fatal(error)
                return

    async def _until_due(self, interval_s: float) -> None:
        """Waits until a commit is due: one interval after the first change, or earlier (half an interval) in a hurry.

        Waiting for the first change spares an idle worker a wake-up per interval.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_COMMIT_S):
                await self._changes.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await self._hurry.wait()
                await asyncio.sleep(self._last_commit + interval_s / 2 - time.monotonic())
        self._hurry.clear()

    async def commit(self) -> None:
        """Commits everything stepped so far. Raises CommitFailed, after which the partition must be recovered."""
        async with self._committing:
            await self.scheduler.next_turn()
            if not self.running:
                raise CommitFailed(f"join partition {self.number} is not running")
            try:
                await self._commit()
            except BaseException:  # also if cancelled: the outcome is unknown, so this state cannot be used any more
                self.give_up()
                raise

    async def _commit(self) -> None:
        partition, outbox = self.partition, self._outbox
        assert outbox is not None
        commit = self.table.commit_of(partition, self.position)
        self._outbox = Outbox(self.transactions.kafka)
        self._dirty = False
        self._changes.clear()
        if self._grown:  # a small row can change a large state
            self._growth = min(MOST_GROWTH, max(1.0, commit.put_bytes / self._grown))
        self._grown, self._loaded = 0, self.table.loaded
        reached("commit-begin")
        await self.scheduler.next_turn()  # collecting, packing and writing each take about 50 ms at most
        parts = list(parts_of(commit, self.config.record_format.writes))
        known = self.table.replica.next_offset
        commit.first_offset, commit.next_offset = await self.transactions.commit(outbox, parts, known)
        await self.scheduler.next_turn()
        if not self.running:
            raise CommitFailed(f"join partition {self.number} was given up during its commit")
        reached("commit-done")
        self.table.write(commit)
        reached("commit-stored")
        self._last_commit, self.committed_at = time.monotonic(), time.time()
        self.emitter.committed(self.number, outbox, commit)

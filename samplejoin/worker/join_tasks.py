"""Manages all join partitions of a worker: starts them at an assignment, recovers them after a failed commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.user_errors import brief
from samplejoin.engine.clients import until_there, was_cancelled
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.meters import Meters
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.transaction import CommitFailed, Transactions
from samplejoin.tables.partial_samples import PartialSamples
from samplejoin.tables.standby import Standby
from samplejoin.worker.join_task import JoinTask

log = logging.getLogger(__name__)


class LogReader(Protocol):
    """The reader of the join partitions' logs: the worker's `engine.group.Group`."""

    def join_ready(self, partition: int, position: int) -> None:
        """Starts reading the log of a recovered partition at `position`."""

    def join_lost(self, partition: int) -> None:
        """Stops reading the log of a partition until it is recovered again."""

    async def is_member(self) -> bool:
        """Returns whether this worker is still a member of its group."""


class JoinTasks:
    """Owns the worker's `JoinTask`s and standbys. `make_table` and `make_standby` take a partition's number."""

    def __init__(
        self,
        config: EngineConfig,
        reader: LogReader,
        emitter: Emitter,
        meters: Meters,
        make_table: Callable[[int], PartialSamples],
        make_standby: Callable[[int], Standby],
        fatal: Callable[[BaseException], None],
        scheduler: FairScheduler,
    ) -> None:
        self.config, self.reader, self.emitter, self.meters, self.scheduler = config, reader, emitter, meters, scheduler
        self.make_table, self.make_standby, self.fatal = make_table, make_standby, fatal
        self.running: dict[int, JoinTask] = {}
        #: position of each partition's last commit, set when the worker stops
        self._ended_at: dict[int, int] = {}
        self._starts: dict[int, JoinTask] = {}
        self.standbys: dict[int, Standby] = {}
        self.wanted: set[int] = set()
        self._stand_by_for: set[int] = set()
        #: partition -> a position that the join has certainly reached, according to the group's offsets
        self._floors: dict[int, int] = {}
        self._recovering: set[asyncio.Task[None]] = set()
        #: one start of a partition at a time, and only after its last task or standby here has closed its store
        self._starting: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ending: dict[int, asyncio.Task[None]] = {}
        #: all tasks that are not closed yet, whether they start, run or end
        self._open: set[JoinTask] = set()

    async def assign(self, partitions: set[int], standbys: set[int], floors: dict[int, int]) -> None:
        """Makes the worker own exactly these partitions: kept ones go on where they are, new ones are recovered.

        `floors`: partition -> the position below which its recovery may not end.
        """
        self.wanted, self._stand_by_for, self._floors = partitions, standbys, floors
        self.config.memory.partitions = len(partitions)
        for number in [n for n in self.running if n not in partitions]:
            self._end(self.running.pop(number))
        for number in [n for n in self.standbys if n not in standbys]:
            self._end_standby(number)
        for number in partitions & set(self.running):
            self.reader.join_ready(number, self.running[number].position)
        await asyncio.gather(
            *(self._start(number) for number in sorted(partitions - set(self.running))),
            *(self._start_standby(number) for number in sorted(standbys - set(self.standbys))),
        )

    async def commit(self, recover: bool = False) -> None:
        """Commits what every partition has stepped, before partitions may move.

        A partition whose commit fails or times out is given up. The next assignment recovers it, or `recover` does.
        """
        joins = list(self.running.values())
        outcomes = await asyncio.gather(*(self._bounded_commit(join) for join in joins))
        for join, error in zip(joins, outcomes, strict=True):
            if error is not None:
                log.info("join partition %d not committed before the rebalance: %s", join.number, brief(error))
            if not join.running and self.running.get(join.number) is join:
                if recover:
                    self._lost(join.number)
                else:
                    self._end(self.running.pop(join.number))

    def drop(self) -> None:
        """Ends all partitions without a commit, because other workers may have owned them since."""
        for number in list(self.running):
            self._end(self.running.pop(number))

    def give_up(self) -> None:
        """Prevents every later commit, including those of partitions that are just ending."""
        for join in self._open:
            join.give_up()

    async def stop(self, commit_s: float | None) -> str:
        """Ends all partitions, each after a last commit within `commit_s` seconds unless that is None.

        Returns in words how many partitions have committed everything.
        """
        for task in self._recovering:
            task.cancel()
        self.wanted, self._stand_by_for = set(), set()
        for number in list(self.standbys):
            self._end_standby(number)
        joins = dict(self.running)
        self.running.clear()
        for join in joins.values():
            self._end(join, commit_s)
        await asyncio.gather(*self._recovering, *self._ending.values(), return_exceptions=True)
        self._ended_at = {number: join.table.committed_position for number, join in joins.items()}
        whole = sum(self._ended_at[number] == join.position for number, join in joins.items())
        return f"{whole} of {len(joins)} join partitions committed"

    async def apply(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        """Steps records of a join partition, if this worker still owns it."""
        join = self.running.get(partition)
        if join is not None:
            try:
                await join.apply(records)
            except CommitFailed as error:
                log.warning("%s; the partition will be recovered", error)
                self._lost(partition)

    async def _bounded_commit(self, join: JoinTask) -> Exception | None:
        try:
            async with asyncio.timeout(8):
                await join.commit()
        except (CommitFailed, TimeoutError) as error:
            return error
        return None

    def _end(self, join: JoinTask, commit_s: float | None = None) -> None:
        """Ends a partition in a separate task, which no rebalance cancels."""

        async def end() -> None:
            try:
                await join.stop(commit_s)
            except Exception as error:  # the changelog has the state: a full disk, for example, must not block the stop
                log.warning("ending join partition %d: %s", join.number, error)
            finally:
                self._open.discard(join)

        self._ending[join.number] = asyncio.create_task(end(), name=f"end-{join.number}")

    def _end_standby(self, number: int) -> None:
        standby = self.standbys.pop(number)

        async def end() -> None:
            try:
                await standby.stop()
            except Exception as error:
                log.warning("ending the standby of join partition %d: %s", number, error)

        self._ending[number] = asyncio.create_task(end(), name=f"end-standby-{number}")

    async def _ended(self, number: int) -> None:
        """Waits until the partition's last task or standby on this worker has closed its store, or failed to."""
        if number in self._ending:
            await asyncio.wait([self._ending[number]])

    async def _start_standby(self, number: int) -> None:
        async with self._starting[number]:
            await self._ended(number)
            if number in self._stand_by_for and number not in self.standbys and number not in self.running:
                self.standbys[number] = standby = self.make_standby(number)
                standby.start()

    async def _start(self, number: int) -> None:
        """Recovers a partition from its store and the changelog alone."""
        started = time.monotonic()

        async def attempt() -> JoinTask:
            await self._ended(number)
            table, transactions = self.make_table(number), Transactions(self.config, number)
            join = JoinTask(
                self.config, number, table, transactions, self.emitter, self.scheduler, self._lost, self.fatal
            )
            self._starts[number] = join
            self._open.add(join)
            try:
                await join.start(self._floors.get(number, 0))
            except asyncio.CancelledError:
                self._end(join)
                if was_cancelled():
                    raise
                raise CommitFailed(f"the Kafka client cancelled the recovery of join partition {number}") from None
            except BaseException:
                self._end(join)
                raise
            finally:
                del self._starts[number]
            return join

        async with self._starting[number]:
            if number not in self.wanted or number in self.running:
                return
            try:
                join = await until_there(f"recovering join partition {number}", self.config, attempt)
            except CommitFailed as error:
                log.warning("%s; the partition will be recovered", error)
                self._recover_later(number)
                return
            if number not in self.wanted:
                self._end(join)
                return
            self.running[number] = join
            self.meters.observe("recovery_seconds", (), time.monotonic() - started)
            self.reader.join_ready(number, join.position)

    def _lost(self, number: int) -> None:
        """Drops the state after a commit of unknown outcome, and recovers it while this worker is in the group."""
        join = self.running.pop(number, None)
        self.reader.join_lost(number)
        if join is not None:
            self._end(join)
            self._recover_later(number)

    def _recover_later(self, number: int) -> None:
        task = asyncio.create_task(self._recover_again(number), name=f"recover-{number}")
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def _recover_again(self, number: int) -> None:
        try:
            while not await until_there("asking for membership", self.config, self.reader.is_member):
                if number not in self.wanted:
                    return
                await asyncio.sleep(0.5)
            await self._start(number)
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            await asyncio.sleep(0.5)
            self._recover_later(number)
        except Exception as error:
            self.fatal(error)

    def phase(self, number: int) -> str:
        """Returns the phase of a partition's recovery, in words."""
        join = self._starts.get(number)
        return join.phase if join is not None else "waiting for its start"

    def positions(self) -> dict[int, int]:
        """Returns the position of each partition's last commit."""
        return self._ended_at | {number: join.table.committed_position for number, join in self.running.items()}

    def state(self) -> dict[int, int]:
        """Returns, by partition, the next changelog offset of the state that this worker keeps."""
        kept = {number: standby.next_offset for number, standby in self.standbys.items()}
        return kept | {number: join.table.replica.next_offset for number, join in self.running.items()}

    def lags(self, ends: Callable[[int], int | None]) -> dict[int, int]:
        """Returns the number of records between each partition's position and the end of its log."""
        lags = {}
        for number, join in self.running.items():
            end = ends(number)
            if end is not None:
                lags[number] = max(0, end - join.position)
        return lags

"""All join partitions of a worker: started at an assignment, recovered again after a commit that failed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from samplejoin.engine.config import EngineConfig
from samplejoin.engine.emit import Emitter
from samplejoin.engine.join import JoinPartition
from samplejoin.engine.kafka import until_there
from samplejoin.engine.meters import Meters
from samplejoin.engine.transaction import CommitFailed

log = logging.getLogger(__name__)


class Joins:
    """Owns the worker's `JoinPartition`s. `make_table` opens the table of a partition."""

    def __init__(
        self,
        config: EngineConfig,
        emitter: Emitter,
        meters: Meters,
        make_table: Callable[[int], Any],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self.config, self.emitter, self.meters = config, emitter, meters
        self.make_table, self.fatal = make_table, fatal
        self.running: dict[int, JoinPartition] = {}
        self.wanted: set[int] = set()
        self.on_ready: Callable[[int, int], None] = lambda partition, position: None
        self.on_lost: Callable[[int], None] = lambda partition: None
        self.is_member: Callable[[], Awaitable[bool]]
        self._recovering: set[asyncio.Task[None]] = set()

    @property
    def recovered(self) -> bool:
        """Whether every assigned partition can be stepped."""
        return self.wanted == set(self.running)

    async def assign(self, partitions: set[int]) -> None:
        """Exactly these partitions from now on: those kept go on where they are, new ones are recovered."""
        self.wanted = partitions
        for number in [n for n in self.running if n not in partitions]:
            await self.running.pop(number).stop(commit=False)
        for number in partitions & set(self.running):
            self.on_ready(number, self.running[number].position)
        await asyncio.gather(*(self._start(number) for number in sorted(partitions - set(self.running))))

    async def commit(self) -> None:
        """Commits what every partition has stepped, before partitions may move; a failure loses nothing."""
        outcomes = await asyncio.gather(*(self._bounded_commit(j) for j in self.running.values()))
        for error in outcomes:
            if error is not None:
                log.info("not committed before the rebalance: %s", error)

    async def stop(self) -> None:
        """Ends all partitions after a last commit."""
        for task in self._recovering:
            task.cancel()
        await asyncio.gather(*self._recovering, return_exceptions=True)
        await asyncio.gather(*(join.stop(commit=True) for join in self.running.values()))
        self.running.clear()

    async def apply(self, partition: int, records: list[Any]) -> None:
        """Steps records of a join partition, if it is still this worker's."""
        join = self.running.get(partition)
        if join is not None:
            try:
                await join.apply(records)
            except CommitFailed as error:
                log.warning("%s; the partition will be recovered", error)
                self._lost(partition)

    async def _bounded_commit(self, join: JoinPartition) -> Exception | None:
        try:
            async with asyncio.timeout(8):
                await join.commit()
        except (CommitFailed, TimeoutError) as error:
            return error
        return None

    async def _start(self, number: int) -> None:
        """Recovers a partition from nothing but its store and the changelog."""
        started = time.monotonic()

        async def attempt() -> JoinPartition:
            join = JoinPartition(self.config, number, self.make_table(number), self.emitter, self._lost)
            try:
                await join.start()
            except BaseException:
                await join.stop(commit=False)
                raise
            return join

        join = await until_there(f"recovering join partition {number}", self.config, attempt)
        if number not in self.wanted:
            await join.stop(commit=False)
            return
        self.running[number] = join
        self.meters.observe("recovery_seconds", (), time.monotonic() - started)
        self.on_ready(number, join.position)

    def _lost(self, number: int) -> None:
        """A commit's outcome is unknown: drop the state and recover, if the group still counts this worker in."""
        join = self.running.pop(number, None)
        self.on_lost(number)
        if join is not None:
            task = asyncio.create_task(self._recover_again(join), name=f"recover-{number}")
            self._recovering.add(task)
            task.add_done_callback(self._recovering.discard)

    async def _recover_again(self, join: JoinPartition) -> None:
        try:
            await join.stop(commit=False)
            while not await until_there("asking for membership", self.config, self.is_member):
                if join.number not in self.wanted:
                    return
                await asyncio.sleep(0.5)
            if join.number in self.wanted and join.number not in self.running:
                await self._start(join.number)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(error)

    def lags(self, ends: Callable[[int], int | None]) -> dict[int, int]:
        """Records between each partition's position and its log's end."""
        lags = {}
        for number, join in self.running.items():
            end = ends(number)
            if end is not None:
                lags[number] = max(0, end - join.position)
        return lags

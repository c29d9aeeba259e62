"""A standby: a copy of the state of a join partition that another worker owns, kept near the changelog's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka.errors import OffsetOutOfRangeError

from samplejoin.engine.clients import until_there, was_cancelled
from samplejoin.engine.config import EngineConfig
from samplejoin.stores import Store
from samplejoin.tables.durable_state import Replica

log = logging.getLogger(__name__)


class Standby:
    """Follows one partition's changelog from `start` to `stop`; `fatal` is called with an error that ends it."""

    def __init__(
        self,
        config: EngineConfig,
        partition: int,
        open_store: Callable[[], Store],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self.config, self.partition, self._open_store, self.fatal = config, partition, open_store, fatal
        self._store: Store | None = None
        self._replica: Replica | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def next_offset(self) -> int:
        """The changelog offset that the standby has reached."""
        return self._replica.next_offset if self._replica is not None else 0

    def start(self) -> None:
        """Opens the store and follows the changelog, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=f"standby-{self.partition}")

    async def stop(self) -> None:
        """Stops following and closes the store, so that its next user can open it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._replica = None
        if self._store is not None:
            self._store.close()

    async def _run(self) -> None:
        try:
            self._store = store = self._open_store()
            log.info("standing by for join partition %d", self.partition)

            while True:
                await until_there(
                    f"standing by for join partition {self.partition}", self.config, lambda: self._follow(store)
                )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(error)

    async def _follow(self, store: Store) -> None:
        """Follows the changelog until it must begin again."""
        self._replica = Replica(self.config, self.partition, store)
        try:
            await self._replica.follow()
        except OffsetOutOfRangeError:  # it was so far behind that the next records are trimmed
            log.info("standby of join partition %d starts again: the changelog was trimmed", self.partition)
        except asyncio.CancelledError:
            if was_cancelled():
                raise

"""The timer agent: once a second, a tick to every join partition: "my sources are read up to these event times"."""

from __future__ import annotations

from collections.abc import Callable

import faust

from samplejoin.core.messages import Tick
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.sender import Sender
from samplejoin.engine.sources import OwnedSource, Sources


class Ticking:
    """Sends ticks; to a join partition only when the one before it there is acknowledged (docs/architecture.md)."""

    def __init__(
        self, config: EngineConfig, sources: Sources, sender: Sender, look: Callable[[], None] = lambda: None
    ) -> None:
        self.config, self.sources, self.sender = config, sources, sender
        #: tells the writers of fetches answered by now, so that none of them counts as sent after an acknowledgement
        self.look = look
        self._on_its_way: set[int] = set()

    def tick(self) -> None:
        """One tick to each join partition that has answered the last one."""
        if not self.sources.ticking:
            return
        for partition in range(self.config.partitions):
            if partition in self._on_its_way:
                continue
            tick, owned = self.sources.tick(partition)
            if tick.entries:
                self._on_its_way.add(partition)
                self.sender.enqueue(partition, tick, self._acked(partition, tick, owned))

    def _acked(self, partition: int, tick: Tick, owned: list[OwnedSource]) -> Callable[[int], None]:
        def acked(log_offset: int) -> None:
            self._on_its_way.discard(partition)
            self.look()
            for source in owned:
                source.writer.tick_acked(partition, log_offset)

        return acked


def timer_agent(app: faust.App, ticking: Ticking, interval_s: float) -> None:
    """Registers the timer."""

    @app.timer(interval=interval_s, name="timer")  # type: ignore[untyped-decorator]  # Faust
    async def timer() -> None:
        ticking.tick()

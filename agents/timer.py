"""The timer agent: sends every join partition a tick once a second, with how far this worker's sources are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import faust

from samplejoin.core.messages import Tick
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.sender import Sender
from samplejoin.engine.sources import OwnedSource, Sources

#: polling interval for due ticks: while records flow, and while idle
LOOK_S, STILL_LOOK_S = 0.1, 0.25
#: minimum gap between a tick's acknowledgement and the next tick: the fetches made in this gap prove that a source was
#: read to its end, and include what its producer sends meanwhile
APART_S = 0.6
#: while slices keep arriving, wait up to this many tick intervals for the next one: a tick sent just before it would
#: delay the tick that the slice triggers
PATIENCE = 1.25


class Ticking:
    """Sends ticks every `tick_interval_ms`, and when all sources of this worker have reached a new slice.

    Windows end with slices, so a tick can close some at a new slice; otherwise they would wait for the next tick. A
    join partition is sent a tick only after the one before is acknowledged (docs/architecture.md).
    """

    def __init__(
        self,
        config: EngineConfig,
        sources: Sources,
        sender: Sender,
        record_fetches: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.sources, self.sender = config, sources, sender
        #: tells the writers which fetches are answered, so that none of them counts as sent after an acknowledgement
        self.record_fetches = record_fetches
        self._monotonic = monotonic
        self._on_its_way: set[int] = set()
        #: join partition -> when its last tick was sent, the slice that the sources had reached, whether it had changed
        self._last: dict[int, tuple[float, int | None, bool]] = {}
        #: join partition -> when its next tick may be sent
        self._free: dict[int, float] = {}

    def tick(self) -> None:
        """Sends a tick to each join partition for which one is due and the last one is acknowledged."""
        if not self.sources.ticking:
            return
        now, slice_ = self._monotonic(), self.sources.slice()
        for partition in range(self.config.partitions):
            if partition in self._on_its_way or not self._is_due(partition, now, slice_):
                continue
            tick, owned = self.sources.tick(partition)
            if tick.entries:
                _, before, _ = self._last.get(partition, (now, slice_, False))
                self._last[partition] = now, slice_, slice_ != before
                self._on_its_way.add(partition)
                self.sender.enqueue(partition, tick, self._acked(partition, tick, owned))

    def _is_due(self, partition: int, now: float, slice_: int | None) -> bool:
        if partition not in self._last:
            return True
        last, last_slice, rose = self._last[partition]
        overdue = now - last >= self.config.tick_interval_ms / 1000 * (PATIENCE if rose else 1)
        return now >= self._free.get(partition, now) and (overdue or slice_ != last_slice)

    def _acked(self, partition: int, tick: Tick, owned: list[OwnedSource]) -> Callable[[int], None]:
        def acked(log_offset: int) -> None:
            self._on_its_way.discard(partition)
            self._free[partition] = self._monotonic() + APART_S
            self.record_fetches()
            for source in owned:
                source.writer.tick_acked(partition, log_offset)

        return acked


def timer_agent(app: faust.App, ticking: Ticking) -> None:
    """Registers the task. It is not a Faust timer, because those log each time a busy loop wakes them late."""

    @app.task  # type: ignore[untyped-decorator]  # Faust
    async def timer() -> None:
        while not app.should_stop:
            ticking.tick()
            # `app.sleep` costs three times as much
            await asyncio.sleep(LOOK_S if ticking.sources.flowing else STILL_LOOK_S)

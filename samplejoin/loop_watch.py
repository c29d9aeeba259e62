"""How long the event loop stands still: whatever blocks it delays heartbeats, ticks and commits alike."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from mode import Service

log = logging.getLogger(__name__)

EVERY_S = 0.05
LOUD_S = 1.0


class LoopWatch(Service):
    """Sleeps for a moment again and again, and measures how much later it wakes."""

    def __init__(self, meters: Any, **kwargs: Any) -> None:
        self.meters = meters
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self.add_future(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.should_stop:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            late_s = max(0.0, loop.time() - due)
            self.meters.observe("loop_stall_seconds", (), late_s)
            if late_s > LOUD_S:
                log.warning("the event loop stood still for %.1f s: a busy machine, a slow disk, or a user's function "
                            "that blocks", late_s)  # fmt: skip

"""How long the event loop stands still: whatever blocks it delays heartbeats, ticks and commits alike."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from mode import Service

log = logging.getLogger(__name__)

EVERY_S = 0.05
#: while the loop's thread uses less than this share of its core it looks less often: a wake-up is most of what it costs
CALM_SHARE, CALM_EVERY_S = 0.2, 0.25
LOUD_S = 1.0


def next_sleep_s(slept_s: float, late_s: float, used_s: float) -> float:
    """How long to sleep after a sleep of `slept_s`, in which the loop's thread used `used_s` of CPU."""
    return CALM_EVERY_S if late_s < EVERY_S and used_s < CALM_SHARE * slept_s else EVERY_S


class LoopWatch(Service):
    """Sleeps for a moment again and again, and measures how much later it wakes."""

    def __init__(self, meters: Any, **kwargs: Any) -> None:
        self.meters = meters
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self.add_future(self._watch())

    async def _watch(self) -> None:
        loop, every_s = asyncio.get_running_loop(), EVERY_S
        while not self.should_stop:
            due, used_s = loop.time() + every_s, time.thread_time()
            await asyncio.sleep(every_s)
            late_s = max(0.0, loop.time() - due)
            every_s = next_sleep_s(every_s, late_s, time.thread_time() - used_s)
            self.meters.observe("loop_stall_seconds", (), late_s)
            if late_s > LOUD_S:
                log.warning("the event loop stood still for %.1f s: a busy machine, a slow disk, or a user's function "
                            "that blocks", late_s)  # fmt: skip

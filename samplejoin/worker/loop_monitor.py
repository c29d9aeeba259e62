"""Measures how long the event loop is blocked, which delays heartbeats, ticks and commits alike."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from mode import Service

log = logging.getLogger(__name__)

EVERY_S = 0.05
#: while the loop's thread uses less than this share of a core, it measures less often: wake-ups are most of the cost
CALM_SHARE, CALM_EVERY_S = 0.2, 0.25
LOUD_S = 1.0


def next_sleep_s(slept_s: float, late_s: float, used_s: float) -> float:
    """Returns the seconds until the next measurement, after a sleep of `slept_s` that ended `late_s` late.

    `used_s`: CPU seconds that the loop's thread used during the sleep.
    """
    return CALM_EVERY_S if late_s < EVERY_S and used_s < CALM_SHARE * slept_s else EVERY_S


class LoopWatch(Service):
    """Schedules a call at a set time, again and again, and measures how much later it happens.

    It is a call and not a sleeping task, because a task is woken one turn of the loop later, which would count too.
    """

    def __init__(self, meters: Any, **kwargs: Any) -> None:
        self.meters = meters
        #: number of measurements; grows as long as the loop runs
        self.looks = 0
        self._handle: asyncio.TimerHandle | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self._sleep(EVERY_S)

    async def on_stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _sleep(self, sleep_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._handle = loop.call_at(loop.time() + sleep_s, self._measure, loop.time(), sleep_s, time.thread_time())

    def _measure(self, began_s: float, slept_s: float, used_before_s: float) -> None:
        self.looks += 1
        late_s = max(0.0, asyncio.get_running_loop().time() - began_s - slept_s)
        self.meters.observe("loop_stall_seconds", (), late_s)
        if late_s > LOUD_S:
            log.info("the event loop stood still for %.1f s", late_s)
        self._sleep(next_sleep_s(slept_s, late_s, time.thread_time() - used_before_s))

"""Fair scheduling of CPU-bound steps: at most one waiting task runs per event-loop iteration, first come, first served.

Between two steps the loop serves its connections and timers, so heartbeats, responses and ticks wait for one step and
not for one step of every task. The tasks keep their steps to about 10 to 50 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque


class FairScheduler:
    """The queue of waiting tasks, in the order of their calls; one for each event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._calling = False

    async def next_turn(self) -> None:
        """Returns in a loop iteration in which no other waiting task runs before the caller's next await."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._calling:
            self._calling = True
            loop.call_soon(self._call, loop)
        await turn

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # if done, its task was cancelled
                turn.set_result(None)
                break
        self._calling = bool(self._waiting)
        if self._calling:
            loop.call_soon(self._call, loop)

"""Names a user's function that blocks the worker for over a second (rule 12), from a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import Any

from mode import Service

log = logging.getLogger(__name__)

LOOKS = 4


class Watchdog(Service):
    """Looks at the cleaner's `Watch` several times a second: a call seen five times in a row has run for a second."""

    def __init__(self, watch: Any, interval_s: float = 0.25, **kwargs: Any) -> None:
        self.watch, self.interval_s = watch, interval_s
        self.warned: list[str] = []
        self._ended = threading.Event()
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._ended.set()

    def _look(self) -> None:
        seen, looks = -1, 0
        while not self._ended.wait(self.interval_s):
            function, calls = self.watch.function, self.watch.calls
            looks = looks + 1 if function and calls == seen else 0
            seen = calls
            if looks and looks % LOOKS == 0:
                self.warned.append(function)
                log.warning("%s has blocked this worker for over %.1f s: nothing else runs meanwhile",
                            function, looks * self.interval_s)  # fmt: skip

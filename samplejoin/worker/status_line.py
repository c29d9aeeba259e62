"""Logs a status line every ten seconds: rates, lag, open keys, and how late the clock is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from samplejoin.worker.snapshot import WorkerSnapshot, snapshot_of

log = logging.getLogger("samplejoin")

#: what a line counts since the one before
COUNTED = ("records", "rows", "samples")
#: the status line shows unacknowledged entries above this number
MANY_UNACKED = 256


class StatusLine:
    """Logs the line of one worker. `app` is its `JoinApp`."""

    def __init__(self, app: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.app, self._monotonic = app, monotonic
        self._last: tuple[float, tuple[float, ...]] = monotonic(), (0.0,) * len(COUNTED)

    def log(self) -> None:
        """Logs the line for the time since the last one, then the warnings about dead letters."""
        rates, runtime = self._rates(), self.app.runtime
        warnings = self.app.quality.update()
        snapshot = snapshot_of(runtime)
        if snapshot.problems:
            log.info("waiting: %s", "; ".join(snapshot.problems))
        else:
            log.info("%s, %s", rates, _standing(snapshot))
            for key, share in runtime.hot_keys.shares()[:3]:
                log.info("hot key %s: %.0f %% of the rows read here", key, share * 100)
        for warning in warnings:
            log.warning("%s", warning)

    def _rates(self) -> str:
        """Returns, in words, the records read, rows made by cleaning, and samples sent per second."""
        metrics, now = self.app.metrics, self._monotonic()
        counted = (
            metrics.total("records"),
            metrics.total("events", "ok"),
            metrics.total("samples", "positive") + metrics.total("samples", "negative"),
        )
        (then, before), self._last = self._last, (now, counted)
        span_s = max(now - then, 1e-3)
        rates = [(a - b) / span_s for a, b in zip(counted, before, strict=True)]
        return ", ".join(f"{rate:.0f} {what}/s" for rate, what in zip(rates, COUNTED, strict=True))


def _standing(snapshot: WorkerSnapshot) -> str:
    remembered = snapshot.remembered_keys
    kept = f", {remembered} keys remembered for corrections" if remembered else ""
    stuck = f", {snapshot.unacked} unacknowledged" if snapshot.unacked > MANY_UNACKED else ""
    return (
        f"lag {snapshot.lag}, {snapshot.open_keys} open keys{kept}, clock {snapshot.clock}, "
        f"{len(snapshot.sources)} sources, {len(snapshot.joins)} joins{stuck}"
    )

"""One line every ten seconds: how fast, how far behind, how much is open, how late the clock is."""

from __future__ import annotations

import logging
import time
from typing import Any

log = logging.getLogger("samplejoin")

_last: dict[int, tuple[float, float, float]] = {}


def status_line(app: Any) -> None:
    """Logs the line for the time since the last one."""
    now = time.monotonic()
    events = sum(v for (name, _), v in app.metrics.totals.items() if name == "events")
    samples = app.metrics.total("samples", "positive") + app.metrics.total("samples", "negative")
    then, events_then, samples_then = _last.get(id(app), (now - 10.0, 0.0, 0.0))
    _last[id(app)] = (now, events, samples)
    span = max(now - then, 1e-3)
    runtime = app.runtime
    problems = runtime.problems()
    if problems:
        log.info("waiting: %s", "; ".join(problems))
        return
    lag = sum(
        max(0, (runtime.group.consumer.highwater(tp) or 0) - o.delivered - 1)
        for tp, o in runtime.sources.owned.items()
    )
    joins = runtime.joins.running.values()
    delays = [j.partition.clock.now - j.partition.clock.value for j in joins if j.partition.clock.value > 0]
    stuck = f", {runtime.sender.unacked} unacknowledged" if runtime.sender.unacked > 256 else ""
    log.info(
        "%.0f events/s, %.0f samples/s, lag %d, %d open keys, clock delay %s, %d sources, %d joins%s",
        (events - events_then) / span, (samples - samples_then) / span, lag, sum(len(j.table) for j in joins),
        f"{max(delays) / 1000:.1f} s" if delays else "not known", len(runtime.sources.owned), len(joins), stuck,
    )  # fmt: skip

"""One line every ten seconds: how fast, how far behind, how much is open, how late the clock is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("samplejoin")

#: a clock further behind than this reads old data
REPLAY_MS = 3_600_000

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
    _judge(app.metrics, app.job.model.error_rate)
    problems = runtime.problems()
    if problems:
        log.info("waiting: %s", "; ".join(problems))
        return
    lag = sum(max(0, (runtime.group.end_of(tp) or 0) - o.delivered - 1) for tp, o in runtime.sources.owned.items())
    joins = runtime.joins.running.values()
    stuck = f", {runtime.sender.unacked} unacknowledged" if runtime.sender.unacked > 256 else ""
    log.info(
        "%.0f events/s, %.0f samples/s, lag %d, %d open keys, clock %s, %d sources, %d joins%s",
        (events - events_then) / span, (samples - samples_then) / span, lag, sum(len(j.table) for j in joins),
        _clock(joins), len(runtime.sources.owned), len(joins), stuck,
    )  # fmt: skip
    for key, share in runtime.hot_keys.shares()[:3]:
        log.info("hot key %s: %.0f %% of the rows read here", key, share * 100)


def _judge(metrics: Any, error_rate: float) -> None:
    """Join ratio and share of dead letters per stream; says so where users' functions fail too often (rule 12)."""
    by_stream: dict[str, dict[str, float]] = {}
    for (name, labels), value in metrics.totals.items():
        if name == "events":
            by_stream.setdefault(labels[0], {})[labels[1]] = value
    for stream, outcomes in by_stream.items():
        dead = sum(value for outcome, value in outcomes.items() if outcome.startswith("dead_"))
        share = dead / max(1.0, sum(outcomes.values()))
        metrics.set("error_ratio", (stream,), share)
        if share > error_rate:
            worst = max((o for o in outcomes if o.startswith("dead_")), key=lambda o: outcomes[o])
            log.warning(
                "stream %s: %.1f %% of its records are dead letters (error_rate: %.1f %%), most for reason %s: see the "
                "dead-letter topic", stream, share * 100, error_rate * 100, worst.removeprefix("dead_"),
            )  # fmt: skip
    samples = metrics.total("samples", "positive") + metrics.total("samples", "negative")
    for (name, labels), value in list(metrics.totals.items()):
        if name == "joined_samples" and samples:
            metrics.set("join_ratio", labels, value / samples)


def _clock(joins: Iterable[Any]) -> str:
    """How far the slowest clock is behind the broker's; its event time where old data are replayed."""
    clocks = [join.partition.clock for join in joins if join.partition.clock.value > 0]
    if not clocks:
        return "not known yet"
    slowest = min(clocks, key=lambda clock: clock.value)
    delay_ms = slowest.now - slowest.value
    if delay_ms < REPLAY_MS:
        return f"{delay_ms / 1000:.1f} s behind"
    return f"at {datetime.fromtimestamp(slowest.value / 1000, UTC):%Y-%m-%d %H:%M:%S}"

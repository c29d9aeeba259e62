"""Reports how late a worker's clocks are, and which stream and source hold them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from samplejoin.core.clock import NEVER, Clock
from samplejoin.core.clock_holder import Holder, Why, delay_ms, holder_of, is_at_end
from samplejoin.core.spec import Spec

log = logging.getLogger(__name__)

#: a clock that is later than `lateness` by more than this is held by something
HELD_MS = 30_000
#: how long one holder must hold the clock before a warning is logged, and the interval at which it is repeated
SAY_AFTER_S, SAY_AGAIN_S = 30.0, 600.0
#: a clock further behind than this is reading old data: its event time is shown, which says more than a delay
REPLAY_MS = 3_600_000
#: a silent source with less than this still to become watermark gives no warning, since a moment of silence always is
CATCHING_UP_MS = 2_000

HOLDS = {
    "empty": "it has no event yet, and `idle: hold` waits for one",
    "silent": "it is silent, and `idle: hold` waits for its next event",
}
WORDS: dict[Why, str] = {
    "unread": "no worker reads it",
    "empty": "it has no event yet",
    "reading": "it is being read",
    "silent": "it is read to its end",
}


@dataclass(frozen=True, slots=True)
class Delay:
    """The delay of one join partition's clock. While `value_ms` is None, `delay_s` counts from the assignment."""

    value_ms: int | None
    #: seconds behind the broker's time
    behind_s: float
    delay_s: float
    holder: Holder | None
    at_end: bool


class Clocks:
    """The clocks of a worker's join partitions, updated once a second."""

    def __init__(self, spec: Spec, metrics: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.metrics, self._monotonic = metrics, monotonic
        self._usual_s = (max(s.lateness_ms for s in spec.streams) + HELD_MS) / 1000
        self._delays: dict[int, Delay] = {}
        self._since: dict[int, float] = {}
        #: the current holder, since when it holds the clock, and when that was last logged
        self._held: tuple[Holder, float, float | None] | None = None

    def update(self, clocks: Mapping[int, Clock]) -> None:
        """Records the clocks, by join partition, and sets their gauges."""
        now = self._monotonic()
        self._since = {number: self._since.get(number, now) for number in clocks}
        self._delays = {number: _delay(clock, now - self._since[number]) for number, clock in clocks.items()}
        for number, delay in self._delays.items():
            label = (str(number),)
            self.metrics.set("watermark_delay", label, delay.delay_s)
            if delay.value_ms is not None:
                self.metrics.set("clock_ms", label, delay.value_ms / 1000)
            if delay.holder is not None:
                for stream in delay.holder.streams:
                    self.metrics.set("held_by", (*label, stream, delay.holder.source, delay.holder.why), 1)
        self._log_holder(now)

    def text(self) -> str:
        """Returns the slowest clock in words, for the status line."""
        slowest = self._slowest()
        if slowest is None:
            return "not known yet"
        held = f", held by {_said(slowest.holder)}" if slowest.holder and slowest.delay_s > self._usual_s else ""
        if slowest.value_ms is None:
            return f"not known yet, held by {_said(slowest.holder)}" if slowest.holder else "not known yet"
        if slowest.at_end and slowest.behind_s > self._usual_s and not held:
            return f"at {_moment(slowest.value_ms)}, the end of its data"
        if slowest.behind_s * 1000 >= REPLAY_MS:
            return f"at {_moment(slowest.value_ms)}{held}"
        return f"{slowest.behind_s:.1f} s behind{held}"

    def warnings(self) -> list[str]:
        """Returns a warning if the slowest clock is held by something other than reading, else an empty list."""
        holder = self._warned_of()
        if holder is None:
            return []
        if holder.going_on_ms is not None and holder.far_back_ms is None:
            return [f"windows close late: the clock is held by {_said(holder)}"]
        return [f"no window closes: the clock is held by {_said(holder)}"]

    def _warned_of(self) -> Holder | None:
        slowest = self._slowest()
        holder = slowest.holder if slowest is not None and slowest.delay_s > self._usual_s else None
        if holder is None or (holder.why == "reading" and holder.far_back_ms is None):
            return None
        if holder.far_back_ms is not None:
            return holder
        going_on = holder.why == "silent" and not holder.holds
        return None if going_on and (holder.going_on_ms or 0) < CATCHING_UP_MS else holder

    def _slowest(self) -> Delay | None:
        delays = self._delays.values()
        return min(delays, key=lambda delay: NEVER if delay.value_ms is None else delay.value_ms, default=None)

    def _log_holder(self, now: float) -> None:
        holder = self._warned_of()
        if holder is None:
            self._held = None
            return
        # a holder whose remaining time changes is still the same holder
        held = replace(holder, going_on_ms=None, far_back_ms=None)
        if self._held is None or self._held[0] != held:
            self._held = held, now, None
        _, since, logged = self._held
        if now - (since + SAY_AFTER_S if logged is None else logged + SAY_AGAIN_S) >= 0:
            log.warning("%s", *self.warnings())
            self._held = held, since, now


def _delay(clock: Clock, owned_s: float) -> Delay:
    late_ms = delay_ms(clock)
    return Delay(
        None if clock.value == NEVER else clock.value,
        max(0, clock.now - clock.value) / 1000,
        owned_s if late_ms is None else late_ms / 1000,
        holder_of(clock),
        clock.spec.clock == "event" and is_at_end(clock),
    )


def _said(holder: Holder) -> str:
    """Returns the holder in words: stream, topic and partition, and why it holds the clock."""
    topic, _, partition = holder.source.partition(" ")
    place = f"topic {topic} partition {int(partition)}" if partition else f"topic {topic}"
    why = HOLDS[holder.why] if holder.holds and holder.why in HOLDS else WORDS[holder.why]
    if holder.far_back_ms is not None:
        units = " or ".join(f"streams.{name}.time_unit" for name in holder.streams)
        day = _moment(holder.far_back_ms).partition(" ")[0]
        why += (
            f", its events are of {day}, decades before another stream's: is {units} right? Every sample waits for it"
        )
    elif holder.going_on_ms is not None:
        to_go = f", about {holder.going_on_ms / 1000:.0f} s to go" if holder.going_on_ms >= CATCHING_UP_MS else ""
        why += f", going on through its silence{to_go}"
    return f"stream {', '.join(holder.streams)} ({place}: {why})"


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"

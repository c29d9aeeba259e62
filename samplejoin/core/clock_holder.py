"""Reports which source holds a clock, why, and how late the clock is (rule 8). Nothing here changes the clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from samplejoin.core.clock import NEVER, STEP_MS, Clock, SourceClock
from samplejoin.core.identity import source_id
from samplejoin.core.messages import Source

TICK_MS = 1000
"""The interval at which the owner of a source sends ticks."""

UNREAD_MS = 10_000
"""A source without a tick for this long has no owner, because an owner sends a tick every second."""

FAR_MS = 20 * 365 * 86_400_000
"""Twenty years. Event times that are further apart are in different units; neither of them is merely old."""

Why = Literal["unread", "empty", "reading", "silent"]
"""No worker sends ticks for it; it has had no event yet; it is being read; it was read to its end."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The source with the lowest watermark, or one without any. `source` is a bare topic while no tick has told its
    number of partitions. `holds` is whether its stream has `idle: hold`."""

    source: Source
    streams: tuple[str, ...]
    why: Why
    holds: bool
    #: for a silence through which the clock advances: about how long until the watermark includes all of it so far
    going_on_ms: int | None = None
    #: its watermark, if another source is decades ahead of it: no window closes until it has caught up
    far_back_ms: int | None = None


def holder_of(clock: Clock) -> Holder | None:
    """Returns what holds the clock now. Returns None with `clock: processing`, or if no source counts for the clock."""
    if clock.spec.clock == "processing":
        return None
    lowest: tuple[int, Source, Why] | None = None
    highest = 0
    for source, state in _sources(clock):
        if source in clock.left_out:
            continue
        topic = source.partition(" ")[0]
        if state is None or (state.watermark is None and topic not in clock.silent):
            return _holder(clock, source, "unread" if _is_unread(clock, state) else "empty")
        if state.watermark is not None:
            highest = max(highest, state.watermark)
            if lowest is None or state.watermark < lowest[0]:
                lowest = state.watermark, source, _why(clock, state)
    if lowest is None:
        return None
    far_back_ms = lowest[0] if lowest[0] < highest - FAR_MS else None
    return replace(_holder(clock, lowest[1], lowest[2]), far_back_ms=far_back_ms)


def is_at_end(clock: Clock) -> bool:
    """Returns whether every source is proven to be read to its end, so that no record is left to move the clock."""
    return all(state is not None and state.quiet_until is not None for _, state in _sources(clock))


def delay_ms(clock: Clock) -> int | None:
    """Returns how many ms the clock is behind the broker's, or at the end of all data behind the newest event.

    Returns None while the clock is not known.
    """
    if clock.value == NEVER:
        return None
    if clock.spec.clock == "event" and is_at_end(clock):
        marks = [
            state.watermark + clock.spec.lateness_ms(source.partition(" ")[0])
            for source, state in _sources(clock)
            if state is not None and state.watermark is not None
        ]
        return max(0, max(marks, default=clock.value) - clock.value)
    return max(0, clock.now - clock.value)


def _sources(clock: Clock) -> Iterator[tuple[Source, SourceClock | None]]:
    """Yields every source partition that ticks have reported with its state, and topics without a partition count."""
    for topic in clock.spec.topics():
        count = clock.partitions.get(topic, 0)
        if not count:
            yield topic, None
        for partition in range(count):
            source = source_id(topic, partition)
            yield source, clock.sources.get(source)


def _is_unread(clock: Clock, state: SourceClock | None) -> bool:
    return state is None or clock.now - state.last_now > UNREAD_MS


def _why(clock: Clock, state: SourceClock) -> Why:
    if _is_unread(clock, state):
        return "unread"
    return "reading" if state.quiet_until is None else "silent"


def _holder(clock: Clock, source: Source, why: Why) -> Holder:
    topic = source.partition(" ")[0]
    streams = [stream for stream in clock.spec.streams if topic in stream.topics]
    holds = clock.waits_for(topic)
    return Holder(source, tuple(s.name for s in streams), why, holds, _going_on_ms(clock, topic, why, holds))


def _going_on_ms(clock: Clock, topic: str, why: Why, holds: bool) -> int | None:
    """Estimates the time with `idle: advance`: each tick of the topic group adds up to `STEP_MS`, while time passes."""
    left_ms = None if holds or why != "silent" else clock.silence_left_ms(topic)
    if left_ms is None:
        return None
    ticks = sum(clock.partitions.get(each, 0) for each in clock.spec.topic_groups()[topic])
    return left_ms * TICK_MS // (ticks * STEP_MS - TICK_MS)

"""Which source a clock waits for, why, and how late the clock is."""

from __future__ import annotations

import pytest

from samplejoin.core.clock import Clock
from samplejoin.core.clock_holder import Holder, delay_ms, holder_of, is_at_end
from samplejoin.core.messages import TickEntry
from samplejoin.core.spec import Idle, Spec, Stream

SHOWS, CLICKS = "shows 000000", "clicks 000000"
pytestmark = pytest.mark.rule(8)


class Ticks:
    """A clock of shows and clicks, and the ticks that tell it of them; `second` is the broker's time."""

    def __init__(self, idle: Idle = "advance", **counts: int) -> None:
        shows = Stream("show", "anchor", ("shows",), idle=idle, lateness_ms=2000)
        clicks = Stream("click", "label", ("clicks",), idle=idle, lateness_ms=2000)
        self.clock = Clock(Spec("ticks", (shows, clicks), ("user",), (), window_ms=10_000))
        self.clock.partitions = counts or {"shows": 1, "clicks": 1}
        self.offset, self.prev = 0, {SHOWS: 0, CLICKS: 0}

    def tick(self, second: float, *, at_end: bool = True, **times: float | None) -> None:
        """A tick for each stream in `times`: the event time that it has been read to, None if it had no event."""
        self.clock.record_append_time(int(second * 1000))
        for topic, at in times.items():
            source = f"{topic} 000000"
            row_ms = None if at is None else int(at * 1000)
            self.clock.tick(TickEntry(source, 1, None, 0, row_ms, at_end, self.prev[source]), 0, self.offset)
            self.prev[source] = self.offset
            self.offset += 1
        self.clock.advance()


def test_a_topic_of_which_no_worker_speaks_holds():
    ticks = Ticks(shows=1)
    ticks.tick(0, shows=0)
    assert holder_of(ticks.clock) == Holder("clicks", ("click",), "unread", False)
    assert delay_ms(ticks.clock) is None


def test_a_partition_of_which_no_worker_speaks_any_more_holds():
    ticks = Ticks()
    for second in range(20):
        ticks.tick(100 + second, at_end=False, shows=100 + second)
        if second < 5:
            ticks.tick(100 + second, at_end=False, clicks=100 + second)
    assert holder_of(ticks.clock) == Holder(CLICKS, ("click",), "unread", False)
    assert delay_ms(ticks.clock) == 119_000 - 102_000


@pytest.mark.parametrize("idle", ["hold", "advance"])
def test_a_stream_without_an_event_holds_as_long_as_its_idle_says(idle):
    ticks = Ticks(idle)
    for second in range(4):
        ticks.tick(100 + second, shows=100, clicks=None)
    assert holder_of(ticks.clock) == Holder(CLICKS, ("click",), "empty", idle == "hold")
    for second in range(4, 12):
        ticks.tick(100 + second, shows=100 + second, clicks=None)
    holder = holder_of(ticks.clock)
    assert holder is not None
    assert holder.source == (CLICKS if idle == "hold" else SHOWS)


def test_the_lowest_watermark_holds_while_it_is_read():
    ticks = Ticks()
    for second in range(3):
        ticks.tick(100 + second, at_end=False, shows=100 + second, clicks=10 + second)
    assert holder_of(ticks.clock) == Holder(CLICKS, ("click",), "reading", False)
    assert not is_at_end(ticks.clock)
    assert delay_ms(ticks.clock) == 102_000 - 10_000


def test_a_silent_stream_that_holds_makes_the_others_wait():
    ticks = Ticks("hold")
    for second in range(60):
        ticks.tick(100 + second, shows=100 + second, clicks=100)
    assert holder_of(ticks.clock) == Holder(CLICKS, ("click",), "silent", True)
    assert delay_ms(ticks.clock) == 159_000 - 98_000


def pause(ticks: Ticks, seconds: int) -> int:
    """Clicks fall silent, all is paused for so long, and shows flow again; returns the second that comes next."""
    for second in range(10):
        ticks.tick(100 + second, shows=100 + second, clicks=100)
    back = 110 + seconds
    for second in range(back, back + 4):
        ticks.tick(second, at_end=False, shows=second)
        ticks.tick(second, clicks=100)
    return back + 4


def test_a_clock_that_goes_on_through_a_silence_says_how_long_that_takes():
    """A tick a second with 2 s each: what is owed grows by one second meanwhile (rule 8)."""
    ticks = Ticks()
    second = pause(ticks, 120)
    holder = holder_of(ticks.clock)
    assert holder is not None
    assert (holder.source, holder.why) == (CLICKS, "silent")
    assert holder.going_on_ms is not None
    caught_up = second + holder.going_on_ms // 1000
    for now in range(second, caught_up + 3):
        ticks.tick(now, at_end=False, shows=now)
        ticks.tick(now, clicks=100)
        if now == caught_up - 10:
            assert ticks.clock.silence_left_ms("clicks") in range(5000, 15_000)
    assert ticks.clock.silence_left_ms("clicks") in range(2001)


@pytest.mark.parametrize("idle", ["hold", "advance"])
def test_a_backlog_read_to_its_end_is_not_late(idle):
    ticks = Ticks(idle)
    for second in range(3):
        ticks.tick(10_000_000 + second, at_end=False, shows=95 + second, clicks=95 + second)
    assert delay_ms(ticks.clock) == 10_000_002_000 - 95_000
    for second in range(3, 60):
        ticks.tick(10_000_000 + second, shows=98, clicks=98)
    assert is_at_end(ticks.clock)
    assert delay_ms(ticks.clock) == 2000
    ticks.clock.rows_taken(SHOWS)
    assert not is_at_end(ticks.clock)


def test_by_processing_time_nothing_holds():
    clock = Clock(Spec("p", (Stream("show", "anchor", ("shows",)),), ("u",), (), window_ms=1000, clock="processing"))
    clock.record_append_time(5000)
    assert (holder_of(clock), delay_ms(clock)) == (None, 0)


@pytest.mark.parametrize("at_end", [True, False])
def test_a_source_decades_behind_another_is_not_just_late(at_end):
    ticks = Ticks()
    ticks.tick(1_764_000_000, at_end=at_end, shows=1_764_000_000, clicks=1_764_000)
    holder = holder_of(ticks.clock)
    assert holder is not None
    assert (holder.source, holder.far_back_ms) == (CLICKS, 1_764_000_000 - 2000)
    ticks = Ticks()
    ticks.tick(1_764_000_000, at_end=at_end, shows=1_764_000, clicks=1_764_000)
    holder = holder_of(ticks.clock)
    assert holder is not None
    assert holder.far_back_ms is None, "all of them are old"

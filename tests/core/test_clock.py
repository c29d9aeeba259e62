"""The clock: sources, lateness, proofs of an end, silence, max_wait (rule 8)."""

from __future__ import annotations

import json

import pytest

from samplejoin.core.clock import Clock
from samplejoin.core.covering import SourceWriter
from samplejoin.core.identity import source_id
from samplejoin.core.messages import Tick, TickEntry
from samplejoin.core.partition_state import ClockState
from samplejoin.core.spec import Spec
from tests.core.play import CLICKS, CORRECT, SHOWS, Play, spec_of


@pytest.mark.rule(8)
def test_the_clock_is_the_minimum_over_all_sources():
    play = Play(spec_of(), clicks=2).show(5).clock(50, "shows")
    play.apply(Tick([play.entry(CLICKS, row_time=50_000)], play.counts))
    assert play.samples == []  # clicks 1 was never ticked: it holds the clock
    play.apply(Tick([play.entry(source_id("clicks", 1), row_time=14_000)], play.counts))
    assert (play.samples, play.partition.clock.slice) == ([], 14)
    play.apply(Tick([play.entry(source_id("clicks", 1), row_time=15_000)], play.counts))
    assert play.labels == [0]


@pytest.mark.rule(8)
def test_the_clock_is_behind_by_the_lateness_and_never_falls():
    play = Play(spec_of(show_lateness_ms=3000, click_lateness_ms=3000))
    play.apply(Tick([play.entry(s, row_time=10_000) for s in (SHOWS, CLICKS)], play.counts))
    assert play.partition.clock.value == 7000
    play.apply(Tick([play.entry(s, row_time=5_000) for s in (SHOWS, CLICKS)], play.counts))
    assert play.partition.clock.value == 7000


@pytest.mark.rule(8)
@pytest.mark.parametrize(("shows_ms", "clicks_ms", "clock_ms"), [(70_000, 130_000, 69_000), (70_000, 90_000, 30_000)])
def test_each_stream_has_its_own_lateness(shows_ms, clicks_ms, clock_ms):
    play = Play(spec_of(show_lateness_ms=1000, click_lateness_ms=60_000))
    play.apply(Tick([play.entry(SHOWS, row_time=shows_ms), play.entry(CLICKS, row_time=clicks_ms)], play.counts))
    assert play.partition.clock.value == clock_ms


@pytest.mark.rule(8)
@pytest.mark.parametrize(("show_ms", "click_ms"), [(1000, 60_000), (60_000, 1000)])
def test_of_streams_that_share_a_topic_the_largest_lateness_holds(show_ms, click_ms):
    spec = spec_of(click_topics=("shows",), show_lateness_ms=show_ms, click_lateness_ms=click_ms)
    assert Ticks(spec, shows=1).tick(SHOWS, 0, 100) == 40_000


@pytest.mark.rule(5, 8)
def test_a_source_follows_only_what_was_read_with_its_own_lateness():
    """`more` has the show stream alone, with 1 s; what `shows` takes over from it must leave the clicks their 60 s."""
    spec = spec_of(
        show_topics=("more", "shows"), click_topics=("shows",), show_lateness_ms=1000, click_lateness_ms=60_000
    )
    ticks = Ticks(spec, shows=1, more=1)
    for second in range(3):
        ticks.tick(source_id("more", 0), second, 100)
        ticks.tick(SHOWS, second, 100)
    assert ticks.clock.value == 40_000


@pytest.mark.rule(8)
def test_a_topic_that_only_another_worker_knows_has_the_largest_lateness():
    """Its `pattern` may have matched a newer topic; the watermark stays in the state, and can never be lowered."""
    newer = source_id("new", 0)
    ticks = Ticks(spec_of(show_lateness_ms=1000, click_lateness_ms=60_000), shows=1, clicks=1)
    ticks.tick(newer, 0, 100)
    assert ticks.clock.sources[newer].watermark == 40_000


@pytest.mark.rule(8)
def test_by_processing_time_no_lateness_holds_the_clock():
    ticks = Ticks(spec_of(clock="processing", show_lateness_ms=1000, click_lateness_ms=60_000), shows=1, clicks=1)
    assert ticks.tick(SHOWS, 7, 100) == ticks.tick(CLICKS, 7, 100) == 7000


@pytest.mark.rule(8)
def test_rows_never_move_the_clock():
    play = Play(spec_of()).clock(5).show(1000).click(1000)
    assert play.partition.clock.value == 5000


@pytest.mark.rule(8)
def test_a_topic_that_grows_holds_the_clock_until_its_new_partition_ticks():
    play = Play(spec_of()).clock(5)
    play.counts["shows"] = 2
    play.apply(Tick([play.entry(s, row_time=9_000) for s in (SHOWS, CLICKS)], play.counts))
    assert play.partition.clock.value == 5000
    play.counts["shows"] = 1  # a worker that has not heard of it changes nothing
    play.apply(Tick([play.entry(s, row_time=9_000) for s in (SHOWS, CLICKS)], play.counts))
    assert play.partition.clock.value == 5000
    play.apply(Tick([play.entry(source_id("shows", 1), row_time=8_000)], play.counts))
    assert play.partition.clock.value == 8000


class Ticks:
    """Ticks of single sources, with the proofs of their ends, straight to a clock."""

    def __init__(self, spec: Spec, **counts: int) -> None:
        self.clock = Clock(spec)
        self.clock.partitions = counts
        self.offset = 0
        self.prev: dict[str, int] = {}

    def tick(self, source: str, second: float, row_time: float | None = None, at_end: bool = True) -> int:
        self.clock.record_append_time(int(second * 1000))
        row_ms = None if row_time is None else int(row_time * 1000)
        self.clock.tick(TickEntry(source, 1, None, 0, row_ms, at_end, self.prev.get(source)), 0, self.offset)
        self.prev[source] = self.offset
        self.offset += 1
        self.clock.advance()
        return self.clock.value


@pytest.mark.rule(8)
def test_a_source_read_to_its_end_follows_its_siblings_as_they_were():
    ticks, other = Ticks(spec_of(), shows=2, clicks=1), source_id("shows", 1)
    ticks.tick(CLICKS, 0, 100)
    ticks.tick(SHOWS, 0, 10)
    ticks.tick(other, 0, 4)
    assert ticks.clock.value == 4000
    ticks.tick(SHOWS, 1, 20)
    assert ticks.tick(other, 1, 4) == 10_000  # it was at its end when its last tick stood: SHOWS had 10 there
    assert ticks.tick(other, 2, 4, at_end=False) == 10_000
    assert ticks.tick(other, 3, 4) == 20_000


@pytest.mark.rule(8)
def test_a_partition_without_rows_follows_too():
    ticks, other = Ticks(spec_of(), shows=2, clicks=1), source_id("shows", 1)
    for second in range(3):
        ticks.tick(CLICKS, second, 100)
        ticks.tick(SHOWS, second, 10 + second)
        ticks.tick(other, second)
    assert ticks.clock.value == 11_000


@pytest.mark.rule(8)
def test_a_proof_names_the_last_tick_in_this_log():
    ticks, other = Ticks(spec_of(), shows=2, clicks=1), source_id("shows", 1)
    ticks.tick(CLICKS, 0, 100)
    ticks.tick(SHOWS, 0, 10)
    ticks.tick(other, 0, 4)
    ticks.prev[other] = 99
    assert ticks.tick(other, 1, 4) == 4000


@pytest.mark.rule(8)
def test_an_end_below_what_is_covered_proves_nothing():
    """An owner that was paused still sees an end that another has long passed."""
    ticks, other = Ticks(spec_of(), shows=2, clicks=1), source_id("shows", 1)
    for second in range(3):
        ticks.tick(CLICKS, second, 100)
        ticks.tick(SHOWS, second, 10)
        ticks.clock.tick(TickEntry(other, 1, None, 0, 4000, True, ticks.prev.get(other)), 1, ticks.offset)
        ticks.prev[other] = ticks.offset
        ticks.offset += 1
        ticks.clock.advance()
    assert ticks.clock.value == 4000


@pytest.mark.rule(8)
def test_an_end_is_proven_by_a_fetch_sent_after_the_acknowledgement():
    writer = SourceWriter(CLICKS, 1, -1, 10)
    writer.record_fetch(0, 0, 0)
    assert not writer.tick(0).at_end  # nothing acknowledged yet
    writer.tick_acked(0, 7)
    writer.record_fetch(1, 0, 0)  # may have been sent before the acknowledgement
    writer.record_fetch(1, 0, 0)  # the same answer again
    assert not writer.tick(0).at_end
    writer.record_fetch(2, 0, 0)
    entry = writer.tick(0)
    assert (entry.at_end, entry.prev) == (True, 7)
    writer.record_fetch(3, 0, 1)  # there is more to read
    assert not writer.tick(0).at_end


@pytest.mark.rule(7, 8)
def test_a_new_owner_goes_on_from_what_was_committed():
    writer = SourceWriter(CLICKS, 2, 41, 10, row_time=5000)
    assert (writer.limit, writer.uncombined) == (51, 51)
    entry = writer.tick(0)
    assert (entry.after, entry.upto, entry.row_time) == (None, 41, 5000)
    writer.confirm(45)
    writer.confirm(43)
    assert (writer.limit, writer.uncombined) == (55, 51)
    assert SourceWriter(CLICKS, 1, -1, 10, log_end=70).uncombined == 80
    assert SourceWriter(CLICKS, 1, 90, 10, log_end=70).uncombined == 100


@pytest.mark.rule(7, 8)
def test_a_tick_speaks_of_acknowledged_batches_only():
    writer = SourceWriter(CLICKS, 1, -1, 100)
    first, second = writer.batch(4, 9000), writer.batch(8, 7000)
    first.outstanding = second.outstanding = 1
    assert [writer.block(0, b, []).after for b in (first, second)] == [None, 4]
    second.outstanding = 0
    writer.settle()
    assert (writer.acked, writer.row_time) == (-1, None)
    first.outstanding = 0
    writer.settle()
    entry = writer.tick(0)
    assert (entry.after, entry.upto, entry.row_time) == (8, 8, 9000)
    assert writer.tick(1).after is None


@pytest.mark.rule(8)
def test_idle_advance_closes_the_tail_after_a_proven_silence():
    ticks = Ticks(spec_of(), shows=1, clicks=1)
    values = []
    for second in range(12):
        ticks.tick(CLICKS, second, 7)
        values.append(ticks.tick(SHOWS, second, 5))
    # silent from 0, proven up to the tick before: idle_after (5 s) is over at 6, and counts from 7 on
    assert values == [5000] * 7 + [6000, 7000, 8000, 9000, 10_000]


@pytest.mark.rule(8)
def test_a_gap_in_the_log_is_worth_two_seconds():
    ticks = Ticks(spec_of(), shows=1, clicks=1)
    for second in (0, 1, 1000, 1001):
        ticks.tick(CLICKS, second, 7)
        value = ticks.tick(SHOWS, second, 5)
    assert value == 7000


@pytest.mark.rule(8)
@pytest.mark.parametrize("which", ["show_idle", "click_idle"])
def test_idle_hold_stands(which):
    ticks = Ticks(spec_of(**{which: "hold"}), shows=1, clicks=1)
    for second in range(60):
        ticks.tick(CLICKS, second, 7)
        ticks.tick(SHOWS, second, 5)
    held = 5000 if which == "show_idle" else 7000
    assert ticks.clock.value == held


@pytest.mark.rule(8)
def test_a_source_behind_stands_still():
    ticks = Ticks(spec_of(), shows=1, clicks=1)
    for second in range(60):
        ticks.tick(CLICKS, second, 7, at_end=False)
        ticks.tick(SHOWS, second, 5)
    assert ticks.clock.value == 7000


@pytest.mark.rule(8)
def test_a_stream_that_never_had_a_row_leaves_after_a_silence():
    ticks = Ticks(spec_of(), shows=1, clicks=1)
    for second in range(6):
        ticks.tick(SHOWS, second, 50 + second)
        ticks.tick(CLICKS, second)
    assert ticks.clock.value < 0
    ticks.tick(CLICKS, 6)
    assert ticks.clock.value == 55_000
    ticks.tick(CLICKS, 7, at_end=False)
    assert ticks.tick(SHOWS, 8, 60) == 55_000


@pytest.mark.rule(8)
def test_max_wait_leaves_a_source_out_and_says_so():
    play = Play(spec_of(max_wait_ms=4000, click_idle="hold")).show(5).clock(6)
    for second in range(20, 23):
        play.clock(second, "shows")
        assert play.samples == []
    play.clock(23, "shows")
    (sample,) = play.out.samples
    assert sample.missing == ("click",)
    # it is back: the clock waits for it again
    play.clock(7, "clicks").show(30).clock(50, "shows")
    assert len(play.samples) == 1
    play.clock(50, "clicks")
    assert play.out.samples[1].missing == ()


@pytest.mark.rule(8)
def test_max_wait_counts_no_time_in_which_nothing_rose():
    play = Play(spec_of(max_wait_ms=4000, click_idle="hold")).show(5).clock(6)
    for _ in range(50):
        play.clock(7, "shows")
    assert play.samples == []


@pytest.mark.rule(8, 16)
def test_a_clock_survives_a_restart():
    ticks = Ticks(spec_of(max_wait_ms=3000), shows=2, clicks=1)
    for second in range(9):
        for source in (SHOWS, CLICKS, source_id("shows", 1)):
            ticks.tick(source, second, 5 + second if source == SHOWS else None)
            other = Clock(ticks.clock.spec)
            other.load(ClockState(*json.loads(json.dumps(ticks.clock.dump()))))
            assert other.dump() == ticks.clock.dump()
            ticks.clock = other
    assert ticks.clock.value > 0


@pytest.mark.rule(8)
def test_by_processing_time_the_first_row_opens_the_window():
    play = Play(spec_of(clock="processing")).click(999).show(5, pos=1)
    play.now += 10_000
    assert play.clock(0).labels == [1]
    play.click(1)
    play.now += 10_000
    assert play.clock(0).sides("orphan") == [("click", play.now // 1000 - 11)]


@pytest.mark.rule(8)
def test_by_processing_time_nothing_is_corrected():
    spec = spec_of(clock="processing", **CORRECT)
    play = Play(spec).click(1)
    play.now += 10_000
    play.clock(0).show(5)
    play.now += 10_000
    assert play.clock(0).labels == [0]
    assert not play.partition.keys

"""What a worker reports about its clocks, in its status line, `/readyz`, metrics and log."""

from __future__ import annotations

import logging

import pytest

from samplejoin.worker.clock_report import HELD_MS, SAY_AFTER_S, SAY_AGAIN_S, Clocks
from samplejoin.worker.metrics import Metrics
from tests.core.test_clock_holder import Ticks, pause


class Looks:
    """The clocks of a worker with one join partition, looked at once a second."""

    def __init__(self, ticks: Ticks) -> None:
        self.ticks, self.now = ticks, 50.0
        self.metrics = Metrics("job", "1")
        self.clocks = Clocks(ticks.clock.spec, self.metrics, lambda: self.now)

    def look(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clocks.update({3: self.ticks.clock})
            self.now += 1

    def series(self, name: str) -> dict[str, float]:
        lines = [line.rsplit(" ", 1) for line in self.metrics.text().decode().splitlines() if line.startswith(name)]
        return {labels: float(value) for labels, value in lines}


@pytest.mark.rule(8)
def test_an_empty_stream_that_holds_is_named_everywhere(caplog):
    ticks = Ticks("hold")
    looks = Looks(ticks)
    ticks.tick(100, shows=100, clicks=None)
    looks.look()
    held = "stream click (topic clicks partition 0: it has no event yet, and `idle: hold` waits for one)"
    assert looks.clocks.text() == f"not known yet, held by {held}"
    delay = looks.series("samplejoin_watermark_delay_seconds")
    assert list(delay.values()) == [0.0], "the series is there from the start"
    assert looks.clocks.warnings() == []
    with caplog.at_level(logging.WARNING):
        looks.look(int(HELD_MS / 1000 + SAY_AFTER_S + 2 + SAY_AGAIN_S))
    assert looks.clocks.warnings() == [f"no window closes: the clock is held by {held}"]
    assert [record.getMessage() for record in caplog.records] == looks.clocks.warnings()
    assert max(looks.series("samplejoin_watermark_delay_seconds").values()) > SAY_AGAIN_S
    assert looks.series("samplejoin_clock_held_by") == {
        'samplejoin_clock_held_by{partition="3",pipeline="job",source="clicks 000000",stream="click",why="empty"}': 1
    }


@pytest.mark.rule(8)
def test_a_clock_at_the_end_of_old_data_says_so_and_is_not_late():
    ticks = Ticks("hold")
    looks = Looks(ticks)
    for second in range(60):
        ticks.tick(1_764_000_000 + second, shows=1_700_000_000, clicks=1_700_000_000)
        looks.look()
    assert looks.clocks.text() == "at 2023-11-14 22:13:18, the end of its data"
    assert max(looks.series("samplejoin_watermark_delay_seconds").values()) == 2
    assert looks.clocks.warnings() == []


@pytest.mark.rule(8)
def test_a_backlog_under_way_is_late_and_no_cause_for_a_warning():
    ticks = Ticks()
    looks = Looks(ticks)
    ticks.tick(1_764_000_000, at_end=False, shows=1_700_000_009, clicks=1_700_000_002)
    looks.look()
    held = "held by stream click (topic clicks partition 0: it is being read)"
    assert looks.clocks.text() == f"at 2023-11-14 22:13:20, {held}"
    assert looks.clocks.warnings() == []
    ticks = Ticks()
    ticks.tick(100, at_end=False, shows=99, clicks=98)
    looks = Looks(ticks)
    looks.look()
    assert looks.clocks.text() == "4.0 s behind"


@pytest.mark.rule(8)
def test_a_clock_that_goes_on_through_a_silence_says_how_long_that_takes():
    ticks = Ticks()
    pause(ticks, 120)
    looks = Looks(ticks)
    looks.look()
    _, _, held = looks.clocks.text().partition(", held by ")
    assert held.startswith(
        "stream click (topic clicks partition 0: it is read to its end, going on through its silence, about 11"
    )
    assert held.endswith(" s to go)")
    assert looks.clocks.warnings() == [f"windows close late: the clock is held by {held}"]


@pytest.mark.rule(8)
@pytest.mark.parametrize(("at_end", "why"), [(True, "it is read to its end"), (False, "it is being read")])
def test_times_in_the_wrong_unit_are_said_to_hold_every_sample(caplog, at_end, why):
    ticks = Ticks()
    looks = Looks(ticks)
    with caplog.at_level(logging.WARNING):
        for second in range(int(SAY_AFTER_S) + 2):
            now_s = 1_764_000_000 + second
            ticks.tick(now_s, at_end=at_end, shows=now_s, clicks=now_s / 1000)
            looks.look()
    assert looks.clocks.warnings() == [
        f"no window closes: the clock is held by stream click (topic clicks partition 0: {why}, its events are of "
        "1970-01-21, decades before another stream's: is streams.click.time_unit right? Every sample waits for it)"
    ]
    assert [record.getMessage() for record in caplog.records] == looks.clocks.warnings()
    assert looks.clocks.text().startswith("at 1970-01-21 ")

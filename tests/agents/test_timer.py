"""When ticks are sent: regularly, and when they may close a slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from samplejoin.agents.timer import Ticking
from samplejoin.core.spec import Spec, Stream
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.sources import Sources

SPEC = Spec(
    "ticks", (Stream("show", "anchor", ("shows",), lateness_ms=2_000),), ("user",), (), window_ms=10_000
)  # fmt: skip
START_MS = 1_700_000_000_000


class Sent:
    """A sender that keeps what it is given: partition and acknowledgement."""

    def __init__(self) -> None:
        self.ticks: list[tuple[int, Any]] = []

    def enqueue(self, partition: int, entry: Any, acked: Any) -> None:
        self.ticks.append((partition, acked))


class Play:
    """A worker with both partitions of its input, its clock, and what it has sent."""

    def __init__(self) -> None:
        config = EngineConfig(SPEC, "print", Topics("job", "s", None, None, "d"), 2, Path(), {})
        self.now, self.sent, self.sources = 100.0, Sent(), Sources(config)
        sender: Any = self.sent
        self.ticking = Ticking(config, self.sources, sender, monotonic=lambda: self.now)
        for partition in range(2):
            self.sources.add(TopicPartition("shows", partition), 1, 0, "", 0)

    def read_to(self, *second: float) -> None:
        """The sources have been read, and acknowledged, up to these event times."""
        for owned, at in zip(self.sources.owned.values(), second, strict=True):
            owned.writer.batch(owned.writer.acked + 1, START_MS + int(at * 1000))
            owned.writer.settle()

    def ticked(self, after_s: float) -> list[int]:
        """The partitions that are sent a tick so much later; all are acknowledged."""
        self.now += after_s
        self.ticking.tick()
        ticks, self.sent.ticks = self.sent.ticks, []
        for _, acked in ticks:
            acked(0)
        return [partition for partition, _ in ticks]


@pytest.fixture
def play():
    return Play()


@pytest.mark.rule(8)
def test_once_a_second_whatever_happens(play):
    assert play.ticked(0.0) == [0, 1]
    assert [play.ticked(0.1) for _ in range(9)] == [[]] * 9
    assert play.ticked(0.11) == [0, 1]


@pytest.mark.rule(8)
def test_at_once_when_all_sources_have_come_to_a_new_slice(play):
    play.read_to(5.0, 5.1)
    assert play.ticked(1.0) == [0, 1]
    play.read_to(6.0, 5.9)
    assert play.ticked(0.85) == []  # one is still in the old slice: its windows cannot close
    play.read_to(6.1, 6.0)
    assert play.ticked(0.1) == [0, 1]
    play.read_to(6.5, 6.9)
    assert play.ticked(0.85) == []


@pytest.mark.rule(8)
def test_the_slice_that_all_sources_have_come_to_is_by_the_lateness_of_each():
    """The source with the lowest event time need not be the one with the lowest watermark."""
    show = Stream("show", "anchor", ("shows",), lateness_ms=500)
    click = Stream("click", "label", ("clicks",), lateness_ms=60_000)
    spec = Spec("ticks", (show, click), ("user",), (), window_ms=10_000)
    sources = Sources(EngineConfig(spec, "print", Topics("job", "s", None, None, "d"), 2, Path(), {}))
    shows, clicks = (sources.add(TopicPartition(topic, 0), 1, 0, "", 0) for topic in ("shows", "clicks"))
    shows.writer.row_time, clicks.writer.row_time = START_MS + 5000, START_MS + 65_000
    assert sources.slice() == START_MS // 1000 + 4
    clicks.writer.row_time = START_MS + 63_000
    assert sources.slice() == START_MS // 1000 + 3
    shows.writer.row_time = START_MS + 90_000
    assert sources.slice() == START_MS // 1000 + 3


@pytest.mark.rule(8)
def test_a_slice_that_is_a_little_late_is_waited_for(play):
    """A tick just before it would close nothing, and the one that does could come only `APART_S` after that."""
    play.read_to(5.0, 5.1)
    assert play.ticked(1.0) == [0, 1]
    play.read_to(6.0, 6.1)
    assert play.ticked(1.0) == [0, 1]
    assert play.ticked(1.1) == []
    play.read_to(7.0, 7.1)
    assert play.ticked(0.1) == [0, 1]
    assert play.ticked(1.3) == [0, 1]  # no slice came: the sources may have fallen silent
    assert play.ticked(1.0) == [0, 1]


@pytest.mark.rule(8)
def test_a_backlog_does_not_tick_with_every_slice(play):
    assert play.ticked(0.0) == [0, 1]
    play.read_to(50, 50)
    assert play.ticked(0.5) == []
    play.read_to(90, 90)
    assert play.ticked(0.4) == [0, 1]


@pytest.mark.rule(8)
def test_an_end_can_be_proven_between_two_ticks(play):
    """It takes fetches after the acknowledgement, however late that comes."""
    play.ticking.tick()
    play.now += 1.2
    for _, acked in play.sent.ticks:
        acked(0)
    play.sent.ticks.clear()
    assert [play.ticked(0.29) for _ in range(2)] == [[]] * 2
    assert play.ticked(0.29) == [0, 1]


@pytest.mark.rule(8)
def test_beside_a_source_without_a_time_ticks_are_no_faster(play):
    first, _ = play.sources.owned.values()
    assert play.ticked(0.0) == [0, 1]
    for number in range(7):
        first.writer.batch(number, START_MS + number * 5000)
        first.writer.settle()
        assert play.ticked(0.125) == []
    assert play.ticked(0.125) == [0, 1]


@pytest.mark.rule(8)
def test_one_on_its_way_at_a_time(play):
    play.ticking.tick()
    (_, first), (_, second) = play.sent.ticks
    first(0)
    play.now += 1
    play.ticking.tick()
    assert [partition for partition, _ in play.sent.ticks[2:]] == [0]
    second(1)
    play.now += 0.9
    play.ticking.tick()
    assert [partition for partition, _ in play.sent.ticks[3:]] == [1]


def test_not_while_the_worker_drains(play):
    play.sources.ticking = False
    assert play.ticked(5.0) == []

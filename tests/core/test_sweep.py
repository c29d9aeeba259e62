"""Closing in order of deadlines, restarts in the middle of it (rules 15 and 16)."""

from __future__ import annotations

from typing import Any

import pytest

from samplejoin.core import keys
from samplejoin.core.messages import Tick
from tests.core.harness import restarted
from tests.core.play import CLICKS, KEY, SHOWS, Play, spec_of


@pytest.mark.rule(15)
def test_a_window_the_clock_has_passed_is_closed_though_not_yet_swept():
    """Late rows are judged by the clock, not by how far the sweep has come."""
    play = Play(spec_of()).show(5)
    play.partition.apply(Tick([play.entry(s, row_time=15_000) for s in (SHOWS, CLICKS)], play.counts), 9, 9, play.out)
    assert play.partition.due()
    play.partition = restarted(play.partition)
    assert play.partition.due()
    assert not play.partition.sweep(play.out)
    assert play.labels == [0]


@pytest.mark.rule(16)
def test_a_partition_can_restart_in_the_middle_of_a_sweep():
    spec = spec_of()
    names = [keys.encode_key([f"u{i}"]) for i in range(20)]
    play = Play(spec)
    for name in names:
        play.row("show", 5, key=name)
    play.partition.apply(Tick([play.entry(s, row_time=99_000) for s in (SHOWS, CLICKS)], play.counts), 99, 9, play.out)
    while play.partition.sweep(play.out, limit=3):
        play.partition = restarted(play.partition)
    assert sorted(s.key for s in play.out.samples) == sorted(names)
    assert not play.partition.keys


@pytest.mark.rule(16)
def test_what_changed_is_named():
    play = Play(spec_of()).show(5)
    assert list(play.partition.changed) == [KEY]
    play.partition.changed.clear()
    assert not play.clock(6).partition.changed
    assert list(play.clock(15).partition.changed) == [KEY]


@pytest.mark.rule(1, 11)
@pytest.mark.parametrize(
    "options", [{"repeat": "each"}, {"late": "correct", "correction_ms": 60_000, "window_ms": 1000}]
)
def test_keys_with_many_windows_are_looked_at_once_per_slice(options):
    """Two keys with a window a second: looking at one must not multiply its deadlines."""
    play = Play(spec_of(**{"window_ms": 40_000, **options}))
    looks: list[bytes] = []
    close = play.partition._close

    def look(key: bytes, *rest: Any) -> None:
        looks.append(key)
        close(key, *rest)

    play.partition._close = look  # type: ignore[method-assign,assignment]
    for second in range(30):
        for name in "ab":
            play.row("show", second, key=keys.encode_key([name]))
    for second in range(200):
        play.clock(second)
    assert len(play.samples) == 60
    assert len(looks) <= 2 * 2 * 31
    assert not play.partition.keys

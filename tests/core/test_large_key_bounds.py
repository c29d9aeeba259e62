"""Bounds of a key in rows and bytes, and its late labels (rules 5 and 11)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import repeat_chains
from samplejoin.core.cells import CELLS, combine
from samplejoin.core.identity import source_id
from samplejoin.formats.payload import CODEC
from tests.core.harness import (
    block_of,
    wire_cells,
)
from tests.core.large_keys import leaves_of, sizes
from tests.core.oracle import Row
from tests.core.play import KEY, Play, spec_of


def dropped(held: bool, random: Random, **options: Any) -> tuple[Any, int]:
    """What is joined of a stream of rows in order, under a clock that follows them, or stands until the end."""
    play = Play(spec_of(**options))
    for second in range(60):
        for _ in range(random.choice([0, 1, 3])):
            play.click(second, where=random.random(), id=random.random())
        if second % 4 == 0:
            play.show(second, pos=second)
        if not held:
            play.clock(second)
    play.clock(10_000)
    assert not play.partition.keys
    samples = sorted((s.sample_id, s.payload, s.truncated) for s in play.out.samples)
    return samples, play.out.counts.get(("truncated_rows", "click"), 0)


@pytest.mark.rule(11)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 9]), st.sampled_from(["merge", "each"]),
    st.sampled_from([1 << 20, 400]), st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_what_is_dropped_does_not_depend_on_how_long_windows_stay_open(seed, rows, repeat, size, ids):
    options = {"max_rows": rows, "max_bytes": size, "repeat": repeat, "click_id": "id" if ids else None}
    follows, cut = dropped(False, Random(seed), **options)
    stands, cut_too = dropped(True, Random(seed), **options)
    remembers, _ = dropped(False, Random(seed), late="correct", correction_ms=20_000, **options)
    assert follows == stands == remembers
    assert cut == cut_too


@pytest.mark.rule(11)
def test_only_the_windows_that_reach_over_a_dropped_label_are_truncated():
    play = Play(spec_of(max_rows=2, before_ms=2000, repeat="each"))
    for second in (3, 13, 15, 17, 18, 31):
        play.click(second)
    for second in (2, 7, 10, 19, 21, 30):
        play.show(second)
    play.clock(100)
    cut = {sample.slice_ms // 1000: sample.truncated for sample in play.out.samples}
    assert cut == {2: False, 7: False, 10: True, 19: True, 21: False, 30: False}
    assert play.out.counts["truncated_rows", "click"] == 2


@pytest.mark.rule(11)
def test_a_key_is_bounded_in_bytes_too():
    play = Play(spec_of(max_bytes=5000)).show(1)
    for second in range(1, 9):
        play.click(second, where="x" * 1000)
    play.click(1, where="x" * 4000)  # as a part of a cell that is there
    play.show(2, pos="y" * 9000).clock(40)
    (sample,) = play.out.samples
    assert sample.truncated
    assert sample.payload.count(b"x" * 1000) == 4
    assert play.out.counts["truncated_rows", "click"] == 5
    assert play.samples[0]["shows"] == 2


@pytest.mark.rule(1, 15)
def test_a_key_that_becomes_large_by_a_row_behind_its_window_loses_nothing():
    """By processing time the clock moves before the rows of an entry are merged, and windows are closed behind them."""
    with leaves_of(2):
        play = Play(spec_of(clock="processing")).show(0).click(0)
        play.now += 60_000
        play.show(1).click(1)
        assert CODEC.loads(CODEC.pack(play.partition.keys[KEY]))[CELLS] is None
        assert [(sample["shows"], sample["clicks"]) for sample in play.samples] == [(1, 1)]
        play.now += 60_000
        play.clock(0)
    assert [(sample["shows"], sample["clicks"]) for sample in play.samples] == [(1, 1)] * 2
    assert not play.partition.keys


@pytest.mark.rule(5)
@pytest.mark.parametrize("entries", [64, 1])
def test_a_late_label_that_waits_in_vain_is_late_and_no_orphan(entries):
    with leaves_of(entries):
        play = Play(spec_of(window_ms=101, before_ms=100, resolution_ms=1, late="topic"))
        play.show(1.0).clock(1.101)
        assert len(play.samples) == 1
        play.click(1.050).click(1.050).clock(1.150)
        assert play.out.side_rows == []  # an impression at 1.150 would hold it
        play.clock(1.151)
    assert play.sides("late") == [("click", 1)] * 2
    assert play.sides("orphan") == []
    assert [row.source for row in play.out.side_rows] == [["clicks 000000", 0], ["clicks 000000", 1]]
    counts = play.out.counts
    assert (counts["late_rows", "click"], counts["late_dropped_rows", "click"]) == (2, 2)


@pytest.mark.rule(3, 5)
@pytest.mark.parametrize("entries", [64, 1])
def test_a_late_label_that_waits_joins_the_anchor_that_comes(entries):
    with leaves_of(entries):
        play = Play(spec_of(before_ms=5000, late="topic"))
        play.clock(8).click(6).click(9).show(10).clock(40)
    assert [sample["clicks"] for sample in play.samples] == [2]
    assert play.out.side_rows == []


@pytest.mark.rule(3, 5)
@pytest.mark.parametrize("entries", [64, 1])
@pytest.mark.parametrize(("late", "clicks"), [("topic", [1, 1]), ("correct", [1, 2, 0])])
def test_a_late_label_goes_to_a_window_that_is_known(entries, late, clicks):
    """Of one that is forgotten nothing can be known; of one that is remembered its first claim is."""
    with leaves_of(entries):
        play = Play(spec_of(before_ms=20_000, repeat="each", late=late, correction_ms=3_600_000))
        play.show(0).click(0).clock(11).show(15).click(5).clock(60)
    assert [sample["clicks"] for sample in play.samples] == clicks
    assert play.out.side_rows == []


@pytest.mark.rule(5, 11)
def test_a_late_label_that_is_dropped_corrects_once():
    """The first one dropped makes the window truncated; of the others there is nothing to say."""
    play = Play(spec_of(max_rows=1, late="correct", correction_ms=3_600_000)).show(1).click(1).clock(40)
    for second in range(2, 6):
        play.click(second).clock(40 + second)
    play.click(1).clock(50)  # joins the cell that is there
    assert [(s.revision, s.truncated, s.payload.count(b"where")) for s in play.out.samples] == [
        (0, False, 1), (1, True, 1), (2, True, 1),
    ]  # fmt: skip
    assert [sample["clicks"] for sample in play.samples] == [1, 1, 2]
    counts = play.out.counts
    assert (counts["late_corrections", ""], counts["truncated_rows", "click"]) == (2, 4)


@pytest.mark.rule(5)
@pytest.mark.parametrize("entries", [64, 1])
def test_late_corrections_are_counted_in_rows(entries):
    with leaves_of(entries):
        play = Play(spec_of(late="correct", correction_ms=3_600_000)).show(1).click(1).clock(40)
        rows = [Row("click", KEY, 2000, ("clicks", 0, offset, 0), {}) for offset in (1, 2, 3)]
        cells = combine(play.spec, [cell for row in rows for cell in wire_cells(play.spec, row)], 0)
        assert len(cells) == 1
        play.apply(block_of(source_id("clicks", 0), 0, 3, cells)).clock(41)
    assert [sample["clicks"] for sample in play.samples] == [1, 4]
    assert play.out.counts["late_corrections", ""] == play.out.counts["late_rows", "click"] == 3


@pytest.mark.rule(3, 7)
@given(st.integers(0, 2**32 - 1), sizes, st.sampled_from(["count", "correct"]), st.booleans())
@settings(max_examples=40)
def test_repeated_ids_open_the_same_windows_in_any_order(seed, size, late, colliding):
    """Anchors of few ids, that come before those whose windows they move."""
    random, made = Random(seed), []
    rows = [(random.randrange(60), random.choice([None, "a", "a", "b", 1, "1"])) for _ in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        if colliding:
            patch.setattr(repeat_chains, "HASH_BITS", 0)
        for entries in (10_000, size[0]):
            with leaves_of(entries, size[1]):
                play = Play(spec_of(show_id="id", repeat="each", late=late, correction_ms=20_000, before_ms=2000))
                for second, id_ in rows:
                    play.show(second, id=id_, pos=second).click(second + 1)
                for second in range(0, 120, 7):
                    play.clock(second)
                assert not play.partition.keys
                made.append(sorted((s.sample_id, s.payload) for s in play.out.samples))
    assert made[0] == made[1]

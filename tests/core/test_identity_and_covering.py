"""A sample's identity, ids of rows, and rows that count once (rules 6 and 7)."""

from __future__ import annotations

import pytest

from samplejoin.core.cells import combine
from samplejoin.core.covering import SourceWriter
from samplejoin.core.identity import sample_id
from samplejoin.core.messages import Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.formats.payload import CODEC
from tests.core.harness import block_of, wire_cells
from tests.core.oracle import Row
from tests.core.play import CLICKS, KEY, SHOWS, Play, spec_of


@pytest.mark.rule(6)
def test_a_sample_is_named_by_job_key_slice_and_anchor():
    order = (5_000, SHOWS, 0, 0)
    sample = Play(spec_of()).show(5).clock(15).out.samples[0]
    assert sample.sample_id == sample_id("job", KEY, 5, "show", [order, b"", None])
    names = {
        sample.sample_id,
        sample_id("job2", KEY, 5, "show", [order, b"", None]),
        sample_id("job", KEY + b" ", 5, "show", [order, b"", None]),
        sample_id("job", KEY, 6, "show", [order, b"", None]),
        sample_id("job", KEY, 5, "show", [(5_000, SHOWS, 1, 0), b"", None]),
        sample_id("job", KEY, 5, "show", [(5_000, SHOWS, 0, 1), b"", None]),
        sample_id("job", KEY, 5, "show", [order, b"", 1]),
        sample_id("job", KEY, 5, "show", [order, b"", "1"]),
    }
    assert len(names) == 8
    assert sample_id("job", KEY, 5, "show", [(7_000, CLICKS, 9, 9), b"", 1]) in names


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    ("a", "b"),
    [(1.5, "1.5"), (True, "True"), (True, 1), (1, "1"), (1, 1.0), ([1], "[1]"), ({"a": 1}, "{'a':1}"), ([1], ["1"])],
)
def test_ids_of_different_types_are_different(a, b):
    play = Play(spec_of(codec=CODEC, click_id="id", show_id="id", repeat="each"))
    play.show(5, id=a).show(5, id=b).show(5, id=a).click(6, id=a).click(6, id=b).click(7, id=a).clock(40)
    assert sorted(sample["shows"] for sample in play.samples) == [1, 1]
    assert sorted(sample["clicks"] for sample in play.samples) == [0, 2]
    assert len({sample.sample_id for sample in play.out.samples}) == 2


@pytest.mark.rule(5, 14)
def test_a_correction_that_becomes_a_negative_not_kept_leaves_what_was_sent():
    """The next one that goes out names the weight of the sample that stands."""
    label = {0: 0, 1: 1, 2: 0, 3: 1}
    options = {"late": "correct", "correction_ms": 3_600_000, "keep_negatives": 1e-9}
    play = Play(spec_of(label=lambda values: label[values["clicks"]], **options))
    play.show(1).click(2).clock(40).click(3).clock(41)
    assert [(s.revision, s.weight) for s in play.out.samples] == [(0, 1.0)]
    assert play.out.counts["revisions", "down-sampled"] == 1
    play.click(4).clock(42)
    (_, last) = play.out.samples
    assert (last.revision, last.weight, last.previous_weight) == (2, 1.0, 1.0)


@pytest.mark.rule(7)
def test_rows_with_an_id_count_once_per_window():
    spec = spec_of(click_id="id", before_ms=0)
    play = Play(spec).show(5).click(6, id="a", where="1").click(7, id="a", where="2").click(7, id="b", where="3")
    play.click(8, where="no id").click(8, where="no id")
    (sample,) = play.clock(40).samples
    assert (sample["clicks"], sample["where"]) == (4, ["1", "3", "no id", "no id"])


@pytest.mark.rule(7)
def test_an_impression_sent_again_opens_no_window_of_its_own():
    spec = spec_of(show_id="id", repeat="each")
    play = Play(spec).show(6, id=1, pos=9).show(5, id=1, pos=1).show(7, id=2, pos=2).click(8).clock(40)
    assert [(s["pos"], s["shows"], s["label"]) for s in play.samples] == [(1, 1, 0), (2, 1, 1)]


@pytest.mark.rule(7)
def test_covered_rows_are_skipped_gaps_and_straddling_cells_refused():
    spec = spec_of()
    rows = [Row("click", KEY, 5000, ("clicks", 0, o, 0), {}) for o in range(6)]
    cells = [cell for row in rows for cell in wire_cells(spec, row)]
    partition, out = Partition(spec), Outcomes()

    def step(after, upto, cells):
        partition.apply(block_of(CLICKS, after, upto, cells), 0, 0, out)
        return partition.covered.get(CLICKS, -1), sum(c[2] for c in partition.keys.get(KEY, [[]])[0])

    assert step(None, 2, cells[:3]) == (2, 3)
    assert step(None, 2, cells[:3]) == (2, 3)  # again: skipped
    assert step(3, 5, cells[4:]) == (2, 3)  # offset 3 is missing: refused
    assert step(0, 4, combine(spec, cells[1:5], -1)) == (2, 3)  # one cell of offsets 1 to 4: refused
    assert step(0, 4, cells[1:5]) == (4, 5)  # apart: 3 and 4 are new
    assert {name for name, _ in out.counts} == {"skipped_entries", "gap_refused", "straddle_refused"}


@pytest.mark.rule(7, 8)
def test_a_tick_behind_a_gap_is_not_believed():
    """It speaks of rows that never came: neither H nor a watermark nor a silence may move by it."""
    play = Play(spec_of())
    play.show(1).clock(2)
    before = play.partition.dump()[:1], play.partition.clock.value
    ahead = TickEntry(SHOWS, 1, after=5, upto=9, row_time=99_000, at_end=True, prev=1)
    play.apply(Tick([ahead], dict(play.counts)))
    assert play.out.counts["gap_refused", SHOWS] == 1
    assert (play.partition.dump()[:1], play.partition.clock.value) == before
    assert play.partition.clock.sources[SHOWS].watermark == 2000
    assert play.partition.clock.sources[SHOWS].last_offset == 1


@pytest.mark.rule(7)
def test_a_writer_gives_a_batch_to_a_partition_once():
    writer = SourceWriter(CLICKS, 1, -1, 10)
    batch = writer.batch(3, None)
    writer.block(0, batch, [])
    writer.block(1, batch, [])
    with pytest.raises(ValueError, match="rows lost"):
        writer.block(0, batch, [])

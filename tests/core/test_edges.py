"""Examples, rule by rule: one key, a few rows with times in seconds, and a clock moved by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from samplejoin.core import keys
from samplejoin.core.aggregates import LIMITED, PLAIN, Custom
from samplejoin.core.cells import combine
from samplejoin.core.clock import Clock
from samplejoin.core.covering import SourceWriter
from samplejoin.core.identity import keep, sample_id, source_id
from samplejoin.core.messages import Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Field, Role, Spec, Stream
from samplejoin.core.user_errors import said, why_away
from samplejoin.formats.payload import CODEC
from tests.core.harness import block_of, restarted, wire_cells
from tests.core.oracle import Row

KEY = keys.encode_key(["u"])
SHOWS, CLICKS = source_id("shows", 0), source_id("clicks", 0)


def stream_of(name: str, role: Role, options: dict[str, Any]) -> Stream:
    """A stream by the options that begin with its name."""
    topics = options.pop(f"{name}_topics", (f"{name}s",))
    id_field, idle = options.pop(f"{name}_id", None), options.pop(f"{name}_idle", "advance")
    return Stream(name, role, topics, id_field, idle, options.pop(f"{name}_lateness_ms", 0))


def spec_of(**options: Any) -> Spec:
    show, click = stream_of("show", "anchor", options), stream_of("click", "label", options)
    fields = options.pop("fields", None) or (
        Field("pos", "show", "pos", PLAIN["first"]()),
        Field("last_pos", "show", "pos", PLAIN["last"]()),
        Field("shows", "show", None, PLAIN["count"]()),
        Field("clicks", "click", None, PLAIN["count"]()),
        Field("where", "click", "where", LIMITED["list"](10)),
    )
    return Spec("job", (show, click), ("user",), fields, **{"window_ms": 10_000, **options})


class Play:
    """A partition with one source per topic. Each call is one block, or one tick that moves the clock."""

    def __init__(self, spec: Spec, **sources: int) -> None:
        self.spec, self.partition, self.out = spec, Partition(spec), Outcomes()
        self.counts = {"shows": 1, "clicks": 1, **sources}
        self.offsets: dict[str, int] = {}
        self.entries = 0
        self.now = 0

    def row(self, stream: str, second: float, key: bytes = KEY, **value: Any) -> Play:
        topic = {"show": "shows", "click": "clicks"}[stream]
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        row = Row(stream, key, int(second * 1000), (topic, 0, offset, 0), value)
        return self.apply(
            block_of(source_id(topic, 0), offset - 1 if offset else None, offset, wire_cells(self.spec, row))
        )

    def show(self, second: float, **value: Any) -> Play:
        return self.row("show", second, **value)

    def click(self, second: float, **value: Any) -> Play:
        return self.row("click", second, **value)

    def clock(self, second: float, *topics: str) -> Play:
        """A tick that says of these topics (all): read up to there."""
        entries = [
            self.entry(source_id(topic, p), row_time=int(second * 1000) + self.spec.lateness_ms(topic))
            for topic in topics or self.counts
            for p in range(self.counts[topic])
        ]
        return self.apply(Tick(entries, dict(self.counts)))

    def entry(self, source: str, **values: Any) -> TickEntry:
        upto = self.partition.covered.get(source, -1)
        return TickEntry(source, 1, None, upto, values.get("row_time"), values.get("at_end", False), values.get("prev"))

    def apply(self, entry: Any) -> Play:
        self.now += 1000
        self.partition.apply(entry, self.entries, self.now, self.out)
        self.partition.sweep(self.out)
        self.entries += 1
        return self

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [json.loads(sample.payload) for sample in self.out.samples]

    @property
    def labels(self) -> list[int]:
        return [sample["label"] for sample in self.samples]

    def sides(self, kind: str) -> list[tuple[str, int]]:
        return [(row.stream, row.slice_ms // 1000) for row in self.out.side_rows if row.kind == kind]


@pytest.mark.rule(1, 15)
def test_a_sample_goes_out_when_the_clock_passes_its_windows_end():
    play = Play(spec_of()).show(5, pos=1).clock(14.999)
    assert play.samples == []
    assert play.clock(15).labels == [0]
    assert play.clock(99).labels == [0]
    assert not play.partition.keys


@pytest.mark.rule(15)
@pytest.mark.parametrize(("second", "label"), [(14.999, 1), (15, 0), (5, 1), (4.999, 0)])
def test_a_window_holds_its_start_but_not_its_end(second, label):
    assert Play(spec_of()).show(5).click(second).clock(30).labels == [label]


@pytest.mark.rule(3, 15)
@pytest.mark.parametrize(("second", "label"), [(2, 1), (1.999, 0)])
def test_before_reaches_back_inclusively(second, label):
    assert Play(spec_of(before_ms=3000)).show(5).click(second).clock(30).labels == [label]


@pytest.mark.rule(1, 2)
def test_a_label_read_before_its_impression_joins():
    play = Play(spec_of()).click(7, where="top").clock(5, "clicks").show(5, pos=3).clock(15)
    assert play.samples == [
        {"user": "u", "pos": 3, "last_pos": 3, "shows": 1, "clicks": 1, "where": ["top"], "label": 1}
    ]


@pytest.mark.rule(2, 15)
def test_time_is_compared_by_slices():
    """The click is 0.4 s before the impression, but in its slice."""
    assert Play(spec_of()).show(5.5).click(5.1).clock(30).labels == [1]
    assert Play(spec_of(resolution_ms=100)).show(5.5).click(5.1).clock(30).labels == [0]


@pytest.mark.rule(3)
def test_repeated_anchors_are_one_sample_with_merge():
    play = Play(spec_of()).show(9, pos=2).show(5, pos=1).click(14).show(15, pos=3).clock(40)
    assert [(s["pos"], s["last_pos"], s["shows"], s["label"]) for s in play.samples] == [(1, 2, 2, 1), (3, 3, 1, 0)]


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("attribution", "second", "labels"),
    [("last", 9, [0, 1]), ("first", 9, [1, 0]), ("last", 7, [1, 0]), ("first", 16, [0, 1]), ("last", 4, [1, 0])],
)
def test_each_anchor_is_a_sample_and_a_label_belongs_to_one(attribution, second, labels):
    spec = spec_of(repeat="each", attribution=attribution, before_ms=5000)
    play = Play(spec).show(5, pos=1).show(8, pos=2).click(second).clock(40)
    assert [s["label"] for s in sorted(play.samples, key=lambda s: s["pos"])] == labels


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("attribution", "second", "winner"), [("last", 6, 2), ("first", 6, 1), ("last", 4, 2), ("first", 4, 1)]
)
def test_ties_within_a_slice_go_by_event_time_and_source(attribution, second, winner):
    spec = spec_of(repeat="each", attribution=attribution, before_ms=5000)
    for times in ((5.1, 5.2), (5.0, 5.0)):
        play = Play(spec).show(times[0], pos=1).show(times[1], pos=2).click(second).clock(40)
        assert [s["pos"] for s in play.samples if s["label"]] == [winner]


@pytest.mark.rule(3)
def test_a_label_between_two_merge_windows_prefers_the_one_behind_it():
    spec = spec_of(before_ms=5000)
    play = Play(spec).show(0, pos=1).show(12, pos=2).click(9).click(10).clock(40)
    assert [(s["pos"], s["clicks"]) for s in play.samples] == [(1, 1), (2, 1)]


@pytest.mark.rule(4)
@pytest.mark.parametrize("before", [0, 3])
def test_a_label_is_an_orphan_once_no_anchor_can_come(before):
    play = Play(spec_of(before_ms=before * 1000)).click(5).clock(5 + before)
    assert play.sides("orphan") == []
    assert play.clock(6 + before).sides("orphan") == [("click", 5)]
    assert play.samples == []
    assert not play.partition.keys


@pytest.mark.rule(4)
def test_a_label_after_its_window_is_an_orphan_though_its_key_lives():
    play = Play(spec_of()).show(5).click(15).show(17).clock(16)
    assert (play.labels, play.sides("orphan")) == ([0], [("click", 15)])
    assert play.clock(27).labels == [0, 0]


@pytest.mark.rule(5)
def test_a_late_label_joins_while_its_window_is_open():
    play = Play(spec_of()).show(5).clock(14).click(6).clock(15)
    assert (play.labels, play.out.counts["late_rows", "click"]) == ([1], 1)


@pytest.mark.rule(5)
def test_a_late_anchor_is_folded_into_an_open_window():
    play = Play(spec_of()).show(5, pos=1).clock(14).show(6, pos=2).clock(15)
    assert [(s["pos"], s["last_pos"]) for s in play.samples] == [(1, 2)]


@pytest.mark.rule(5)
@pytest.mark.parametrize(("repeat", "second"), [("merge", 4), ("merge", 3), ("each", 6)])
def test_a_late_anchor_never_opens_a_window(repeat, second):
    play = Play(spec_of(repeat=repeat)).show(5, pos=1).clock(14).show(second, pos=2).clock(40)
    assert [s["pos"] for s in play.samples] == [1]
    assert play.sides("late") == [("show", second)]
    assert play.out.side_rows[0].fields["pos"] == 2
    assert play.out.side_rows[0].source == [SHOWS, 1]


@pytest.mark.rule(5)
def test_a_label_after_its_sample_is_late():
    play = Play(spec_of(late="topic")).show(5).clock(15).click(6, where="top")
    assert play.sides("late") == [("click", 6)]
    assert play.out.side_rows[0].fields == {"clicks": 1, "where": ["top"]}


CORRECT = {"late": "correct", "correction_ms": 20_000}


@pytest.mark.rule(5)
def test_a_correction_is_a_full_sample_with_the_same_id():
    play = Play(spec_of(**CORRECT)).show(5, pos=1).click(6).clock(15).click(7)
    assert len(play.samples) == 1
    play.clock(16).clock(17)
    first, second = play.out.samples
    assert (second.sample_id, second.revision, second.previous_weight) == (first.sample_id, 1, 1.0)
    assert [s["clicks"] for s in play.samples] == [1, 2]


@pytest.mark.rule(5)
def test_two_late_labels_between_two_ticks_are_one_revision():
    play = Play(spec_of(**CORRECT)).show(5).clock(15).click(6).click(7).clock(16).click(8).clock(17)
    assert [(s.revision, json.loads(s.payload)["clicks"]) for s in play.out.samples] == [(0, 0), (1, 2), (2, 3)]


@pytest.mark.rule(5, 16)
def test_a_restart_does_not_hurry_a_revision():
    play = Play(spec_of(**CORRECT)).show(5).clock(15).click(6)
    play.partition = restarted(play.partition)
    play.partition.sweep(play.out)
    assert len(play.samples) == 1
    assert [s["clicks"] for s in play.click(7).clock(16).samples] == [0, 2]


@pytest.mark.rule(5, 16)
def test_a_crash_between_two_revisions_loses_none():
    spec, other = spec_of(**CORRECT), keys.encode_key(["v"])
    play = Play(spec).show(5).row("show", 5, key=other).clock(15).click(6).row("click", 6, key=other)
    play.partition.apply(Tick([play.entry(SHOWS, row_time=16_000)], play.counts), 99, 99_000, play.out)
    assert play.partition.sweep(play.out, limit=1)
    play.partition = restarted(play.partition)
    assert play.partition.due()
    play.partition.sweep(play.out)
    assert sorted(s.revision for s in play.out.samples) == [0, 0, 1, 1]


@pytest.mark.rule(5, 14)
def test_what_is_first_sent_for_an_id_may_be_a_revision():
    play = Play(spec_of(keep_negatives=1e-12, **CORRECT)).show(5).clock(15)
    assert play.samples == []
    (sample,) = play.click(6).clock(16).out.samples
    assert (sample.revision, sample.previous_weight, sample.weight) == (1, 0.0, 1.0)


@pytest.mark.rule(5, 13)
def test_the_previous_weight_is_that_of_the_sample_last_sent():
    """A revision in between was filtered: the trainer still has the one before it."""
    only_odd = lambda v: None if v["clicks"] == 2 else json.dumps(v).encode()  # noqa: E731
    play = Play(spec_of(format=only_odd, **CORRECT)).show(5).click(6).clock(15)
    play.click(7).clock(16).click(8).clock(17)
    assert [(s.revision, s.previous_weight) for s in play.out.samples] == [(0, 0.0), (2, 1.0)]


@pytest.mark.rule(5)
def test_corrections_end_and_their_state_goes():
    play = Play(spec_of(**CORRECT)).show(5).clock(34)
    assert play.partition.keys
    play.clock(35).click(6)
    assert not play.partition.keys
    assert play.sides("late") == [("click", 6)]


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
        self.clock.see_append_time(int(second * 1000))
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
    writer.saw_fetch(0, 0, 0)
    assert not writer.tick(0).at_end  # nothing acknowledged yet
    writer.tick_acked(0, 7)
    writer.saw_fetch(1, 0, 0)  # may have been sent before the acknowledgement
    writer.saw_fetch(1, 0, 0)  # the same answer again
    assert not writer.tick(0).at_end
    writer.saw_fetch(2, 0, 0)
    entry = writer.tick(0)
    assert (entry.at_end, entry.prev) == (True, 7)
    writer.saw_fetch(3, 0, 1)  # there is more to read
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
            other.load(json.loads(json.dumps(ticks.clock.dump())))
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


@pytest.mark.rule(10)
def test_keys_are_unambiguous():
    parts: list[list[Any]] = [
        ["a|b", "c"],
        ["a", "b|c"],
        ["a", "b", "c"],
        ['a","b', "c"],
        ["a\\", "b"],
        ["1", 1],
        [1, "1"],
        [True, 1],
    ]
    encoded = [keys.encode_key(values) for values in parts]
    assert len(set(encoded)) == len(parts)
    assert [keys.decode_key(key) for key in encoded] == parts


@pytest.mark.rule(10)
@pytest.mark.parametrize("value", [1.5, None, [1], {"a": 1}, b"x"])
def test_a_key_is_of_scalars(value):
    with pytest.raises(TypeError, match="key field"):
        keys.encode_key([value])


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("row", "values"),
    [
        ({"u": "x", "i": 1}, ["x", 1]),
        ({"u": "x"}, None),
        ({"u": None, "i": 1}, None),
        ({"u": "", "i": 1}, None),
        ({"u": "0", "i": 1}, None),
        ({"u": "x", "i": -1}, None),
        ({"u": "x", "i": 0}, ["x", 0]),
        ({"u": True, "i": 1}, [True, 1]),
    ],
)
def test_junk_keys_are_no_keys(row, values):
    assert keys.key_values(row, ("u", "i"), frozenset(("", "0", -1))) == values


@pytest.mark.rule(10)
def test_partitions_of_keys_are_for_ever():
    vectors = {b'["u1"]': 3, b'["u1",42]': 12, b'["a|b","c"]': 8, '["ü"]'.encode(): 6}
    assert {key: keys.partition_of(key, 16) for key in vectors} == vectors


@pytest.mark.rule(11)
def test_a_hot_key_is_one_cell_per_stream_and_slice():
    spec = spec_of()
    cells = [
        c for o in range(1000) for c in wire_cells(spec, Row("click", KEY, 5000 + o % 900, ("clicks", 0, o, 0), {}))
    ]
    (cell,) = combine(spec, cells, -1)
    assert cell[2:6] == (5, 0, 999, 1000)
    assert len(combine(spec, cells, 9)) == 11


@pytest.mark.rule(11)
def test_past_max_rows_labels_are_dropped_and_the_sample_says_so():
    play = Play(spec_of(max_rows=3)).show(5)
    for second in (6, 7, 8, 8, 9, 9, 6):
        play.click(second)
    play.show(9).clock(40)
    (sample,) = play.out.samples
    body = json.loads(sample.payload)
    assert (sample.truncated, body["clicks"], body["shows"]) == (True, 5, 2)
    assert play.out.counts["truncated_rows", "click"] == 2


@pytest.mark.rule(11, 16)
def test_what_was_dropped_is_not_forgotten_before_its_anchor_comes():
    play = Play(spec_of(max_rows=1, before_ms=10_000)).click(5).click(7).clock(16)
    play.partition = restarted(play.partition)
    play.show(17).clock(40)
    assert [s.truncated for s in play.out.samples] == [True]
    play = Play(spec_of(max_rows=1, before_ms=10_000)).click(5).click(7).clock(18)
    assert not play.partition.keys


def raising(values):
    raise KeyError("no such field")


class Mute(Exception):
    """Raises when it is asked what it is."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
@pytest.mark.parametrize("kind", [Mute, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_whatever_a_function_raises_costs_its_sample_only(function, kind):
    def ending(values):
        raise kind

    play = Play(spec_of(**{function: ending})).show(5, pos=7).clock(15)
    assert [(dead.function, dead.error) for dead in play.out.dead] == [(function, kind.__name__)]


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
def test_ctrl_c_is_no_mistake_of_a_function(function):
    def interrupted(values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Play(spec_of(**{function: interrupted})).show(5, pos=7).clock(15)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (ValueError("ValueError: x"), "ValueError: x"),
        (ValueError("x" * 5000), f"ValueError: {'x' * 988}"),
        (Mute(), "Mute"),
    ],
)
def test_words_for_errors(error, text):
    assert said(error) == text


def test_words_for_brokers_that_are_away_name_no_addresses_as_python_does():
    assert why_away(OSError("Unable to bootstrap from [('a', 1, <x>)]")).endswith("(OSError: Unable to bootstrap)")
    assert why_away(TimeoutError()).endswith("SASL? (TimeoutError)")


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
def test_a_function_that_raises_costs_its_sample(function):
    play = Play(spec_of(**{function: raising})).show(5, pos=7).clock(15)
    (dead,) = play.out.dead
    assert (dead.function, dead.error, dead.fields["pos"]) == (function, "KeyError: 'no such field'", 7)
    assert "raising" in dead.traceback
    assert play.out.counts["samples", "dead"] == 1
    assert play.samples == []
    assert not play.partition.keys


class Bad:
    """A user's aggregate whose merge or result raises."""

    def __init__(self, what: str) -> None:
        self.what = what

    def zero(self):
        return 0

    def add(self, partial, value):
        return partial + 1

    def merge(self, a, b):
        return a + b if self.what != "merge" else raising(a)

    def result(self, partial):
        return partial if self.what != "result" else raising(partial)


@pytest.mark.rule(12)
@pytest.mark.parametrize("what", ["merge", "result"])
def test_an_aggregate_that_raises_never_stops_the_partition(what):
    field = Field("bad", "click", "where", Custom("bad", Bad(what)))
    spec = spec_of(fields=(field,))
    play = Play(spec).show(5).click(6, where=1).click(6, where=1).clock(15)
    assert [dead.function for dead in play.out.dead] == ["aggregate"]
    play = Play(spec).click(6, where=1).clock(15)
    assert play.sides("orphan") == [("click", 6)]
    assert len(play.out.dead) == (what == "result")
    cells = [c for o in range(2) for c in wire_cells(spec, Row("click", KEY, 0, ("clicks", 0, o, 0), {"where": 1}))]
    assert len(combine(spec, cells, -1)) == (2 if what == "merge" else 1)


@pytest.mark.rule(13)
def test_a_format_of_none_filters_the_sample():
    play = Play(spec_of(format=lambda values: None)).show(5).clock(15)
    assert (play.samples, play.out.dead, play.out.counts["samples", "filtered"]) == ([], [], 1)
    assert not play.partition.keys


@pytest.mark.rule(13, 14)
def test_the_label_is_final_before_anything_is_dropped():
    spec = spec_of(keep_negatives=1e-12, label=lambda values: int(values["pos"] == 1))
    assert Play(spec).show(5, pos=1).clock(15).labels == [1]
    play = Play(spec).show(5, pos=2).click(6).clock(15)
    assert (play.labels, play.out.counts["samples", "down-sampled"]) == ([], 1)


@pytest.mark.rule(14)
def test_negatives_are_kept_by_their_id_with_their_weight():
    play = Play(spec_of(keep_negatives=0.25))
    names = [keys.encode_key([f"u{i}"]) for i in range(400)]
    for name in names:
        play.row("show", 5, key=name)
    play.click(6).clock(15)
    kept = {s.key for s in play.out.samples}
    assert 60 < len(kept) < 140
    assert {(s.weight, json.loads(s.payload)["weight"]) for s in play.out.samples} == {(4.0, 4.0)}
    assert all(keep(s.sample_id, 0.25) and keep(s.sample_id, 0.5) for s in play.out.samples)
    again = Play(spec_of(keep_negatives=0.25))
    for name in reversed(names):
        again.row("show", 5, key=name)
    assert len(again.clock(15).samples) == pytest.approx(len(kept), abs=40)


@pytest.mark.rule(14)
def test_positives_always_stay():
    play = Play(spec_of(keep_negatives=1e-12)).show(5).click(6).clock(15)
    assert [(s["label"], s["weight"]) for s in play.samples] == [(1, 1.0)]


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

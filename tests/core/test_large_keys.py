"""Keys with many cells: in leaves they join as small ones do, at a cost that grows with their rows and no faster."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import leaves, repeat_chains
from samplejoin.core.cells import CELLS, combine
from samplejoin.core.identity import source_id
from samplejoin.core.outcomes import Outcomes
from samplejoin.formats.payload import CODEC
from tests.core import oracle
from tests.core.harness import (
    Pages,
    World,
    block_of,
    everything,
    last_revisions,
    offline,
    replay,
    restarted,
    wire_cells,
)
from tests.core.oracle import Row
from tests.core.strategies import KEYS, ORIGINS, Records, cases, randoms, rows_of, specs, with_options
from tests.core.test_edges import KEY, Play, spec_of
from tests.core.test_properties import expected_orphans, orphans_of


@contextmanager
def leaves_of(entries: int, size: int = 64 << 10) -> Iterator[None]:
    """Keys with more cells than that are large, and no leaf has more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ENTRIES", entries)
        patch.setattr(leaves, "LEAF_BYTES", size)
        yield


sizes = st.sampled_from([(1, 64 << 10), (2, 64 << 10), (5, 64 << 10), (64, 300), (10, 1)])


@pytest.mark.rule(2, 3, 4, 5, 6, 7, 16)
@given(
    cases(late=True), randoms, sizes, st.sampled_from(["count", "topic", "correct"]), st.sampled_from([2, 9, 1000]),
    st.sampled_from(["event", "event", "processing"]),
)  # fmt: skip
@settings(max_examples=100)
def test_large_or_small_is_all_the_same(case, random, size, late, correction, clock):
    """Whatever is late, corrected, repeated, crashed: no outcome tells how a key is kept."""
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=correction * spec.resolution_ms, clock=clock)
    for log in World(spec, records, 1, random, restarts=0.05).run():
        with leaves_of(10_000):
            small = everything(replay(spec, log))
        with leaves_of(*size):
            assert everything(replay(spec, log)) == small
            assert everything(replay(spec, log, Random(random.random()))) == small


def hot_records(spec: Any, random: Random) -> Records:
    """Hundreds of rows of one key, most in order, and a label stream that begins when the others have ended."""
    sources: Records = {(topic, 0): [] for topic in spec.topics()}
    held = (spec.streams[-1].topics[0], 0)
    for stream in spec.streams:
        name = (stream.topics[0], 0)
        time = ORIGINS[0]
        for offset in range(80):
            time += random.choice([0, 0, 1, 1, 2, 9]) * spec.resolution_ms
            value = {"x": offset, "id": random.choice([None, *range(40)])}
            key = random.choice([KEYS[0], KEYS[0], KEYS[1]])
            row = Row(stream.name, key, time, (*name, offset, 0), value)
            sources[name].append((time, [row]))
    for log in sources.values():
        log.sort(key=lambda each: each[0])
        for offset, (time, (row,)) in enumerate(log):
            log[offset] = (time, [replace(row, source=(*row.source[:2], offset, 0))])
    assert held in sources
    return sources


@pytest.mark.rule(1, 2, 3, 4, 7, 11, 15)
@given(specs(resolution_ms=1000), randoms, sizes)
@settings(max_examples=25)
def test_hot_keys_join_as_the_oracle_says(spec, random, size):
    """The clock stands while one source is behind, jumps when it has been read, and the join crashes meanwhile."""
    records = hot_records(spec, random)
    world = World(spec, records, 1, random, max_in_flight=1 << 30, restarts=0.02)
    held = (spec.streams[-1].topics[0], 0)
    while any(world.owners[n].writer.acked + 1 < len(records[n]) for n in records if n != held):
        world.now += 100
        for name in records:
            if name != held:
                world.read(name)
                world.acknowledge(name)
        world.tick([name for name in records if random.random() < 0.3])
    (log,) = world.run()
    with leaves_of(*size):
        streamed = replay(spec, log, random)
    samples, orphans = oracle.join(spec, rows_of(records))
    assert last_revisions(streamed) == samples == last_revisions(offline(spec, rows_of(records)))
    assert orphans_of(streamed) == expected_orphans(spec, orphans)


# ---- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule(11)
@pytest.mark.parametrize("repeat", ["merge", "each"])
def test_stepping_leaves_no_cycles(repeat):
    """What a key was opened for is freed at once: a worker searches for cycles only when little is under way."""
    play = Play(spec_of(codec=CODEC, repeat=repeat, late="correct", correction_ms=60_000))
    gc.collect()
    gc.disable()
    try:
        for second in range(200):
            rested(play.show(second, id=second).click(second))
            if second % 50 == 49:
                play.clock(second)
        rested(play.click(100).clock(1000))
        assert play.out.samples
        assert gc.collect() == 0
    finally:
        gc.enable()


class Visits:
    """Counts the cells that are packed and opened."""

    def __init__(self) -> None:
        self.cells = 0

    def loads(self, data: bytes) -> Any:
        value = CODEC.loads(data)
        if isinstance(value, list) and value and isinstance(value[0], list):
            self.cells += len(value)
        return value


def rested(play: Play) -> None:
    """A commit: what has changed rests packed."""
    for name in play.partition.changed:
        if type(play.partition.keys.get(name)) is list:
            play.partition.keys[name] = CODEC.pack(play.partition.keys[name])
    play.partition.changed = {}


def visits(minutes: int, ids: int = 1 << 62, **options: Any) -> tuple[int, int, int]:
    """Cells opened, in all and at most in a step, and samples: two rows a second, a clock held, let go in steps."""
    counted = Visits()
    play = Play(spec_of(codec=CODEC._replace(loads=counted.loads), window_ms=60_000, **options))
    most = 0
    for second in range(minutes * 60):
        rested(play.show(second, id=second % ids).click(second))
    assert play.partition.keys[KEY]
    assert CODEC.loads(play.partition.keys[KEY])[CELLS] is None
    for second in range(0, minutes * 60 + 8000, 10):
        before = counted.cells
        play.clock(second)
        rested(play)
        most = max(most, counted.cells - before)
    return counted.cells, most, len(play.out.samples)


@pytest.mark.rule(11)
@pytest.mark.parametrize(
    ("minutes", "options"),
    [
        (4, {"repeat": "merge"}),
        (4, {"repeat": "each"}),
        (4, {"repeat": "each", "attribution": "first", "before_ms": 30_000}),
        (4, {"repeat": "each", "late": "correct", "correction_ms": 3_600_000}),
        (4, {"repeat": "merge", "late": "correct", "correction_ms": 3_600_000}),
        (4, {"repeat": "each", "show_id": "id"}),
        (4, {"repeat": "each", "show_id": "id", "ids": 1}),
        (4, {"repeat": "each", "show_id": "id", "ids": 3, "late": "correct", "correction_ms": 3_600_000}),
    ],
    ids=str,
)
def test_the_cells_looked_at_are_in_proportion_to_rows(minutes, options):
    cells, most, samples = visits(minutes, **options)
    twice, most_of_twice, twice_samples = visits(2 * minutes, **options)
    assert twice_samples >= 2 * samples
    assert twice < 2.6 * cells
    assert max(most, most_of_twice) <= 10 * 4 * leaves.LEAF_ENTRIES  # ten windows end in a step, each in a few leaves


@pytest.mark.rule(11)
def test_a_commit_packs_the_leaves_that_changed():
    play = Play(spec_of(codec=CODEC, window_ms=60_000, repeat="each"))
    for second in range(600):
        play.show(second).click(second)
    assert sum(map(leaves.is_leaf, play.partition.keys)) > 15
    rested(play)
    play.click(599)
    changed = [name for name in play.partition.changed if leaves.is_leaf(name)]
    assert len(changed) == 1
    assert len(CODEC.loads(packed_state(play, changed[0]))) <= leaves.LEAF_ENTRIES


def packed_state(play: Play, name: bytes) -> bytes:
    state = play.partition.keys[name]
    return state if type(state) is bytes else CODEC.pack(state)


@pytest.mark.rule(11, 16)
def test_a_sweep_ends_inside_a_key():
    """After each part the state is whole: it can be committed, and another owner goes on with it."""
    play = Play(spec_of(window_ms=60_000, repeat="each"))
    for second in range(300):
        play.show(second).click(second)
    play.partition.clock.value = 400_000
    most, partition = 0, play.partition
    pages: Pages = []
    out = Outcomes()
    while partition.due():
        made = len(out.samples)
        partition.sweep(out, 20)
        most = max(most, len(out.samples) - made)
        if 100 < made < 140:
            partition = restarted(partition, pages)
    assert len({sample.sample_id for sample in out.samples}) == len(out.samples) == 300
    assert most <= 21
    assert not partition.keys
    assert not out.side_rows


# ---- bounds -------------------------------------------------------------------------------------------------------


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


# ---- late labels --------------------------------------------------------------------------------------------------


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

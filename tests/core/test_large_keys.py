"""Keys with many rows join as the oracle says, at a cost in proportion to their rows (rule 11)."""

from __future__ import annotations

import gc
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import leaves
from samplejoin.core.cells import CELLS
from samplejoin.core.outcomes import Outcomes
from samplejoin.formats.payload import CODEC
from tests.core import oracle
from tests.core.harness import (
    Pages,
    World,
    everything,
    last_revisions,
    offline,
    replay,
    restarted,
)
from tests.core.large_keys import leaves_of, sizes
from tests.core.oracle import Row
from tests.core.play import KEY, Play, spec_of
from tests.core.strategies import KEYS, ORIGINS, Records, cases, randoms, rows_of, specs, with_options
from tests.core.test_properties import expected_orphans, orphans_of


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
    play.partition.changed.clear()


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

"""A join partition whose clock follows row by row: every sample goes out at the very step that its rule names."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core.identity import source_id
from samplejoin.core.messages import Block, Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec, Stream
from tests.core.harness import FAR, restarted, wire_cells
from tests.core.large_keys import leaves_of
from tests.core.oracle import Row
from tests.core.stepwise import Stepwise
from tests.core.strategies import Records, cases, lateness_of, randoms, sorted_json, with_options


class Steps:
    """The core and the rules, side by side: each record is a block, and a tick of all sources follows it."""

    def __init__(self, spec: Spec, records: Records, random: Random | None = None) -> None:
        self.spec, self.records, self.random = spec, records, random
        self.partition, self.rules = Partition(spec), Stepwise(spec)
        self.times = dict.fromkeys(records, -1)
        self.upto = dict.fromkeys(records, -1)
        self.offset = 0
        self.aside: Counter[object] = Counter()

    def apply(self, entry: Block | Tick) -> Outcomes:
        out = Outcomes()
        self.partition.apply(entry, self.offset, 1, out)
        self.partition.sweep(out)
        self.offset += 1
        for row in out.side_rows:
            self.aside[row.key, row.stream, row.slice_ms] += row.rows
        return out

    def read(self, name: tuple[str, int]) -> None:
        """The next record of a source."""
        after, offset = self.upto[name], self.upto[name] + 1
        time, rows = self.records[name][offset]
        cells = [cell for row in rows for cell in wire_cells(self.spec, row)]
        for row in rows:
            self.rules.row(row)
        out = self.apply(Block(source_id(*name), 1, after if offset else None, offset, cells))
        assert not out.samples, "a sample went out before a tick"
        self.upto[name] = offset
        self.times[name] = max(time, self.times[name])

    def tick(self) -> None:
        """What goes out is what the rules say, by a clock that is the lowest of highest time minus lateness."""
        names = list(self.records)
        counts = {topic: sum(t == topic for t, _ in names) for topic, _ in names}
        entries = [
            TickEntry(source_id(*n), 1, self.upto[n], self.upto[n], self.times[n], False, None)
            for n in names if self.times[n] >= 0
        ]  # fmt: skip
        out = self.apply(Tick(entries, counts))
        clock = -(1 << 62)
        if len(entries) == len(names):
            clock = min(self.times[n] - lateness_of(self.spec, n[0]) for n in names) // self.spec.resolution_ms
            assert self.partition.clock.slice == clock
        want = self.rules.tick(clock)
        found = [(s.sample_id, s.revision, s.slice_ms, s.payload, s.weight, s.previous_weight) for s in out.samples]
        assert sorted(found) == sorted(want)
        if self.random is not None and self.random.random() < 0.1:
            self.partition = restarted(self.partition)
            again = Outcomes()
            self.partition.sweep(again)
            assert not again

    def end(self) -> None:
        """The input ends: all is closed, and every row that joined nothing has been set aside once."""
        self.times = dict.fromkeys(self.times, FAR)
        self.tick()
        assert not self.partition.keys
        assert self.aside == self.rules.aside


@pytest.mark.rule(1, 3, 4, 5, 8, 15)
@given(
    st.one_of(cases(late=True), cases()),
    randoms,
    st.sampled_from(["count", "topic", "correct"]),
    st.sampled_from([0, 2, 50]),
    st.sampled_from([64, 64, 3, 1]),
)
@settings(max_examples=200)
def test_each_step_gives_what_the_rules_say(case, random, late, correction, entries):
    """However a key is kept."""
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=correction * spec.resolution_ms)
    steps = Steps(spec, records, random)
    left = [name for name, log in records.items() for _ in log]
    random.shuffle(left)
    with leaves_of(entries):
        for name in left:
            steps.read(name)
            if random.random() < 0.8:
                steps.tick()
        steps.end()


SPEC = Spec(
    "job", (Stream("show", "anchor", ("shows",)), Stream("click", "label", ("clicks",))), ("user",), (),
    window_ms=101, before_ms=100, resolution_ms=1, format=sorted_json,
)  # fmt: skip


def made(*times: tuple[str, int]) -> tuple[Steps, list[tuple[str, int]]]:
    """A source per stream; rows of one key, or (`tick`) records without rows."""
    records: Records = {("shows", 0): [], ("clicks", 0): []}
    order = []
    for stream, time in times:
        name = (f"{stream.removesuffix('!')}s", 0)
        source = (*name, len(records[name]), 0)
        rows = [] if stream.endswith("!") else [Row(stream, b'["u"]', time, source, {})]
        records[name].append((time, rows))
        order.append(name)
    return Steps(SPEC, records), order


@pytest.mark.rule(4, 5)
@pytest.mark.parametrize(
    ("label", "later", "aside"),
    [(1050, [1110], 0), (1001, [1101], 0), (1001, [1102], 1), (1050, [], 1), (999, [1101], 1)],
)
def test_a_late_label_is_held_by_a_later_impression_or_set_aside_once(label, later, aside):
    """Its own window has gone out and is forgotten; `before` reaches back from one that is still to come."""
    coming = [("show", time) for time in later]
    steps, order = made(
        ("show", 1000), ("click!", 1101), ("show!", 1101), ("click", label), *coming, ("show!", 1300), ("click!", 1300)
    )
    for name in order:
        steps.read(name)
        steps.tick()
    steps.end()
    assert sum(steps.aside.values()) == aside


@pytest.mark.rule(1, 15)
@pytest.mark.parametrize(("clock", "is_out"), [(1100, False), (1101, True), (1102, True)])
def test_a_sample_goes_out_at_the_millisecond_of_its_end(clock, is_out):
    steps, order = made(("show", 1000), ("click", 1100), ("show!", clock), ("click!", clock))
    for name in order:
        steps.read(name)
        steps.tick()
    assert bool(steps.partition.keys) is not is_out
    steps.end()

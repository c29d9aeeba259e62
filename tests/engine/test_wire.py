"""Cells that travel packed are stepped as open ones are, and most of them are not opened before their window closes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core.aggregates import PLAIN
from samplejoin.core.cells import combine
from samplejoin.core.messages import Block
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Field, Spec, Stream
from samplejoin.engine.wire import pack_cell, pack_entry, unpack_entry
from samplejoin.formats.payload import CODEC
from tests.core.harness import World, everything, packed, stepped, wire_cells
from tests.core.oracle import Row
from tests.core.strategies import cases, randoms, with_options

SPEC = Spec(
    "packed", (Stream("show", "anchor", ("shows",)), Stream("click", "label", ("clicks",))), ("user",),
    (Field("x", "show", "x", PLAIN["first"]()), Field("clicks", "click", None, PLAIN["count"]())),
    window_ms=10_000, codec=CODEC,
)  # fmt: skip


@pytest.mark.rule(5, 6, 7)
@given(cases(late=True), randoms, st.sampled_from(["count", "topic", "correct"]), st.sampled_from([0, 2]))
@settings(max_examples=100)
def test_packed_or_open_is_all_the_same(case, random, late, correction):
    spec, records = case
    options = {"late": late, "correction_ms": correction * spec.resolution_ms, "max_rows": random.choice([2, 99])}
    spec = with_options(spec, codec=CODEC, **options)
    for log in World(spec, records, 2, random, restarts=0.05).run():
        as_sent = [(unpack_entry(pack_entry(entry)), append_ms) for entry, append_ms in log]
        crash = random.random()
        ends = [stepped(spec, each, type(random)(crash)) for each in (log, as_sent)]
        (open_, its), (closed, theirs) = ends
        assert everything(its) == everything(theirs)
        assert states(open_) == states(closed)
        assert open_.changed.keys() == closed.changed.keys()


@pytest.mark.rule(11)
@given(cases(), st.integers(-1, 5))
def test_packed_cells_are_combined_as_open_ones_are(case, above):
    spec, records = case
    spec = with_options(spec, codec=CODEC)
    for log in records.values():
        open_ = [cell for _, rows in log for row in rows for cell in wire_cells(spec, row)]
        closed = [(*cell[:-1], pack_cell((cell[1], cell[2], cell[5], cell[6]))) for cell in open_]
        together = [Block("s", 1, None, 99, combine(spec, cells, above)) for cells in (open_, closed)]
        assert unpack_entry(pack_entry(together[0])) == unpack_entry(pack_entry(together[1]))


def states(partition: Partition):
    return {
        key: packed(CODEC.loads(state) if isinstance(state, bytes) else state)
        for key, state in partition.keys.items()
    }  # fmt: skip


def block(*rows: tuple[str, str, int], upto: int) -> Block:
    cells = [
        cell
        for offset, (stream, key, second) in enumerate(rows)
        for cell in wire_cells(SPEC, Row(stream, key.encode(), second * 1000, ("shows", 0, offset, 0), {"x": 1}))
    ]
    entry = unpack_entry(pack_entry(Block("shows 000000", 1, None, upto, cells)))
    assert isinstance(entry, Block)
    return entry


@pytest.mark.rule(2)
def test_the_first_cell_of_a_key_rests_as_it_came():
    """Else a key would be opened once more than it need be, and nobody would notice."""
    partition, out = Partition(SPEC), Outcomes()
    partition.apply(block(("show", '["a"]', 5), ("click", '["b"]', 5), ("show", '["c"]', 6), upto=2), 0, 0, out)
    assert [type(state) for state in partition.keys.values()] == [bytes] * 3
    assert list(partition.changed) == list(partition.keys) == [b'["a"]', b'["b"]', b'["c"]']
    assert partition.deadlines.take_new() == [(6, [b'["b"]']), (15, [b'["a"]']), (16, [b'["c"]'])]


@pytest.mark.rule(2)
def test_a_second_cell_in_the_same_block_is_merged():
    partition = Partition(SPEC)
    partition.apply(block(("show", '["a"]', 5), ("click", '["a"]', 7), ("show", '["b"]', 5), upto=2), 0, 0, Outcomes())
    assert {key: type(state) for key, state in partition.keys.items()} == {b'["a"]': list, b'["b"]': bytes}
    assert [cell[:3] for cell in partition.keys[b'["a"]'][0]] == [[0, 5, 1], [1, 7, 1]]

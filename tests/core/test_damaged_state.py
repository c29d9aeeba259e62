"""Data that no worker packed cost at most their own key, and stop no partition (rule 12)."""

from __future__ import annotations

import pytest

from samplejoin.core.cells import WireCell
from samplejoin.core.identity import place
from samplejoin.core.messages import Block
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec
from samplejoin.engine.wire import pack_cell
from tests.core.harness import wire_cells
from tests.core.oracle import Row
from tests.engine.test_wire import SPEC

pytestmark = pytest.mark.rule(12)

DAMAGED = [
    b"\xc1garbage", b"", b"\x05", b"\x91" * 100_000, pack_cell((0, 3, 1, [])), pack_cell((9, 3, 1, [None, None])),
    pack_cell((0, "x", 1, [[[1], b"", None], None])), pack_cell((0, 3, 1, [None, None])), pack_cell((0, 3, 1, 7)),  # type: ignore[arg-type]
]  # fmt: skip


def row(stream: str, time: int, offset: int) -> Row:
    return Row(stream, b'["k"]', time, (f"{stream}s", 0, offset, 0), {"x": 1})


def cell(stream: str, time: int, offset: int, spec: Spec = SPEC) -> WireCell:
    (wire,) = wire_cells(spec, row(stream, time, offset))
    return (*wire[:6], pack_cell((wire[1], wire[2], wire[5], wire[6])))


def stepped(partition: Partition, cells: list[WireCell], offset: int = 0) -> Outcomes:
    out = Outcomes()
    partition.apply(Block("forged 000001", 1, None, offset, cells), offset, 1, out)
    return out


def closed(partition: Partition, out: Outcomes) -> Outcomes:
    partition.clock.value = 1 << 40
    while partition.sweep(out):
        pass
    return out


@pytest.mark.parametrize("packed", DAMAGED)
@pytest.mark.parametrize("first", [True, False])
def test_a_damaged_cell_is_a_dead_letter_and_its_neighbours_are_joined(packed, first):
    """It opens its key, or comes to a key that is there: then the key keeps what it had."""
    partition = Partition(SPEC)
    bad = (b'["bad"]' if first else b'["k"]', 0, 3, 1, 1, 1, packed)
    good = [cell("show", 1000, 0), cell("click", 2000, 0)]
    out = stepped(partition, good)
    out.dead += stepped(partition, [bad], 1).dead
    closed(partition, out)
    assert [sample.key for sample in out.samples] == [b'["k"]']
    assert b'"clicks":1' in out.samples[0].payload.replace(b" ", b"")
    (dead,) = out.dead
    assert (dead.key, dead.function) == (bad[0], "damaged")
    assert not partition.keys


@pytest.mark.parametrize("packed", DAMAGED)
def test_a_damaged_state_gives_way_to_what_comes(packed):
    """A large one is looked at when it comes, others when something comes to it or its window closes."""
    partition = Partition(SPEC)
    out = stepped(partition, [(b'["k"]', 0, 3, 0, 0, 1, packed)])
    out.dead += stepped(partition, [cell("show", 1000, 1)], 1).dead
    closed(partition, out)
    (dead,) = out.dead
    assert dead.function == "damaged"
    assert " of this key is not as workers pack it: " in dead.error
    assert [sample.key for sample in out.samples] == [b'["k"]']


def test_a_source_that_no_worker_names_has_a_place():
    """Side rows and dead letters say where a row came from."""
    assert place("clicks 000012", 7) == "clicks/12/7"
    assert [place(source, 7) for source in ("", "clicks", "a b c", "x 1y")] == ["/7", "clicks/7", "a b c/7", "x 1y/7"]


def test_a_stream_that_the_job_does_not_have():
    partition = Partition(SPEC)
    stepped(partition, [cell("show", 1000, 0)])
    wire = cell("show", 1000, 1)
    out = stepped(partition, [(wire[0], 9, *wire[2:])], 1)
    assert [dead.function for dead in out.dead] == ["damaged"]
    assert len(closed(partition, out).samples) == 1


def test_a_fault_of_ours_is_none_of_the_records(monkeypatch):
    partition = Partition(SPEC)
    stepped(partition, [cell("show", 1000, 0)])

    def fails(*_):
        raise RuntimeError("of ours")

    monkeypatch.setattr("samplejoin.core.partition.insert", fails)
    with pytest.raises(RuntimeError, match="of ours"):
        stepped(partition, [cell("click", 1500, 1)], 1)

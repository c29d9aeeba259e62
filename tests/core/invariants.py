"""What must hold of a partition after each step, whatever the log: the harness looks after every entry."""

from __future__ import annotations

from typing import Any

import msgspec

from samplejoin.core import leaves
from samplejoin.core.cells import CELLS, CLOSED
from samplejoin.core.fold import windows_of
from samplejoin.core.partition import Partition


class Watched:
    """A partition before an entry, to be compared with it after."""

    def __init__(self, partition: Partition) -> None:
        self._covered, self._clock = dict(partition.covered), partition.clock.slice
        self._states = {key: _bytes(state) for key, state in partition.keys.items()}
        partition.changed.clear()

    def validate(self, partition: Partition) -> None:
        """After the entry and its sweep to the end. Raises AssertionError."""
        assert not partition.due(), "a sweep that has ended has nothing left to do"
        for source, offset in self._covered.items():
            assert partition.covered[source] >= offset, f"covered falls for {source}"
        assert partition.clock.slice >= self._clock, "the clock falls"
        self._changes_are_known(partition)
        entered = {key for bucket in partition.deadlines._buckets.values() for key in bucket}
        for key, state in partition.keys.items():
            if not leaves.is_leaf(key):
                assert key in entered, f"{key!r} has no deadline: nothing would close it"
                _nothing_open_has_ended(partition, key, state)

    def _changes_are_known(self, partition: Partition) -> None:
        """A commit writes what `changed` names, and nothing else."""
        for key in self._states.keys() | partition.keys.keys():
            before, after = self._states.get(key), partition.keys.get(key)
            same = before is not None and after is not None and before == _bytes(after)
            assert same or key in partition.changed, f"{key!r} has changed, and no commit would know"


def _nothing_open_has_ended(partition: Partition, key: bytes, state: Any) -> None:
    """What the clock has passed is closed, or remembered as gone out."""
    spec = partition.spec
    state = spec.codec.loads(state) if type(state) is bytes else state
    if state[CELLS] is None:
        return  # a large one: its leaves are not here
    gone_out = {(record[0], tuple(record[1])) for record in state[CLOSED]}
    for window in windows_of(spec, state[CELLS]):
        assert window.end > partition.clock.slice or (window.slice, tuple(window.first[0])) in gone_out, (
            f"{key!r}: a window that ended at {window.end} is open at {partition.clock.slice}"
        )


def _bytes(state: Any) -> bytes:
    return state if type(state) is bytes else msgspec.msgpack.encode(state)

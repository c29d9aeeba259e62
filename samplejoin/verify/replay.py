"""Replays the repartition log for a few keys: which of their rows were late, and what the job made of them (rule 6).

The same log gives the same clock and the same outcomes. All ticks and blocks are stepped, but only the cells of the
wanted keys, so memory does not grow with the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from samplejoin.core.cells import WIRE_KEY, WireCell
from samplejoin.core.covering import accepted
from samplejoin.core.messages import Block, Entry, Source
from samplejoin.core.outcomes import Outcomes, Sample
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec


@dataclass(slots=True)
class Replayed:
    """What the log gives for one key."""

    #: the last revision of each sample
    samples: dict[str, Sample] = field(default_factory=dict)
    #: all revisions, by id, then by number
    revisions: dict[str, dict[int, Sample]] = field(default_factory=dict)
    #: (stream, slice in ms) -> rows
    orphans: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: (stream, slice in ms) -> rows for the late topic
    aside: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: slices in ms of the windows whose samples could not be made, by their ids
    dead: dict[str, int] = field(default_factory=dict)
    #: (source, lowest offset, highest offset, stream number, slice) of cells that were behind the clock on arrival
    late: list[tuple[Source, int, int, int, int]] = field(default_factory=list)
    #: (stream number, slice) -> rows that the join has taken from the log, late or not
    rows: Counter[tuple[int, int]] = field(default_factory=Counter)


class LogReplay:
    """Replays one join partition's log from offset 0 on, for `keys`."""

    def __init__(self, spec: Spec, keys: Collection[bytes]) -> None:
        self._keys = {key: Replayed() for key in keys}
        self._partition = Partition(spec)

    def step(self, entry: Entry, log_offset: int, append_ms: int) -> None:
        """Steps the next entry. `append_ms`: its timestamp in the log."""
        partition, out = self._partition, Outcomes()
        if isinstance(entry, Block):
            entry = Block(entry.source, entry.generation, entry.after, entry.upto, self._wanted(entry))
        partition.apply(entry, log_offset, append_ms, out)
        if partition.due():
            partition.sweep(out)
        if out:
            self._take(out)

    def found(self) -> dict[bytes, Replayed]:
        """Returns the results by key."""
        return self._keys

    def _wanted(self, block: Block) -> list[WireCell]:
        """Returns the cells of the wanted keys that the join takes, or all cells of a block that it refuses."""
        clock = self._partition.clock.slice
        taken = accepted(self._partition.covered.get(block.source, -1), block)
        if isinstance(taken, str):
            return block.cells
        wanted = [cell for cell in taken if cell[WIRE_KEY] in self._keys]
        for key, stream, slice_, low, high, rows, _ in wanted:
            self._keys[key].rows[stream, slice_] += rows
            if slice_ < clock:
                self._keys[key].late.append((block.source, low, high, stream, slice_))
        return wanted

    def _take(self, out: Outcomes) -> None:
        for sample in out.samples:
            replayed = self._keys[sample.key]
            replayed.samples[sample.sample_id] = sample
            replayed.revisions.setdefault(sample.sample_id, {})[sample.revision] = sample
        for row in out.side_rows:
            replayed = self._keys[row.key]
            rows = replayed.orphans if row.kind == "orphan" else replayed.aside
            rows[row.stream, row.slice_ms] += row.rows
        for dead in out.dead:
            if dead.sample_id:  # a dead late or orphan row has none
                self._keys[dead.key].dead[dead.sample_id] = dead.slice_ms

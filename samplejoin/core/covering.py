"""The covering rule (7): each row of a source is merged once, no matter who sends it, and how often.

A join partition has covered a source up to an offset when it has merged all its own rows up to there. Every entry
states which offsets it covers, (after, upto], where `after` is the highest `upto` that its writer has given the
partition before. From this the partition knows which rows it has already, and whether any are missing in between.

- The clean side: a `SourceWriter` keeps the books of the owner of a source partition, without IO. The engine reports
  what it read, what Kafka acknowledged and what the group committed. The writer fills in `after`, `upto` and `prev`,
  and tells up to which offset rows may be sent and which of them must not be combined.
- The join side: `accepted` returns the new cells of a block, or the reason to skip or refuse it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from samplejoin.core.cells import WIRE_HIGH, WIRE_LOW, WireCell
from samplejoin.core.messages import Block, Source, TickEntry

Refusal = Literal["skipped_entries", "gap_refused", "straddle_refused"]
"""All of the block is covered; rows before it are missing; a combined cell is covered in part. Names of counters."""


def is_gap(covered: int, after: int | None) -> bool:
    """Returns whether rows before an entry are missing. `after` is None in a writer's first, which follows a commit."""
    return after is not None and after > covered


def accepted(covered: int, block: Block) -> list[WireCell] | Refusal:
    """Returns the cells of a block above the covered offset, or the reason why none of them may be merged."""
    if block.upto <= covered:
        return "skipped_entries"
    if is_gap(covered, block.after):
        return "gap_refused"
    if block.after is not None and block.after == covered:
        return block.cells
    if any(cell[WIRE_LOW] <= covered < cell[WIRE_HIGH] for cell in block.cells):
        return "straddle_refused"
    return [cell for cell in block.cells if cell[WIRE_LOW] > covered]


@dataclass(slots=True, eq=False)
class Batch:
    """Records read together. They are acknowledged when all that was sent for them is."""

    upto: int
    row_time: int | None
    outstanding: int = 0


@dataclass(slots=True)
class _Target:
    """What this writer has sent to one join partition."""

    covered: int | None = None
    #: log offset of the last acknowledged tick there, and the number of fetches seen by then
    prev: int | None = None
    polls_at_ack: int = 0


@dataclass(slots=True)
class SourceWriter:
    """The bookkeeping of the owner of one source partition, for one assignment.

    `start` is the last offset below the committed position, -1 if there is none. `log_end` is the last offset that
    existed at the assignment. It must be given if nothing was committed yet, or if a confirmed commit may have been
    lost, because the earlier owner may have sent rows up to there. `row_time` is the highest committed event time, ms.
    """

    source: Source
    generation: int
    start: int
    max_in_flight: int
    row_time: int | None = None
    log_end: int | None = None
    confirmed: int = field(init=False)
    acked: int = field(init=False)
    _uncombined: int = field(init=False)
    _batches: deque[Batch] = field(init=False, default_factory=deque)
    _targets: dict[int, _Target] = field(init=False, default_factory=dict)
    _stamp: object = field(init=False, default=None)
    _polls: int = field(init=False, default=0)
    _end_at: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.confirmed = self.acked = self.start
        self._uncombined = max(self.start, -1 if self.log_end is None else self.log_end) + self.max_in_flight

    @property
    def limit(self) -> int:
        """The highest offset that may be sent. A later owner sends rows up to there without combining them."""
        return self.confirmed + self.max_in_flight

    @property
    def uncombined(self) -> int:
        """The offset up to which rows are sent uncombined, because an earlier owner may have sent them too."""
        return self._uncombined

    def batch(self, upto: int, row_time: int | None) -> Batch:
        """Adds the records read up to offset `upto`, with their highest event time. The caller counts `outstanding`."""
        batch = Batch(upto, row_time)
        self._batches.append(batch)
        return batch

    def block(self, partition: int, batch: Batch, cells: Iterable[WireCell]) -> Block:
        """Makes a block for one join partition, at most one of each batch. Blocks must be sent in the order of calls.

        Raises ValueError if the partition was already given a block of this batch or a later one.
        """
        after = self._cover(partition, batch.upto)
        if after is not None and after >= batch.upto:
            raise ValueError(f"{self.source}: partition {partition} was given {after} before {batch.upto}: rows lost")
        return Block(self.source, self.generation, after, batch.upto, list(cells))

    def settle(self) -> None:
        """Moves `acked` past all leading batches that have nothing outstanding."""
        batches = self._batches
        while batches and not batches[0].outstanding:
            batch = batches.popleft()
            self.acked = batch.upto
            if batch.row_time is not None and (self.row_time is None or batch.row_time > self.row_time):
                self.row_time = batch.row_time

    def confirm(self, committed: int) -> None:
        """Notes that the group has committed `committed`: the last offset that is done, not the next."""
        self.confirmed = max(self.confirmed, committed)

    def record_fetch(self, stamp: object, position: int, end: int) -> None:
        """Notes the latest fetch response: a stamp that changes with each, the next offset to read, the log's end.

        A fetch is sent only after the previous response. So the second new stamp since an acknowledgement belongs to a
        fetch that was sent after that acknowledgement.
        """
        if stamp != self._stamp:
            self._stamp = stamp
            self._polls += 1
        self._end_at = position if position >= end else None

    def tick(self, partition: int) -> TickEntry:
        """Makes this source's entry in a tick for one join partition."""
        target = self._targets.setdefault(partition, _Target())
        at_end = target.prev is not None and self._end_at == self.acked + 1 and self._polls >= target.polls_at_ack + 2
        after = self._cover(partition, self.acked)
        return TickEntry(self.source, self.generation, after, self.acked, self.row_time, at_end, target.prev)

    def tick_acked(self, partition: int, log_offset: int) -> None:
        """Notes that the last tick made for that join partition was written to its log at `log_offset`."""
        target = self._targets.setdefault(partition, _Target())
        target.prev, target.polls_at_ack = log_offset, self._polls

    def _cover(self, partition: int, upto: int) -> int | None:
        target = self._targets.setdefault(partition, _Target())
        after = target.covered
        target.covered = upto if after is None else max(after, upto)
        return after

"""The covering rule (7): each row of a source is merged once, whoever sends it, and however often.

A join partition has covered a source up to an offset: it has merged all rows up to there that are its own. Every entry
says which offsets it covers, (after, upto], where `after` is what its writer gave the partition before. So the
partition can tell what it has already, and whether anything is missing in between.

- The clean side: `SourceWriter` is what the owner of a source partition says to the join partitions. Pure bookkeeping,
  without IO: the engine reports what it read, what Kafka acknowledged and what the group committed; the writer fills in
  `after`, `upto` and `prev`, and says how far it may go and which rows must not be combined.
- The join side: `accepted` is what is new in a block, or why the block is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from samplejoin.core.cells import WIRE_HIGH, WIRE_LOW, WireCell
from samplejoin.core.messages import Block, Source, TickEntry

Refusal = Literal["skipped_entries", "gap_refused", "straddle_refused"]
"""All of it is covered; something before it is missing; a combined cell is covered in part. Names of counters."""


def is_gap(covered: int, after: int | None) -> bool:
    """Whether rows before an entry are missing; `after` is None in a writer's first one, which follows a commit."""
    return after is not None and after > covered


def accepted(covered: int, block: Block) -> list[WireCell] | Refusal:
    """The cells of a block that a join partition which has covered up to `covered` has still to merge, or why none."""
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
    """Rows read together: acknowledged when all that they caused is."""

    upto: int
    row_time: int | None
    outstanding: int = 0


@dataclass(slots=True)
class _Target:
    """What this writer has given one join partition."""

    covered: int | None = None
    #: log offset of the last acknowledged tick there, and how many fetches had been seen by then
    prev: int | None = None
    polls_at_ack: int = 0


@dataclass(slots=True)
class SourceWriter:
    """The owner of one source partition, from an assignment to its end.

    `start` is the last offset below the committed position (-1: none); `log_end` the last offset that existed at the
    assignment, to be given if nothing was committed yet, and wherever a confirmed commit may have been lost: what the
    owner before may have sent lies at or below it. `row_time` is the committed highest event time in ms.
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
        """The highest offset that may be sent: a later owner can tell apart what lies at or below it."""
        return self.confirmed + self.max_in_flight

    @property
    def uncombined(self) -> int:
        """Rows at or below this offset are sent one by one: an earlier owner may have sent them too."""
        return self._uncombined

    def batch(self, upto: int, row_time: int | None) -> Batch:
        """Everything read up to offset `upto`, with its highest event time; `outstanding` is the caller's to raise."""
        batch = Batch(upto, row_time)
        self._batches.append(batch)
        return batch

    def block(self, partition: int, batch: Batch, cells: Iterable[WireCell]) -> Block:
        """A block for one join partition, at most one of each batch. They must be sent in the order they are made."""
        after = self._cover(partition, batch.upto)
        if after is not None and after >= batch.upto:
            raise ValueError(f"{self.source}: partition {partition} was given {after} before {batch.upto}: rows lost")
        return Block(self.source, self.generation, after, batch.upto, list(cells))

    def settle(self) -> None:
        """Moves `acked` over all leading batches with nothing outstanding."""
        batches = self._batches
        while batches and not batches[0].outstanding:
            batch = batches.popleft()
            self.acked = batch.upto
            if batch.row_time is not None and (self.row_time is None or batch.row_time > self.row_time):
                self.row_time = batch.row_time

    def confirm(self, committed: int) -> None:
        """The group has committed offset `committed` (the last one done, not the next)."""
        self.confirmed = max(self.confirmed, committed)

    def record_fetch(self, stamp: object, position: int, end: int) -> None:
        """The latest fetch response: a stamp that changes with each, the next offset to read, and the log's end.

        A fetch is sent after the response before it; so the second new stamp since an acknowledgement belongs to a
        fetch that was sent after it.
        """
        if stamp != self._stamp:
            self._stamp = stamp
            self._polls += 1
        self._end_at = position if position >= end else None

    def tick(self, partition: int) -> TickEntry:
        """This source's entry in a tick for one join partition."""
        target = self._targets.setdefault(partition, _Target())
        at_end = target.prev is not None and self._end_at == self.acked + 1 and self._polls >= target.polls_at_ack + 2
        after = self._cover(partition, self.acked)
        return TickEntry(self.source, self.generation, after, self.acked, self.row_time, at_end, target.prev)

    def tick_acked(self, partition: int, log_offset: int) -> None:
        """The tick made last for that join partition stands in its log at `log_offset`."""
        target = self._targets.setdefault(partition, _Target())
        target.prev, target.polls_at_ack = log_offset, self._polls

    def _cover(self, partition: int, upto: int) -> int | None:
        target = self._targets.setdefault(partition, _Target())
        after = target.covered
        target.covered = upto if after is None else max(after, upto)
        return after

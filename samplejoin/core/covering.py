"""The clean side of the covering rule: what the owner of a source partition says to the join partitions.

Pure bookkeeping, without IO: the engine reports what it read, what Kafka acknowledged and what the group committed;
the writer fills in `after`, `upto` and `prev`, and says how far it may go and which rows must not be combined.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from samplejoin.core.cells import WireCell
from samplejoin.core.messages import Block, Source, TickEntry


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

    def saw_fetch(self, stamp: object, position: int, end: int) -> None:
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

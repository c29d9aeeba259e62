"""The messages of the repartition log: blocks of cells, and ticks. The covering rule applies to both."""

from __future__ import annotations

from dataclasses import dataclass, field

from samplejoin.core.cells import WireCell

Source = str
"""A source partition, as `identity.source_id` writes it."""


@dataclass(slots=True)
class Block:
    """Cells of one source for one join partition. It covers the source's offsets (after, upto], rows or none.

    `after` is the highest `upto` the writer has given this join partition since its assignment; None for its first.
    """

    source: Source
    generation: int
    after: int | None
    upto: int
    cells: list[WireCell] = field(default_factory=list)


@dataclass(slots=True)
class TickEntry:
    """One source in a tick: everything up to offset `upto` has been acknowledged, `row_time` was the highest time.

    `at_end`: a fetch sent after the acknowledgement of the tick at log offset `prev` came back empty at `upto` + 1.
    """

    source: Source
    generation: int
    after: int | None
    upto: int
    row_time: int | None
    at_end: bool
    prev: int | None


@dataclass(slots=True)
class Tick:
    """A worker's tick for one join partition: its sources, and the partition counts it knows per topic."""

    entries: list[TickEntry]
    partitions: dict[str, int]


Entry = Block | Tick

"""The result of cleaning a run of records: cells, dead letters and counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from samplejoin.core.cells import WireCell
from samplejoin.core.kafka_record import KafkaRecord


@dataclass(slots=True)
class DeadRecord:
    """A record, or one row of it, that could not be used, with its place and the reason (rule 12)."""

    topic: str
    partition: int
    offset: int
    stream: str
    reason: str
    function: str
    error: str
    traceback: str
    record: KafkaRecord
    #: with reason `future`: the latest event time that was allowed, in ms (rule 9)
    latest_ms: int | None = None


@dataclass(slots=True)
class Cleaned:
    """The result of a run of records: cells by join partition, the highest event time, dead letters and counts."""

    cells: dict[int, list[WireCell]] = field(default_factory=dict)
    row_time: int | None = None
    dead: list[DeadRecord] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    #: rows that became cells and are not in `counts` yet, by stream index
    rows: list[int] = field(default_factory=list)
    #: by stream: (event time, reference time) in ms of a record decades apart, for `time_hints.too_far`
    far: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: number of cleaned records, and about how many bytes their cells take
    records: int = 0
    bytes: int = 0

    def count(self, stream: str, outcome: str, by: int = 1) -> None:
        """Adds to the count of records or rows of a stream with this outcome."""
        self.counts[stream, outcome] = self.counts.get((stream, outcome), 0) + by

"""What cleaning a run of records gives: cells, dead letters and counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from samplejoin.core.cells import WireCell
from samplejoin.core.kafka_record import KafkaRecord


@dataclass(slots=True)
class DeadRecord:
    """A record, or one row of it, that could not be used: where it stands, why, and what it was (rule 12)."""

    topic: str
    partition: int
    offset: int
    stream: str
    reason: str
    function: str
    error: str
    traceback: str
    record: KafkaRecord
    #: of reason `future`: the latest event time in ms that would have been taken (rule 9)
    latest_ms: int | None = None


@dataclass(slots=True)
class Cleaned:
    """What a run of records became: cells per join partition, the highest event time, dead letters and counts."""

    cells: dict[int, list[WireCell]] = field(default_factory=dict)
    row_time: int | None = None
    dead: list[DeadRecord] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    #: rows that became cells and are not in `counts` yet, by stream index
    rows: list[int] = field(default_factory=list)
    #: by stream: a time decades before its record's, and that record's (`time_hints.too_far` says so)
    far: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: records that were cleaned, and about how many bytes their cells take
    records: int = 0
    bytes: int = 0

    def count(self, stream: str, outcome: str, by: int = 1) -> None:
        """Adds to what became of a stream's records and rows."""
        self.counts[stream, outcome] = self.counts.get((stream, outcome), 0) + by

"""Which format of records a job's workers write: the newest that all of them can read."""

from __future__ import annotations

from dataclasses import dataclass

#: formats of records that this version reads
OLDEST, NEWEST = 1, 1


@dataclass
class RecordFormat:
    """The format that one job in this process writes. `writes` changes when the group has agreed on another one."""

    writes: int = NEWEST

"""The record format that a job's workers write: the newest one that all of them can read."""

from __future__ import annotations

from dataclasses import dataclass

#: the record formats that this version reads
OLDEST, NEWEST = 1, 1


@dataclass
class RecordFormat:
    """The format that one job in this process writes. `writes` changes when the group has agreed on another one."""

    writes: int = NEWEST

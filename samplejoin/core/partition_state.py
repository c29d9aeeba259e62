"""A join partition's own state at rest, apart from its keys: what a commit carries and a recovery begins with.

The fields stand in this order in the changelog and in the store, so they are added at the end only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from samplejoin.core.messages import Source


class ClockState(NamedTuple):
    """A `Clock` at rest. Times in ms."""

    value: int
    now: int
    partitions: dict[str, int]
    #: per source the fields of its `SourceClock`
    sources: dict[Source, list[Any]]
    silent: list[str]
    spent: dict[str, int]
    left_out: list[Source]
    rise_at: int | None


class PartitionState(NamedTuple):
    """A `Partition` at rest."""

    #: per source the highest offset merged
    covered: dict[Source, int]
    clock: ClockState
    #: whether corrected samples were being sent, and the keys whose are still to be sent
    is_revising: bool
    pending: Sequence[bytes] = ()

    @classmethod
    def read(cls, data: Sequence[Any]) -> PartitionState:
        """What was packed, from the plain lists that unpacking gives."""
        covered, clock, *rest = data
        return cls(covered, ClockState(*clock), *rest)

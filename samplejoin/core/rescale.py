"""Merges the states of several join partitions at a cut, for any other number of partitions (ADR 18)."""

from __future__ import annotations

from collections.abc import Sequence

from samplejoin.core.clock import SourceClock
from samplejoin.core.partition import Partition
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.spec import Spec


class NoCutError(ValueError):
    """The partitions have not merged the same input."""


def merged_state(spec: Spec, states: Sequence[PartitionState]) -> PartitionState:
    """What `Partition.dump` would give of a partition that has merged the same input and has stepped no log.

    H must be equal everywhere for all sources of the job, and nothing may wait to be corrected: raises NoCutError
    otherwise. The clock is the furthest: what it says of the inputs holds for every key, and no window that it has
    closed opens again.
    """
    if any(state.is_revising or state.pending for state in states):
        raise NoCutError("samples wait to be corrected")
    parts = [_loaded(spec, state) for state in states]
    topics = spec.topics()  # partitions may know different offsets of topics that a pattern no longer matches
    covered = [{s: upto for s, upto in part.covered.items() if s.partition(" ")[0] in topics} for part in parts]
    if any(each != covered[0] for each in covered):
        raise NoCutError("partitions have merged different records")
    furthest = max(parts, key=lambda part: (part.clock.value, part.clock.now))
    clock = furthest.clock
    clock.now = max(part.clock.now for part in parts)
    for part in parts:
        for topic, count in part.clock.partitions.items():
            clock.partitions[topic] = max(count, clock.partitions.get(topic, 0))
    clock.sources = {source: _without_log(state) for source, state in clock.sources.items()}
    clock.rise_at = None
    return furthest.dump()


def _loaded(spec: Spec, state: PartitionState) -> Partition:
    partition = Partition(spec)
    partition.load(state)
    return partition


def _without_log(state: SourceClock) -> SourceClock:
    """Drops ticks and what they proved: they belong to one log, and begin again in another."""
    return SourceClock(state.watermark, seen=state.seen, stalled_ms=state.stalled_ms)

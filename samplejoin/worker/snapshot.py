"""The state of a worker at one moment, as the gauges, the status line and the web port show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samplejoin.worker.metrics import Metrics

if TYPE_CHECKING:
    from samplejoin.worker.runtime import Runtime


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """A partition of an input topic that this worker reads."""

    topic: str
    partition: int
    #: records that are not read yet
    lag: int
    #: highest event time read, None before the first
    read_time_ms: int | None
    at_end: bool

    @property
    def holds_nobody(self) -> bool:
        """Returns whether no other source has to wait for it: it is read to its end, or has had no event yet."""
        return self.at_end or self.read_time_ms is None


@dataclass(frozen=True, slots=True)
class JoinSnapshot:
    """A join partition that runs on this worker."""

    partition: int
    #: keys in memory, and how many of them are only remembered for corrections
    keys: int
    remembered_keys: int
    #: records of its log that are not stepped yet, None while not known
    lag: int | None
    #: sources that `max_wait` leaves out of its clock
    left_out: int
    #: time of the last commit by this machine's clock, None before the first
    committed_at_s: float | None


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """A worker with its sources and join partitions. `problems`: why it is not ready, empty if it is."""

    problems: tuple[str, ...]
    sources: tuple[SourceSnapshot, ...]
    joins: tuple[JoinSnapshot, ...]
    #: entries on their way to the join partitions
    unacked: int
    #: the slowest clock, in words
    clock: str

    @property
    def lag(self) -> int:
        """Returns the number of records of all sources that are not read yet."""
        return sum(source.lag for source in self.sources)

    @property
    def remembered_keys(self) -> int:
        """Returns the number of keys that are only remembered for corrections."""
        return sum(join.remembered_keys for join in self.joins)

    @property
    def open_keys(self) -> int:
        """Returns the number of keys in memory that have something open."""
        return max(0, sum(join.keys for join in self.joins) - self.remembered_keys)


def snapshot_of(runtime: Runtime) -> WorkerSnapshot:
    """Returns the worker as it is now. Before it has joined its group, that is only its problems and its clock."""
    problems = tuple(runtime.problems())
    if not runtime.started:
        return WorkerSnapshot(problems, (), (), 0, runtime.clocks.text())
    return WorkerSnapshot(problems, _sources(runtime), _joins(runtime), runtime.sender.unacked, runtime.clocks.text())


def set_gauges(metrics: Metrics, snapshot: WorkerSnapshot) -> None:
    """Sets the gauges of the sources and join partitions that this worker owns."""
    for source in snapshot.sources:
        labels = (source.topic, str(source.partition))
        metrics.set("source_lag", labels, source.lag)
        metrics.set("last_event", labels, (source.read_time_ms or 0) / 1000)
    for join in snapshot.joins:
        label = (str(join.partition),)
        metrics.set("state_keys", label, join.keys)
        metrics.set("remembered_keys", label, join.remembered_keys)
        metrics.set("join_lag", label, join.lag or 0)
        metrics.set("left_out", label, join.left_out)
        if join.committed_at_s is not None:
            metrics.set("last_commit_seconds", label, join.committed_at_s)


def _sources(runtime: Runtime) -> tuple[SourceSnapshot, ...]:
    found = []
    for tp, owned in runtime.sources.owned.items():
        end = runtime.group.end_of(tp)
        lag = max(0, (end or 0) - owned.delivered - 1)
        at_end = end is not None and owned.delivered + 1 >= end
        found.append(SourceSnapshot(tp.topic, tp.partition, lag, owned.read_time, at_end))
    return tuple(found)


def _joins(runtime: Runtime) -> tuple[JoinSnapshot, ...]:
    lags = runtime.joins.lags(runtime.join_end)
    return tuple(
        JoinSnapshot(
            number,
            len(join.table),
            len(join.partition.remembered),
            lags.get(number),
            len(join.partition.clock.left_out),
            join.committed_at,
        )
        for number, join in runtime.joins.running.items()
    )

"""Planted mistakes: each switches one protection off in this process, by patching the product's classes.

The product itself has no such switches. A patch raises if its target does not exist: a mistake without effect
would let its scene pass without proving anything.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from samplejoin.core.covering import SourceWriter
from samplejoin.core.messages import Block, Tick
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.engine import clients, transaction
from samplejoin.engine.changelog import Commit
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.wire import unpack_state
from samplejoin.stores.rocks import RocksStore
from samplejoin.tables.durable_state import META
from samplejoin.tables.partial_samples import PartialSamples
from samplejoin.worker.join_task import JoinTask
from samplejoin.worker.runtime import Runtime


def no_fencing() -> None:
    """Every producer has a transactional id of its own, so a new owner's InitProducerId fences nobody (rule 16).

    A frozen owner that wakes up commits what it had in hand, though another has long sent the same samples. As long as
    its transaction lasts; here that is a minute, or on a slow machine its timeout would stand in for fencing.
    """
    _patch(clients, "TRANSACTION_TIMEOUT_MS", lambda original: 60_000)
    made = itertools.count()

    def change(original: Any) -> Any:
        return lambda self, partition: f"{original(self, partition)}-{os.getpid()}-{next(made)}"

    _patch(EngineConfig, "transactional_id", change)


def fenced_after_recovery() -> None:
    """The changelog is read to its end first, and earlier owners are fenced afterwards, not before.

    What an earlier owner commits in between is in Kafka, and not in the state: its samples are sent again. As in
    `no_fencing`, its transaction may last a minute.
    """
    _patch(clients, "TRANSACTION_TIMEOUT_MS", lambda original: 60_000)

    def change(original: Any) -> Any:
        async def start(self: JoinTask, floor: int) -> int:
            await self.table.recover()
            self.table.recover = _done  # type: ignore[method-assign]
            position: int = await original(self, floor)
            return position

        return start

    _patch(JoinTask, "start", change)


def gaps_accepted() -> None:
    """A block is taken though rows before it were never merged: `after > H` (the covering rule, rule 7).

    H jumps over the missing rows, and when they come they are skipped as merged before.
    """

    def change(original: Any) -> Any:
        def block(self: Partition, entry: Block, out: Outcomes) -> None:
            if entry.after is not None:
                entry.after = min(entry.after, self.covered.get(entry.source, -1))
            original(self, entry, out)

        return block

    _patch(Partition, "_block", change)


def rows_merged_again() -> None:
    """A block's rows are merged whatever H is (the covering rule, rule 7). Gaps are refused as ever.

    What a new owner of a source sends again, because its predecessor's offsets were not committed, counts twice.
    """

    def change(original: Any) -> Any:
        def block(self: Partition, entry: Block, out: Outcomes) -> None:
            covered = self.covered.get(entry.source, -1)
            if entry.after is None or entry.after <= covered:
                self.covered.pop(entry.source, None)
                entry.after = None
            original(self, entry, out)
            self.covered[entry.source] = max(covered, self.covered.get(entry.source, -1))

        return block

    _patch(Partition, "_block", change)


def ticks_believed() -> None:
    """A tick's word counts though rows of which it speaks were never merged: `after > H` (rules 7 and 8).

    The clock passes windows whose rows are still to come: their samples go out without them, or not at all.
    """

    def change(original: Any) -> Any:
        def tick(self: Partition, entry: Tick, log_offset: int, out: Outcomes) -> None:
            for each in entry.entries:
                if each.after is not None:
                    each.after = min(each.after, self.covered.get(each.source, -1))
            original(self, entry, log_offset, out)

        return tick

    _patch(Partition, "_tick", change)


def sends_not_awaited() -> None:
    """The transaction is committed without a look at what became of its sends (docs/architecture.md).

    aiokafka commits although a batch was refused: the samples in it are lost, the state says that they went out.
    """
    _patch(transaction, "_all", lambda original: _ignore)


def store_before_commit() -> None:
    """RocksDB has rows and position of a commit before Kafka has (docs/architecture.md, the commit).

    After a kill in between, the state on the disk is beyond samples that never went out. The identity by which a
    database is trusted stays that of the commit before, as it would if nobody had thought of this; and the memtable is
    flushed, as RocksDB may do at any moment.
    """

    def change(original: Any) -> Any:
        def commit_of(self: PartialSamples, partition: Partition, position: int) -> Commit:
            commit: Commit = original(self, partition, position)
            raw = self.store.get(META)
            if raw is not None:
                meta = unpack_state(raw)
                self.replica.store_commit(replace(commit, first_offset=meta[3], next_offset=meta[3], id=meta[6]))
                cast(RocksStore, self.store).db.flush()
            return commit

        return commit_of

    _patch(PartialSamples, "commit_of", change)


def combined_from_the_start() -> None:
    """A new owner of a source combines rows at once, also those that its predecessor may have sent (rule 7).

    A cell of rows on both sides of H can be neither taken nor skipped: it is refused, and the clock stands for ever.
    """
    _patch(SourceWriter, "uncombined", lambda original: property(lambda self: -1))


def uncommitted_input() -> None:
    """The inputs, and the repartition log, are read with what transactions have not committed, or have aborted.

    Aborted input becomes samples (rule 16).
    """
    _read_uncommitted(of_group=True)


def uncommitted_changelog() -> None:
    """The changelog is read with what transactions have not committed, or have aborted (rule 16).

    A recovery takes over a commit that never was, and its samples never come.
    """
    _read_uncommitted(of_group=False)


def clock_from_rows() -> None:
    """The clock follows the rows that have been merged, minus `lateness`, instead of ticks (rule 8).

    While one topic is behind, windows close without its labels.
    """

    def change(original: Any) -> Any:
        def block(self: Partition, entry: Block, out: Outcomes) -> None:
            original(self, entry, out)
            latest = max((cell[2] for cell in entry.cells), default=-1) * self.spec.resolution_ms
            self.clock.value = max(self.clock.value, latest - self.spec.lateness_ms(entry.source.partition(" ")[0]))

        return block

    _patch(Partition, "_block", change)


def acknowledged_when_sent() -> None:
    """A source's offsets are committed when its blocks are on their way, not when Kafka has them.

    A block that is refused, or was in the memory of a worker that died, is sent again by nobody.
    """

    def change(original: Any) -> Any:
        def settle(self: SourceWriter) -> None:
            for batch in self._batches:
                batch.outstanding = 0
            original(self)

        return settle

    _patch(SourceWriter, "settle", change)


def commits_after_a_failure() -> None:
    """What raises in a commit does not end the committing (rule 16).

    The last commit of the worker's graceful stop has the position, and not what was taken for the commit that failed.
    """
    for owner in (JoinTask, Runtime):
        _patch(owner, "give_up", lambda original: lambda self: None)


MISTAKES: dict[str, Callable[[], None]] = {
    "no-fencing": no_fencing,
    "fenced-after-recovery": fenced_after_recovery,
    "gaps-accepted": gaps_accepted,
    "rows-merged-again": rows_merged_again,
    "ticks-believed": ticks_believed,
    "sends-not-awaited": sends_not_awaited,
    "store-before-commit": store_before_commit,
    "combined-from-the-start": combined_from_the_start,
    "uncommitted-input": uncommitted_input,
    "uncommitted-changelog": uncommitted_changelog,
    "clock-from-rows": clock_from_rows,
    "acknowledged-when-sent": acknowledged_when_sent,
    "commits-after-a-failure": commits_after_a_failure,
}


def _patch(owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Puts what `change` makes of the original in its place. Raises RuntimeError if there is no such thing."""
    if name not in vars(owner):
        raise RuntimeError(f"{owner.__name__} has no {name} any more: this mistake must be planted elsewhere")
    setattr(owner, name, change(vars(owner)[name]))


def _read_uncommitted(*, of_group: bool) -> None:
    """Consumers with a group, or those without one, are made without `read_committed`."""

    def change(original: Any) -> Any:
        def consumer(*args: Any, isolation_level: str, **kwargs: Any) -> Any:
            if (kwargs["group_id"] is not None) == of_group:
                if isolation_level != "read_committed":
                    raise RuntimeError(f"isolation level is {isolation_level} already: a mistake in the product")
                isolation_level = "read_uncommitted"
            return original(*args, isolation_level=isolation_level, **kwargs)

        return consumer

    _patch(clients, "AIOKafkaConsumer", change)


async def _done() -> None:
    """What has been done already."""


async def _ignore(futures: list[Any]) -> None:
    """Looks at none of them."""

"""A join partition as a worker runs it, next to the model's own: it commits, fails at any step, stops, and starts.

`worker.join_task.JoinTask` and its table are the real ones; lists stand for Kafka's logs. Its committed
result must equal that of the model's own partition, which never fails.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplejoin.core.cells import WireCell
from samplejoin.core.messages import Entry, Source
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec
from samplejoin.engine import failpoints
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.transaction import CommitFailed, Transactions
from samplejoin.engine.wire import pack_entry
from samplejoin.stores.memory import MemoryStore
from samplejoin.testing.memory_partition import Counts, MemoryTable
from samplejoin.worker.join_task import JoinTask

PLACES = (*failpoints.COMMIT, "join-ending", "join-ended", "recovery-fenced", "recovery-swept")
#: so that commits come when the model says
NEVER_MS = 1 << 40


@dataclass(frozen=True)
class Entered:
    """A record of the repartition log."""

    offset: int
    value: bytes
    timestamp: int
    timestamp_type: int = 1
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Batch(list[Any]):
    """Records of one partition of an output topic."""

    def append(self, record: Any = None, **fields: Any) -> Any:
        """As aiokafka's: not None, the record fits."""
        super().append(fields)
        return self


class Log(Transactions):
    """The changelog, and what has gone out: by transactions that are whole or not there, or one after the other."""

    _txn_manager = None

    def __init__(self, exactly_once: bool) -> None:
        self.partition, self.kafka, self.exactly_once = 0, self, exactly_once
        self.changelog: list[bytes] = []
        self.sent: list[dict[str, Any]] = []
        self._sent = []

    def create_batch(self) -> Batch:
        """An empty one."""
        return Batch()

    async def start(self) -> None:
        """There is no other owner to fence."""

    async def close(self) -> None:
        """Nor is anything open."""

    async def _commit(self, outbox: Any, changelog: list[bytes], known: int | None) -> tuple[int, int]:
        records = [{"topic": topic, **record} for (topic, _), batches in outbox.batches.items()
                   for batch in batches for record in batch]  # fmt: skip
        first = len(self.changelog)
        if not self.exactly_once:
            self.sent += records
        failpoints.reached("commit-samples")
        await asyncio.sleep(0)
        if not self.exactly_once:
            self.changelog += changelog
        failpoints.reached("commit-sent")
        if self.exactly_once:
            self.sent += records
            self.changelog += changelog
        return first, len(self.changelog)


class Table(MemoryTable):
    """Recovered from that changelog."""

    changelog: list[bytes]

    async def recover(self) -> None:
        """To its end."""
        self.replay(self.changelog)


class Breaking(Partition):
    """Raises at a cell, when those before it have been merged, if it was told to."""

    cells_left: int | None = None

    def _merge(self, wire: WireCell, source: Source, out: Outcomes) -> None:
        if self.cells_left == 0:
            self.cells_left = None
            raise failpoints.FailpointError("in the middle of a step")
        self.cells_left = None if self.cells_left is None else self.cells_left - 1
        super()._merge(wire, source, out)


class FailingJoin:
    """Steps the log that it is given, commits now and then, and fails as drawn; `check` compares what came of it."""

    def __init__(self, spec: Spec, seed: object) -> None:
        self.random = random.Random(f"commits/{seed}")
        topics = Topics("model", "samples", "late", "orphan", "dead")
        self.config = EngineConfig(spec, "print", topics, 1, Path(), {}, commit_interval_ms=NEVER_MS, cache_keys=3)
        self.kafka, self.store = Log(exactly_once=self.random.random() < 0.7), MemoryStore()
        self.log: list[Entered] = []
        self.failed = 0
        self.runner = asyncio.Runner()
        self.start()

    def close(self) -> None:
        """Ends its event loop."""
        failpoints.disarm()
        self.runner.close()

    def start(self) -> None:
        """Until a start comes through: what fails is closed uncommitted, as `worker.join_tasks` does it."""
        while True:
            table = Table(self.config, 0, self.store)
            table.changelog = self.kafka.changelog
            emitter = Emitter(self.config, Counts(), defaultdict(lambda: 1))
            self.join = JoinTask(
                self.config, 0, table, self.kafka, emitter, FairScheduler(), lambda number: None, self.fatal
            )  # fmt: skip
            self.join.partition = self.partition = Breaking(self.config.spec, table)
            if self.runs(self.join.start(0)):
                return
            self.runs(self.join.stop(None))

    def fatal(self, error: BaseException) -> None:
        """Whatever ends a worker."""
        self.join.give_up()

    def runs(self, work: Awaitable[Any]) -> bool:
        """Returns whether it succeeded; a step that was armed may raise."""

        async def all_of_it() -> None:
            await work

        try:
            self.runner.run(all_of_it())
        except (CommitFailed, failpoints.FailpointError):
            self.failed += 1
            return False
        return True

    def land(self, entry: Entry, append_ms: int) -> None:
        """Appends an entry to the log, then does a random action of a worker."""
        r = self.random
        self.log.append(Entered(len(self.log), pack_entry(entry), append_ms))
        if r.random() < 0.3 and not failpoints.armed():
            failpoints.arm(f"{r.choice(PLACES)}:{r.randint(1, 2)}:raise")
        if r.random() < 0.02:
            self.partition.cells_left = r.randint(0, 2)
        self.step()
        if r.random() < 0.3:
            self.runs(self.join.commit())
        if r.random() < (0.02 if self.join.running else 0.3):
            self.restart()

    def step(self) -> None:
        """All that is in the log; one that has failed refuses, or takes no notice."""
        self.runs(self.join.apply(self.log[self.join.position :]))

    def restart(self) -> None:
        """A graceful stop, its last commit and all, and a start."""
        self.runs(self.join.stop(3.0))
        if self.random.random() < 0.3:
            self.store.clear()
        self.start()

    def check(self, out: Outcomes) -> str:
        """Runs to the log's end and stops. Returns the errors in the committed result, empty if it is right."""
        failpoints.disarm()
        self.partition.cells_left = None
        if not self.join.running:
            self.restart()
        self.step()
        self.runs(self.join.stop(3.0))
        samples = Counter((s.sample_id.encode(), b"%d" % s.revision, s.payload) for s in out.samples)
        found = Counter((*self._headers(r, "sample_id", "revision"), r["value"]) for r in self._of("samples"))
        sides = Counter(row.kind for row in out.side_rows)
        found_sides = Counter({kind: len(self._of(kind)) for kind in sides})
        if not self.kafka.exactly_once:  # the same again is allowed, and nothing else
            found, found_sides = Counter(set(found)), found_sides & sides
        lost, more = samples - found, found - samples
        if lost or more or sides != found_sides:
            return f"{lost.total()} samples lost, {more.total()} too many, {dict(sides)} or {dict(found_sides)}"
        return ""

    def _of(self, topic: str) -> list[dict[str, Any]]:
        return [record for record in self.kafka.sent if record["topic"] == topic]

    def _headers(self, record: dict[str, Any], *names: str) -> list[bytes]:
        headers = dict(record["headers"])
        return [headers[name] for name in names]

"""A join partition in memory: the worker's state machine, table, codec and commits, with lists as Kafka's logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplejoin.core.messages import Entry
from samplejoin.core.outcomes import Outcomes, Sample
from samplejoin.core.partition import Partition
from samplejoin.engine.changelog import join_parts, parts_of
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.emitter import Emitter
from samplejoin.engine.transaction import CommitFailed
from samplejoin.engine.wire import pack_entry, unpack_entry
from samplejoin.job.compile import Job
from samplejoin.stores.memory import MemoryStore
from samplejoin.tables.partial_samples import PartialSamples
from samplejoin.testing.results import Sent


def config_of(job: Job) -> EngineConfig:
    """Returns the engine's settings that have an effect in memory. Late and orphan rows always have a topic."""
    model = job.model
    outputs = model.output_topics()
    late, orphan = (outputs.get(name, f"{model.name}-{name}") for name in ("late", "orphan"))
    return EngineConfig(
        spec=job.spec,
        fingerprint=job.fingerprint,
        topics=Topics(model.prefix, outputs["samples"], late, orphan, outputs["dead_letter"]),
        partitions=model.partitions,
        state_dir=Path("memory"),
        connection={},
        combine=model.combine,
        max_in_flight=model.max_in_flight,
        cache_keys=model.limits.cache_keys,
    )


class _Outbox(list[Sent]):
    """The records that a join partition sends with its next commit."""

    def add(self, topic: str, _: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Appends one record."""
        self.append(Sent(topic, key, value, {name: text.decode() for name, text in headers}))


class Counts(Counter[Any]):
    """The engine's meters. The key is (name, *labels), or the name alone without labels."""

    def add(self, name: str, labels: tuple[str, ...], by: float = 1) -> None:
        self[(name, *labels) if labels else name] += int(by)

    def set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Ignores a gauge."""

    def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Ignores a histogram."""


class MemoryTable(PartialSamples):
    """The partial-sample table, recovered from a changelog in memory."""

    def replay(self, changelog: list[bytes]) -> None:
        """Replays the changelog as `recover` does, from the position of the store to the end."""
        self.replica.load()
        for commit in join_parts(list(enumerate(changelog))[self.replica.next_offset :]):
            self.replica.replay(commit)
        self.replica.flush()
        self.resume(None)


@dataclass
class MemoryJoin:
    """One join partition: its log and changelog in "Kafka", its store on "disk", and the state that a crash loses."""

    config: EngineConfig
    number: int
    emitter: Emitter
    #: the repartition log: (value, append time in ms); a record's index is its offset
    log: list[tuple[bytes, int]] = field(default_factory=list)
    changelog: list[bytes] = field(default_factory=list)
    store: MemoryStore = field(default_factory=MemoryStore)
    committed: list[Sent] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=dict)
    #: False after a step or commit failed; then nothing is committed
    running: bool = False

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Recovers, then finishes the sweep, as `worker.join_task` does."""
        self.outbox: Any = _Outbox()
        self.table = MemoryTable(self.config, self.number, self.store)
        self.table.replay(self.changelog)
        self.partition = Partition(self.config.spec, self.table)
        for _ in self.table.fill(self.partition):
            pass
        self.position = self.table.position
        self.running = True
        with self._whole():
            self._sweep(Outcomes(emit=self._sample))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Marks the state as invalid if its body fails, so that no commit follows. Raises CommitFailed if it is."""
        if not self.running:
            raise CommitFailed(
                f"join partition {self.number} has failed before; call crash() to continue from its last commit"
            )
        try:
            yield
        except BaseException:
            self.running = False
            raise

    def lose_disk(self) -> None:
        """Removes the store, so that only the changelog is left."""
        self.store = MemoryStore()

    def append(self, entry: Entry, append_ms: int) -> int:
        """Appends an entry of a clean or timer agent. Returns its offset in the log."""
        self.log.append((pack_entry(entry), append_ms))
        return len(self.log) - 1

    def step(self) -> None:
        """Applies all entries of the log that were not stepped yet."""
        while self.position < len(self.log):
            value, append_ms = self.log[self.position]
            out = Outcomes(emit=self._sample)
            with self._whole():
                self.partition.apply(unpack_entry(value), self.position, append_ms, out)
                self.position += 1
                self._sweep(out)

    def commit(self) -> None:
        """Commits state and samples together. Raises CommitFailed if a step or a commit has failed before."""
        with self._whole():
            commit = self.table.commit_of(self.partition, self.position)
            parts = list(parts_of(commit))
            commit.first_offset, commit.next_offset = len(self.changelog), len(self.changelog) + len(parts)
            self.changelog += parts
            self.committed += self.outbox
            self.outbox.clear()
            self.table.write(commit)

    def _sweep(self, out: Outcomes) -> None:
        self.partition.sweep(out)
        self.emitter.emit(out, self.outbox)
        if out.revised:
            self.commit()  # at most one revision per sample and commit (rule 5)

    def _sample(self, sample: Sample) -> None:
        self.windows[sample.sample_id] = sample.slice_ms
        self.emitter.sample(sample, self.outbox)

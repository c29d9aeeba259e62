"""A small world in memory that drives the real core: source writers on one side, join partitions on the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from samplejoin.core.cells import WireCell, combine, partials_of
from samplejoin.core.covering import Batch, SourceWriter
from samplejoin.core.identity import source_id
from samplejoin.core.keys import partition_of
from samplejoin.core.messages import Block, Entry, Tick
from samplejoin.core.outcomes import Outcomes, Sample
from samplejoin.core.partition import Partition
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.spec import Spec
from tests.core.invariants import Watched
from tests.core.oracle import Row

FAR = 1 << 50
"""An event time after all others: what an explicit end of input says of every source."""

Log = list[tuple[Entry, int]]
"""A repartition log: entries with the broker's append time in ms. The place in the list is the log offset."""

Pages = list[tuple[int, list[bytes]]]
"""Deadlines as a partition gave them to be kept: keys by slice."""


def packed(data: Any) -> Any:
    """Through msgpack and back: what the log, the changelog or the store give back. Tuples become lists."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(data))


def wire_cells(spec: Spec, row: Row) -> list[WireCell]:
    """A cleaned row as the clean stage sends it, if nothing is combined."""
    index = [s.name for s in spec.streams].index(row.stream)
    topic, partition, offset, place = row.source
    order = (row.time, source_id(topic, partition), offset, place)
    partials = partials_of(spec.plans[index], row.value, order, spec.codec)
    return [(row.key, index, row.time // spec.resolution_ms, offset, offset, 1, partials)]


def offline(spec: Spec, rows: Iterable[Row]) -> Outcomes:
    """The core over sorted input that is complete before anything closes: no row is late."""
    log: Log = []
    sources: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda r: r.place):
        sources.setdefault(row.source[:2], []).append(row)
    for topic in spec.topics():
        sources.setdefault((topic, 0), [])
    counts = {topic: 1 + max(p for t, p in sources if t == topic) for topic, _ in sources}
    writers = {}
    for topic, count in counts.items():
        for partition in range(count):
            mine = sorted(sources.get((topic, partition), []), key=lambda r: r.source)
            writer = SourceWriter(source_id(topic, partition), 1, -1, 1 << 40)
            batch = writer.batch(max((r.source[2] for r in mine), default=-1), FAR)
            if mine:
                cells = [cell for row in mine for cell in wire_cells(spec, row)]
                log.append((writer.block(0, batch, combine(spec, cells, -1)), 0))
            writer.settle()
            writers[topic, partition] = writer
    log.append((Tick([writer.tick(0) for writer in writers.values()], counts), 0))
    return replay(spec, log)


def replay(spec: Spec, log: Log, crashes: Random | None = None) -> Outcomes:
    """Steps a partition through its log; with `crashes`, it dies and comes back at entries and within sweeps."""
    return stepped(spec, log, crashes)[1]


def stepped(spec: Spec, log: Log, crashes: Random | None = None) -> tuple[Partition, Outcomes]:
    """The partition at the end of its log, and all that came out."""
    partition, out = Partition(spec), Outcomes()
    pages: Pages = []
    for offset, (entry, append_ms) in enumerate(log):
        before = Watched(partition)
        partition.apply(copy.deepcopy(entry), offset, append_ms, out)
        if crashes is None:
            partition.sweep(out)
            before.validate(partition)
            continue
        changed: dict[bytes, None] = {}
        while True:
            if crashes.random() < 0.3:
                changed |= partition.changed
                partition = restarted(partition, pages)
            if not partition.due():
                break
            partition.sweep(out, limit=crashes.choice([1, 1, 2, None]))
        partition.changed |= changed
        before.validate(partition)
    return partition, out


def restarted(partition: Partition, pages: Pages | None = None) -> Partition:
    """A new owner's partition, from nothing but what was persisted: deadlines among it, or found again by all keys."""
    data, states = packed([partition.dump(), list(partition.keys.items())])
    fresh = Partition(partition.spec)
    fresh.keys.update(dict(states))
    if pages is not None:
        pages += partition.deadlines.take_new()
        if not partition.due():  # as the engine does: what has been looked at is not entered again
            pages[:] = [(slice_, keys) for slice_, keys in pages if slice_ > partition.clock.slice]
    fresh.load(PartitionState.read(data))
    for slice_, keys in pages or ():
        fresh.deadlines.restore(slice_, keys)
    if pages is None:
        for key, state in fresh.keys.items():
            fresh.watch(key, state)
    return fresh


def last_revisions(out: Outcomes) -> dict[str, tuple[int, bytes, float]]:
    """Returns the samples of a trainer that keeps the newest revision of each."""
    newest: dict[str, Sample] = {}
    for sample in out.samples:
        known = newest.get(sample.sample_id)
        assert known is None or sample.revision > known.revision, "a revision came twice, or out of order"
        newest[sample.sample_id] = sample
    return {id_: (s.slice_ms, s.payload, s.weight) for id_, s in newest.items()}


def everything(out: Outcomes) -> Any:
    """All of the outcomes in a form that compares: the order within one step is of no meaning."""
    return (
        sorted(map(repr, out.samples)),
        sorted(map(repr, out.side_rows)),
        sorted(map(repr, out.dead)),
        sorted(out.counts.items()),
    )


@dataclass
class Owner:
    """The owner of a source partition: a writer, and the batches whose acknowledgement is still out."""

    writer: SourceWriter
    position: int
    unacked: list[Batch] = field(default_factory=list)


@dataclass
class World:
    """Source logs, owners that read them, and the repartition logs that they write.

    `sources` holds, per (topic, partition), what each offset gave: its event time and its rows (none: filtered).
    """

    spec: Spec
    sources: dict[tuple[str, int], list[tuple[int, list[Row]]]]
    partitions: int
    random: Random
    combined: bool = True
    max_in_flight: int = 20
    now: int = 1_000_000
    logs: list[Log] = field(init=False)
    owners: dict[tuple[str, int], Owner] = field(init=False, default_factory=dict)
    committed: dict[tuple[str, int], tuple[int, int | None]] = field(init=False, default_factory=dict)
    generations: int = 0
    restarts: float = 0.0
    #: whether the logs are all there will ever be, or a silence is still to come
    ends: bool = True
    sent: int = 0

    def __post_init__(self) -> None:
        self.logs = [[] for _ in range(self.partitions)]
        for name in self.sources:
            self.assign(name)

    @property
    def counts(self) -> dict[str, int]:
        topics = [topic for topic, _ in self.sources]
        return {topic: topics.count(topic) for topic in topics}

    def assign(self, name: tuple[str, int]) -> None:
        """A new owner, which knows what the group has committed and nothing else."""
        start, row_time = self.committed.get(name, (-1, None))
        log_end = None if name in self.committed else len(self.sources[name]) - 1
        self.generations += 1
        writer = SourceWriter(source_id(*name), self.generations, start, self.max_in_flight, row_time, log_end)
        self.owners[name] = Owner(writer, start + 1)

    def run(self, close: Callable[[World], None] | None = None) -> list[Log]:
        """Everything is read, in some order, with ticks and restarts between; then the input ends."""
        names = list(self.sources)
        ahead = self.random.choice([None, None, *names])
        while any(self.owners[n].writer.acked + 1 < len(self.sources[n]) for n in names):
            self.now += self.random.randrange(500)
            name = self.random.choice(names)
            if ahead is not None and self.owners[ahead].writer.acked + 1 < len(self.sources[ahead]):
                name = ahead if self.random.random() < 0.9 else name  # one side is read before all others
            elif self.random.random() < 0.5:  # sources are read side by side, most of the time
                name = min(names, key=lambda n: self.owners[n].position / (len(self.sources[n]) or 1))
            chance = self.random.random()
            if chance < self.restarts:
                self.assign(name)
            elif chance < 0.4:
                self.read(name)
            elif chance < 0.65:
                self.acknowledge(name)
            elif chance < 0.75:
                self.commit(name)
            else:
                self.tick(names if self.random.random() < 0.5 else [name])
        (close or World.end_of_input)(self)
        return self.logs

    def read(self, name: tuple[str, int]) -> None:
        """One fetch: its rows go to their join partitions, combined or not."""
        owner, log = self.owners[name], self.sources[name]
        last = min(owner.position + self.random.choice([0, 0, 1, 3, 7]), len(log) - 1, owner.writer.limit)
        if last < owner.position:
            return
        fetched = log[owner.position : last + 1]
        batch = owner.writer.batch(last, max(time for time, _ in fetched))
        batch.outstanding = 1
        owner.unacked.append(batch)
        owner.position = last + 1
        cells = [cell for _, rows in fetched for row in rows for cell in wire_cells(self.spec, row)]
        for partition in range(self.partitions):
            mine = [cell for cell in cells if partition_of(cell[0], self.partitions) == partition]
            if self.combined:
                mine = combine(self.spec, mine, owner.writer.uncombined)
            if mine or self.random.random() < 0.1:
                block = owner.writer.block(partition, batch, mine)
                block.cells = [tuple(cell) for cell in packed(block.cells)]
                self.sent += len(mine)
                self.logs[partition].append((block, self.now))

    def acknowledge(self, name: tuple[str, int]) -> None:
        owner = self.owners[name]
        if owner.unacked:
            owner.unacked.pop(0).outstanding = 0
            owner.writer.settle()

    def commit(self, name: tuple[str, int]) -> None:
        writer = self.owners[name].writer
        self.committed[name] = (writer.acked, writer.row_time)
        if self.random.random() < 0.8:
            writer.confirm(writer.acked)

    def tick(self, names: list[tuple[str, int]]) -> None:
        """One worker's tick to every join partition. A source at its end does not hold the clock."""
        for name in names:
            writer = self.owners[name].writer
            if self.ends and writer.acked + 1 == len(self.sources[name]):
                writer.row_time = FAR
        for partition, log in enumerate(self.logs):
            writers = [self.owners[name].writer for name in names]
            log.append((Tick([writer.tick(partition) for writer in writers], self.counts), self.now))
            for writer in writers:
                writer.tick_acked(partition, len(log) - 1)

    def at_end(self) -> None:
        """Every owner reads on and finds nothing, twice, so that its next tick proves its end."""
        for name, owner in self.owners.items():
            end = len(self.sources[name])
            for _ in range(2):
                owner.writer.record_fetch(object(), end, end)

    def end_of_input(self) -> None:
        """The explicit end: every source is read up to the end of time."""
        for owner in self.owners.values():
            owner.writer.row_time = FAR
        self.tick(list(self.sources))

    def silence(self, seconds: int) -> None:
        """Nothing more comes: a tick a second, each proving the end of its source."""
        for _ in range(seconds):
            self.now += 1000
            self.at_end()
            self.tick(list(self.sources))


def block_of(source: str, after: int | None, upto: int, cells: Iterable[WireCell] = ()) -> Block:
    """A block written by hand."""
    return Block(source, 1, after, upto, list(cells))

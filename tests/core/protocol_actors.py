"""What the protocol model plays: owners of sources, with their sends and fetches, and join partitions."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samplejoin.core.aggregates import List
from samplejoin.core.cells import WireCell, combine, partials_of
from samplejoin.core.covering import Batch, SourceWriter
from samplejoin.core.keys import encode_key, partition_of
from samplejoin.core.messages import Block, Source, Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.spec import JSON, Field, Spec, Stream
from samplejoin.formats.payload import CODEC
from tests.core.commits import FailingJoin
from tests.core.harness import FAR, packed

if TYPE_CHECKING:
    from tests.core.protocol import Sim

LATENESS, IDLE_AFTER, TICK, START, WINDOW = 30, 50, 10, 1000, 40
LONG_AGO = -(1 << 60)
KEYS = {
    n: [[k for i in range(60) if partition_of(k := encode_key([i]), n) == p][:2] for p in range(n)] for n in (1, 2, 3)
}
TOPICS = ("shows", "clicks")


class Failure(Exception):
    """The model turned red."""


@dataclass(frozen=True)
class Options:
    """Events that are played in addition to the ordinary chaos."""

    idle: Any = "advance"
    steps: int = 500
    growth: bool = False
    gaps: bool = False
    lost_commits: bool = False
    moved_offsets: bool = False
    max_wait: int | None = None
    correct: bool = False
    #: owners are told the log's end at every assignment, not only where nothing was committed
    always_log_end: bool = False
    static_members: float = 0.0
    #: a quiet source beside busy ones, whose owners double all the time and fetch slowly
    doubles: bool = False
    #: beside each join partition a worker's own, whose commits fail at any step
    failing_commits: bool = False


@dataclass(frozen=True)
class Event:
    """A record: event time, its join partition and key, when it was written."""

    time: int
    partition: int
    key: bytes
    written: int


@dataclass
class Sent:
    """An entry on its way to a repartition log."""

    entry: Block | Tick
    batch: Batch | None = None
    log_offset: int = -1


def spec_of(options: Options, resolution: int) -> Spec:
    """Every cell carries the list of its rows, so that a merged cell tells which rows it was made of."""
    streams: tuple[Stream, ...] = (Stream("show", "anchor", ("shows",), None, options.idle, LATENESS * 100),)
    streams += (Stream("click", "label", ("clicks",), None, options.idle, LATENESS * 100),)
    return Spec(
        name="model",
        streams=streams,
        key_fields=("k",),
        fields=tuple(Field(s.name, s.name, "row", List(100_000)) for s in streams),
        window_ms=WINDOW * 100,
        before_ms=2000,
        resolution_ms=resolution * 100,
        idle_after_ms=IDLE_AFTER * 100,
        max_wait_ms=options.max_wait and options.max_wait * 100,
        late="correct" if options.correct else "topic",
        correction_ms=10_000 if options.correct else 0,
        codec=CODEC if options.failing_commits else JSON,
    )


class Watched(Partition):
    """A partition that reports the rows of every cell it merges."""

    report: Any = None

    def _merge(self, wire: WireCell, source: Source, out: Outcomes) -> None:
        self.report(wire, source, self)
        super()._merge(wire, source, out)


class Join:
    """One join partition and its log."""

    def __init__(self, sim: Sim) -> None:
        self.sim, self.length, self.out = sim, 0, Outcomes()
        self.merged: Counter[tuple[Source, int]] = Counter()
        #: the clock while a source was out of the minimum, having never had a watermark
        self.clock_without: dict[Source, int] = {}
        #: deadlines as they were kept
        self.pages: list[tuple[int, list[bytes]]] = []
        self.partition = self.fresh()
        self.failing = FailingJoin(sim.spec, sim.seed) if sim.options.failing_commits else None

    def fresh(self) -> Watched:
        partition = Watched(self.sim.spec)
        partition.report = self.report
        return partition

    def land(self, sent: Sent) -> None:
        """The broker appends an entry, and the join steps it."""
        sent.log_offset, self.length = self.length, self.length + 1
        self.partition.apply(packed_entry(sent.entry), sent.log_offset, self.sim.now * 100, self.out)
        clock = self.partition.clock
        for source in self.sim.sources:
            if source.partition(" ")[0] in clock.silent or source in clock.left_out:
                self.clock_without[source] = clock.value // 100
        if self.sim.random.random() < 0.02:
            self.restart()
        self.partition.sweep(self.out)
        if self.failing is not None:
            self.failing.land(sent.entry, self.sim.now * 100)

    def end(self) -> None:
        """The end of time: every window closes."""
        covered = self.partition.covered
        entries = [TickEntry(s, 1 << 30, None, covered.get(s, -1), FAR, False, None) for s in self.sim.sources]
        self.land(Sent(Tick(entries, self.sim.counts)))

    def restart(self) -> None:
        data, states = packed([self.partition.dump(), list(self.partition.keys.items())])
        fresh = self.fresh()
        fresh.keys.update(dict(states))
        self.pages += self.partition.deadlines.take_new()
        fresh.load(PartitionState.read(data))
        for slice_, keys in self.pages:
            fresh.deadlines.restore(slice_, keys)
        self.partition = fresh

    def report(self, wire: WireCell, source: Source, partition: Partition) -> None:
        """Rows are merged: once, and before the clock, or even their own source's watermark, has passed them."""
        clock = partition.clock
        state = clock.sources.get(source)
        watermark = LONG_AGO if state is None or state.watermark is None else state.watermark
        for offset in (o for _, o in wire[6][2]):
            self.merged[source, offset] += 1
            late = wire[2] < clock.slice or self.sim.logs[source][offset].time * 100 < watermark
            if late and not self.sim.may_be_late(self, source, offset):
                raise Failure(f"late: {source} {offset}, slice {wire[2]} under {clock.slice}, or under {watermark} ms")


def packed_entry(entry: Block | Tick) -> Block | Tick:
    """A copy that shares nothing with the sender's."""
    if isinstance(entry, Tick):
        entries = [TickEntry(*(getattr(e, slot) for slot in TickEntry.__slots__)) for e in entry.entries]
        return Tick(entries, dict(entry.partitions))
    return Block(entry.source, entry.generation, entry.after, entry.upto, [tuple(c) for c in packed(entry.cells)])


class Owner:
    """A worker's part for one source: it fetches, sends, is acknowledged, ticks and commits through a SourceWriter."""

    def __init__(self, sim: Sim, source: Source, generation: int) -> None:
        self.sim, self.source = sim, source
        known = sim.committed.get(source)
        start, row_time = known or (-1, None)
        end = sim.end(source) if known is None or sim.options.always_log_end else None
        self.writer = SourceWriter(source, generation, start, sim.max_in_flight, row_time, end)
        self.log, self.position = sim.logs[source], start + 1
        #: a fetch on its way: None, or the log's end that the broker saw (-1: the broker has not answered yet)
        self.fetch: int | None = None
        self.fetches = 0
        self.queue: dict[int, deque[Sent]] = defaultdict(deque)
        self.unacked: dict[int, deque[Sent]] = defaultdict(deque)
        self.arrived: dict[int, deque[Sent]] = defaultdict(deque)
        self.ticking: dict[int, bool] = defaultdict(bool)
        self.state = "alive"
        self.dies_at: int | None = None
        self.next_tick = sim.now + sim.random.randint(1, TICK)
        self.speed = sim.random.choice([0.9, 0.9, 0.5, 0.15])
        self.topics_known = dict(sim.counts)
        self.fetching = sim.random.choice([0.7, 0.2, 0.05]) if sim.sharp else 0.7
        if sim.options.doubles:
            quiet = source == sim.sources[1]
            self.fetching, self.speed = (sim.random.choice([0.7, 0.1, 0.02]), self.speed) if quiet else (0.9, 0.95)

    def fetch_step(self) -> None:
        """A fetch is sent after the response before it; the broker answers with the end it has at that moment."""
        chance = self.sim.random.random()
        if self.fetch is None:
            self.fetch = -1 if chance < self.fetching else None
        elif self.fetch == -1:
            if chance < self.fetching:
                self.fetch = len(self.log)
        elif chance < self.fetching:
            self.receive(self.fetch)
            self.fetch = None

    def receive(self, end: int) -> None:
        self.fetches += 1
        last = min(end - 1, self.position + self.sim.random.randint(0, 7))
        rows = [o for o in range(self.position, last + 1) if self.log[o] is not None]
        sendable = [o for o in rows if o <= self.writer.limit]
        if len(sendable) < len(rows):  # not further than a later owner can tell apart: the rest is read again
            last = rows[len(sendable)] - 1
        if last >= self.position:
            self.send(last, sendable)
            self.position = last + 1
        self.writer.record_fetch(self.fetches, self.position, end)

    def send(self, upto: int, offsets: list[int]) -> None:
        sim = self.sim
        batch = self.writer.batch(upto, max((self.log[o].time * 100 for o in offsets), default=None))
        groups = sim.random.randint(1, 3) if sim.combined else 0
        for p in range(len(sim.joins)):
            mine = [o for o in offsets if self.log[o].partition == p]
            if not mine and sim.random.random() < 0.9:
                continue
            cut: dict[int, list[WireCell]] = defaultdict(list)
            for o in mine:
                cut[sim.random.randrange(groups) if groups else 0].append(self.cell(o))
            cells = [c for part in cut.values() for c in (self.combine(part) if groups else part)]
            batch.outstanding += 1
            self.put(p, Sent(self.writer.block(p, batch, cells), batch))
        self.writer.settle()

    def combine(self, cells: list[WireCell]) -> list[WireCell]:
        return combine(self.sim.spec, cells, self.writer.uncombined)

    def cell(self, offset: int) -> WireCell:
        event, topic = self.log[offset], TOPICS.index(self.source.partition(" ")[0])
        order = (event.time * 100, self.source, offset, 0)
        partials = partials_of(self.sim.spec.plans[topic], {"row": offset}, order, self.sim.spec.codec)
        return (event.key, topic, event.time // self.sim.resolution, offset, offset, 1, partials)

    def put(self, p: int, sent: Sent) -> None:
        self.queue[p].append(sent)
        self.unacked[p].append(sent)

    def tick(self) -> None:
        sim = self.sim
        self.next_tick = sim.now + TICK + sim.random.randint(-1, 3)
        if sim.random.random() < 0.3:
            self.topics_known = dict(sim.counts)
        for p in range(len(sim.joins)):
            if not self.ticking[p]:
                self.ticking[p] = True
                self.put(p, Sent(Tick([self.writer.tick(p)], self.topics_known)))

    def deliver(self, p: int) -> None:
        """The oldest entry on its way to join partition `p` lands, fails, or lands without an acknowledgement."""
        sim = self.sim
        if not self.queue[p]:
            return
        sent = self.queue[p].popleft()
        if sim.chaos and sim.random.random() < sim.failing:
            self.dies_at = self.dies_at or sim.now + sim.random.randint(0, 15)
            if sim.random.random() < 0.7:
                return
            sim.joins[p].land(sent)
            return
        sim.joins[p].land(sent)
        self.arrived[p].append(sent)

    def hear(self, p: int) -> None:
        """Acknowledgements come in the order of the sends; what follows a failed one is never heard of."""
        arrived, unacked = self.arrived[p], self.unacked[p]
        while arrived and unacked and arrived[0] is unacked[0]:
            sent = arrived.popleft()
            unacked.popleft()
            if sent.batch is None:
                self.ticking[p] = False
                self.writer.tick_acked(p, sent.log_offset)
            else:
                sent.batch.outstanding -= 1
        self.writer.settle()

    def die(self) -> None:
        """What was given to the network may still arrive."""
        self.state = "dead"
        for p, queue in self.queue.items():
            keep = self.sim.random.randint(0, len(queue))
            self.queue[p] = deque(list(queue)[:keep])

    def idle(self) -> bool:
        return not any(self.queue.values())

"""Load with known truth: the same events from the same seed, so that a judge can make them again.

Events are made in chunks of event time. Those of a chunk are produced, in an order of their own, before any of the next
one: but for those marked late, none lies more than `DISORDER_MS` + `CHUNK_MS` behind any that was produced before it,
on whatever partition. That is less than the jobs' `lateness`: a sample that lacks one of them is wrong.

A stream can be held back for a while: what it has by then comes at once, in its own order. Meanwhile the clock stands,
by `idle: hold`, and all that the other streams have waits.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

START_MS = 1_700_000_000_000
CHUNK_MS = 1000
DISORDER_MS = 2000
STREAMS = ("impression", "click", "like")
HELD = 2
"""The stream that is held back."""
HOTTEST = "hottest"
"""The user of the hot key."""
FUTURE_MS = 4_070_908_800_000

DEAD = {
    "bad-json": "decode", "no-object": "decode", "no-time": "time", "future": "future", "raises": "clean",
    "garbage": "clean",
}  # fmt: skip
"""Poison that must become a dead letter, with its reason."""
JUNK = ("junk-empty", "junk-null", "junk-zero")
POISON = (*DEAD, *JUNK)


class Event(NamedTuple):
    """A record to produce. `kind` is "" for a plain one, `late`, `hang`, `drop`, or one of POISON."""

    stream: int
    partition: int
    ts: int
    uid: str
    mid: int
    value: int
    eid: int
    kind: str = ""


@dataclass(frozen=True)
class Load:
    """What to produce. `chunks` of event time with `visits` users each; shares are of visits; `ids`: repeated sends.

    `hot_key`: one key that is shown and clicked every second, with `hot_late` late clicks; `hold`: the chunks in which
    a stream is held back, and the one in which it is let go.
    """

    seed: str
    chunks: int
    visits: int
    partitions: tuple[int, int, int]
    window_ms: int
    before_ms: int
    lateness_ms: int
    ids: bool
    late: bool
    hot_share: float
    poison_share: float
    hangs: int
    idle: bool
    hot_key: bool = False
    hot_late: int = 0
    hold: tuple[int, int] = (0, 0)

    @property
    def end_ms(self) -> int:
        """Past every window: the time of the records that close them."""
        return START_MS + self.chunks * CHUNK_MS + 20 * self.window_ms + 600_000


class _Maker:
    """Draws what users do, each event into the chunk in which it is produced."""

    def __init__(self, load: Load) -> None:
        self.load, self.random = load, random.Random(load.seed)
        self.buckets: defaultdict[int, list[Event]] = defaultdict(list)
        self.next_id = self.users = 0
        # uneven partitions; with `idle` the last of each stream comes to life late
        self.weights = [list(accumulate(2.0 ** -(p % 4) for p in range(n))) for n in load.partitions]
        self.awake = int(load.chunks * 0.6)
        self.held: list[Event] = []

    def partition(self, stream: int, chunk: int) -> int:
        """A partition of the stream, as busy ones are drawn more often."""
        weights = self.weights[stream]
        asleep = self.load.idle and chunk < self.awake and len(weights) > 1
        usable = len(weights) - 1 if asleep else len(weights)
        return bisect(weights, self.random.random() * weights[usable - 1], 0, usable - 1)

    def add(self, stream: int, ts: int, uid: str, mid: int, kind: str = "", delay_ms: int | None = None) -> None:
        """An event at `ts`, produced up to `DISORDER_MS` later, or `delay_ms` if that is given."""
        r = self.random
        delay = int(r.random() * DISORDER_MS) if delay_ms is None else delay_ms
        chunk = (ts - START_MS + delay) // CHUNK_MS
        self.next_id += 1
        event = Event(stream, self.partition(stream, chunk), ts, uid, mid, int(r.random() * 9000), self.next_id, kind)
        self.buckets[chunk].append(event)
        if self.load.ids and not kind and r.random() < 0.03:  # the producer did not hear that it had been sent
            self.buckets[chunk].append(event._replace(partition=self.partition(stream, chunk)))

    def visit(self, begin_ms: int) -> None:
        """One user sees something, and may click and like it, in time, too early, or when the window is over."""
        r, load = self.random, self.load
        at = begin_ms + load.before_ms + CHUNK_MS + int(r.random() * CHUNK_MS)
        if r.random() < load.hot_share:
            hot = f"hot{(begin_ms - START_MS) // 20_000}"
            self.add(int(r.random() < 0.6), at, hot, 0)
            return
        self.users += 1
        uid, mid = f"u{self.users % 5000}", self.users // 5000
        self.add(0, at, uid, mid)
        drawn = r.random()
        if drawn < 0.1:
            self.add(0, at + int(r.random() * 1.5 * load.window_ms), uid, mid)
        if drawn < 0.35:
            for _ in range(1 + int(r.random() * 2)):
                reach = 0.25 if r.random() < 0.8 else 1.2
                lag = -load.before_ms - CHUNK_MS + int(r.random() * (reach * load.window_ms + load.before_ms))
                self.add(1, at + lag, uid, mid)
        elif drawn < 0.45:
            self.add(2, at + int(r.random() * load.window_ms), uid, mid)
        elif drawn < 0.46:
            self.add(1, at, uid + "-orphan", mid)

    def late(self, begin_ms: int) -> None:
        """Rows that are behind, each of a key of its own, one per stream and slice."""
        r, load = self.random, self.load
        at = begin_ms + load.before_ms + CHUNK_MS
        uid, what = f"late{self.next_id}", r.random()
        behind = load.lateness_ms + int(r.random() * 30_000)
        if what < 0.4:  # a click after its sample
            self.add(0, at, uid, 0)
            self.add(1, at + 1000, uid, 0, "late", load.window_ms + behind)
        elif what < 0.7:  # a click that is late, perhaps into an open window
            self.add(0, at, uid, 0)
            self.add(1, at + 1000, uid, 0, "late", min(behind, load.window_ms))
        elif what < 0.85:  # an impression that no window waits for
            self.add(0, at, uid, 0, "late", behind)
        else:  # a second impression, late
            self.add(0, at, uid, 0)
            self.add(0, at + 2000, uid, 0, "late", behind)

    def hottest(self, number: int, begin_ms: int) -> None:
        """The hot key's second; its late clicks come when their windows are over, and not yet forgotten."""
        load, r = self.load, self.random
        at = begin_ms + load.before_ms + CHUNK_MS + int(r.random() * CHUNK_MS)
        self.add(0, at, HOTTEST, 0)
        for _ in range(2):
            self.add(1, at + int(r.random() * load.window_ms), HOTTEST, 0)
        if load.hot_late and number % (load.chunks // load.hot_late + 1) == load.chunks // (2 * load.hot_late):
            self.add(1, at, HOTTEST, 0, "late", load.window_ms + load.lateness_ms + 5000)

    def hold_back(self, number: int, events: list[Event]) -> list[Event]:
        """The chunk without the stream that is held; then all that it has been held back of, and the chunk."""
        first, until = self.load.hold
        if first <= number < until:
            self.held += [event for event in events if event.stream == HELD]
            return [event for event in events if event.stream != HELD]
        held, self.held = self.held, []
        return held + events

    def chunk(self, number: int) -> list[Event]:
        """What is produced in this chunk, in order."""
        begin_ms = START_MS + number * CHUNK_MS
        load, r = self.load, self.random
        for _ in range(load.visits if number < load.chunks else 0):
            self.visit(begin_ms)
            if r.random() < load.poison_share:
                kind = r.choice(POISON)
                self.add(r.randrange(3), begin_ms + CHUNK_MS, f"poison{self.next_id}", 0, kind)
            if load.late and r.random() < 0.003:
                self.late(begin_ms)
        if load.hangs and number % (load.chunks // load.hangs + 1) == load.chunks // (2 * load.hangs):
            self.add(0, begin_ms + CHUNK_MS, f"hang{self.next_id}", 0, "hang")
        if load.hot_key and number < load.chunks:
            self.hottest(number, begin_ms)
        events = self.buckets.pop(number, [])
        r.shuffle(events)
        return self.hold_back(number, events)


def chunks(load: Load) -> Iterator[list[Event]]:
    """The events of each chunk, in the order they are produced; at last the records that close every window."""
    maker = _Maker(load)
    number = 0
    while number < load.chunks or maker.buckets:
        yield maker.chunk(number)
        number += 1
    yield [
        Event(stream, partition, load.end_ms, "end", 0, 0, 0, "drop")
        for stream, count in enumerate(load.partitions)
        for partition in range(count)
    ]


def truth(load: Load) -> Iterator[tuple[Event, int]]:
    """Every event with its offset: each partition gets its events in their order, and nothing else."""
    offsets: Counter[tuple[int, int]] = Counter()
    for events in chunks(load):
        for event in events:
            place = event.stream, event.partition
            yield event, offsets[place]
            offsets[place] += 1


def payload(event: Event) -> bytes:
    """The record's value."""
    stream, _, ts, uid, mid, value, eid, kind = event
    if not kind or kind == "late":
        return _PLAIN[stream] % (uid.encode(), mid, ts, value // 1000, value % 1000, eid)
    match kind:
        case "bad-json":
            return b'{"uid": "%b", "mid"' % uid.encode()
        case "no-object":
            return b"[1, 2]"
        case "no-time":
            return b'{"uid":"%b","mid":0,"ts":"soon"}' % uid.encode()
        case "future":
            ts = FUTURE_MS
        case "junk-empty" | "junk-zero":
            uid = "" if kind == "junk-empty" else "0"
    name = b"null" if kind == "junk-null" else b'"%b"' % uid.encode()
    do = kind if kind in ("drop", "hang", "raises", "garbage") else ""
    return b'{"uid":%b,"mid":%d,"ts":%d,"pos":1,"dwell":0.5,"eid":%d,"do":"%b"}' % (name, mid, ts, eid, do.encode())


_PLAIN = (
    b'{"uid":"%b","mid":%d,"ts":%d,"pos":%d.%03d,"eid":%d}',
    b'{"uid":"%b","mid":%d,"ts":%d,"dwell":%d.%03d,"eid":%d}',
    b'{"uid":"%b","mid":%d,"ts":%d,"score":%d.%03d,"eid":%d}',
)
VALUE_FIELDS = ("pos", "dwell", "score")


def row_of(event: Event) -> dict[str, object]:
    """What cleaning makes of a good record."""
    if event.kind == "hang":
        return {"uid": event.uid, "mid": event.mid, "ts": event.ts, "pos": 1, "dwell": 0.5, "eid": event.eid}
    value = event.value / 1000
    return {"uid": event.uid, "mid": event.mid, "ts": event.ts, VALUE_FIELDS[event.stream]: value, "eid": event.eid}

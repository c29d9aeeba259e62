"""The clock of a join partition, computed from the ticks in its log and nothing else (rule 8).

All times are integer milliseconds. `now` is the running maximum of the log's append times. A source's watermark rises
with the records that its owner reads. It follows the siblings' watermarks when a tick proves that the source was read
to its end. With `idle: advance` it also rises while the silence of the stream is proven.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from samplejoin.core.identity import source_id
from samplejoin.core.messages import Source, TickEntry
from samplejoin.core.partition_state import ClockState
from samplejoin.core.spec import Spec

NEVER = -(1 << 62)
"""The value of the clock before all sources have a watermark."""

STEP_MS = 2000
"""The most silence or waiting that is counted per tick. A longer gap between ticks proves no silence."""


@dataclass(slots=True)
class SourceClock:
    """The state of one source partition, as the ticks of the log have reported it."""

    watermark: int | None = None
    #: the last tick: its log offset, its append time, and the siblings' highest watermark at that point of the log
    last_offset: int = -1
    last_now: int = 0
    last_siblings: int | None = None
    #: append times of the first tick at the present end, and of the latest one at which that end is proven
    quiet_since: int | None = None
    quiet_until: int | None = None
    #: for `max_wait`: the watermark last seen, and how long in ms it has stood there while another source's rose
    seen: int | None = None
    stalled_ms: int = 0


@dataclass(slots=True)
class Clock:
    """The clock of one join partition, with all the state it needs to continue after a restart (`dump`, `load`)."""

    spec: Spec
    value: int = NEVER
    now: int = 0
    partitions: dict[str, int] = field(default_factory=dict)
    sources: dict[Source, SourceClock] = field(default_factory=dict)
    #: topics of streams without any watermark that are left out of the minimum because their silence is proven
    silent: set[str] = field(default_factory=set)
    #: append time up to which the silence of a topic group has been added to its watermarks, by its first topic
    spent: dict[str, int] = field(default_factory=dict)
    #: sources left out of the minimum by `max_wait`
    left_out: set[Source] = field(default_factory=set)
    #: append time at which a watermark was last seen to rise
    rise_at: int | None = None
    _groups: dict[str, frozenset[str]] = field(init=False, repr=False)
    _hold: set[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._groups = self.spec.topic_groups()
        held = {t for s in self.spec.streams if s.idle == "hold" for t in s.topics}
        self._hold = {topic for topic, group in self._groups.items() if group & held}

    @property
    def slice(self) -> int:
        """The clock in slices. Rows of lower slices are late; windows that end at this slice or before are closed."""
        return self.value // self.spec.resolution_ms if self.value > NEVER else NEVER

    def record_append_time(self, append_ms: int) -> None:
        """Advances `now` to an append time in ms of the broker. With `clock: processing` the clock follows it."""
        self.now = max(self.now, append_ms)
        if self.spec.clock == "processing":
            self.value = max(self.value, self.now)

    def rows_taken(self, source: Source) -> None:
        """Ends the silence of a source that had new offsets."""
        state = self.sources.get(source)
        if state is not None:
            state.quiet_since = state.quiet_until = None

    def tick(self, entry: TickEntry, covered: int, log_offset: int) -> None:
        """Applies an accepted entry of a tick. `covered` is the highest covered offset of its source (H)."""
        topic = entry.source.partition(" ")[0]
        state = self.sources.setdefault(entry.source, SourceClock())
        if entry.row_time is not None:
            _raise_to(state, entry.row_time - self.spec.lateness_ms(topic))
        self._follow(entry, state, topic, covered)
        state.last_offset, state.last_now = log_offset, self.now
        state.last_siblings = self._highest(topic, without=entry.source)
        self.silent -= self._groups.get(topic, frozenset())
        if topic not in self._hold:
            self._advance_through_silence(topic)
        if self.spec.max_wait_ms is not None:
            self._wait_no_longer(self.spec.max_wait_ms)

    def advance(self) -> bool:
        """Moves the clock to the lowest watermark of all sources. Returns whether it moved."""
        if self.spec.clock == "processing":
            return False
        lowest = None
        for topic in self._groups:
            count = self.partitions.get(topic, 0)
            if not count:
                return False
            for partition in range(count):
                source = source_id(topic, partition)
                if source in self.left_out:
                    continue
                state = self.sources.get(source)
                if state is None:
                    return False
                if state.watermark is None:
                    if topic not in self.silent:
                        return False
                elif lowest is None or state.watermark < lowest:
                    lowest = state.watermark
        if lowest is None or lowest <= self.value:
            return False
        self.value = lowest
        return True

    def waits_for(self, topic: str) -> bool:
        """Returns whether the silence of a topic holds the clock (`idle: hold`)."""
        return topic in self._hold

    def silence_left_ms(self, topic: str) -> int | None:
        """Returns how many ms of silence of the topic's group its watermarks still lack; None if none is proven."""
        silence = self._proven_silence(topic)
        if silence is None:
            return None
        since, until = silence
        spent = max(self.spent.get(min(self._groups[topic]), since), since + self.spec.idle_after_ms)
        return max(0, until - spent)

    def missing_streams(self) -> tuple[str, ...]:
        """Returns the streams with sources that `max_wait` leaves out now. Samples closed meanwhile lack their rows."""
        topics = {source.partition(" ")[0] for source in self.left_out}
        return tuple(s.name for s in self.spec.streams if topics & set(s.topics))

    def _follow(self, entry: TickEntry, state: SourceClock, topic: str, covered: int) -> None:
        """Raises a source, proven to be at its end at its previous tick, to its siblings' watermark there (rule 8)."""
        at_covered = entry.upto == covered
        if at_covered and state.quiet_since is None:
            state.quiet_since = self.now
        proven = entry.at_end and at_covered and entry.prev is not None and entry.prev == state.last_offset
        if not proven:
            state.quiet_until = None
            return
        if state.last_siblings is not None:
            _raise_to(state, state.last_siblings)
        since = state.quiet_since
        state.quiet_until = state.last_now if since is not None and state.last_now >= since else None

    def _siblings(self, topic: str) -> Iterable[tuple[Source, SourceClock | None]]:
        for name in self._groups.get(topic, ()):
            for partition in range(self.partitions.get(name, 0)):
                source = source_id(name, partition)
                yield source, self.sources.get(source)

    def _highest(self, topic: str, without: Source | None = None) -> int | None:
        marks = [
            state.watermark
            for source, state in self._siblings(topic)
            if source != without and state is not None and state.watermark is not None
        ]
        return max(marks, default=None)

    def _advance_through_silence(self, topic: str) -> None:
        """Raises a topic group's watermarks by its proven silence beyond `idle_after` (`idle: advance`)."""
        silence = self._proven_silence(topic)
        if silence is None or silence[1] - silence[0] < self.spec.idle_after_ms:
            return
        since, until = silence
        highest = self._highest(topic)
        group = self._groups[topic]
        if highest is None:
            self.silent |= group
            return
        name = min(group)
        spent = max(self.spent.get(name, since), since + self.spec.idle_after_ms)
        step = max(0, min(until - spent, STEP_MS))
        for _, state in self._siblings(topic):
            if state is not None:
                _raise_to(state, highest + step)
        self.spent[name] = spent + step

    def _proven_silence(self, topic: str) -> tuple[int, int] | None:
        """Returns the append times from and to which all sources of the topic's group are proven silent, or None."""
        since, until = None, None
        for _, state in self._siblings(topic):
            if state is None or state.quiet_until is None or state.quiet_since is None:
                return None
            since = state.quiet_since if since is None else max(since, state.quiet_since)
            until = state.quiet_until if until is None else min(until, state.quiet_until)
        return None if since is None or until is None else (since, until)

    def _wait_no_longer(self, limit_ms: int) -> None:
        """Leaves out sources whose watermark stood for `limit_ms` of append time while another's rose (`max_wait`)."""
        everyone = [
            (source_id(topic, partition), self.sources.setdefault(source_id(topic, partition), SourceClock()))
            for topic in self._groups
            for partition in range(self.partitions.get(topic, 0))
        ]
        if all(state.watermark == state.seen for _, state in everyone):
            return
        gap_ms = min(self.now - self.rise_at, STEP_MS) if self.rise_at is not None else 0
        self.rise_at = self.now
        for source, state in everyone:
            if state.watermark != state.seen:
                state.seen, state.stalled_ms = state.watermark, 0
                self.left_out.discard(source)
                continue
            state.stalled_ms += gap_ms
            if state.stalled_ms >= limit_ms:
                self.left_out.add(source)

    def dump(self) -> ClockState:
        """Returns the clock at rest, for the changelog."""
        sources = {
            name: [getattr(state, slot) for slot in SourceClock.__slots__] for name, state in self.sources.items()
        }
        return ClockState(
            value=self.value,
            now=self.now,
            partitions=dict(self.partitions),
            sources=sources,
            silent=sorted(self.silent),
            spent=dict(self.spent),
            left_out=sorted(self.left_out),
            rise_at=self.rise_at,
        )

    def load(self, state: ClockState) -> None:
        """Restores the state that `dump` returned."""
        self.value, self.now, self.rise_at = state.value, state.now, state.rise_at
        self.partitions, self.spent = dict(state.partitions), dict(state.spent)
        self.sources = {name: SourceClock(*fields) for name, fields in state.sources.items()}
        self.silent, self.left_out = set(state.silent), set(state.left_out)


def _raise_to(state: SourceClock, watermark: int) -> None:
    if state.watermark is None or watermark > state.watermark:
        state.watermark = watermark

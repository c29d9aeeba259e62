"""The clock of a join partition: computed from the ticks in its log and nothing else (rule 8).

All times are integer milliseconds. `now_ms` is the running maximum of the log's append time. A source's watermark
rises with what its owner has read, follows its siblings when it is proven to have been read to its end, and goes on
through a proven silence where the job says `idle: advance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from samplejoin.core.identity import source_id
from samplejoin.core.messages import Source, TickEntry
from samplejoin.core.partition_state import ClockState
from samplejoin.core.spec import Spec

NEVER = -(1 << 62)
"""The clock before anything is known."""

STEP_MS = 2000
"""At most this much silence or waiting is counted per tick: a gap in the log itself proves nothing."""


@dataclass(slots=True)
class SourceClock:
    """What the log has said of one source partition."""

    watermark: int | None = None
    #: the last tick: its log offset, its append time, and the siblings' highest watermark at that place
    last_offset: int = -1
    last_now: int = 0
    last_siblings: int | None = None
    #: first tick at the present end; latest append time at which that end is proven
    quiet_since: int | None = None
    quiet_until: int | None = None
    #: `max_wait`: the watermark last looked at, and the append time it has stood there while another's rose
    seen: int | None = None
    stalled_ms: int = 0


@dataclass(slots=True)
class Clock:
    """The clock of one join partition, with all it needs to go on after a restart (`dump`, `load`)."""

    spec: Spec
    value: int = NEVER
    now: int = 0
    partitions: dict[str, int] = field(default_factory=dict)
    sources: dict[Source, SourceClock] = field(default_factory=dict)
    #: topics whose stream has no watermark at all and leaves the minimum, by proven silence
    silent: set[str] = field(default_factory=set)
    #: up to where a topic group's silence has been turned into watermark
    spent: dict[str, int] = field(default_factory=dict)
    #: sources left out of the minimum by `max_wait`
    left_out: set[Source] = field(default_factory=set)
    #: append time at which any watermark was last seen to rise
    rise_at: int | None = None
    _groups: dict[str, frozenset[str]] = field(init=False, repr=False)
    _hold: set[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._groups = self.spec.topic_groups()
        held = {t for s in self.spec.streams if s.idle == "hold" for t in s.topics}
        self._hold = {topic for topic, group in self._groups.items() if group & held}

    @property
    def slice(self) -> int:
        """The clock in slices: rows of lower slices are late, windows that end here or before are closed."""
        return self.value // self.spec.resolution_ms if self.value > NEVER else NEVER

    def record_append_time(self, append_ms: int) -> None:
        """Time passes, by the broker's clock; with `clock: processing` it is the clock itself."""
        self.now = max(self.now, append_ms)
        if self.spec.clock == "processing":
            self.value = max(self.value, self.now)

    def rows_taken(self, source: Source) -> None:
        """The source had something new: its silence is over."""
        state = self.sources.get(source)
        if state is not None:
            state.quiet_since = state.quiet_until = None

    def tick(self, entry: TickEntry, covered: int, log_offset: int) -> None:
        """One believed entry; `covered` is the highest offset merged of its source (H)."""
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
        """Moves the clock to the minimum over all sources; True if it moved."""
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
        """Whether the silence of a topic holds the clock: `idle: hold`."""
        return topic in self._hold

    def silence_left_ms(self, topic: str) -> int | None:
        """How much proven silence of the topic's group is not watermark yet; None if its silence is not proven."""
        silence = self._proven_silence(topic)
        if silence is None:
            return None
        since, until = silence
        spent = max(self.spent.get(min(self._groups[topic]), since), since + self.spec.idle_after_ms)
        return max(0, until - spent)

    def missing_streams(self) -> tuple[str, ...]:
        """The streams whose sources `max_wait` leaves out now: samples closed meanwhile are not complete."""
        topics = {source.partition(" ")[0] for source in self.left_out}
        return tuple(s.name for s in self.spec.streams if topics & set(s.topics))

    def _follow(self, entry: TickEntry, state: SourceClock, topic: str, covered: int) -> None:
        """Read to its end at an earlier place of the log: it has what its siblings had there, once (rule 8)."""
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
        """`idle: advance`: what a stream's proven silence exceeds `idle_after` is added to its watermarks."""
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
        """The append times from and to which all sources of a topic group are proven to be silent."""
        since, until = None, None
        for _, state in self._siblings(topic):
            if state is None or state.quiet_until is None or state.quiet_since is None:
                return None
            since = state.quiet_since if since is None else max(since, state.quiet_since)
            until = state.quiet_until if until is None else min(until, state.quiet_until)
        return None if since is None or until is None else (since, until)

    def _wait_no_longer(self, limit_ms: int) -> None:
        """`max_wait`: counts append time in which a source's watermark stood while another's rose."""
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
        """The clock at rest."""
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
        """Restores what `dump` gave."""
        self.value, self.now, self.rise_at = state.value, state.now, state.rise_at
        self.partitions, self.spent = dict(state.partitions), dict(state.spent)
        self.sources = {name: SourceClock(*fields) for name, fields in state.sources.items()}
        self.silent, self.left_out = set(state.silent), set(state.left_out)


def _raise_to(state: SourceClock, watermark: int) -> None:
    if state.watermark is None or watermark > state.watermark:
        state.watermark = watermark

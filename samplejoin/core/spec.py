"""What a job joins, as the core sees it: compiled once from the job file, immutable afterwards."""

from __future__ import annotations

import json
import marshal
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from samplejoin.core.aggregates import Aggregate, Custom
from samplejoin.core.field_paths import shown
from samplejoin.core.keys import decode_key
from samplejoin.core.values import Fields, Value

Role = Literal["anchor", "label"]
Repeat = Literal["merge", "each"]
Attribution = Literal["last", "first"]
Late = Literal["count", "topic", "correct"]
Idle = Literal["advance", "hold"]
ClockMode = Literal["event", "processing"]


def _marshal(value: Value) -> bytes:
    return marshal.dumps(value, 2)  # from 3 on it depends on who else refers to an object


class Codec(NamedTuple):
    """Values to bytes and back. What `loads` returns must equal what `dumps` was given, for JSON data.

    A cell can travel packed, if `loads` reads it too; between the two parts of `lone` it is, unopened, the packed state
    of a key that has nothing else. `key` is `keys.decode_key`, or a faster twin of it. `pack` gives a cell's bytes, to
    tell how large it is: equal cells must be equally large.
    """

    dumps: Callable[[object], bytes]
    loads: Callable[[bytes], Any]
    lone: tuple[bytes, bytes] | None = None
    key: Callable[[bytes], list[object]] = decode_key
    pack: Callable[[object], bytes] = _marshal


def _json(value: Value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


JSON = Codec(_json, json.loads)


@dataclass(frozen=True)
class Field:
    """One field of the sample: what to aggregate of which stream (`source_field` None: the rows themselves).

    `source_field` is a path (`core.field_paths`).
    """

    name: str
    stream: str
    source_field: str | None
    aggregate: Aggregate


@dataclass(frozen=True)
class Stream:
    """A named input. `topics` are the Kafka topics it is read from; `id_field` is the path of retrying producers' ids;
    `lateness_ms` is how much the events of one of its partitions may be out of order."""

    name: str
    role: Role
    topics: tuple[str, ...]
    id_field: str | None = None
    idle: Idle = "advance"
    lateness_ms: int = 0


@dataclass(frozen=True)
class Spec:
    """A job's join. All times are integer milliseconds; window, before and correction are multiples of resolution."""

    name: str
    streams: tuple[Stream, ...]
    #: paths in the rows
    key_fields: tuple[str, ...]
    fields: tuple[Field, ...]
    window_ms: int
    before_ms: int = 0
    resolution_ms: int = 1000
    repeat: Repeat = "merge"
    attribution: Attribution = "last"
    late: Late = "count"
    correction_ms: int = 0
    clock: ClockMode = "event"
    idle_after_ms: int = 5000
    max_wait_ms: int | None = None
    #: label cells, and their bytes, that are kept per key and bucket, which is as long as a window (rule 11)
    max_rows: int = 10_000
    max_bytes: int = 16 << 20
    #: a larger sample is a dead letter (rule 12)
    max_sample_bytes: int = 512 << 10
    #: event times of the first anchors that are joined, and of the first that are not any more; None: no bound
    start_ms: int | None = None
    until_ms: int | None = None
    keep_negatives: float = 1.0
    junk_keys: frozenset[object] = frozenset(("", "0"))
    #: label of a sample's fields; None: 1 if any label row joined it, else 0
    label: Callable[[Fields], object] | None = None
    #: the sample as the bytes that go out; None filters it (rule 13)
    format: Callable[[Fields], bytes | None] = _json
    #: how payloads wait between cleaning and formatting
    codec: Codec = JSON
    #: one plan per stream, in the order of `streams`
    plans: tuple[StreamLayout, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(_plan(i, s, self) for i, s in enumerate(self.streams)))

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """What a sample calls its key fields."""
        return tuple(map(shown, self.key_fields))

    @cached_property
    def window(self) -> int:
        """Window length in slices."""
        return self.window_ms // self.resolution_ms

    @cached_property
    def before(self) -> int:
        """How far before its anchor a label may lie, in slices."""
        return self.before_ms // self.resolution_ms

    @cached_property
    def correction(self) -> int:
        """How long after its end a window can still be corrected, in slices (0 unless `late: correct`).

        By `clock: processing` no row is ever late.
        """
        if self.late != "correct" or self.clock == "processing":
            return 0
        return self.correction_ms // self.resolution_ms

    def is_beside_cut(self, slice_: int) -> bool:
        """Whether an anchor that `start` or `until` leaves out could hold a label of that slice (rule 4)."""
        if self.start_ms is not None and slice_ - self.window < (self.start_ms - 1) // self.resolution_ms:
            return True
        return self.until_ms is not None and slice_ + self.before >= self.until_ms // self.resolution_ms

    def topics(self) -> tuple[str, ...]:
        """All input topics, sorted, each once."""
        return tuple(sorted({topic for stream in self.streams for topic in stream.topics}))

    def topic_groups(self) -> dict[str, frozenset[str]]:
        """Topic -> the topics that share a stream with it, directly or through others: siblings in rule 8."""
        groups = {topic: {topic} for topic in self.topics()}
        for stream in self.streams:
            merged = set().union(*(groups[topic] for topic in stream.topics))
            for topic in merged:
                groups[topic] = merged
        return {topic: frozenset(group) for topic, group in groups.items()}

    def lateness_ms(self, topic: str) -> int:
        """How far a source's watermark is behind the highest event time read from its topic.

        For a topic that only another worker's `pattern` has found yet, it is the largest of all: watermarks never fall.
        """
        known = self._lateness_ms.get(topic)
        return max(self._lateness_ms.values()) if known is None else known

    @cached_property
    def _lateness_ms(self) -> dict[str, int]:
        """The largest of the streams of a topic's group: siblings follow each other's watermarks."""
        return {
            topic: max(s.lateness_ms for s in self.streams if not group.isdisjoint(s.topics))
            for topic, group in self.topic_groups().items()
        }


@dataclass(frozen=True)
class StreamLayout:
    """How one stream's rows become cells: which of its fields are kept of the first row, of the last, aggregated.

    A cell's partials are `[first, last, *aggregates]`. `first` is `[order, payload, id]` of the lowest row, `last`
    `[order, payload]` of the highest; each is None where the stream does not need it. An anchor's first and last fields
    stem from one row each; of a label stream each is of the rows that have it, so there they are among the aggregates.
    """

    index: int
    stream: Stream
    anchor: bool
    #: rows are kept one by one: they carry an id, or each of them is a sample of its own
    single: bool
    first_fields: tuple[Field, ...]
    last_fields: tuple[Field, ...]
    aggregates: tuple[Field, ...]
    #: texts and numbers that are not an id, besides null and NaN
    junk_ids: frozenset[object] = frozenset()

    @cached_property
    def needs_first(self) -> bool:
        """Whether cells keep their first row: for its fields, or because it identifies a window or a row."""
        return self.anchor or self.single or bool(self.first_fields)

    @cached_property
    def results(self) -> tuple[tuple[int, str, Callable[[object], object] | None], ...]:
        """(position in the partials, sample field, result); None where the partial is the result."""
        plain = Aggregate.result
        return tuple(
            (i, f.name, None if type(f.aggregate).result is plain else f.aggregate.result)
            for i, f in enumerate(self.aggregates, 2)
        )

    @cached_property
    def empty(self) -> Fields | None:
        """The stream's sample fields when none of its rows joined; None if some must be made for each sample."""
        values = self.make_empty()
        plain = all(v is None or type(v) is int or type(v) is bool for v in values.values())
        return values if plain and not any(isinstance(f.aggregate, Custom) for f in self.aggregates) else None

    def make_empty(self) -> Fields:
        """As `empty`, the caller's own to change."""
        values: Fields = dict.fromkeys(f.name for f in self.first_fields + self.last_fields)
        return values | {f.name: f.aggregate.result(f.aggregate.zero()) for f in self.aggregates}


def _plan(index: int, stream: Stream, spec: Spec) -> StreamLayout:
    mine = [f for f in spec.fields if f.stream == stream.name]
    anchor = stream.role == "anchor"
    of_one_row = ("first", "last") if anchor else ()
    return StreamLayout(
        index=index,
        stream=stream,
        anchor=anchor,
        single=stream.id_field is not None or (anchor and spec.repeat == "each"),
        first_fields=tuple(f for f in mine if anchor and f.aggregate.name == "first"),
        last_fields=tuple(f for f in mine if anchor and f.aggregate.name == "last"),
        aggregates=tuple(f for f in mine if f.aggregate.name not in of_one_row),
        junk_ids=_junk_ids(spec.junk_keys),
    )


def _junk_ids(junk_keys: frozenset[object]) -> frozenset[object]:
    """Of an id its form does not matter: 0 says as little as "0", and empty text never says anything."""
    texts = {str(value) for value in junk_keys} | {""}
    return frozenset(texts | {int(text) for text in texts if re.fullmatch(r"-?[0-9]{1,19}", text)})

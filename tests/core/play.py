"""A partition in the hands of a test: one key, a few rows with times in seconds, and a clock moved by hand."""

from __future__ import annotations

import json
from typing import Any

from samplejoin.core import keys
from samplejoin.core.aggregates import LIMITED, PLAIN
from samplejoin.core.identity import source_id
from samplejoin.core.messages import Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Field, Role, Spec, Stream
from tests.core.harness import block_of, wire_cells
from tests.core.oracle import Row

KEY = keys.encode_key(["u"])
SHOWS, CLICKS = source_id("shows", 0), source_id("clicks", 0)


def stream_of(name: str, role: Role, options: dict[str, Any]) -> Stream:
    """A stream by the options that begin with its name."""
    topics = options.pop(f"{name}_topics", (f"{name}s",))
    id_field, idle = options.pop(f"{name}_id", None), options.pop(f"{name}_idle", "advance")
    return Stream(name, role, topics, id_field, idle, options.pop(f"{name}_lateness_ms", 0))


def spec_of(**options: Any) -> Spec:
    show, click = stream_of("show", "anchor", options), stream_of("click", "label", options)
    fields = options.pop("fields", None) or (
        Field("pos", "show", "pos", PLAIN["first"]()),
        Field("last_pos", "show", "pos", PLAIN["last"]()),
        Field("shows", "show", None, PLAIN["count"]()),
        Field("clicks", "click", None, PLAIN["count"]()),
        Field("where", "click", "where", LIMITED["list"](10)),
    )
    return Spec("job", (show, click), ("user",), fields, **{"window_ms": 10_000, **options})


class Play:
    """A partition with one source per topic. Each call is one block, or one tick that moves the clock."""

    def __init__(self, spec: Spec, **sources: int) -> None:
        self.spec, self.partition, self.out = spec, Partition(spec), Outcomes()
        self.counts = {"shows": 1, "clicks": 1, **sources}
        self.offsets: dict[str, int] = {}
        self.entries = 0
        self.now = 0

    def row(self, stream: str, second: float, key: bytes = KEY, **value: Any) -> Play:
        topic = {"show": "shows", "click": "clicks"}[stream]
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        row = Row(stream, key, int(second * 1000), (topic, 0, offset, 0), value)
        return self.apply(
            block_of(source_id(topic, 0), offset - 1 if offset else None, offset, wire_cells(self.spec, row))
        )

    def show(self, second: float, **value: Any) -> Play:
        return self.row("show", second, **value)

    def click(self, second: float, **value: Any) -> Play:
        return self.row("click", second, **value)

    def clock(self, second: float, *topics: str) -> Play:
        """A tick that says of these topics (all): read up to there."""
        entries = [
            self.entry(source_id(topic, p), row_time=int(second * 1000) + self.spec.lateness_ms(topic))
            for topic in topics or self.counts
            for p in range(self.counts[topic])
        ]
        return self.apply(Tick(entries, dict(self.counts)))

    def entry(self, source: str, **values: Any) -> TickEntry:
        upto = self.partition.covered.get(source, -1)
        return TickEntry(source, 1, None, upto, values.get("row_time"), values.get("at_end", False), values.get("prev"))

    def apply(self, entry: Any) -> Play:
        self.now += 1000
        self.partition.apply(entry, self.entries, self.now, self.out)
        self.partition.sweep(self.out)
        self.entries += 1
        return self

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [json.loads(sample.payload) for sample in self.out.samples]

    @property
    def labels(self) -> list[int]:
        return [sample["label"] for sample in self.samples]

    def sides(self, kind: str) -> list[tuple[str, int]]:
        return [(row.stream, row.slice_ms // 1000) for row in self.out.side_rows if row.kind == kind]


CORRECT = {"late": "correct", "correction_ms": 20_000}

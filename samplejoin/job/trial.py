"""Tries a job on sample records, without Kafka: what each becomes or why not, and the samples they make together."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import orjson

from samplejoin.core.cells import Cell, insert, partials_of
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import assign_labels, windows_of
from samplejoin.core.identity import source_id
from samplejoin.core.keys import encode_key, key_values
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.words import RAISED, said
from samplejoin.job.compile import Input, Job
from samplejoin.job.decoders import read_path
from samplejoin.job.encoders import encode


@dataclass
class Tried:
    """One record through one stream: its rows with key and time, or what went wrong. No stream: the line is wrong."""

    line: int
    stream: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    time: str | None = None
    filtered: bool = False
    error: str | None = None
    traceback: str | None = None


class Trial:
    """Runs records through a job's functions one by one and keeps their cells."""

    def __init__(self, job: Job, now_ms: int | None = None) -> None:
        self.job = job
        self.now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        self.keys: dict[bytes, list[Cell]] = {}

    def record(self, line: int, text: str) -> list[Tried]:
        """What a line of a records file becomes, one answer per stream: usually one, more if streams share a topic."""
        try:
            entry: Any = orjson.loads(text)
        except ValueError as error:
            return [Tried(line, "", error=f"no JSON: {error}")]
        try:
            inputs = self._inputs(entry)
        except ValueError as error:
            return [Tried(line, "", error=str(error))]
        return [self._try(line, each, entry) for each in inputs]

    def samples(self) -> Outcomes:
        """The samples of all records so far, as if each window had closed; orphan labels are counted."""
        spec, out = self.job.spec, Outcomes()
        finisher = Finisher(spec)
        for key, cells in sorted(self.keys.items()):
            windows = windows_of(spec, cells)
            for cell in assign_labels(spec, windows, cells):
                out.count("orphans", spec.streams[cell[0]].name, cell[2])
            for window in windows:
                finisher.finish(key, window, out)
        return out

    def _inputs(self, entry: Any) -> list[Input]:
        """The streams an entry is for. Raises ValueError."""
        if not isinstance(entry, dict) or "record" not in entry or not ("stream" in entry or "topic" in entry):
            raise ValueError('expected {"stream": NAME, "record": ...} or {"topic": NAME, "record": ...}')
        if "stream" in entry:
            found = [i for i in self.job.inputs if i.plan.stream.name == entry["stream"]]
        else:
            found = [i for i in self.job.inputs if entry["topic"] in i.plan.stream.topics]
        if not found:
            raise ValueError(f"no stream reads {entry.get('stream') or entry.get('topic')!r}")
        return found

    def _try(self, line: int, each: Input, entry: dict[str, Any]) -> Tried:
        tried = Tried(line, each.plan.stream.name)
        step = "record"
        try:
            record = self._kafka_record(each, entry)
            step = "decode"
            data = each.decode(record)
            step = f"time {each.time_field}"
            time_ms = self._time(each, data, record)
            tried.time = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
            step = f"clean {each.clean_name}"
            cleaned = each.clean(data)
            tried.filtered = cleaned is None
            for index, row in enumerate(_rows(each, cleaned)):
                step = f"row {index} of {each.clean_name}"
                tried.rows.append(row)
                self._take(each, row, (time_ms, source_id(each.plan.stream.topics[0], 0), line, index))
        except RAISED as error:  # the user's functions: whatever they raise is what is to be shown
            tried.error = f"{step}: {said(error)}"
            tried.traceback = traceback.format_exc(limit=-4) if step.startswith("clean") else None
        return tried

    def _time(self, each: Input, data: dict[str, Any], record: Any) -> int:
        if each.time_field == "@timestamp":
            return int(record.timestamp)
        time_ms = each.read_time(read_path(data, each.time_field))
        if time_ms > self.now_ms + self.job.model.max_skew_ms:
            raise ValueError(f"{time_ms} ms lies in the future; is time_unit right?")
        return time_ms

    def _take(self, each: Input, row: dict[str, Any], order: tuple[int, str, int, int]) -> None:
        spec, plan = self.job.spec, each.plan
        if each.time_field in row:
            order = (each.read_time(row[each.time_field]), *order[1:])
        values = key_values(row, spec.key_fields, spec.junk_keys)
        if values is None:
            given = ", ".join(f"{name}={row.get(name)!r}" for name in spec.key_fields)
            raise ValueError(f"no key: {given}")
        partials = partials_of(plan, row, order, spec.codec)
        cells = self.keys.setdefault(encode_key(values), [])
        insert(spec.plans, cells, [plan.index, order[0] // spec.resolution_ms, 1, partials], spec.max_rows)

    def _kafka_record(self, each: Input, entry: dict[str, Any]) -> Any:
        data = encode(self.job.model.streams[each.plan.stream.name], entry["record"])
        key = entry.get("key")
        return SimpleNamespace(
            key=key.encode() if isinstance(key, str) else None,
            value=data,
            timestamp=entry.get("timestamp", self.now_ms),
            headers=tuple((name, str(text).encode()) for name, text in (entry.get("headers") or {}).items()),
        )


def _rows(each: Input, cleaned: Any) -> Iterator[dict[str, Any]]:
    rows = cleaned if isinstance(cleaned, list) else [] if cleaned is None else [cleaned]
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError(f"{each.clean_name} must return a dict, a list of dicts or None, not {type(row).__name__}")
        yield row

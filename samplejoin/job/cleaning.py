"""From records to cells: decoding, event time, the users' cleaning functions, keys. Knows nothing of Kafka's client.

A record is anything with aiokafka's `value`, `key`, `timestamp`, `timestamp_type`, `headers`, `offset`. Whatever goes
wrong with one costs a dead letter, never the partition (rules 9, 10, 12).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32  # `core.keys.partition_of`, in place

from samplejoin.core.cells import WireCell, partials_of
from samplejoin.core.identity import source_id
from samplejoin.core.keys import encode_key, key_values
from samplejoin.job.compile import Input, Job

LOG_APPEND_TIME = 1


@dataclass(slots=True)
class DeadLetter:
    """A record, or one row of it, that could not be used: where it stands, why, and what it was."""

    topic: str
    partition: int
    offset: int
    stream: str
    reason: str
    function: str
    error: str
    traceback: str
    record: Any


@dataclass(slots=True)
class Cleaned:
    """What a run of records became: cells per join partition, the highest event time, dead letters and counts."""

    cells: dict[int, list[WireCell]] = field(default_factory=dict)
    row_time: int | None = None
    dead: list[DeadLetter] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    #: rows that became cells, by stream index
    rows: list[int] = field(default_factory=list)

    def count(self, stream: str, outcome: str, by: int = 1) -> None:
        """Adds to what became of a stream's records and rows."""
        self.counts[stream, outcome] = self.counts.get((stream, outcome), 0) + by


@dataclass(slots=True)
class Watch:
    """Which user function runs, and how many have run: what the watchdog looks at from its thread."""

    function: str = ""
    calls: int = 0


class Cleaner:
    """Cleans the records of one job. `start_ms` is the job's start time, None if it starts at an offset."""

    def __init__(self, job: Job, watch: Watch | None = None, start_ms: int | None = None) -> None:
        self.job = job
        self.watch = watch or Watch()
        self.by_topic: dict[str, list[Input]] = {}
        for each in job.inputs:
            for topic in each.plan.stream.topics:
                self.by_topic.setdefault(topic, []).append(each)
        spec, model = job.spec, job.model
        self._spec, self._partitions, self._max_skew_ms = spec, model.partitions, model.max_skew_ms
        self._row_bytes = model.limits.row_bytes
        #: per stream, the event time below which a row can belong to no sample since the start
        self._earliest_ms = [
            None if start_ms is None else start_ms - (0 if plan.anchor else spec.before_ms) for plan in spec.plans
        ]

    def clean(self, topic: str, partition: int, records: Iterable[Any], now_ms: int) -> Cleaned:
        """Cleans records of one source partition, in offset order; `now_ms` is the reader's clock (rule 9)."""
        out = Cleaned(rows=[0] * len(self._spec.plans))
        source = source_id(topic, partition)
        inputs = self.by_topic[topic]
        highest = -1
        for record in records:
            stamp = record.timestamp
            if stamp > now_ms and record.timestamp_type != LOG_APPEND_TIME:
                stamp = now_ms
            for each in inputs:
                time_ms = self._record(each, record, source, stamp + self._max_skew_ms, out)
                if time_ms > highest:
                    highest = time_ms
        if highest >= 0:
            out.row_time = highest
        for plan, rows in zip(self._spec.plans, out.rows, strict=True):
            if rows:
                out.count(plan.stream.name, "ok", rows)
        return out

    def _record(self, each: Input, record: Any, source: str, latest_ms: int, out: Cleaned) -> int:
        """One record through one stream's functions; returns its event time, -1 if it has none that counts."""
        try:
            decoded = each.decode(record)
        except Exception as error:  # a decoder can be the user's code
            return _dead(out, each, record, source, "decode", each.plan.stream.name, error)
        try:
            time_ms = _time_of(each, decoded, record)
        except (ValueError, TypeError, OverflowError) as error:
            return _dead(out, each, record, source, "time", each.time_field, error)
        if time_ms > latest_ms:
            return _dead(out, each, record, source, "future", each.time_field, _too_early(time_ms, latest_ms))
        watch = self.watch
        watch.function = each.clean_name
        try:
            cleaned = each.clean(decoded)
        except Exception as error:
            _dead(out, each, record, source, "clean", each.clean_name, error)
            return time_ms
        finally:
            watch.calls += 1
            watch.function = ""
        if type(cleaned) is dict:
            self._row(each, record, source, 0, cleaned, time_ms, latest_ms, out)
        elif cleaned is None:
            out.count(each.plan.stream.name, "filtered")
        elif isinstance(cleaned, list):
            self._rows(each, record, source, cleaned, time_ms, latest_ms, out)
        else:
            _dead(out, each, record, source, "clean", each.clean_name, _not_a_row(each, cleaned))
        return time_ms

    def _rows(
        self, each: Input, record: Any, source: str, rows: list[Any], time_ms: int, latest_ms: int, out: Cleaned
    ) -> None:
        """Several rows of one record. Together they may be four times as large as one: they travel in one block."""
        size = 0
        for index, row in enumerate(rows):
            size += self._row(each, record, source, index, row, time_ms, latest_ms, out, size)

    def _row(
        self, each: Input, record: Any, source: str, index: int, row: Any, time_ms: int, latest_ms: int, out: Cleaned,
        before_bytes: int = 0,
    ) -> int:  # fmt: skip
        """One row becomes a cell of its join partition, a count, or a dead letter; returns its size in bytes."""
        spec, plan = self._spec, each.plan
        number = plan.index
        try:
            if type(row) is not dict:
                raise _not_a_row(each, row)
            if each.time_field in row:
                time_ms = each.read_time(row[each.time_field])
                if time_ms > latest_ms:
                    raise _too_early(time_ms, latest_ms)
            values = key_values(row, spec.key_fields, spec.junk_keys)
            if values is None:
                out.count(plan.stream.name, "junk_key")
                return 0
            earliest_ms = self._earliest_ms[number]
            if earliest_ms is not None and time_ms < earliest_ms:
                out.count(plan.stream.name, "before_start")
                return 0
            key = encode_key(values)
            offset = record.offset
            partials = partials_of(plan, row, (time_ms, source, offset, index), spec.codec)
            size = len(key) + size_of(partials)
            if size > self._row_bytes or before_bytes + size > 4 * self._row_bytes:
                raise ValueError(f"row of {size} bytes, {before_bytes} before it: over limits.row ({self._row_bytes})")
        except Exception as error:
            _dead(out, each, record, source, "row", each.clean_name, error)
            return 0
        out.rows[number] += 1
        cell = (key, number, time_ms // spec.resolution_ms, offset, offset, 1, partials)
        target = crc32(key) % self._partitions
        cells = out.cells.get(target)
        if cells is None:
            out.cells[target] = [cell]
        else:
            cells.append(cell)
        return size


def _time_of(each: Input, decoded: Any, record: Any) -> int:
    """The record's event time, read before cleaning (rule 8)."""
    name = each.time_field
    if name == "@timestamp":
        return int(record.timestamp)
    if name in decoded:
        return each.read_time(decoded[name])
    value = decoded
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"no time field {name!r}")
        value = value[part]
    return each.read_time(value)


def _dead(out: Cleaned, each: Input, record: Any, source: str, reason: str, function: str, error: BaseException) -> int:
    """Keeps the record as a dead letter; returns the event time that does not count."""
    topic, partition = source.split(" ")
    stream = each.plan.stream.name
    out.count(stream, f"dead_{reason}")
    trace = "".join(traceback.format_exception(error, limit=-8)) if reason in ("clean", "row") else ""
    out.dead.append(
        DeadLetter(
            topic,
            int(partition),
            record.offset,
            stream,
            reason,
            function,
            f"{type(error).__name__}: {error}"[:1000],
            trace,
            record,
        )  # fmt: skip
    )
    return -1


def size_of(partials: list[Any]) -> int:
    """Bytes of a row's payloads; aggregated values are small or bounded by their aggregate."""
    first, last = partials[0], partials[1]
    return (len(first[1]) if first else 0) + (len(last[1]) if last else 0)


def _too_early(time_ms: int, latest_ms: int) -> ValueError:
    return ValueError(f"event time {time_ms} ms is more than max_skew ahead: {latest_ms} ms is the latest allowed")


def _not_a_row(each: Input, value: Any) -> TypeError:
    return TypeError(f"{each.clean_name} must return a dict, a list of dicts or None, not {type(value).__name__}")

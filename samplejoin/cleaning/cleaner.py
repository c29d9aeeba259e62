"""Turns records into cells: decodes them, reads event times, calls the user's functions, computes keys. Needs no Kafka.

A record has aiokafka's `value`, `key`, `timestamp`, `timestamp_type`, `headers` and `offset`. A record that fails
becomes a dead letter and never stops the partition (rules 9, 10, 12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32  # `core.keys.partition_of`, in place

from samplejoin.cleaning.cleaned import Cleaned, DeadRecord
from samplejoin.cleaning.generated import Run, runner
from samplejoin.cleaning.row_size import ELEMENT_BYTES, sizer
from samplejoin.cleaning.running_call import RunningCall
from samplejoin.cleaning.time_hints import too_early
from samplejoin.core.clock_holder import FAR_MS
from samplejoin.core.field_paths import value_at
from samplejoin.core.generated import maker
from samplejoin.core.identity import source_id
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.keys import MAX_KEY_BYTES, encode_key, key_values, too_long
from samplejoin.core.refused_record import RefusedRecord
from samplejoin.core.spec import Spec, StreamLayout
from samplejoin.core.user_errors import few, mistakes, not_for_memory, said, trace_of
from samplejoin.core.values import Fields, Value
from samplejoin.job.compile import Input, Job
from samplejoin.job.event_times import MAX_MS

LOG_APPEND_TIME = 1
NO_LIMIT = 1 << 62
ROWS_PER_RECORD = 4
"""The rows of one record may together be this many times as large as the largest row (`limits.row`)."""
CELL_BYTES = 150
"""Bytes that a cell takes in addition to its key and values, approximately."""
ROWS_APART = 1 << 20
"""The nth stream of a topic numbers a record's rows from n times this value, so that their indexes stay apart."""
_DONE = object()
"""Stands in place of the rows of a record for which nothing is left to do."""


class FutureTimeError(ValueError):
    """An event time that is later than `latest_ms`, and so more than `max_skew` ahead (rule 9)."""

    def __init__(self, message: str, latest_ms: int) -> None:
        super().__init__(message)
        self.latest_ms = latest_ms


class OneRecord(NamedTuple):
    """A record on its way through one stream's functions."""

    each: Input
    record: KafkaRecord
    source: str
    #: the latest event time that is allowed (rule 9)
    latest_ms: int
    out: Cleaned


class Cleaner:
    """Cleans the records of one job. `start_ms` is the job's start time, None if it starts at an offset.

    With `pack`, cells are packed as soon as they are made: while they wait for their block, bytes cost less than lists.
    """

    def __init__(
        self,
        job: Job,
        running: RunningCall | None = None,
        start_ms: int | None = None,
        pack: Callable[[tuple[int, int, int, list[object]]], bytes] | None = None,
    ) -> None:
        self.job = job
        self.running = running or RunningCall()
        self._pack = pack
        self.by_topic: dict[str, list[Input]] = {}
        for each in job.inputs:
            for topic in each.plan.stream.topics:
                self.by_topic.setdefault(topic, []).append(each)
        spec, model = job.spec, job.model
        self._spec, self._partitions, self._max_skew_ms = spec, model.partitions, model.max_skew_ms
        self._row_bytes = model.limits.row_bytes
        self._makers = [maker(plan, spec.codec) for plan in spec.plans]
        self._sizes = [sizer(plan, spec.codec, self._row_bytes) for plan in spec.plans]
        #: per stream, the event times [from, to) of rows that can belong to a sample; None: no bounds
        self._bounds = [_bounds(plan, spec, start_ms, model.until_ms) for plan in spec.plans]
        #: topic -> the fast path, for topics of one stream whose event time is a field and has no bounds
        self.fast = {
            topic: self._runner(inputs[0]) for topic, inputs in self.by_topic.items() if self._is_plain(inputs)
        }

    def clean(
        self,
        topic: str,
        partition: int,
        records: Sequence[KafkaRecord],
        now_ms: int,
        max_bytes: int | None = None,
        into: Cleaned | None = None,
    ) -> Cleaned:
        """Cleans records of one source partition, in offset order; `now_ms` is the reader's clock (rule 9).

        With `max_bytes` it stops after the record whose cells exceed that size: `Cleaned.records` says how many were
        cleaned. `into` is the result of the records before, which is extended.
        """
        out = into or Cleaned(rows=[0] * len(self._spec.plans))
        self.running.source = source = source_id(topic, partition)
        if topic in self.fast:
            limit = NO_LIMIT if max_bytes is None else max_bytes
            highest = self.fast[topic](records, source, now_ms, limit, out)
        else:
            highest = self._plainly(self.by_topic[topic], records, source, now_ms, max_bytes, out)
        if highest >= 0:
            reference_ms = _reference(records[-1], now_ms)
            if highest < reference_ms - FAR_MS:
                out.far.setdefault(self.by_topic[topic][0].plan.stream.name, (highest, reference_ms))
            out.row_time = highest if out.row_time is None else max(highest, out.row_time)
        for plan, rows in zip(self._spec.plans, out.rows, strict=True):
            if rows:
                out.count(plan.stream.name, "ok", rows)
        out.rows = [0] * len(self._spec.plans)
        self.running.argument = None
        return out

    def _plainly(
        self,
        inputs: list[Input],
        records: Sequence[KafkaRecord],
        source: str,
        now_ms: int,
        max_bytes: int | None,
        out: Cleaned,
    ) -> int:
        """Cleans records one by one. Returns the highest event time in ms, else -1. Its fast path is in `generated`."""
        highest = -1
        for record in records:
            latest_ms = _reference(record, now_ms) + self._max_skew_ms
            first_index = 0
            for each in inputs:
                time_ms = self._record(OneRecord(each, record, source, latest_ms, out), first_index)
                first_index += ROWS_APART
                if time_ms > highest:
                    highest = time_ms
            out.records += 1
            if max_bytes is not None and out.bytes > max_bytes:
                break
        return highest

    def _is_plain(self, inputs: list[Input]) -> bool:
        """Returns whether the fast path can be used: for one stream, whose event time is a field and has no bounds."""
        each = inputs[0]
        return len(inputs) == 1 and not each.takes_record_time and self._bounds[each.plan.index] is None

    def _runner(self, each: Input) -> Run:
        spec, index = self._spec, each.plan.index
        return runner(
            each,
            spec.key_fields,
            {
                "plain_record": self._record,
                "plain_result": self._result,
                "plain_row": self._row,
                "raised": self._raised,
                "filtered": _filtered,
                "running": self.running,
                "OneRecord": OneRecord,
                "codec": spec.codec,
                "pack": self._pack,
                "size_of": self._sizes[index],
                "junk": spec.junk_keys,
                "row_bytes": self._row_bytes,
                "max_skew_ms": self._max_skew_ms,
                "partitions": self._partitions,
                "resolution_ms": spec.resolution_ms,
                "CELL_BYTES": CELL_BYTES,
                "LOG_APPEND_TIME": LOG_APPEND_TIME,
                "MAX_KEY_BYTES": MAX_KEY_BYTES,
                "mistakes": mistakes,
                "DONE": _DONE,
                "Refused": RefusedRecord,
            },
        )

    def _record(self, one: OneRecord, first_index: int) -> int:
        """Sends a record through one stream's functions. Returns its event time in ms, -1 if it must not count."""
        each, record, _, latest_ms, out = one
        if type(record) is RefusedRecord:
            return _dead(one, "too_large", each.plan.stream.name, record.why())
        self.running.function, self.running.argument = each.functions, record
        try:
            decoded = each.decode(record)
        except mistakes() as error:  # a decoder can be the user's code
            return _dead(one, "decode", each.plan.stream.name, error)
        if decoded is None:
            return _filtered(each, out)
        try:
            time_ms = event_time(each, decoded, record)
        except mistakes() as error:  # a decoder can return a dict of the user's own type
            return _dead(one, "time", each.time_field, error)
        if time_ms > latest_ms:
            return _dead(one, "future", each.time_field, self._too_early(one, time_ms))
        self._result(one, first_index, self._call(one, decoded), time_ms)
        return time_ms

    def _call(self, one: OneRecord, decoded: Any) -> Any:
        """Returns what the user's cleaning function returns, `_DONE` if it raised."""
        try:
            return one.each.clean(decoded)
        except mistakes() as error:
            return self._raised(one, error)

    def _raised(self, one: OneRecord, error: BaseException) -> object:
        """Makes a dead letter of a record for which the user's function raised."""
        _dead(one, "clean", one.each.clean_name, error)
        return _DONE

    def _result(self, one: OneRecord, first_index: int, cleaned: object, time_ms: int) -> None:
        """Turns the result of the user's function into rows, a count or a dead letter."""
        if cleaned is _DONE:
            return
        try:
            rows = _rows_in(one.each, cleaned)
        except mistakes() as error:
            _dead(one, "clean", one.each.clean_name, error)
            return
        if rows:
            self._rows(one, first_index, rows, time_ms)
        else:
            _filtered(one.each, one.out)

    def _rows(self, one: OneRecord, first_index: int, rows: list[Any], time_ms: int) -> None:
        """Takes all rows of a record, or none if together they are too large: they must fit into one block."""
        out = one.out
        before, limit = out.bytes, ROWS_PER_RECORD * self._row_bytes
        for index, row in enumerate(rows, first_index):
            self._row(one, index, row, time_ms)
            if out.bytes - before > limit:
                _take_back(one.each, one.record.offset, out)
                out.bytes = before
                error = ValueError(f"the record's rows are over {ROWS_PER_RECORD} times limits.row ({limit} bytes)")
                _dead(one, "row", one.each.clean_name, error)
                return

    def _row(self, one: OneRecord, index: int, row: Any, time_ms: int) -> None:
        """Turns one row into a cell of its join partition, a count or a dead letter."""
        each, record, source, _, out = one
        spec, plan = self._spec, each.plan
        number = plan.index
        try:
            if not issubclass(type(row), dict):
                raise _not_a_row(each, row)
            time_ms = self._time_of_row(one, row, time_ms)
            values = key_values(row, spec.key_fields, spec.junk_keys)
            if values is None:
                out.count(plan.stream.name, "junk_key")
                return
            bounds = self._bounds[number]
            if bounds is not None and not bounds[0] <= time_ms < bounds[1]:
                out.count(plan.stream.name, "before_start" if time_ms < bounds[0] else "after_until")
                return
            key = encode_key(values)
            if len(key) > MAX_KEY_BYTES:
                raise too_long(spec.key_fields, values, key)
            offset = record.offset
            partials = self._makers[number](row, (time_ms, source, offset, index))
            size = len(key) + self._sizes[number](partials)
            if size > self._row_bytes:
                raise ValueError(
                    f"row of {size} bytes is over limits.row ({self._row_bytes} bytes); "
                    f"each element of a list or object counts at least {ELEMENT_BYTES} bytes"
                )
            slice_ = time_ms // spec.resolution_ms
            waiting = partials if self._pack is None else self._pack((number, slice_, 1, partials))
        except mistakes() as error:
            if out.dead and (out.dead[-1].offset, out.dead[-1].stream) == (record.offset, plan.stream.name):
                out.count(plan.stream.name, "dead_row")  # an earlier row has made the record a dead letter
            else:
                reason = "future" if type(error) is FutureTimeError else "row"
                _dead(one, reason, each.clean_name, error)
            return
        out.bytes += size + CELL_BYTES
        out.rows[number] += 1
        cell = (key, number, slice_, offset, offset, 1, waiting)
        target = crc32(key) % self._partitions
        cells = out.cells.get(target)
        if cells is None:
            out.cells[target] = [cell]
        else:
            cells.append(cell)

    def _time_of_row(self, one: OneRecord, row: Fields, record_ms: int) -> int:
        """Returns the row's event time in ms if it has the time field, else the record's. Raises ValueError."""
        each, _, _, latest_ms, out = one
        own = _DONE if each.takes_record_time else value_at(row, each.time_field, _DONE)
        if own is _DONE:
            return record_ms
        time_ms = each.read_time(own)
        if time_ms > latest_ms:
            raise self._too_early(one, time_ms)
        reference_ms = latest_ms - self._max_skew_ms
        if time_ms < reference_ms - FAR_MS and time_ms != record_ms:
            out.far.setdefault(each.plan.stream.name, (time_ms, reference_ms))
        return time_ms

    def _too_early(self, one: OneRecord, time_ms: int) -> FutureTimeError:
        message = too_early(time_ms, one.latest_ms, self._max_skew_ms, one.record.timestamp, one.each.time_unit)
        return FutureTimeError(message, one.latest_ms)


def _reference(record: KafkaRecord, now_ms: int) -> int:
    """Returns the time in ms that a record's event time is compared with (rule 9). A timestamp below 0 means none."""
    stamp: int = record.timestamp
    if stamp < 0 or (stamp > now_ms and record.timestamp_type != LOG_APPEND_TIME):
        return now_ms
    return stamp


def _bounds(plan: StreamLayout, spec: Spec, start_ms: int | None, until_ms: int | None) -> tuple[int, int] | None:
    """Returns the event times [from, to) of rows that can belong to a sample with an anchor in [start, until).

    None without `start` and `until`.

    Windows hold labels by slices (rule 15): the slice of the first anchor may begin before `start`.
    """
    if start_ms is None and until_ms is None:
        return None
    first, end = start_ms or 0, MAX_MS + 1 if until_ms is None else until_ms
    if not plan.anchor:
        first = first - first % spec.resolution_ms - spec.before_ms
        end += spec.window_ms
    return first, end


def event_time(each: Input, decoded: Fields, record: KafkaRecord) -> int:
    """Returns the record's event time in ms, read before cleaning (rule 8). Raises ValueError."""
    if each.takes_record_time:
        if record.timestamp < 0:
            raise ValueError("the record has no timestamp")
        return int(record.timestamp)
    value = value_at(decoded, each.time_field, _DONE)
    if value is _DONE:
        raise ValueError(f"the record has no field {each.time_field}; it has {few(decoded)}")
    return each.read_time(value)


def _filtered(each: Input, out: Cleaned) -> int:
    """Counts a record that gives no rows. Returns -1, which is not an event time."""
    out.count(each.plan.stream.name, "filtered")
    return -1


def _dead(one: OneRecord, reason: str, function: str, error: BaseException) -> int:
    """Keeps the record as a dead letter. Returns -1, which is not an event time."""
    each, record, source, _, out = one
    topic, partition = source.split(" ")
    stream = each.plan.stream.name
    not_for_memory(error, f"{reason} of {topic}/{int(partition)}/{record.offset}, {function}")
    out.count(stream, f"dead_{reason}")
    trace = trace_of(error) if reason in ("clean", "row") else ""
    latest_ms = error.latest_ms if type(error) is FutureTimeError else None
    out.dead.append(
        DeadRecord(
            topic, int(partition), record.offset, stream, reason, function, said(error), trace, record, latest_ms
        )
    )
    return -1


def _take_back(each: Input, offset: int, out: Cleaned) -> None:
    """Removes the stream's cells of one record, which were the last to be added."""
    stream = each.plan.index
    for target, cells in list(out.cells.items()):
        while cells and cells[-1][1] == stream and cells[-1][3] == offset:
            cells.pop()
            out.rows[stream] -= 1
        if not cells:
            del out.cells[target]


def _rows_in(each: Input, cleaned: Any) -> list[Any]:
    """Returns the rows that a cleaning function returned. Raises TypeError for anything else.

    It checks `type()` only, because a user's class may raise in `__class__`, `__len__` and `__iter__`.
    """
    kind = type(cleaned)
    if cleaned is None:
        return []
    if issubclass(kind, dict):
        return [cleaned]
    if issubclass(kind, list):
        return list(cleaned)
    raise _not_a_row(each, cleaned)


def _not_a_row(each: Input, value: Value) -> TypeError:
    return TypeError(f"{each.clean_name} must return a dict, a list of dicts or None, not {type(value).__name__}")

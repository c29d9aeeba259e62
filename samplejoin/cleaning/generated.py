"""The fast path of `Cleaner`: one generated loop per stream, in which an ordinary record costs no function calls.

Everything out of the ordinary (a record that cannot be read, a list of rows, a key of another type, a row that is too
large) takes the plain path. A parity test checks that both agree and that the fast path is in use. Names of fields get
into the generated source by `repr` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any
from zlib import crc32  # `core.keys.partition_of`, in place

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.row_size import measured
from samplejoin.core.field_paths import names_of, source_of
from samplejoin.core.generated import maker_source
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.spec import StreamLayout
from samplejoin.decoding.decoders import decode_json
from samplejoin.formats import json
from samplejoin.job.event_times import MAX_MS, read_ms

Run = Callable[[Sequence[KafkaRecord], str, int, int, Cleaned], int]
"""(records, source, now_ms, max_bytes, out) -> the highest event time in ms, -1 if there is none."""

_SOURCE = """
def run(records, source, now_ms, max_bytes, out):
    cells, rows, size_bytes, done, highest = out.cells, 0, out.bytes, 0, -1
    running.function = {function!r}
    for record in records:
        done += 1
        running.argument = record
        latest_ms = record.timestamp
        if not 0 <= latest_ms <= now_ms and (latest_ms < 0 or record.timestamp_type != LOG_APPEND_TIME):
            latest_ms = now_ms
        latest_ms += max_skew_ms
        try:
            {decoding}
            moment = decoded{time}
            time_ms = {reading}
        except mistakes():
            time_ms = latest_ms + 1
        if time_ms > latest_ms:
            out.bytes = size_bytes
            time_ms = plain_record(OneRecord(each, record, source, latest_ms, out), 0)
            size_bytes = out.bytes
        else:
            try:
                row = clean(decoded)
            except mistakes() as error:
                row = raised(OneRecord(each, record, source, latest_ms, out), error)
            if type(row) is dict:
                offset = record.offset
                try:
                    {values}
                    if {own_time} is not moment or not ({ordinary}):
                        raise LookupError
                    key = f"[{text}]".encode()
                    get, order = row.get, (time_ms, source, offset, 0)
                    partials = {making}
                    size = len(key) + {size}
                    if size > row_bytes or len(key) > MAX_KEY_BYTES:
                        raise ValueError
                    slice_ = time_ms // resolution_ms
                    waiting = {packed}
                except mistakes():
                    out.bytes = size_bytes
                    plain_row(OneRecord(each, record, source, latest_ms, out), 0, row, time_ms)
                    size_bytes = out.bytes
                else:
                    size_bytes += size + CELL_BYTES
                    rows += 1
                    cell = (key, {number}, slice_, offset, offset, 1, waiting)
                    target = crc32(key) % partitions
                    if target in cells:
                        cells[target].append(cell)
                    else:
                        cells[target] = [cell]
            elif row is not DONE:
                out.bytes = size_bytes
                plain_result(OneRecord(each, record, source, latest_ms, out), 0, row, time_ms)
                size_bytes = out.bytes
        if time_ms > highest:
            highest = time_ms
        if size_bytes > max_bytes:
            break
    out.bytes = size_bytes
    out.records += done
    out.rows[{number}] += rows
    return highest
"""


#: `event_times.read_ms`, inlined
_MS = "moment if type(moment) is int and 0 <= moment <= MAX_MS else read_time(moment)"


def _decoding(each: Any) -> str:
    """Returns source that decodes a record. A record that fails goes to the plain path, which says what is wrong."""
    if each.decode is not decode_json:
        return (
            "if type(record) is Refused: raise LookupError\n            decoded = decode(record)\n"
            "            if decoded is None:\n                filtered(each, out)\n                continue"
        )
    return "decoded = loads(record.value)\n            if type(decoded) is not dict: raise LookupError"


def _payload_size(plan: StreamLayout) -> str:
    """Returns source that inlines `row_size.sizer` for streams in which only payloads count."""
    sizes = ["len(partials[0][1])"] * plan.needs_first + ["len(partials[1][1])"] * bool(plan.last_fields)
    return " + ".join(sizes) or "0"


def runner(each: Any, key_fields: tuple[str, ...], names: Mapping[str, Any]) -> Run:
    """Compiles the loop for the only stream of a topic, whose time is a field. `names` are the globals of the loop."""
    values, ordinary, text = [], [], []
    for i, field in enumerate(key_fields):
        names_there = names_of(field)
        value = f"row[{names_there[0]!r}]" if len(names_there) == 1 else source_of(field, "row.get")
        values.append(f"k{i} = {value}; t{i} = type(k{i})")
        ordinary.append(f"(t{i} is str or t{i} is int) and k{i} not in junk")
        text.append(f"{{quoted(k{i}) if t{i} is str else repr(k{i})}}")
    plan = each.plan
    making, needed = maker_source(plan, names["codec"])
    source = _SOURCE.format(
        time="".join(f"[{name!r}]" for name in names_of(each.time_field)),
        own_time=source_of(each.time_field, "row.get", "moment"),
        function=each.functions,
        number=plan.index,
        values="; ".join(values),
        ordinary=" and ".join(ordinary),
        text=",".join(text),
        making=making,
        decoding=_decoding(each),
        reading=_MS if each.read_time is read_ms else "read_time(moment)",
        packed="partials" if names["pack"] is None else f"pack(({plan.index}, slice_, 1, partials))",
        size="size_of(partials)" if measured(plan) else _payload_size(plan),
    )
    scope = {
        "each": each,
        "decode": each.decode,
        "read_time": each.read_time,
        "clean": each.clean,
        "MAX_MS": MAX_MS,
        "loads": json.decode,
        "quoted": encode_basestring,
        "crc32": crc32,
        **names,
        **needed,
    }
    exec(compile(source, f"<samplejoin: {each.plan.stream.name}>", "exec"), scope)  # our text, and reprs of names
    run: Run = scope["run"]
    return run

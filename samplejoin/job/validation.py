"""Checks between the parts of a job. Each yields issues with path, message and hint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from samplejoin.core.field_paths import escaped, names_of
from samplejoin.errors import RefusedError, did_you_mean
from samplejoin.job.errors import Issue
from samplejoin.job.field_types import field_path, split_aggregate
from samplejoin.job.sections import Output, StreamSection
from samplejoin.job.units import format_duration

if TYPE_CHECKING:
    from samplejoin.job.model import JobModel

RESERVED = ("label", "weight")
"""Field names that samples use themselves."""


def issues_of(job: JobModel) -> list[Issue]:
    """Returns all issues between parts that are valid by themselves."""
    checks = (
        _roles,
        _streams,
        shared_topics,
        _window,
        _late,
        _until,
        _processing,
        _names,
        _fields,
        _columns,
        _outputs,
        _security,
        _state_dir,
    )
    return [issue for check in checks for issue in check(job)]


def _state_dir(job: JobModel) -> Iterator[Issue]:
    if "\0" in job.state_dir:
        yield Issue(("state_dir",), "contains a null character, which is not allowed in paths")


def internal_topics(job: JobModel) -> re.Pattern[str]:
    """Returns a pattern of the internal topics of Kafka and of this job (all generations), which it may not name."""
    return re.compile(rf"__.*|{re.escape(job.name)}(-g[0-9]+)?-(repartition|changelog|progress)")


def _roles(job: JobModel) -> Iterator[Issue]:
    for role, what in (("anchor", "impressions"), ("label", "clicks")):
        if not any(stream.role == role for stream in job.streams.values()):
            yield Issue(("streams",), f"no stream has role: {role}", f"at least one must, e.g. the {what}")


def _streams(job: JobModel) -> Iterator[Issue]:
    for name, stream in job.streams.items():
        path = ("streams", name)
        given = [key for key in ("topic", "topics", "pattern") if getattr(stream, key) is not None]
        if len(given) != 1:
            said = f"has {' and '.join(given)}" if given else "has no topic"
            yield Issue(path, f"{said}; it needs exactly one of topic, topics, pattern")
        if stream.topics and len(set(stream.topics)) < len(stream.topics):
            yield Issue((*path, "topics"), "lists the same topic twice")
        for topic in filter(internal_topics(job).fullmatch, stream.topic_names):
            yield Issue(path, f"reads {topic}, an internal topic", "name the topic that a producer writes")
        yield from _decoding(path, stream)
        yield from _time(path, stream, job.clock)


def _decoding(path: tuple[str, ...], stream: StreamSection) -> Iterator[Issue]:
    if stream.decode == "csv" and stream.columns is None:
        yield Issue((*path, "decode"), "csv needs columns", "columns: [uid, mid, ts]; records have no header")
    if stream.delimiter != "," and stream.decode != "csv":
        yield Issue((*path, "delimiter"), f"has no effect with decode: {stream.decode}", "decode: csv")
    if stream.columns is not None:
        if stream.decode != "csv":
            yield Issue((*path, "columns"), f"have no effect with decode: {stream.decode}")
        if len(set(stream.columns)) < len(stream.columns):
            yield Issue((*path, "columns"), "name a column twice")


def _columns(job: JobModel) -> Iterator[Issue]:
    """Checks that fields of a CSV stream are columns: its time and, if it has no cleaning function, all others."""
    for name, stream in job.streams.items():
        if stream.decode != "csv" or stream.columns is None:
            continue
        asked: list[tuple[tuple[str | int, ...], str]] = []
        if stream.time is not None and stream.time != "@timestamp":
            asked.append((("streams", name, "time"), stream.time))
        if stream.clean is None:
            asked += [(("key", i), field) for i, field in enumerate(job.key)]
            asked += [(("streams", name, "id"), stream.id)] if stream.id is not None else []
            fields = [(field_name, f) for field_name, f in job.sample.items() if f.stream == name]
            asked += [(("sample", field_name, "from"), f.source_field) for field_name, f in fields if f.source_field]
        for path, field in asked:
            if not _is_column(field, stream.columns):
                columns = [escaped(column) for column in stream.columns]
                hint = did_you_mean(field, columns) or f"the columns are {', '.join(columns)}"
                yield Issue(path, f"{field} is not a column of {name}", hint)


def _is_column(field: str, columns: Iterable[str]) -> bool:
    """Returns whether the field is a column. Columns hold no objects. An invalid path is reported by another check."""
    try:
        return len(names_of(field)) == 1 and names_of(field)[0] in columns
    except ValueError:
        return True


def _time(path: tuple[str, ...], stream: StreamSection, clock: str) -> Iterator[Issue]:
    if stream.time is None and clock == "event":
        yield Issue(
            path, "time is missing", "the field with the event time, or '@timestamp' for the Kafka record's timestamp"
        )
    if stream.time_field == "@timestamp" and stream.time_unit != "ms":
        hint = r"remove time_unit; time: '\@timestamp' is a field of that name"
        yield Issue((*path, "time_unit"), "the record's timestamp is always in ms", hint)


def shared_topics(job: JobModel) -> Iterator[Issue]:
    """Checks that streams of one topic decode and time its records alike, because that happens before cleaning."""
    readers: dict[str, tuple[str, StreamSection]] = {}
    for name, stream in job.streams.items():
        for topic in stream.topic_names or ((stream.pattern,) if stream.pattern else ()):
            other_name, other = readers.setdefault(topic, (name, stream))
            for key in ("decode", "columns", "delimiter", "time", "time_unit"):
                if getattr(other, key) != getattr(stream, key):
                    yield Issue(
                        ("streams", name, key),
                        f"differs from that of {other_name}, which reads the same topic {topic}",
                        "a record's time is read once, before any cleaning",
                    )


def _window(job: JobModel) -> Iterator[Issue]:
    step = format_duration(job.resolution_ms)
    for key, ms in (("window", job.window_ms), ("before", job.before_ms), ("correction", job.correction_ms)):
        if ms % job.resolution_ms:
            below = format_duration(ms - ms % job.resolution_ms)
            above = format_duration(ms + job.resolution_ms - ms % job.resolution_ms)
            near = f"{below} or {above}" if ms > job.resolution_ms else above
            yield Issue((key,), f"{format_duration(ms)} is not a multiple of resolution {step}", f"write {near}")


def _late(job: JobModel) -> Iterator[Issue]:
    if job.late == "correct" and not job.correction_ms:
        yield Issue(("late",), "correct needs a correction longer than 0s", "correction: 1h")
    if job.late != "correct" and job.correction_ms:
        yield Issue(("correction",), f"has no effect with late: {job.late}", "late: correct")
    if job.late == "topic" and job.outputs.late is None:
        yield Issue(("late",), "topic needs outputs.late", f"outputs: {{late: {job.name}-late}}")
    if job.late == "count" and job.outputs.late is not None:
        yield Issue(("outputs", "late"), "receives nothing with late: count", "late: topic")
    if job.attribution == "first" and job.repeat == "merge":
        yield Issue(("attribution",), "first has no effect with repeat: merge", "repeat: each")


def _until(job: JobModel) -> Iterator[Issue]:
    if job.until_ms is not None and job.start_ms is not None and job.until_ms <= job.start_ms:
        yield Issue(("until",), f"{job.until} is not after start: {job.start}", "no anchor would be left")


def _processing(job: JobModel) -> Iterator[Issue]:
    if job.clock != "processing":
        return
    if job.late == "correct":
        yield Issue(("late",), "correct is not possible with clock: processing", "no row is late there")
    if job.before_ms:
        yield Issue(("before",), "is not possible with clock: processing", "the first row of a key opens its window")
    if job.repeat == "each":
        yield Issue(("repeat",), "each is not possible with clock: processing")
    if job.until is not None:
        yield Issue(("until",), "is not possible with clock: processing", "the time of arrival decides there")
    if job.max_wait_ms is not None:
        yield Issue(("max_wait",), "has no effect with clock: processing")


def _names(job: JobModel) -> Iterator[Issue]:
    if len(set(job.key_names)) < len(job.key):
        yield Issue(("key",), "names a field twice")
    for i, name in enumerate(job.key_names):
        if name in RESERVED:
            yield Issue(("key", i), f"{name!r} is a reserved name of samples")
    for name in job.sample:
        if name in job.key_names:
            yield Issue(("sample", name), "is a key field, which every sample carries anyway", "remove it or rename it")
        if name in RESERVED:
            yield Issue(("sample", name), "is a reserved name of samples", "rename it")


def _fields(job: JobModel) -> Iterator[Issue]:
    for name, field in job.sample.items():
        path = ("sample", name)
        stream = job.streams.get(field.stream)
        if stream is None:
            known = ", ".join(job.streams)
            hint = did_you_mean(field.stream, job.streams) or (f"the streams are {known}" if known else None)
            yield Issue((*path, "from"), f"no stream is called {field.stream!r}", hint)
        elif field.agg is None and stream.role == "label":
            hint = "agg: count" if field.source_field is None else "agg: last, sum, list(20) ..."
            yield Issue(path, "agg is missing: many label rows can join a sample", hint)
        elif field.source.endswith("."):
            yield Issue((*path, "from"), "has no field after the dot")
        elif field.source_field is not None:
            yield from _path((*path, "from"), field.source_field)
        elif not _takes_rows(field.agg or "first"):
            yield Issue(
                (*path, "from"), f"{field.agg or 'first'} needs a field of {field.stream}", f"from: {field.stream}.item"
            )


def _path(path: tuple[str, ...], field: str) -> Iterator[Issue]:
    try:
        field_path(field)
    except RefusedError as error:
        yield Issue(path, str(error), error.hint)


def _takes_rows(agg: str) -> bool:
    return ":" in agg or split_aggregate(agg)[0] in ("count", "any")


def _outputs(job: JobModel) -> Iterator[Issue]:
    for name in ("late", "orphan"):
        output = getattr(job.outputs, name)
        if output is not None and output.topic is None:
            yield Issue(("outputs", name), "topic is missing", f"topic: {job.name}-{name}")
    for name in ("late", "orphan", "dead_letter"):
        output = getattr(job.outputs, name)
        if output is not None and output.compression != Output().compression:
            yield Issue(("outputs", name, "compression"), "can be set for samples only", "remove it")
    taken: dict[str, str] = {}
    for name, topic in job.output_topics().items():
        if topic in taken:
            yield Issue(("outputs", name), f"goes to {topic}, as {taken[topic]} does", "each needs its own topic")
        taken[topic] = name
        if internal_topics(job).fullmatch(topic):
            yield Issue(("outputs", name), f"goes to {topic}, an internal topic", "name another topic")
        for stream_name, stream in job.streams.items():
            reads = topic in stream.topic_names
            if reads or (stream.pattern is not None and re.fullmatch(stream.pattern, topic)):
                yield Issue(
                    ("outputs", name),
                    f"goes to {topic}, which stream {stream_name} reads",
                    "the job would consume its own output",
                )


def _security(job: JobModel) -> Iterator[Issue]:
    security = job.security
    sasl, tls = security.protocol.startswith("SASL"), security.protocol.endswith("SSL")
    for key in ("mechanism", "username", "password"):
        given = getattr(security, key) is not None
        if sasl and not given:
            hint = "password: ${env:KAFKA_PASSWORD}" if key == "password" else None
            yield Issue(("security",), f"{key} is missing: protocol is {security.protocol}", hint)
        if given and not sasl:
            yield Issue(("security", key), f"has no effect with protocol: {security.protocol}", "SASL_SSL")
    for key in ("ca_file", "cert_file", "key_file"):
        if getattr(security, key) is not None and not tls:
            yield Issue(("security", key), f"has no effect with protocol: {security.protocol}", "SSL or SASL_SSL")
    if (security.cert_file is None) != (security.key_file is None):
        yield Issue(("security",), "cert_file and key_file must be set together")

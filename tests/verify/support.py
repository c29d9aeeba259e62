"""A small job in memory: what its worker would have written, ways to spoil that, and `verify` over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.fingerprint import short
from samplejoin.core.identity import place
from samplejoin.core.keys import decode_key, partition_of
from samplejoin.core.outcomes import Sample
from samplejoin.engine.dead_letters import headers_of_record
from samplejoin.formats import json
from samplejoin.job.compile import Job, compile_job
from samplejoin.job.load import model_of
from samplejoin.offline.run import InputRecord, run_offline
from samplejoin.verify.replay import LogReplay
from samplejoin.verify.report import Report
from samplejoin.verify.spill import BUCKET_BYTES, BUFFER_BYTES
from samplejoin.verify.spill_rows import Scope
from samplejoin.verify.verification import Verification

START_MS = 1_700_000_000_000
FAR = 1 << 50
JOB: dict[str, Any] = {
    "name": "small",
    "streams": {
        "show": {"role": "anchor", "topic": "shows", "time": "ts", "clean": "tests.verify.support:clean"},
        "click": {"role": "label", "topic": "clicks", "time": "ts", "clean": "tests.verify.support:clean"},
    },
    "key": ["user"],
    "window": "20s",
    "lateness": "3s",
    "sample": {"pos": "show.pos", "clicks": {"from": "click", "agg": "count"}},
    "outputs": {"late": "small-late", "orphan": "small-orphan"},
    "late": "topic",
    "partitions": 2,
}


def clean(record: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Drops what says so, fails where it must, and makes a row for each of `times`."""
    if record.get("fail"):
        raise ValueError("asked for")
    if "times" in record:
        return [{**record, "ts": ts} for ts in record["times"]]
    return None if record.get("drop") else record


def bad_format(sample: dict[str, Any]) -> dict[str, Any]:
    """Fails for some samples."""
    if sample["pos"] == 13:
        raise ValueError("unlucky")
    return sample


@dataclass(frozen=True)
class Out:
    """A record of an output topic, as the consumer gives it."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int = 0
    offset: int = 0


@dataclass
class Topics:
    """All records; `inputs` in the order they were produced."""

    inputs: list[InputRecord] = field(default_factory=list)
    samples: list[Out] = field(default_factory=list)
    late: list[Out] = field(default_factory=list)
    orphan: list[Out] = field(default_factory=list)
    letters: list[Out] = field(default_factory=list)

    def send(self, topic: str, record: dict[str, Any] | bytes | None, partition: int = 0) -> InputRecord:
        """One more input record; its timestamp is its event time, or later."""
        offset = sum(1 for r in self.inputs if (r.topic, r.partition) == (topic, partition))
        if isinstance(record, dict):
            made = InputRecord(topic, partition, offset, record.get("stamp") or record["ts"], orjson.dumps(record))
        else:
            made = InputRecord(topic, partition, offset, START_MS, record)
        self.inputs.append(made)
        return made


def job_of(**changes: Any) -> Job:
    """The small job, changed."""
    return compile_job(model_of({**JOB, **changes}, environ={}), Path("."))


def sample_record(job: Job, sample: Sample, **headers: bytes) -> Out:
    """What a worker sends for a sample."""
    named = {
        "sample_id": sample.sample_id.encode(), "revision": b"%d" % sample.revision,
        "complete": ("false:" + ",".join(sample.missing)).encode() if sample.missing else b"true",
        "truncated": str(sample.truncated).lower().encode(), "weight": repr(sample.weight).encode(),
        "job": job.spec.name.encode(), "fingerprint": short(job.fingerprint).encode(), **headers,
    }  # fmt: skip
    if sample.revision:
        named["previous_weight"] = repr(sample.previous_weight).encode()
    return Out(sample.key, sample.payload, tuple(named.items()), partition_of(sample.key, job.model.partitions))


def side_record(job: Job, kind: str, key: bytes, stream: str, slice_ms: int, source: Any = None, rows: int = 1) -> Out:
    """What a worker sends for a late or an orphan row."""
    body: dict[str, Any] = {
        "kind": kind, "key": decode_key(key), "stream": stream, "slice_ms": slice_ms, "rows": rows, "fields": {},
        "source": source and place(*source),
    }  # fmt: skip
    return Out(key, json.dumps(body), (("stream", stream.encode()), ("job", job.spec.name.encode())))


def letter_record(source: str, stream: str, reason: str, error: str = "") -> Out:
    """What a worker sends for a record that it cannot use."""
    fields = {"source": source, "stream": stream, "reason": reason, "error": error}
    return Out(b"", b"", tuple((f"samplejoin.{name}", text.encode()) for name, text in fields.items()))


def letters_of(job: Job, record: InputRecord, now_ms: int) -> list[Out]:
    """What a worker sends for a record that it cleans at that time."""
    dead = Cleaner(job).clean(record.topic, record.partition, [record], now_ms).dead
    return [Out(b"", b"", tuple(headers_of_record(each, job.spec.name))) for each in dead]


def feed(users: int = 60) -> Topics:
    """Shows and clicks of so many users, one click that no window holds, records that are filtered and that fail."""
    topics = Topics()
    for i in range(users):
        ts = START_MS + i * 500
        topics.send("shows", {"user": f"u{i}", "ts": ts, "pos": i}, i % 2)
        if i % 3 == 0:
            topics.send("clicks", {"user": f"u{i}", "ts": ts + 1000})
    topics.send("clicks", {"user": "nobody", "ts": START_MS + 29_900})
    topics.send("shows", {"user": "u1", "ts": START_MS + 30_000, "drop": 1})
    topics.send("shows", {"user": "u1", "ts": START_MS + 30_000, "fail": 1})
    return topics


def end(topics: Topics, after_ms: int = 200_000) -> Topics:
    """Records whose time closes all windows."""
    for topic, partition in sorted({(r.topic, r.partition) for r in topics.inputs}):
        topics.send(topic, {"ts": START_MS + after_ms, "drop": 1}, partition)
    return topics


def written(job: Job, topics: Topics, without: Iterable[InputRecord] = ()) -> Topics:
    """Adds what a worker makes of the inputs; `without`: records that came too late for it."""
    gone = set(without)
    out, dead = run_offline(job, [r for r in topics.inputs if r not in gone])
    topics.samples += [sample_record(job, s) for s in out.samples]
    topics.orphan += [side_record(job, "orphan", o.key, o.stream, o.slice_ms, rows=o.rows) for o in out.side_rows]
    topics.letters += [letter_record(f"{d.topic}/{d.partition}/{d.offset}", d.stream, d.reason) for d in dead]
    for each in out.dead:
        headers = (("samplejoin.sample_id", each.sample_id.encode()),)
        topics.letters.append(Out(each.key, b"", headers))
    return topics


def verify(
    job: Job, topics: Topics, scope: Scope | None = None, buffer_bytes: int = BUFFER_BYTES,
    bucket_bytes: int = BUCKET_BYTES, log: Callable[[LogReplay, int], None] | None = None,
) -> Report:  # fmt: skip
    """The report over these topics; `log` steps a join partition's log into a replay."""
    scope = scope or Scope(job.model.partitions)
    scope.replayable = log is not None
    scope.sample_partitions = job.model.partitions
    report = Report(job.spec.name, guarantee=job.model.guarantee, share=1 / scope.one_in)
    with Verification(job, scope, report, buffer_bytes=buffer_bytes, bucket_bytes=bucket_bytes) as verification:
        collector = verification.collector
        takers = (collector.letter, collector.late, collector.orphan, collector.sample)
        for take, records in zip(takers, (topics.letters, topics.late, topics.orphan, topics.samples), strict=True):
            for number, record in enumerate(records):
                take(replace(record, offset=number))
        everything: list[Any] = [*topics.inputs, *topics.samples, *topics.late, *topics.orphan, *topics.letters]
        report.read |= {"records": len(everything), "bytes": sum(len(each.value or b"") for each in everything)}
        for read in topics.inputs:
            verification.intake.take(read.topic, read.partition, [read])
            verification.intake.count_records(read.topic, 1)
            verification.was_read[read.topic, read.partition] = (0, read.offset + 1)
        suspects = verification.compare()
        found: dict[bytes, Any] = {}
        for partition in range(job.model.partitions) if log is not None else ():
            keys = {key for key in suspects if partition_of(key, job.model.partitions) == partition}
            replay = LogReplay(job.spec, keys)
            if log is not None:
                log(replay, partition)
            found |= replay.found()
        verification.settle(suspects, found)
    return report


def spoil(record: Out, **fields: Any) -> Out:
    """A sample with other fields."""
    return replace(record, value=orjson.dumps({**orjson.loads(record.value), **fields}))


def header(record: Out, name: str, value: bytes | None) -> Out:
    """A record with another header."""
    return replace(record, headers=tuple((n, value if n == name else v) for n, v in record.headers))


def corrected(record: Out, revision: int = 1, previous_weight: bytes = b"1.0") -> Out:
    """A sample as its correction."""
    made = header(record, "revision", b"%d" % revision)
    return replace(made, headers=(*made.headers, ("previous_weight", previous_weight)))

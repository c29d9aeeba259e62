"""The same input gives the same samples, byte for byte: test kit, offline pass and oracle (rules 2, 6, 7, 11)."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson
import pytest

from samplejoin.cleaning.cleaner import ROWS_APART
from samplejoin.core.keys import encode_key
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.offline.run import InputRecord, run_offline
from samplejoin.testing import FinishedSample, JobTest
from tests.core import oracle

STARTS = (1_735_689_600_000, 1_735_689_600_000, 0)
START = STARTS[0]
LAYOUTS = (
    {"show": "shows", "view": "shows", "click": "clicks", "like": "likes"},
    {"show": "shows", "view": "shows", "click": "clicks", "like": "likes"},
    {"show": "events", "view": "views", "click": "events", "like": "likes"},  # a record is an impression and a click
)
#: what no stream can read: a tombstone, half an object, bare JSON values
ODD_RECORDS = (None, b"", b"{", b"null", b"5", b'"x"', b"[1]", b"true", b"[]", b"\xff")
AGGREGATES = ("first", "last", "count", "sum", "mean", "min", "max", "any", "all", "distinct", "list(3)", "top(2)")
CLEAN = "tests.testing.rows:clean"


def job_of(random: Random, layout: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A job with two anchor and two label streams, and every aggregate on some of them."""
    repeat, layout = random.choice(["merge", "each"]), layout or random.choice(LAYOUTS)
    streams = {
        name: {
            "role": "anchor" if name in ("show", "view") else "label", "topic": topic, "time": "ts", "clean": CLEAN,
            "idle": "hold", **({"id": "id"} if name != "view" and random.random() < 0.3 else {}),
            **({"lateness": "6s"} if random.random() < 0.3 else {}),
        }
        for name, topic in layout.items()
    }  # fmt: skip
    sample = {
        f"{name}_{agg.partition('(')[0]}": {"from": f"{name}.x", "agg": agg}
        for name in layout
        for agg in random.sample(AGGREGATES, 5)
    }
    return {
        "name": "parity", "streams": streams, "key": ["user", "item"], "sample": sample, "partitions": 3,
        "window": random.choice(["2s", "10s", "40s", "40s", "3650d"]), "before": random.choice(["0s", "3s"]),
        "lateness": "4s", "resolution": random.choice(["1s", "1s", "500ms", "1ms"]),
        "repeat": repeat, "attribution": "last" if repeat == "merge" else random.choice(["last", "first"]),
        "max_in_flight": random.choice([1, 5, 50_000]), "combine": random.random() < 0.8,
        "keep_negatives": random.choice([1.0, 0.5]), **changes,
    }  # fmt: skip


Records = list[tuple[str, int, Any]]
"""(topic, its partition, record): a dict with `ts` and `rows`, or bytes or None that no stream can read."""


def topics_of(data: dict[str, Any]) -> dict[str, str]:
    """The topic of each stream."""
    return {name: stream["topic"] for name, stream in data["streams"].items()}


def records_of(random: Random, data: dict[str, Any], count: int, drift_ms: int) -> Records:
    """At most `drift_ms` out of order; all streams of its topic read a record. Times go on or stand, and one topic can
    be an hour ahead of the others."""
    topics = sorted(topics_of(data).values())
    ahead = {random.choice(topics): random.choice([0, 0, 3_600_000])}
    made: Records = []
    now, steps = random.choice(STARTS), random.choice([(0, 300, 1000, 2500)] * 4 + [(0,)])
    for _ in range(count):
        now += random.choice(steps)
        topic, partition = random.choice(topics), random.randrange(2)
        ts = max(0, now + ahead.get(topic, 0) - random.randrange(drift_ms + 1))
        rows = [row_of(random) for _ in range(random.choice([1, 1, 1, 2, 0]))]
        made.append((topic, partition, {"ts": ts, "rows": rows}))
        if random.random() < 0.05:
            made.append((topic, partition, random.choice(ODD_RECORDS)))
    return made


def row_of(random: Random) -> dict[str, Any]:
    users = ["u1", "u1", "u2", "u2", "", None, "a|b", 1, "1", True, 2**53, 2**53 + 1, "u\0", 1000.0]
    row: dict[str, Any] = {"user": random.choice(users), "item": random.choice([1, 1, 2])}
    if random.random() < 0.8:
        row["x"] = random.choice([None, 1, 2, -3, 0.1, 0.2, 1e16, -1e16, 2**62])
    if random.random() < 0.5:
        row["id"] = random.choice(["a", "b", 1])
    return row


def rows_of(data: dict[str, Any], topic: str, partition: int, offset: int, record: dict[str, Any]) -> list[oracle.Row]:
    """What the streams of the record's topic make of it, as the oracle reads it: a number with a fraction is no key."""
    readers = [stream for stream, of in topics_of(data).items() if of == topic]
    return [
        oracle.Row(
            stream,
            encode_key([row["user"], row["item"]]),
            record["ts"],
            (topic, partition, offset, number * ROWS_APART + index),
            row,
        )
        for number, stream in enumerate(readers)
        for index, row in enumerate(record["rows"])
        if row["user"] and type(row["user"]) is not float
    ]


class Inputs:
    """The same records for all three."""

    def __init__(self, data: dict[str, Any], records: Records) -> None:
        self.records: list[InputRecord] = []
        self.rows: list[oracle.Row] = []
        ends: dict[tuple[str, int], int] = {}
        for topic, partition, record in records:
            offset = ends.get((topic, partition), 0)
            ends[topic, partition] = offset + 1
            if isinstance(record, dict):
                self.rows += rows_of(data, topic, partition, offset, record)
                self.records.append(InputRecord(topic, partition, offset, record["ts"], orjson.dumps(record)))
            else:
                self.records.append(InputRecord(topic, partition, offset, 1, record))


Letters = set[tuple[str, str, str]]
"""Dead letters as (stream, source, reason): after a crash a record's can be there again."""


def offline_samples(
    data: dict[str, Any], inputs: Inputs, random: Random
) -> tuple[dict[str, tuple[int, bytes, float]], Letters]:
    shuffled = random.sample(inputs.records, len(inputs.records))
    out, dead = run_offline(compile_job(model_of(data, environ={}), "."), shuffled)
    assert out.dead == []
    letters = {(letter.stream, f"{letter.topic}/{letter.partition}/{letter.offset}", letter.reason) for letter in dead}
    return {s.sample_id: (s.slice_ms, s.payload, s.weight) for s in out.samples}, letters


def parsed(samples: dict[str, tuple[int, bytes, float]]) -> dict[str, Any]:
    return {id_: (window_ms, orjson.loads(payload), weight) for id_, (window_ms, payload, weight) in samples.items()}


def drive(job: JobTest, records: Records, random: Random) -> None:
    """Sends everything; time, commits and crashes come as they like."""
    streams = {stream.topic: name for name, stream in job.job.model.streams.items()}
    for topic, partition, record in records:
        job.send(streams[topic], record, partition=partition)
        chance = random.random()
        if chance < 0.2:
            job.advance(random.choice(["1s", "3s"]))
        elif chance < 0.3:
            job.commit(sources=random.random() < 0.5, joins=random.random() < 0.5)
        elif chance < 0.35:
            job.crash(lose_disk=random.random() < 0.5)


@pytest.mark.rule(1, 2, 3, 6, 7, 11, 16)
@pytest.mark.parametrize("seed", range(60))
def test_test_kit_offline_pass_and_oracle_agree(seed):
    random = Random(seed)
    data = job_of(random)
    records = records_of(random, data, 50, drift_ms=4000)
    inputs = Inputs(data, records)
    job = JobTest(data, topic_partitions=2)
    drive(job, records, random)
    bodies = job.finish()
    made = {s.sample_id: (s.window_ms, s.value, s.weight) for s in job.samples}
    assert job.late == []
    assert len(job.samples) == len(made) == len(bodies)
    expected, letters = offline_samples(data, inputs, random)
    assert made == expected
    assert {(letter.stream, letter.source, letter.reason) for letter in job.dead_letters} == letters
    assert parsed(made) == parsed(oracle.join(job.job.spec, inputs.rows)[0])


@pytest.mark.rule(5, 6)
@pytest.mark.parametrize("seed", range(30))
def test_the_last_revision_is_the_offline_sample(seed):
    random = Random(seed)
    data = job_of(random, late="correct", correction="1h", keep_negatives=1.0)
    records = records_of(random, data, 40, drift_ms=40_000)
    inputs = Inputs(data, records)
    job = JobTest(data, topic_partitions=2)
    drive(job, records, random)
    job.finish()
    newest: dict[str, FinishedSample] = {}
    for sample in job.samples:
        known = newest.get(sample.sample_id)
        assert known is None or sample.revision == known.revision + 1
        newest[sample.sample_id] = sample
    refused = [row["key"] for row in job.late]
    expected, _ = offline_samples(data, inputs, random)
    untouched = {id_: (s.window_ms, s.value, s.weight) for id_, s in newest.items() if s.key not in refused}
    assert untouched == {id_: expected[id_] for id_ in untouched}
    keys = {id_: [body["user"], body["item"]] for id_, (_, body, _) in parsed(expected).items()}
    assert set(untouched) == {id_ for id_, key in keys.items() if key not in refused}


@pytest.mark.rule(4, 6)
def test_the_offline_pass_names_orphans_and_dead_letters():
    data = job_of(Random(1), LAYOUTS[0], window="40s", keep_negatives=1.0, repeat="merge", attribution="last")
    job = compile_job(model_of(data, environ={}), ".")
    row = {"user": "u", "item": 1}
    records = [
        InputRecord("clicks", 0, 0, START, orjson.dumps({"ts": START, "rows": [row]})),
        InputRecord("clicks", 0, 1, START, b"{"),
        InputRecord("likes", 0, 0, START, orjson.dumps({"ts": START + 60_001, "rows": [row]})),
    ]
    out, dead = run_offline(job, records)
    assert [(r.kind, r.stream, r.rows) for r in out.side_rows] == [("orphan", "click", 1)]
    assert [(letter.reason, letter.offset) for letter in dead] == [("decode", 1), ("future", 0)]
    out, dead = run_offline(job, records, now_ms=START - 60_001)
    assert [letter.reason for letter in dead] == ["future", "decode", "future"]


def test_an_offline_pass_by_processing_time_means_nothing():
    data = job_of(Random(1), clock="processing", repeat="merge", attribution="last", before="0s")
    with pytest.raises(ValueError, match="order of arrival"):
        run_offline(compile_job(model_of(data, environ={}), "."), [])


def test_a_sample_that_is_too_large_is_a_dead_letter_offline_too():
    data = job_of(Random(1), LAYOUTS[0], keep_negatives=1.0, limits={"sample": "100B"})
    value = orjson.dumps({"ts": START, "rows": [{"user": "u" * 100, "item": 1}]})
    out, _ = run_offline(compile_job(model_of(data, environ={}), "."), [InputRecord("shows", 0, 0, START, value)])
    assert (out.samples, [dead.function for dead in out.dead]) == ([], ["sample_too_large"])
    job = JobTest(data)
    job.send("show", value)
    assert job.finish() == []
    assert [letter.reason for letter in job.dead_letters] == ["sample_too_large"]

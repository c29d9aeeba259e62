"""Late rows: exempt where topic, log or order prove them, and an error wherever nothing does (rules 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
import pytest

from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.cells import combine
from samplejoin.core.identity import source_id
from samplejoin.core.messages import Block, Entry, Tick, TickEntry
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.job.compile import Job, compile_job
from samplejoin.job.load import model_of
from samplejoin.offline.run import run_offline
from samplejoin.verify.render import text_of
from samplejoin.verify.replay import LogReplay
from tests.testing import test_parity as drawn
from tests.verify.support import (
    JOB,
    START_MS,
    Out,
    Topics,
    corrected,
    end,
    feed,
    header,
    job_of,
    letter_record,
    sample_record,
    side_record,
    spoil,
    verify,
)

pytestmark = pytest.mark.rule(5, 6)


def entries(job: Job, topics: Topics) -> Iterator[tuple[int, Entry]]:
    """(join partition, entry): each record's block, and a tick of all sources after it, as one worker sends them.

    A worker that loses rows: those of records that say `lose`.
    """
    cleaner = Cleaner(job)
    upto: dict[str, int] = {}
    times: dict[str, int | None] = {}
    sources = sorted({source_id(r.topic, r.partition) for r in topics.inputs})
    partitions: dict[str, int] = {}
    for record in topics.inputs:
        partitions[record.topic] = max(record.partition + 1, partitions.get(record.topic, 0))
    for record in topics.inputs:
        source = source_id(record.topic, record.partition)
        cleaned = cleaner.clean(record.topic, record.partition, [record], 1 << 60)
        for target in range(job.model.partitions):
            cells = combine(job.spec, cleaned.cells.get(target, []), -1)
            if b'"lose"' in (record.value or b""):
                cells = []
            yield target, Block(source, 1, upto.get(source), record.offset, cells)
        upto[source] = record.offset
        times[source] = max(cleaned.row_time or 0, times.get(source) or 0) or None
        ticks = [TickEntry(s, 1, upto[s], upto[s], times[s], False, None) for s in sources if s in upto]
        for target in range(job.model.partitions):
            yield target, Tick(ticks, partitions)


def run(job: Job, topics: Topics) -> None:
    """Adds what the join makes of that log."""
    out = Outcomes()
    joins = [Partition(job.spec) for _ in range(job.model.partitions)]
    for offset, (target, entry) in enumerate(entries(job, topics)):
        joins[target].apply(entry, offset, 1, out)
        while joins[target].due():
            joins[target].sweep(out)
    for sample in out.samples:
        record = sample_record(job, sample)
        topics.samples.append(record)
    for letter in run_offline(job, topics.inputs)[1]:
        source = f"{letter.topic}/{letter.partition}/{letter.offset}"
        topics.letters.append(letter_record(source, letter.stream, letter.reason))
    for dead in out.dead:
        topics.letters.append(Out(dead.key, b"", (("samplejoin.sample_id", dead.sample_id.encode()),)))
    outputs = {"late": topics.late, "orphan": topics.orphan}
    for row in out.side_rows:
        if row.kind in job.model.output_topics():
            side = side_record(job, row.kind, row.key, row.stream, row.slice_ms, row.source, row.rows)
            outputs[row.kind].append(side)


def log_of(job: Job, topics: Topics):
    """Steps the log into a replay."""

    def step(replay: LogReplay, partition: int) -> None:
        for offset, (target, entry) in enumerate(entries(job, topics)):
            if target == partition:
                replay.step(entry, offset, 1)

    return step


def late_feed() -> Topics:
    """A feed, then all windows close but those of a few last users, then a click and a show that are too late."""
    topics = feed()
    for partition in range(2):
        topics.send("shows", {"ts": START_MS + 100_000, "drop": 1}, partition)
    topics.send("clicks", {"ts": START_MS + 100_000, "drop": 1})
    topics.send("clicks", {"user": "u10", "ts": START_MS + 6000})
    topics.send("shows", {"user": "u99", "ts": START_MS + 6000, "pos": 99})
    topics.inputs[-1] = topics.inputs[-1]._replace(timestamp=START_MS + 100_000)
    topics.inputs[-2] = topics.inputs[-2]._replace(timestamp=START_MS + 100_000)
    return end(topics)


def with_late(**changes) -> tuple[Job, Topics]:
    job, topics = job_of(**changes), late_feed()
    run(job, topics)
    return job, topics


NO_TOPIC = {"late": "count", "outputs": {"orphan": "small-orphan"}}


def test_the_late_topic_says_which_rows_were_late():
    job, topics = with_late()
    assert len(topics.late) == 2
    report = verify(job, topics)
    assert report.ok, report.as_dict()
    assert (report.windows, report.right, report.exempt) == (61, 59, 2)
    assert report.exempt_reasons == {"late row": 2}
    assert (report.streams["click"].late, report.streams["show"].late) == (1, 1)


@pytest.mark.rule(4)
def test_orphans_that_were_late_are_told_so_that_the_counts_add_up():
    job, topics = job_of(), feed()
    topics.send("shows", {"ts": START_MS + 100_000, "drop": 1})
    topics.send("shows", {"ts": START_MS + 100_000, "drop": 1}, 1)
    topics.send("clicks", {"ts": START_MS + 100_000, "drop": 1})
    topics.send("clicks", {"user": "nobody", "ts": START_MS + 6000})
    topics.inputs[-1] = topics.inputs[-1]._replace(timestamp=START_MS + 100_000)
    topics = end(topics)
    run(job, topics)
    report = verify(job, topics)
    assert report.ok, report.as_dict()
    assert report.orphans is not None
    assert (report.orphans.late, report.orphans.expected, report.orphans.found) == (1, 1, 1)
    assert report.streams["click"].orphan == 2
    text = text_of(report)
    assert "orphan rows: 2 by the inputs - 1 late = 1 expected, 1 there" in text
    assert any("+ 2 orphaned + 0 waiting, of these 1 late" in line for line in text)


def test_a_row_that_was_late_must_not_be_in_a_sample_too():
    job, topics = with_late()
    at = next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["pos"] == 10)
    topics.samples[at] = spoil(topics.samples[at], clicks=1, label=1)
    assert verify(job, topics, log=log_of(job, topics)).wrong == {"wrong_label": 1}


def test_a_late_row_that_is_in_no_input_is_unexplained():
    job, topics = with_late()
    topics.late.append(side_record(job, "late", b'["u5"]', "click", START_MS, [source_id("clicks", 0), 3]))
    assert verify(job, topics).wrong == {"late_unexplained": 1}


def test_without_a_late_topic_a_replay_of_the_log_proves_it():
    job, topics = with_late(**NO_TOPIC)
    report = verify(job, topics, log=log_of(job, topics))
    assert report.ok, report.as_dict()
    assert (report.windows, report.right, report.exempt_reasons) == (61, 59, {"late row": 2})


def test_the_replay_excuses_nothing_else():
    """Of the key with a late click the sample is spoilt otherwise; of another one it is lost."""
    job, topics = with_late(**NO_TOPIC)
    at = next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["pos"] == 10)
    topics.samples[at] = spoil(topics.samples[at], pos=11)
    topics.samples.pop(next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["pos"] == 20))
    report = verify(job, topics, log=log_of(job, topics))
    assert report.wrong == {"lost": 1, "wrong_label": 1}
    assert report.exempt == 1


def test_a_sample_of_an_anchor_in_time_is_lost_although_its_window_is_exempt():
    job, topics = with_late(**NO_TOPIC)
    topics.samples.pop(next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["pos"] == 10))
    assert verify(job, topics, log=log_of(job, topics)).wrong == {"lost": 1}
    assert verify(job, topics).wrong == {"lost": 1}


def test_a_trimmed_log_leaves_the_order_of_the_partition():
    job, topics = with_late(**NO_TOPIC)
    report = verify(job, topics)
    assert report.ok, report.as_dict()
    assert report.exempt_reasons == {"possibly late row": 2}


@pytest.mark.rule(8)
def test_the_order_of_a_partition_is_by_its_streams_own_lateness():
    streams = {name: {**stream, "lateness": "3s"} for name, stream in JOB["streams"].items()}
    job, topics = with_late(**NO_TOPIC, streams=streams, lateness="1h")
    report = verify(job, topics)
    assert report.ok, report.as_dict()
    assert report.exempt_reasons == {"possibly late row": 2}


def test_corrections_take_late_labels_in():
    job, topics = with_late(late="correct", correction="10m")
    report = verify(job, topics)
    assert report.ok, report.as_dict()
    assert (report.windows, report.right, report.exempt) == (61, 60, 1)  # a late anchor opens no window
    assert report.samples == 61


def test_the_log_knows_every_revision():
    """A revision that no late row asked for, one whose number is another, and one that went out before the last."""
    job, topics = with_late(late="correct", correction="10m")
    log = log_of(job, topics)
    by_revision = {int(dict(s.headers)["revision"] or b""): i for i, s in enumerate(topics.samples)}
    assert set(by_revision) == {0, 1}
    calm, last = topics.samples[by_revision[0]], topics.samples[by_revision[1]]
    assert verify(job, topics, log=log).ok

    topics.samples.append(corrected(calm))
    report = verify(job, topics, log=log)
    assert (report.wrong, report.errors[0].fields) == ({"wrong_header": 1}, ["revision"])
    assert verify(job, topics).ok, "without the log a revision is believed"

    topics.samples[-1:] = []
    topics.samples[by_revision[1]] = header(last, "revision", b"2")
    assert verify(job, topics, log=log).wrong == {"wrong_header": 1}

    topics.samples[by_revision[1]] = last
    first = next(i for i, s in enumerate(topics.samples) if s.key == last.key)
    topics.samples[first] = spoil(topics.samples[first], pos=77)
    assert verify(job, topics).ok
    assert verify(job, topics, log=log).wrong == {"wrong_field": 1}


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    ("lost", "wrong"), [("clicks", {"wrong_label": 1}), ("shows", {"lost": 1, "orphans_unexplained": 1})]
)
def test_a_late_row_excuses_no_row_that_never_reached_the_log(lost, wrong):
    job, topics = job_of(**NO_TOPIC), Topics()
    topics.send("shows", {"user": "a", "ts": START_MS, "pos": 1, **({"lose": 1} if lost == "shows" else {})})
    topics.send("shows", {"user": "b", "ts": START_MS, "pos": 1}, 1)
    topics.send("clicks", {"user": "a", "ts": START_MS + 500, **({"lose": 1} if lost == "clicks" else {})})
    end(topics, 100_000)
    topics.send("clicks", {"user": "a", "ts": START_MS + 700, "stamp": START_MS + 100_000})
    end(topics)
    run(job, topics)
    report = verify(job, topics, log=log_of(job, topics))
    assert (report.wrong, report.exempt) == (wrong, 0)


def test_a_late_row_in_the_order_of_its_partition_is_told_apart():
    """The clock went on without this partition's own rows: rows come late that came in order."""
    job, topics = job_of(), Topics()
    topics.send("shows", {"user": "a", "ts": START_MS, "pos": 1})
    topics.send("shows", {"ts": START_MS + 90_000, "drop": 1}, 1)
    topics.send("clicks", {"user": "a", "ts": START_MS + 500})
    run(job, end(topics))
    topics.late.append(side_record(job, "late", b'["a"]', "click", START_MS, [source_id("clicks", 0), 0]))
    topics.samples[0] = spoil(topics.samples[0], clicks=0, label=0)
    report = verify(job, topics)
    assert report.exempt_reasons == {"late row, in order in its partition": 1}


def drawn_world(random: Random) -> tuple[Job, Topics]:
    """A drawn job with any policy for late rows, and records that are up to a minute out of order."""
    late = random.choice(["count", "topic", "correct"])
    outputs = {"orphan": "parity-orphan", **({"late": "parity-late"} if late != "count" else {})}
    policy: dict[str, Any] = {"late": late, "outputs": outputs, **({"correction": "30s"} if late == "correct" else {})}
    data = drawn.job_of(random, **policy)
    job, topics = compile_job(model_of(data, environ={}), "."), Topics()
    for topic, partition, record in drawn.records_of(random, data, 120, 60_000):
        topics.send(topic, record, partition)
    for topic in job.spec.topics():
        for partition in range(2):
            topics.send(topic, {"ts": drawn.START + job.spec.window_ms + 10_000_000, "rows": []}, partition)
    run(job, topics)
    return job, topics


def test_late_rows_of_drawn_jobs_explain_all_and_hide_nothing():
    """Whatever was late, by any policy, the log explains; what is taken away or changed, it does not."""
    exempt = 0
    for seed in range(60):
        random = Random(seed)
        job, topics = drawn_world(random)
        log = log_of(job, topics)
        report = verify(job, topics, log=log)
        assert report.ok, (seed, report.as_dict())
        assert report.right + report.exempt == report.windows
        exempt += report.exempt
        ids = [dict(s.headers)["sample_id"] for s in topics.samples]
        once = [i for i, id_ in enumerate(ids) if ids.count(id_) == 1]
        at = random.choice(once)
        kept = topics.samples[at]
        topics.samples[at] = spoil(kept, label=7)
        assert verify(job, topics, log=log).wrong == {"wrong_label": 1}, seed
        del topics.samples[at]
        assert verify(job, topics, log=log).wrong == {"lost": 1}, seed
    assert exempt > 200

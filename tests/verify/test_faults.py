"""Planted faults: each is found, by its name, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from samplejoin.core.keys import partition_of
from samplejoin.verify.render import text_of
from samplejoin.verify.spill_rows import Scope
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
    letters_of,
    side_record,
    spoil,
    verify,
    written,
)


@pytest.fixture
def job():
    return job_of()


@pytest.fixture
def topics(job):
    return written(job, end(feed()))


def only(report, **counts):
    """The report's errors are these and no others."""
    assert report.wrong == counts, report.as_dict()
    assert report.ok is (not counts and report.judged)
    return report


def index_of(topics: Topics, **fields: object) -> int:
    """The first sample with these fields."""
    return next(i for i, s in enumerate(topics.samples) if fields.items() <= orjson.loads(s.value).items())


@pytest.mark.rule(6)
def test_what_the_worker_wrote_is_right(job, topics):
    report = only(verify(job, topics))
    assert (report.windows, report.samples, report.right, report.exempt, report.open) == (60, 60, 60, 0, 0)
    assert report.made == {"samples": 60, "filtered": 0, "down_sampled": 0, "dead": 0}
    click, show = report.streams["click"], report.streams["show"]
    assert (click.rows, click.joined, click.orphan, click.pending) == (21, 20, 1, 0)
    assert (show.records, show.ok, show.filtered, show.dead) == (64, 60, 3, {"clean": 1})
    assert (report.letters.expected, report.letters.found) == (1, 1)
    assert report.orphans is not None
    assert (report.orphans.expected, report.orphans.found) == (1, 1)
    assert report.verdict.startswith("ok: ")


@pytest.mark.rule(16)
def test_a_lost_sample(job, topics):
    gone = topics.samples.pop(index_of(topics, pos=9))
    report = only(verify(job, topics), lost=1)
    (example,) = report.errors
    assert (example.cls, example.key, example.sample_id) == ("lost", ["u9"], dict(gone.headers)["sample_id"].decode())
    assert example.window_ms == START_MS + 4000
    assert example.sources == ["shows/1/4", "clicks/0/3"]
    assert example.expected == {"user": "u9", "pos": 9, "clicks": 1, "label": 1}
    assert report.right == 59


@pytest.mark.rule(16)
def test_a_doubled_sample(job, topics):
    topics.samples.append(topics.samples[7])
    report = only(verify(job, topics), doubled=1)
    assert report.errors[0].at == f"small-samples/{topics.samples[7].partition}/60"
    topics.samples[-1] = spoil(topics.samples[7], pos=77)
    only(verify(job, topics), doubled=1)
    topics.samples[7], topics.samples[-1] = topics.samples[-1], topics.samples[7]
    only(verify(job, topics), doubled=1)


@pytest.mark.parametrize(
    ("fields", "cls", "named"),
    [({"label": 0}, "wrong_label", ["label"]), ({"clicks": 2}, "wrong_field", ["clicks"]),
     ({"clicks": 0, "label": 0}, "wrong_label", ["clicks", "label"]), ({"more": 1}, "wrong_field", ["more"])],
)  # fmt: skip
def test_wrong_bytes(job, topics, fields, cls, named):
    at = index_of(topics, pos=9)
    topics.samples[at] = spoil(topics.samples[at], **fields)
    report = only(verify(job, topics), **{cls: 1})
    assert report.errors[0].fields == named
    assert report.errors[0].found["user"] == "u9"


def test_other_bytes_of_the_same_meaning_are_wrong(job, topics):
    topics.samples[3] = replace(topics.samples[3], value=topics.samples[3].value + b" ")
    assert only(verify(job, topics), wrong_field=1).errors[0].fields == ["(bytes)"]


@pytest.mark.rule(14)
def test_a_wrong_weight():
    job = job_of(keep_negatives=0.5)
    topics = written(job, end(feed()))
    report = only(verify(job, topics))
    assert report.made["down_sampled"] > 0
    assert report.right == report.windows == 60
    at = index_of(topics, label=0)
    topics.samples[at] = header(topics.samples[at], "weight", b"1.0")
    assert only(verify(job, topics), wrong_weight=1).errors[0].fields == ["weight"]


@pytest.mark.rule(14)
def test_a_negative_that_must_not_be_there():
    kept, dropped = job_of(), job_of(keep_negatives=0.5)
    topics = written(dropped, end(feed()))
    ids = {dict(s.headers)["sample_id"] for s in topics.samples}
    extra = next(
        s for s in written(kept, end(feed())).samples
        if dict(s.headers)["sample_id"] not in ids and orjson.loads(s.value)["label"] == 0
    )  # fmt: skip
    topics.samples.append(header(extra, "fingerprint", dict(topics.samples[0].headers)["fingerprint"]))
    only(verify(dropped, topics), unexplained=1)


def test_a_foreign_sample(job, topics):
    topics.samples.append(header(topics.samples[0], "sample_id", b"f" * 32))
    report = only(verify(job, topics), unexplained=1)
    assert report.errors[0].sample_id == "f" * 32


def test_a_sample_without_headers_or_key(job, topics):
    topics.samples.append(Out(b"\xff", b"nonsense", ()))
    assert only(verify(job, topics), unexplained=1).errors[0].key == "\\xff"


def test_samples_of_another_job_and_of_another_version_are_left_out(job, topics):
    topics.samples.append(header(header(topics.samples[0], "sample_id", b"f" * 32), "job", b"other"))
    stranger = header(header(topics.samples[0], "sample_id", b"e" * 32), "fingerprint", b"0" * 16)
    topics.samples.insert(0, stranger)
    report = only(verify(job, topics))
    assert report.other_versions == 1
    topics.samples.append(stranger)  # behind the first of this version no other can have come
    topics.samples.pop(0)
    only(verify(job, topics), unexplained=1)


def test_a_revision_that_no_correction_can_have_made(job, topics):
    topics.samples.append(corrected(topics.samples[4]))
    assert only(verify(job, topics), wrong_header=1).errors[0].fields == ["revision"]


@pytest.mark.rule(5)
def test_the_last_revision_must_be_right():
    job = job_of(late="correct", correction="60s")
    topics = written(job, end(feed()))
    at = index_of(topics, pos=9)
    last = corrected(topics.samples[at])
    topics.samples[at] = spoil(topics.samples[at], clicks=0, label=0)
    topics.samples.append(last)
    only(verify(job, topics))
    topics.samples[-1] = spoil(last, clicks=7)
    only(verify(job, topics), wrong_field=1)


def test_repeats_of_at_least_once():
    job = job_of(guarantee="at_least_once")
    topics = written(job, end(feed()))
    topics.samples += [topics.samples[2], topics.samples[2]]
    topics.orphan += topics.orphan
    assert only(verify(job, topics)).repeats == 2
    topics.samples[-1] = spoil(topics.samples[2], label=5)
    assert only(verify(job, topics), wrong_label=1).repeats == 1


@pytest.mark.rule(4, 7)
def test_like_orphans_of_a_retrying_producer_are_no_repeats():
    """A click that no window holds comes twice, with one id: two orphans, alike to the last byte."""
    streams = {**JOB["streams"], "click": {**JOB["streams"]["click"], "id": "id"}}
    job = job_of(guarantee="at_least_once", streams=streams)
    topics = feed()
    for _ in range(2):
        topics.send("clicks", {"user": "again", "ts": START_MS + 29_900, "id": 7})
    written(job, end(topics))
    orphans = only(verify(job, topics)).orphans
    assert orphans is not None
    assert (orphans.expected, orphans.found) == (3, 3)
    *twins, other = topics.orphan
    assert twins[0] == twins[1]
    topics.orphan = [twins[0], other]
    only(verify(job, topics), orphans_missing=1)
    topics.orphan = [*twins, twins[0], other]  # a repeat
    only(verify(job, topics))
    topics.orphan.append(side_record(job, "orphan", b'["again"]', "click", START_MS + 29_000, rows=4))
    only(verify(job, topics), orphans_unexplained=3)


# ---- dead letters, orphans ----------------------------------------------------------------------------------------


@pytest.mark.rule(12)
def test_dead_letters_missing_and_not_asked_for(job, topics):
    again = topics.letters[0]
    topics.letters += [again, letter_record("shows/0/0", "show", "clean"), letter_record("elsewhere/0/0", "x", "clean")]
    report = only(verify(job, topics), letters_unexpected=1)
    assert report.letters.repeats == 1
    assert report.errors[0].sources == ["shows/0/0"]
    topics.letters.clear()
    report = only(verify(job, topics), letters_missing=1)
    assert report.errors[0].fields == ["clean"]
    assert report.verdict == "NOT ok: 1 letter missing"
    assert "one that depends on more than its argument" in report.notes[-1]


@pytest.mark.rule(12)
def test_letters_of_records_that_the_job_has_not_read_are_not_missed(job, topics):
    topics.letters.clear()
    scope = Scope(2, committed={("shows", 1): 10})
    failed = next(r for r in topics.inputs if b"fail" in (r.value or b""))
    scope.committed[failed.topic, failed.partition] = failed.offset
    assert only(verify(job, topics, scope)).letters.open == 1


@pytest.mark.rule(12)
def test_a_sample_that_cannot_be_made_has_its_letter():
    job = job_of(format="tests.verify.support:bad_format")
    topics = written(job, end(feed()))
    report = only(verify(job, topics))
    assert (report.made["dead"], report.letters.expected) == (1, 2)
    topics.letters.append(topics.letters.pop())
    topics.letters.append(topics.letters[-1])
    only(verify(job, topics), letters_doubled=1)
    del topics.letters[-2:]
    only(verify(job, topics), letters_missing=1)


@pytest.mark.rule(9)
def test_the_letter_decides_what_was_future(job):
    topics = feed()
    early = topics.send("shows", {"user": "u70", "ts": START_MS + 100_000})
    written(job, end(topics), without=[early])
    assert verify(job, topics).lost == 1
    topics.letters += letters_of(job, early, now_ms=START_MS + 30_000)
    report = only(verify(job, topics))
    assert (report.letters.future, report.streams["show"].dead) == (1, {"clean": 1, "future": 1})


@pytest.mark.rule(9)
def test_the_letter_decides_which_row_of_a_record_was_future(job):
    """Only the row that was too early by the worker's clock is left out; the others must have joined."""
    topics = feed()
    times = [START_MS + 50_000, START_MS + 100_000]
    record = topics.send("shows", {"user": "u70", "ts": times[0], "stamp": START_MS + 50_000, "times": times})
    letters = letters_of(job, record, now_ms=START_MS + 30_000)
    assert len(letters) == 1
    topics.letters += letters
    written(job, end(topics))
    lost = [sample for sample in topics.samples if b'"u70"' in sample.key]
    topics.samples.remove(lost[-1])
    only(verify(job, topics))
    topics.samples.remove(lost[0])
    assert verify(job, topics).lost == 1


@pytest.mark.rule(4)
def test_orphans_missing_and_unexplained(job, topics):
    kept = topics.orphan.pop()
    report = only(verify(job, topics), orphans_missing=1)
    assert report.errors[0].sources == ["clicks/0/20"]
    topics.orphan += [kept, side_record(job, "orphan", b'["u9"]', "click", START_MS)]
    only(verify(job, topics), orphans_unexplained=1)


# ---- windows that are not due, ranges, shares ---------------------------------------------------------------------


@pytest.mark.rule(1, 14)
def test_a_sample_that_need_not_be_there_says_nothing_of_an_open_window():
    """A stuck job whose negatives are down-sampled must not look right."""
    job = job_of(keep_negatives=0.01)
    topics = written(job, feed())
    topics.samples.clear()
    report = verify(job, topics, Scope(2, clocks={0: START_MS // 1000, 1: START_MS // 1000}))
    assert (report.right, report.open, report.wrong) == (0, 60, {})
    assert report.verdict.startswith("NOT JUDGED: 60 of 60 windows are still open")


@pytest.mark.rule(1)
def test_open_windows_are_not_lost_and_are_compared_when_there(job):
    topics = written(job, feed())
    closed = topics.samples[:]
    topics.samples = [s for s in closed if orjson.loads(s.value)["pos"] < 6]
    slice_ = START_MS // 1000 + 22
    report = only(verify(job, topics, Scope(2, clocks={0: slice_, 1: slice_})))
    assert (report.right, report.open, report.behind) == (6, 54, 8)
    assert report.verdict == (
        "NOT JUDGED: 54 of 60 windows are still open (8 of them behind: the job has not caught up); "
        "nothing is lost, doubled or wrong in 6 windows"
    )
    assert text_of(report)[0].startswith("54 of 60 windows are still open (8 of them behind")
    topics.samples = closed[:]
    at = index_of(topics, pos=50)
    topics.samples[at] = spoil(closed[at], pos=1)
    report = only(verify(job, topics, Scope(2, clocks={0: slice_, 1: slice_})), wrong_field=1)
    assert (report.open, report.verdict) == (0, "NOT ok: 1 wrong field")


@pytest.mark.rule(1)
def test_without_the_jobs_clock_the_inputs_say_what_is_due(job):
    topics = written(job, feed())  # shows reach START + 30 s, clicks START + 29.5 s, lateness 3 s
    topics.samples = [s for s in topics.samples if orjson.loads(s.value)["pos"] < 13]
    report = only(verify(job, topics), lost=1)
    assert report.open == 46
    report = only(verify(job, topics, Scope(2, clocks={0: 0, 1: 0})))
    assert (report.open, report.behind) == (47, 1)


@pytest.mark.rule(1, 8)
@pytest.mark.parametrize("stream", ["show", "click"])
def test_what_is_due_by_the_inputs_is_by_the_lateness_of_each_stream(stream):
    """The lowest watermark is START + 21.5 s by the shows, or START + 21.9 s by the clicks."""
    job = job_of(streams={**JOB["streams"], stream: {**JOB["streams"][stream], "lateness": "8s"}})
    topics = written(job, feed())
    topics.samples = [s for s in topics.samples if orjson.loads(s.value)["pos"] < 4]
    assert only(verify(job, topics)).open == 56
    topics.samples = [s for s in topics.samples if orjson.loads(s.value)["pos"] < 3]
    only(verify(job, topics), lost=1)


def test_a_range_of_event_time(job, topics):
    topics.samples.pop(index_of(topics, pos=9))
    topics.samples.pop(index_of(topics, pos=50))
    report = only(verify(job, topics, Scope(2, START_MS + 10_000, START_MS + 20_000)))
    assert (report.windows, report.right) == (20, 20)
    only(verify(job, topics, Scope(2, START_MS + 10_000)), lost=1)


def test_a_share_of_the_keys_gives_the_same_verdict_on_it(job):
    topics = written(job, end(feed(600), 400_000))
    lost = [topics.samples.pop(index_of(topics, pos=i)) for i in range(0, 600, 7)]
    report = verify(job, topics, Scope(2, one_in=4))
    looked_at = [s for s in lost if Scope(2, one_in=4).looks_at(s.key)]
    assert 100 < report.windows < 200
    assert report.lost == len(looked_at) > 5
    assert report.right == report.windows - report.lost
    assert report.wrong == {"lost": report.lost}
    partitions = {partition_of(s.key, 2) for s in looked_at}
    assert len(partitions) == 2


def test_deleted_inputs_make_foreign_samples_unverifiable(job, topics):
    topics.samples.append(header(topics.samples[0], "sample_id", b"f" * 32))
    scope = Scope(2, START_MS + 10_000, gone_to_ms=START_MS)
    assert only(verify(job, topics, scope)).unverifiable == 1


def test_two_generations_that_share_their_topics(job):
    """Each is right by itself; what neither can have made is not."""
    at = "2023-11-14T22:13:35Z"  # in the middle of the feed
    old, new = job_of(until=at), job_of(start=at, generation=2)
    topics = written(new, written(old, end(feed())))
    for each in (old, new):
        report = only(verify(each, topics))
        assert report.windows == report.right == 30
        assert report.other_versions == 30
    topics.samples.append(header(topics.samples[0], "sample_id", b"f" * 32))
    for each in (old, new):
        only(verify(each, topics), unexplained=1)


def test_small_memory_gives_the_same_report(job, topics):
    topics.samples.pop(index_of(topics, pos=9))
    topics.samples.append(topics.samples[3])
    whole, spilled = verify(job, topics), verify(job, topics, buffer_bytes=1, bucket_bytes=1)
    assert whole.wrong == {"lost": 1, "doubled": 1}
    a, b = whole.as_dict(), spilled.as_dict()
    assert sorted(a.pop("errors"), key=str) == sorted(b.pop("errors"), key=str)
    assert a == b


@pytest.mark.rule(5)
def test_corrections_are_counted_where_there_can_be_any():
    job = job_of(late="correct", correction="60s")
    topics = written(job, end(feed()))
    topics.samples.append(corrected(topics.samples[3]))
    report = verify(job, topics)
    assert report.corrections == 1
    assert "corrections: 1 sample with a later revision, by rows that were late" in text_of(report)
    assert verify(job_of(), written(job_of(), end(feed()))).corrections is None


def test_streams_that_come_to_nothing_are_noted():
    """They agree with the inputs, so nothing is wrong; they are seldom meant."""
    job = job_of()
    topics = Topics()
    for i in range(5):
        topics.send("shows", {"user": f"u{i}", "ts": START_MS, "pos": i})
        topics.send("clicks", {"user": i, "ts": START_MS + 1000})
    written(job, end(topics))
    report = verify(job, topics)
    assert report.ok
    assert [note for note in report.notes if "click adds nothing to samples: no window holds any" in note]
    topics = Topics()
    for i in range(5):
        topics.send("shows", {"user": f"u{i}", "ts": START_MS, "pos": i})
        topics.send("clicks", {"user": f"u{i}", "ts": START_MS + 1000, "drop": 1})
    written(job, end(topics))
    assert [note for note in verify(job, topics).notes if "click adds nothing to samples: each of its" in note]
    assert verify(job, written(job, end(feed()))).notes == []

"""What only the log knows: every revision of a sample, the dead letters of windows without their late rows, and which
rows were late; and what needs no log to be seen (rules 5, 6, 12)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from samplejoin.job.compile import Job
from samplejoin.verify.report import Report
from tests.verify.support import START_MS, Out, Topics, end, header, job_of, spoil, verify
from tests.verify.test_late import NO_TOPIC, log_of, run

CLOSED_MS = START_MS + 100_000


def fed(job: Job, clicks: list[dict[str, Any]], late: list[dict[str, Any]]) -> Topics:
    """One show of `a` with clicks, which come in time or when its window has gone out; and what the join made of it."""
    topics = Topics()
    topics.send("shows", {"user": "a", "ts": START_MS, "pos": 1})
    topics.send("shows", {"user": "b", "ts": START_MS, "pos": 1}, 1)
    topics.send("clicks", {"ts": START_MS, "drop": 1})
    for i, click in enumerate(clicks):
        topics.send("clicks", {"user": "a", "ts": START_MS + 1000 * i, **click})
    end(topics, 100_000)
    for i, click in enumerate(late):
        topics.send("clicks", {"user": "a", "ts": START_MS + 5000 + 1000 * i, "stamp": CLOSED_MS, **click})
    run(job, end(topics, 10_000_000))
    return topics


def report_of(job: Job, topics: Topics, logged: bool) -> Report:
    return verify(job, topics, log=log_of(job, topics) if logged else None)


def revision(topics: Topics, number: int) -> int:
    """Where that revision of the sample of `a` lies."""
    headers = [(s.key, dict(s.headers)["revision"]) for s in topics.samples]
    return headers.index((b'["a"]', b"%d" % number))


FORGERIES = {
    "partition": lambda s: replace(s, partition=1 - s.partition),
    "fingerprint": lambda s: header(s, "fingerprint", b"0" * 16),
    "note": lambda s: replace(s, headers=(*s.headers, ("note", b"hello"))),
    "complete": lambda s: header(s, "complete", b"false:click"),
    "truncated": lambda s: header(s, "truncated", b"true"),
    "previous_weight": lambda s: header(s, "previous_weight", b"7.0"),
}


@pytest.mark.rule(5)
@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2)])
def test_revisions_stand_in_order(logged, one, other):
    """Who takes each as it comes would end with one that has been corrected since."""
    job = job_of(late="correct", correction="1h")
    topics = fed(job, [], [{}, {}])
    a, b = revision(topics, one), revision(topics, other)
    topics.samples[a], topics.samples[b] = topics.samples[b], topics.samples[a]
    report = report_of(job, topics, logged)
    assert set(report.wrong) == {"wrong_header"}
    assert all(error.fields == ["revision"] for error in report.errors)


@pytest.mark.rule(5, 6)
@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_revision_is_looked_at(number, logged):
    job = job_of(late="correct", correction="1h")
    topics = fed(job, [], [{}, {}])
    assert report_of(job, topics, logged).ok
    at = revision(topics, number)
    kept = topics.samples[at]
    for named, change in FORGERIES.items():
        if named != "previous_weight" or number:
            topics.samples[at] = change(kept)
            report = report_of(job, topics, logged)
            assert (report.wrong, report.errors[0].fields) == ({"wrong_header": 1}, [named])
    if number < 2:  # what the last one holds is compared with the inputs
        topics.samples[at] = header(kept, "job", b"other")
        assert report_of(job, topics, logged).wrong == ({"lost": 1} if logged else {"wrong_header": 1})
        del topics.samples[at]
        report = report_of(job, topics, logged)
        assert report.wrong == ({"lost": 1} if logged else {"wrong_header": 1})
        assert "revision" in report.errors[0].fields


@pytest.mark.rule(5)
@pytest.mark.parametrize("logged", [True, False])
def test_revisions_that_are_dead_letters_leave_a_gap(logged):
    """With one click the label divides by zero: revision 1 is a dead letter."""
    job = job_of(late="correct", correction="1h", label="clicks / (clicks - 1) > 0")
    topics = fed(job, [], [{}, {}])
    assert [dict(s.headers)["revision"] for s in topics.samples if s.key == b'["a"]'] == [b"0", b"2"]
    assert report_of(job, topics, logged).ok
    topics.letters = [letter for letter in topics.letters if not letter.key]
    assert report_of(job, topics, logged).wrong == ({"letters_missing": 1} if logged else {"wrong_header": 1})


@pytest.mark.rule(5, 12)
@pytest.mark.parametrize("changes", [{"keep_negatives": 0.001}, {"format": "tests.verify.test_revisions:no_negatives"}])
def test_a_letter_of_a_window_that_with_its_late_row_makes_no_sample(changes):
    """Without the late click the label divides by zero; with it there is a negative, which is dropped."""
    sample = {"clicks": {"from": "click", "agg": "count"}, "v": {"from": "click.v", "agg": "sum"}}
    job = job_of(**NO_TOPIC, sample=sample, label="v / (clicks - 1) > 50", **changes)
    topics = fed(job, [{"v": 9}], [{"v": 1}])
    letters = [letter for letter in topics.letters if letter.key == b'["a"]']
    assert (len(letters), [s for s in topics.samples if s.key == b'["a"]']) == (1, [])
    assert report_of(job, topics, True).wrong == {}
    topics.letters.remove(letters[0])
    assert report_of(job, topics, True).wrong == {"letters_missing": 1}


def no_negatives(sample: dict[str, Any]) -> bytes | None:
    """Filters negatives."""
    return b"positive" if sample["label"] else None


@pytest.mark.rule(5, 12)
def test_a_letter_that_only_the_log_gives_must_be_there():
    """All rows make a sample, those in time a dead letter."""
    job = job_of(**NO_TOPIC, label="clicks / (clicks - 1) > 0")
    topics = fed(job, [{}], [{}])
    report = report_of(job, topics, True)
    assert (report.wrong, report.exempt) == ({}, 1)
    topics.letters = [letter for letter in topics.letters if letter.key != b'["a"]']
    report = report_of(job, topics, True)
    assert (report.wrong, report.errors[0].window_ms) == ({"letters_missing": 1}, START_MS)


@pytest.mark.rule(5)
def test_a_row_that_the_log_says_was_late_must_be_in_the_late_topic():
    job = job_of()
    topics = fed(job, [], [{}, {}])
    assert (report_of(job, topics, True).wrong, len(topics.late)) == ({}, 2)
    topics.late.pop()
    report = report_of(job, topics, True)
    assert (report.wrong, report.errors[0].key) == ({"late_missing": 1}, ["a"])


@pytest.mark.rule(6, 14)
def test_a_late_row_does_not_excuse_a_weight_header_of_another_form():
    """With the late click the field `weight` differs too: the header is wrong nevertheless."""
    job = job_of(**NO_TOPIC, keep_negatives=0.9)
    topics = fed(job, [], [{}])
    at = revision(topics, 0)
    assert report_of(job, topics, True).wrong == {}
    topics.samples[at] = header(
        topics.samples[at], "weight", (dict(topics.samples[at].headers)["weight"] or b"") + b"0"
    )
    assert report_of(job, topics, True).wrong == {"wrong_label": 1}


@pytest.mark.rule(11, 16)
@pytest.mark.parametrize("logged", [True, False])
def test_a_truncated_sample_that_is_there_again_is_one_finding(logged):
    job = job_of(limits={"rows": 1})
    topics = fed(job, [{}, {}, {}], [])
    at = revision(topics, 0)
    assert dict(topics.samples[at].headers)["truncated"] == b"true"
    assert report_of(job, topics, logged).wrong == {}
    for again in (topics.samples[at], spoil(topics.samples[at], pos=77), without_bytes(topics.samples[at])):
        topics.samples.append(again)
        assert report_of(job, topics, logged).wrong == {"doubled": 1}
        topics.samples.pop()


def without_bytes(record: Out) -> Out:
    return replace(record, value=b"")

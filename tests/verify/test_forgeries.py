"""Samples whose bytes are right, or whose headers excuse what is wrong in them: a claim is believed only if it can be
so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from samplejoin.verify.job_versions import refuse_edited, refuse_foreign
from samplejoin.verify.kafka import VerifyError
from samplejoin.verify.report import Report
from tests.verify.support import Out, Topics, corrected, end, feed, header, job_of, spoil, verify, written

WRONG_LABEL = {"clicks": 0, "label": 0}


def at_pos(topics: Topics, pos: int) -> int:
    return next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["pos"] == pos)


def forged(change: Any, **options: Any) -> Report:
    """The report where the sample of a user with a click was changed."""
    job = job_of(**options)
    topics = written(job, end(feed()))
    at = at_pos(topics, 9)
    topics.samples[at] = change(topics.samples[at])
    return verify(job, topics)


def without_header(record: Out, name: str) -> Out:
    return replace(record, headers=tuple((n, v) for n, v in record.headers if n != name))


def more(record: Out, *headers: tuple[str, Any]) -> Out:
    return replace(record, headers=(*record.headers, *headers))


@pytest.mark.rule(6)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: replace(s, partition=1 - s.partition), "partition"),
        (lambda s: more(s, ("previous_weight", b"1.0")), "previous_weight"),
        (lambda s: header(s, "fingerprint", b"0" * 16), "fingerprint"),
        (lambda s: header(s, "complete", b"false:click"), "complete"),  # the job has no max_wait
        (lambda s: header(s, "complete", b"maybe"), "complete"),
        (lambda s: header(s, "truncated", b"true"), "truncated"),  # its limits hold all rows
        (lambda s: header(s, "truncated", b"True"), "truncated"),
        (lambda s: header(s, "weight", b"1"), "weight"),
        (lambda s: header(s, "revision", b"00"), "revision"),
        (lambda s: header(s, "revision", b"-1"), "revision"),
        (lambda s: header(s, "revision", b"9" * 5000), "revision"),
        (lambda s: corrected(s, 3), "revision"),
        (lambda s: more(s, ("note", b"hello")), "note"),
        (lambda s: more(s, ("weight", b"1.0")), "weight"),
        (lambda s: header(s, "job", None), "job"),
        (lambda s: header(s, "fingerprint", None), "fingerprint"),
        *[(lambda s, name=name: without_header(s, name), name)
          for name in ("revision", "complete", "truncated", "weight", "job", "fingerprint")],
    ],
)  # fmt: skip
def test_a_right_sample_with_wrong_headers_or_in_another_partition(change, named):
    report = forged(change)
    cls = "wrong_weight" if report.wrong.get("wrong_weight") else "wrong_header"
    assert report.wrong == {cls: 1}, report.as_dict()
    assert report.errors[0].fields == [named]


@pytest.mark.rule(6, 8, 11)
@pytest.mark.parametrize(("name", "value"), [("complete", b"false:click"), ("truncated", b"true")])
def test_a_claim_that_cannot_be_so_excuses_nothing(name, value):
    report = forged(lambda s: header(spoil(s, **WRONG_LABEL), name, value))
    assert (report.wrong, report.exempt) == ({"wrong_label": 1}, 0)
    assert report.errors[0].fields == ["clicks", "label", name]


@pytest.mark.rule(6, 8)
@pytest.mark.parametrize("streams", ["shop", "click,show", "click,click", ""])
def test_only_streams_of_the_job_can_be_left_out(streams):
    change = lambda s: header(spoil(s, **WRONG_LABEL), "complete", f"false:{streams}".encode())  # noqa: E731
    assert forged(change, max_wait="1m").wrong == {"wrong_label": 1}


@pytest.mark.rule(6, 8)
def test_with_max_wait_a_sample_can_lack_a_stream():
    report = forged(lambda s: header(spoil(s, **WRONG_LABEL), "complete", b"false:click"), max_wait="1m")
    assert report.ok, report.as_dict()
    assert (report.exempt_reasons, report.right) == ({"complete: false": 1}, 59)


@pytest.mark.parametrize("key", [b'["u10"]', b'["nobody"]', b"", b"\xff", b'["\xed\xa0\xbd"]'])
def test_another_message_key(key):
    report = forged(lambda s: replace(s, key=key))
    assert report.wrong == {"lost": 1, "unexplained": 1}


@pytest.mark.parametrize("id_", [b"f" * 32, b"", b"\xff", None])
def test_another_id(id_):
    assert forged(lambda s: header(s, "sample_id", id_)).wrong == {"lost": 1, "unexplained": 1}


@pytest.mark.rule(14)
@pytest.mark.parametrize("weight", [b"1.0", b"abc", b"nan", b"2", b"-2.0", None])
def test_wrong_weights(weight):
    job = job_of(keep_negatives=0.5)
    topics = written(job, end(feed()))
    at = next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["label"] == 0)
    topics.samples[at] = header(topics.samples[at], "weight", weight)
    report = verify(job, topics)
    assert sum(report.wrong.values()) == 1, report.wrong
    assert report.errors[0].fields == ["weight"]


@pytest.mark.rule(5)
@pytest.mark.parametrize("previous", [b"0.0", b"2.0", b"1", b"x"])
def test_the_previous_weight_is_that_of_the_sample_before(previous):
    job = job_of(late="correct", correction="60s")
    topics = written(job, end(feed()))
    at = at_pos(topics, 9)
    topics.samples.append(corrected(topics.samples[at]))
    assert verify(job, topics).ok
    topics.samples[-1] = corrected(topics.samples[at], previous_weight=previous)
    report = verify(job, topics)
    assert (report.wrong, report.errors[0].fields) == ({"wrong_header": 1}, ["previous_weight"])
    kept = topics.samples.pop(at)
    topics.samples[-1] = corrected(kept, previous_weight=b"0.0")
    report = verify(job, topics)
    assert (report.wrong, report.errors[0].fields) == ({"wrong_header": 1}, ["revision"]), "nothing went out before"
    sample_id = dict(kept.headers)["sample_id"]
    topics.letters.append(Out(kept.key, b"", (("samplejoin.sample_id", sample_id),)))
    assert "wrong_header" not in verify(job, topics).wrong, "the sample before may be that dead letter"


def test_an_edited_job_is_said_first_of_all():
    was, now = job_of(), job_of(window="30s", keep_negatives=0.5)
    refuse_edited(was.fingerprint, {was.fingerprint})
    with pytest.raises(VerifyError) as refused:
        refuse_edited(now.fingerprint, {was.fingerprint})
    assert str(refused.value).startswith(
        "the samples were made by another version of the job; edited since: keep_negatives, window. "
    )
    topics = written(was, end(feed()))
    report = verify(now, topics)
    assert report.first_of_all[0] == "60 of 60 samples were made by another version of the job"
    assert not report.judged
    with pytest.raises(VerifyError, match="made by another version of the job: their fingerprints are "):
        refuse_foreign(now.fingerprint, report.versions)
    refuse_foreign(was.fingerprint, report.versions)
    refuse_foreign(now.fingerprint, {})


def test_samples_of_before_a_reset_are_left_out_and_a_forged_fingerprint_behind_it_is_not():
    was, now = job_of(label="clicks > 1"), job_of()
    topics = written(now, end(feed()))
    former = written(was, end(feed())).samples
    mixed = replace(topics, samples=former + topics.samples)
    report = verify(now, mixed)
    assert (report.wrong, report.other_versions, report.right) == ({}, len(former), verify(now, topics).right)
    mixed.samples[-1] = header(mixed.samples[-1], "fingerprint", b"0" * 16)
    assert verify(now, mixed).wrong == {"wrong_header": 1}


@pytest.mark.parametrize("label", [{}, {"label": 9}])
def test_windows_with_samples_of_another_version_only_are_not_called_right(label):
    """Where the present run began is not known, so such a sample is not lost; nor has anybody looked at it."""
    job = job_of()
    topics = written(job, end(feed()))
    forged = [header(spoil(sample, **label), "fingerprint", b"0" * 16) for sample in topics.samples]
    few = verify(job, replace(topics, samples=forged[:6] + topics.samples[6:]))
    assert (few.ok, few.former, few.right) == (True, 6, 54)
    assert few.verdict == (
        "ok: nothing is lost, doubled or wrong in 54 windows; not judged: 6 of 60 windows have only samples of "
        "another version of the job"
    )
    report = verify(job, replace(topics, samples=forged))
    assert (report.ok, report.judged, report.former, report.wrong) == (False, False, 60, {})
    assert report.verdict.startswith("NOT JUDGED: 60 of 60 windows have only samples of another version of the job")

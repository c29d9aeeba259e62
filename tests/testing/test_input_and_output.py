"""What a test sends and gets."""

from __future__ import annotations

import pytest

from samplejoin.job.errors import JobError
from samplejoin.testing import FinishedSample, JobTest
from tests.job.helpers import TEXT, job_data, write
from tests.testing.jobs import JOINED, MINUTE, T, clicked, kit_of, shown

FUNCTIONS = """
def clean(record):
    return None if record.get("bot") else {**record, "share": 1 / record["pos"]}

def text(sample):
    return None if sample["clicks"] > 2 else f"{sample['uid']}:{sample['clicks']}"

def fail(sample):
    raise ValueError("no")
"""


@pytest.mark.rule(1, 2)
def test_five_lines():
    job = JobTest(job_data())
    job.send("click", {"uid": "u", "mid": 1, "ts": T + 5000})
    job.send("impression", {"uid": "u", "mid": 1, "ts": T, "pos": 3})
    assert job.finish() == [JOINED]


def test_what_a_sample_tells():
    job = kit_of()
    shown(job)
    clicked(job)
    job.finish()
    (sample,) = job.samples
    assert isinstance(sample, FinishedSample)
    assert (sample.body, sample.key, sample.window_ms) == (JOINED, ["u", 1], T)
    assert (sample.revision, sample.weight, sample.previous_weight) == (0, 1.0, None)
    assert (sample.complete, sample.missing, sample.truncated) == (True, (), False)
    assert sample.value == b'{"uid":"u","mid":1,"pos":3,"clicks":1,"label":1}'
    assert len(sample.sample_id) == 32


def test_samples_come_by_time_and_key():
    job = kit_of()
    for uid, ts in (("b", T), ("a", T + 3000), ("c", T), ("a", T - 10 * MINUTE * 60)):
        shown(job, uid, ts)
    assert [body["uid"] for body in job.finish()] == ["a", "b", "c", "a"]


def test_a_job_file_with_functions(tmp_path):
    text = TEXT.replace("topic: imp,", "topic: imp, clean: 'functions:clean',") + "format: functions:text\n"
    job = JobTest(write(tmp_path, text, FUNCTIONS), {"sample.share": "impression.share"})
    shown(job, "one")
    shown(job, "bot", bot=True)
    shown(job, "bad", pos=0)
    shown(job, "many")
    for _ in range(3):
        clicked(job, "many")
    assert job.finish() == [b"one:0"]
    (letter,) = job.dead_letters
    assert (letter.reason, letter.function, letter.stream, letter.source) == (
        "clean",
        "functions:clean",
        "impression",
        "imp/0/2",
    )
    assert letter.error == "ZeroDivisionError: division by zero"
    assert b'"bad"' in letter.value
    assert job.counts["events", "impression", "filtered"] == 1
    assert job.counts["samples", "filtered"] == 1
    assert "1 dead letters, the first one clean functions:clean: ZeroDivisionError" in repr(job)


@pytest.mark.rule(12)
def test_a_format_that_fails(tmp_path):
    job = JobTest(write(tmp_path, TEXT + "format: functions:fail\n", FUNCTIONS))
    shown(job)
    assert job.finish() == []
    (letter,) = job.dead_letters
    assert (letter.reason, letter.source, letter.stream) == ("format", "", "")
    assert "ValueError" in letter.error


def test_overrides_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLEJOIN_WINDOW", "1s")
    assert JobTest(write(tmp_path)).job.model.window_ms == 20 * MINUTE
    assert JobTest(write(tmp_path), ["window=2m"]).job.model.window_ms == 2 * MINUTE
    assert JobTest(write(tmp_path), environ={"SAMPLEJOIN_WINDOW": "3m"}).job.model.window_ms == 3 * MINUTE
    with pytest.raises(JobError, match="has no unit"):
        JobTest(write(tmp_path), {"window": "20"})


def test_inputs_are_encoded_as_their_stream_decodes():
    job = kit_of(streams__click__decode="csv", streams__click__columns=["uid", "mid", "ts"], key=["uid"])
    job.send("impression", f'{{"uid": "u", "ts": {T}}}')
    job.send("click", {"uid": "u", "mid": 1, "ts": T + 1})
    job.send("click", b"u,1,%d" % T)
    job.send("click", None)
    assert job.finish() == [{"uid": "u", "pos": None, "clicks": 2, "label": 1}]
    assert job.dead_letters == []
    assert job.counts["events", "click", "filtered"] == 1


def test_raw_records_have_key_headers_and_time():
    job = kit_of(
        streams__click__decode="raw", streams__click__time="@timestamp", key=["timestamp"],
        streams__impression__time="timestamp", before="1s",
    )  # fmt: skip
    job.send("impression", {"timestamp": T, "pos": 1})
    job.send("click", b"x", key=b"k", headers={"h": b"v"}, timestamp_ms=T)
    assert job.finish() == [{"timestamp": T, "pos": 1, "clicks": 1, "label": 1}]


def test_wrong_use():
    job = kit_of()
    with pytest.raises(ValueError, match="no stream is called 'clik'; there are impression, click"):
        job.send("clik", {})
    with pytest.raises(ValueError, match="topic clk has no partition 1"):
        job.send("click", {}, partition=1)
    with pytest.raises(ValueError, match="does not read topic 'imp'"):
        job.send("click", {}, topic="imp")
    with pytest.raises(ValueError, match="'20' is not a valid duration"):
        job.advance("20")
    job.finish()
    with pytest.raises(RuntimeError, match="input has ended"):
        clicked(job)


def test_topics_and_partitions():
    job = kit_of(kit={"topic_partitions": 3}, streams__click__topic=None, streams__click__topics=["clk", "web"])
    shown(job)
    for topic in ("clk", "web"):
        for partition in range(3):
            job.send("click", {"uid": "u", "mid": 1, "ts": T}, topic=topic, partition=partition)
    assert job.finish()[0]["clicks"] == 6

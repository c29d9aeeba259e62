"""The test kit itself: what it shows, how time passes, what a crash takes back."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
from click.testing import CliRunner

from samplejoin.commands.init import init
from samplejoin.core.partition import Partition
from samplejoin.engine import failpoints
from samplejoin.engine.transaction import CommitFailed
from samplejoin.job.errors import JobError
from samplejoin.testing import DeadLettersWarning, FinishedSample, JobTest
from tests.job.helpers import TEXT, job_data, write

T = 1_735_689_600_000
MINUTE = 60_000

FUNCTIONS = """
def clean(record):
    return None if record.get("bot") else {**record, "share": 1 / record["pos"]}

def text(sample):
    return None if sample["clicks"] > 2 else f"{sample['uid']}:{sample['clicks']}"

def fail(sample):
    raise ValueError("no")
"""


def kit_of(*, kit: dict[str, Any] | None = None, **changes: Any) -> JobTest:
    return JobTest(job_data(**changes), **(kit or {}))


def shown(job: JobTest, uid: Any = "u", ts: int = T, **values: Any) -> None:
    job.send("impression", {"uid": uid, "mid": 1, "ts": ts, "pos": 3, **values})


def clicked(job: JobTest, uid: Any = "u", ts: int = T + 5000, **values: Any) -> None:
    job.send("click", {"uid": uid, "mid": 1, "ts": ts, **values})


def bodies(job: JobTest) -> list[Any]:
    return [sample.body for sample in job.samples]


JOINED = {"uid": "u", "mid": 1, "pos": 3, "clicks": 1, "label": 1}


# ---- input and output -----------------------------------------------------------------------------------------------


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


# ---- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule(1, 8, 15)
def test_windows_close_when_time_passes():
    job = kit_of(lateness="30s")
    shown(job)
    job.advance("20m")
    assert job.samples == []
    clicked(job, ts=T + 20 * MINUTE - 1)
    job.advance("30s")
    assert job.samples == []
    job.advance("10s")
    assert bodies(job) == [JOINED]
    assert job.now_ms == T + 20 * MINUTE + 40_000
    assert job.finish() == [JOINED]
    assert job.counts["samples", "positive"] == 1


@pytest.mark.rule(4, 5, 15)
def test_orphans_and_late_rows():
    job = kit_of()
    shown(job)
    clicked(job, ts=T + 20 * MINUTE)
    job.advance("25m")
    assert bodies(job) == [{**JOINED, "clicks": 0, "label": 0}]
    assert [(row["kind"], row["stream"], row["key"]) for row in job.orphans] == [("orphan", "click", ["u", 1])]
    clicked(job)
    shown(job, "v", ts=T + 1)
    assert [(row["kind"], row["stream"]) for row in job.late] == [("late", "click"), ("late", "impression")]
    assert job.counts["late_rows", "impression"] == 1


@pytest.mark.rule(5)
def test_corrections():
    job = kit_of(late="correct", correction="1h")
    shown(job)
    job.advance("25m")
    clicked(job)
    job.advance("2s")
    assert [(s.revision, s.body["clicks"], s.previous_weight) for s in job.samples] == [(0, 0, None), (1, 1, 1.0)]
    job.crash(lose_disk=True)  # a revision is committed at once
    assert len(job.samples) == 2


@pytest.mark.rule(8)
def test_a_stream_that_holds():
    job = kit_of(streams__click__idle="hold")
    shown(job)
    clicked(job)
    job.advance("2h")
    assert job.samples == []
    assert job.finish() == [JOINED]


@pytest.mark.rule(8)
def test_max_wait():
    job = kit_of(streams__click__idle="hold", max_wait="1m", window="2m")
    shown(job)
    clicked(job)
    for minute in range(1, 6):
        shown(job, "other", ts=T + minute * MINUTE)
        job.advance("20s")
    (sample,) = (s for s in job.samples if s.key == ["u", 1])
    assert (sample.complete, sample.missing) == (False, ("click",))


@pytest.mark.rule(9)
def test_the_future():
    job = kit_of()
    shown(job)
    job.send("click", {"uid": "u", "mid": 1, "ts": 4_070_908_800_000}, timestamp_ms=job.now_ms)
    job.send("click", {"uid": "u", "mid": 1, "ts": T + 60_000}, timestamp_ms=job.now_ms)
    assert [letter.reason for letter in job.dead_letters] == ["future"]
    assert job.now_ms == T
    assert job.finish() == [JOINED]


def test_a_clock_of_its_own():
    job = kit_of(kit={"now": "2025-01-01T00:00:00Z"})
    assert job.now_ms == T
    shown(job, ts=T + 61_000)
    shown(job, ts=T + 60_000)
    assert [letter.reason for letter in job.dead_letters] == ["future"]
    job.advance("1m")
    assert job.now_ms == T + 60_000


@pytest.mark.rule(8)
def test_processing_time():
    job = kit_of(clock="processing", streams__impression__time=None, streams__click__time=None, kit={"now": T})
    clicked(job)
    job.advance("5s")
    shown(job)
    job.advance("19m")
    shown(job, "v")
    job.advance("2m")
    assert [(s.body["uid"], s.body["clicks"]) for s in job.samples] == [("u", 1)]
    assert [body["uid"] for body in job.finish()] == ["u", "v"]


def test_start():
    job = kit_of(start="2025-01-01T00:00:00Z")
    shown(job, "old", ts=T - 1)
    shown(job)
    assert [body["uid"] for body in job.finish()] == ["u"]
    assert job.counts["events", "impression", "before_start"] == 1


# ---- commits and crashes --------------------------------------------------------------------------------------------


@pytest.mark.rule(7, 16)
@pytest.mark.parametrize("lose_disk", [False, True])
@pytest.mark.parametrize("sources", [False, True])
@pytest.mark.parametrize("joins", [False, True])
def test_a_crash_between_the_rows_of_a_sample(lose_disk, sources, joins):
    job = kit_of()
    shown(job)
    job.commit(sources=sources, joins=joins)
    clicked(job)
    job.crash(lose_disk=lose_disk)
    clicked(job, ts=T + 6000)
    assert job.finish() == [{**JOINED, "clicks": 2}]
    job.crash(lose_disk=lose_disk)
    assert job.finish() == [{**JOINED, "clicks": 2}]


@pytest.mark.rule(16)
def test_what_was_not_committed_was_never_there():
    job = kit_of()
    shown(job)
    job.commit()
    job.advance("25m")
    before = job.samples
    assert len(before) == 1
    for join in job._joins:
        join.log.clear()  # the log is Kafka's, and stays; without it nothing can be made again
    job.crash()
    assert job.samples == []


@pytest.fixture
def failpoint():
    yield failpoints.arm
    failpoints.disarm()


@pytest.mark.rule(16)
@pytest.mark.parametrize("place", ["commit-taken", "commit-storing"])
def test_nothing_is_committed_after_a_failure(failpoint, place):
    """What was taken for a commit that failed is not in the next one: that would be a position without its keys."""
    job = kit_of()
    for i in range(20):
        shown(job, f"u{i}")
    failpoint(f"{place}:raise")
    with pytest.raises(failpoints.FailpointError):
        job.commit()
    for _ in range(2):
        with pytest.raises(CommitFailed, match=r"has failed before; after crash\(\)"):
            job.commit()
    job.crash()
    assert len(job.finish()) == 20


@pytest.mark.rule(16)
def test_nothing_is_committed_after_a_step_that_failed(monkeypatch):
    """Part of a block may be merged, and its offsets count as covered."""
    job = kit_of()
    shown(job)

    def broken(*_):
        raise RuntimeError("in the middle of it")

    with monkeypatch.context() as patch:
        patch.setattr(Partition, "sweep", broken)
        with pytest.raises(RuntimeError):
            job.commit()
    with pytest.raises(CommitFailed):
        job.commit()
    job.crash()
    assert len(job.finish()) == 1


@pytest.mark.rule(6, 16)
def test_a_crash_makes_the_same_samples_again():
    job = kit_of()
    for i in range(20):
        shown(job, f"u{i}", ts=T + i * 500)
        clicked(job, f"u{i}")
    job.advance("25m")
    before = job.samples
    job.crash()
    assert job.samples == before
    job.commit()
    job.crash(lose_disk=True)
    assert job.samples == before
    assert len(job.finish()) == 20


@pytest.mark.rule(12)
def test_a_dead_letter_is_there_at_least_once():
    job = kit_of()
    job.send("click", b"{")
    assert len(job.dead_letters) == 1
    job.crash()
    assert [letter.source for letter in job.dead_letters] == ["clk/0/0", "clk/0/0"]
    job.commit()
    job.crash()
    assert len(job.dead_letters) == 2


@pytest.mark.rule(7, 11)
@pytest.mark.parametrize("in_flight", [1, 3, 50_000])
@pytest.mark.parametrize("combine", [False, True])
def test_combined_or_not(in_flight, combine):
    job = kit_of(max_in_flight=in_flight, combine=combine)
    shown(job)
    for i in range(50):
        clicked(job, ts=T + i * 10)
    assert job.finish() == [{**JOINED, "clicks": 50}]


def test_a_test_gives_the_same_every_time():
    def once() -> list[Any]:
        job = kit_of(repeat="each", kit={"topic_partitions": 2})
        for i in range(30):
            shown(job, f"u{i % 7}", ts=T + i * 700)
            clicked(job, f"u{i % 5}", ts=T + i * 900)
            if i % 10 == 0:
                job.crash()
        job.finish()
        return [job.samples, job.orphans, sorted(job.counts.items(), key=repr)]

    assert once() == once()


# ---- the project of `samplejoin init` -------------------------------------------------------------------------------


def test_a_new_project_passes_its_own_tests(tmp_path):
    made = CliRunner().invoke(init, ["feed", "--into", str(tmp_path)])
    assert made.exit_code == 0, made.output
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    done = subprocess.run(command, cwd=tmp_path / "feed", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_test_kit_loads_neither_faust_nor_rocksdb():
    code = "import samplejoin.testing, sys; print(sorted({'faust', 'rocksdict', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_sum_beyond_64_bits_is_exact(form):
    job = kit_of(sample={"total": {"from": "click.n", "agg": "sum"}}, label="total > 0", format=form)
    for uid, number in (("big", 18446744073709551615), ("fine", 7)):
        shown(job, uid)
        clicked(job, uid, n=number)
        clicked(job, uid, ts=T + 6000, n=number)
    job.finish()
    big, fine = sorted((sample.value for sample in job.samples), key=len, reverse=True)
    assert b"36893488147419103230" in big
    assert b"14" in fine
    assert not job.dead_letters


def typo_in_clean(record: dict[str, Any]) -> dict[str, Any]:
    return {"uid": record["uidd"]}


def test_finish_warns_once_of_dead_letters_that_nobody_has_looked_at():
    streams = {
        "impression": {"role": "anchor", "topic": "i", "time": "ts", "clean": f"{__name__}:typo_in_clean"},
        "click": {"role": "label", "topic": "c", "time": "ts"},
    }
    job = {"name": "typo", "streams": streams, "key": ["uid"], "window": "10s", "sample": {}}
    test = JobTest(job)
    for _ in range(2):
        test.send("impression", {"uid": "u1", "ts": T})
    with pytest.warns(DeadLettersWarning) as said:
        assert test.finish() == []
    assert len(said) == 1
    assert said[0].filename == __file__
    assert str(said[0].message) == (
        f"2 dead letters that the test has not looked at: 2 clean {__name__}:typo_in_clean; the last one says "
        "KeyError: 'uidd'. All are in `dead_letters`"
    )
    looked_at = JobTest(job)
    looked_at.send("impression", {"uid": "u1", "ts": T})
    assert len(looked_at.dead_letters) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert test.finish() == looked_at.finish() == []


def test_csv_samples_are_bytes_and_dicts_under_another_format():
    streams = {
        "impression": {"role": "anchor", "topic": "i", "time": "ts"},
        "click": {"role": "label", "topic": "c", "time": "ts"},
    }
    job = {"name": "csv", "streams": streams, "key": ["uid"], "window": "10s", "sample": {}, "format": "csv"}
    for sets, expected in (({}, b"u1,0"), ({"format": "json"}, {"uid": "u1", "label": 0})):
        test = JobTest(job, sets)
        test.send("impression", {"uid": "u1", "ts": T})
        assert test.finish() == [expected]

"""Time in the hands of a test (rules 1, 4, 5, 8, 9)."""

from __future__ import annotations

from typing import Any

import pytest

from samplejoin.testing import JobTest
from tests.testing.jobs import JOINED, MINUTE, T, clicked, kit_of, shown


def bodies(job: JobTest) -> list[Any]:
    return [sample.body for sample in job.samples]


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

"""Unexpected values cost a line of the report, never a traceback; and a hot key costs what its rows cost."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from samplejoin.cli import main
from samplejoin.commands import verify as command
from samplejoin.core.identity import source_id
from samplejoin.verify.context import time_text
from samplejoin.verify.render import text_of
from tests.job.helpers import write
from tests.verify.support import (
    START_MS,
    Out,
    Topics,
    end,
    feed,
    job_of,
    letter_record,
    side_record,
    verify,
    written,
)

HUGE = "9" * 5000


def side(body: Any) -> Out:
    return Out(b'["u9"]', body if isinstance(body, bytes) else orjson.dumps(body), ())


@pytest.mark.parametrize(
    "record",
    [
        side(b""), side(b"[1]"), side(b"\xff"), side(None), side({}),
        side({"stream": ["click"], "slice_ms": 1, "rows": 1, "source": None}),
        side({"stream": "click", "slice_ms": "1", "rows": 1, "source": None}),
        side({"stream": "click", "slice_ms": 1.5, "rows": 1, "source": ["clicks/0", 1]}),
        side({"stream": "click", "slice_ms": 2**63, "rows": 1, "source": [[], {}]}),
        side({"stream": "click", "slice_ms": 1, "rows": -4, "source": "clicks/0/x"}),
        side({"stream": "click", "slice_ms": 1, "rows": 2**64 - 1, "source": "clicks/0/0"}),
    ],
)  # fmt: skip
def test_side_rows_of_any_form(record):
    job = job_of()
    topics = written(job, end(feed()))
    topics.late.append(record)
    topics.orphan.append(record)
    report = verify(job, topics)
    assert set(report.wrong) <= {"late_unexplained", "orphans_unexplained"}
    assert report.wrong["late_unexplained"] >= 1
    assert text_of(report)


@pytest.mark.parametrize(
    "place", ["²/²/²", "shows/0/²", f"shows/0/{HUGE}", "/", "", "a/b", f"shows/{HUGE}/1", "shows/0/0"]
)
def test_dead_letters_of_any_place(place):
    job = job_of()
    topics = written(job, end(feed()))
    for latest in ("0", "٣", HUGE):
        letter = letter_record(place, "show", "future")
        odd = ("samplejoin.latest_ms", latest.encode())
        topics.letters.append(replace(letter, headers=(*letter.headers, odd)))
    report = verify(job, topics)
    assert text_of(report)


@pytest.mark.parametrize("revision", [b"9" * 5000, "²".encode(), b"1e3", None])
@pytest.mark.parametrize("weight", [b"9" * 5000, b"\xff", None])
def test_headers_of_any_form(revision, weight):
    job = job_of()
    topics = written(job, end(feed()))
    headers = {**dict(topics.samples[5].headers), "revision": revision, "weight": weight}
    topics.samples[5] = replace(topics.samples[5], headers=tuple(headers.items()))
    report = verify(job, topics)
    assert sum(report.wrong.values()) == 1
    assert text_of(report)


def test_times_beyond_the_calendar():
    """A broker's timestamps can be anything, microseconds for instance."""
    assert time_text(START_MS) == "2023-11-14T22:13:20.000Z"
    assert time_text(START_MS * 1000) == f"{START_MS * 1000} ms"
    assert time_text(-(1 << 62)) == f"{-(1 << 62)} ms"


def test_half_an_emoji_is_printed(tmp_path, monkeypatch):
    job = job_of()
    topics = written(job, end(feed()))
    topics.samples.append(replace(topics.samples[0], key=b'["\\ud83d"]', value=b'{"a": "\\ud83d", "n": 1e400}'))
    report = verify(job, topics)
    assert report.errors[0].key == ["\ud83d"]

    async def made(*_):
        return report

    monkeypatch.setattr(command, "_run", made)
    for output in ("text", "json"):
        result = CliRunner().invoke(main, ["verify", str(write(tmp_path)), "-o", output])
        assert (result.exit_code, type(result.exception)) == (1, SystemExit)
        assert "\\ud83d" in result.output
    assert json.loads(result.output)["unexplained"] == 1


def hot(impressions: int) -> int:
    """Lines of Python that it takes to judge one key with so many impressions, clicks, late rows and wrong samples."""
    job = job_of(repeat="each", guarantee="at_least_once", limits={"rows": 10})
    topics = Topics()
    for i in range(impressions):
        ts = START_MS + i * 1000
        topics.send("shows", {"user": "hot", "ts": ts, "pos": i})
        topics.send("clicks", {"user": "hot", "ts": ts + 500})
    written(job, end(topics, impressions * 1000 + 60_000))
    for i in range(impressions):
        topics.late.append(
            side_record(job, "late", b'["hot"]', "click", START_MS + i * 1000, [source_id("clicks", 0), i])
        )
        topics.orphan.append(side_record(job, "orphan", b'["hot"]', "click", START_MS + i * 1000))
        topics.letters.append(Out(b'["hot"]', b"", (("samplejoin.sample_id", b"%d" % i),)))
    del topics.samples[::2]
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        verify(job, topics, bucket_bytes=1000)
    finally:
        sys.settrace(None)
    return lines


def test_a_hot_key_costs_what_its_rows_cost():
    once, twice = hot(100), hot(200)
    assert twice < 2.3 * once

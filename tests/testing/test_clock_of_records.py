"""Which records move the clock: those whose time can be read, whatever becomes of them then (rules 8, 9, 12, 13)."""

from __future__ import annotations

from typing import Any

import pytest

from samplejoin.testing import JobTest

NOON = 1_769_860_800_000
HOUR = 3_600_000
LATER = NOON + HOUR
STREAM = {"clean": "tests.testing.rows:picky", "idle": "hold"}


def job_of(time: str) -> JobTest:
    """Both streams hold the clock when they are silent."""
    streams = {
        "show": {"role": "anchor", "topic": "shows", "time": time, **STREAM},
        "click": {"role": "label", "topic": "clicks", "time": time, **STREAM},
    }
    data = {"name": "clock", "streams": streams, "key": ["user"], "window": "20s", "lateness": "0s"}
    return JobTest({**data, "sample": {"clicks": {"from": "click", "agg": "count"}}}, now=LATER)


MOVES: list[tuple[Any, bool]] = [
    ({"user": "v", "ts": LATER}, True),
    ({"user": None, "ts": LATER}, True),  # no key
    ({"user": 1000.0, "ts": LATER}, True),  # a number with a fraction is no key: a dead letter
    ({"user": "v", "ts": LATER, "drop": 1}, True),  # filtered
    ({"user": "v", "ts": LATER, "fail": 1}, True),  # cleaning raises
    (None, False),  # a tombstone
    (b"", False),
    (b"{", False),
    (b"\xff", False),
]
READABLE = [(b"5", False), (b"null", False), (b'"x"', False), (b"[1]", False), ({"user": "v"}, False),
            ({"user": "v", "ts": "soon"}, False), ({"user": "v", "ts": LATER + HOUR}, False)]  # fmt: skip


def is_out(job: JobTest, record: Any) -> bool:
    """Whether the first sample goes out after such a record in both streams."""
    job.send("show", {"user": "u", "ts": NOON}, timestamp_ms=NOON)
    job.send("click", {"user": "u", "ts": NOON}, timestamp_ms=NOON)
    for stream in ("show", "click"):
        job.send(stream, record, timestamp_ms=LATER)
    job.advance("1s")
    return bool(job.samples)


@pytest.mark.rule(8, 9, 12, 13)
@pytest.mark.parametrize(("record", "moves"), MOVES + READABLE)
def test_a_record_moves_the_clock_if_its_time_can_be_read(record, moves):
    assert is_out(job_of("ts"), record) is moves


@pytest.mark.rule(8, 9, 12, 13)
@pytest.mark.parametrize(("record", "moves"), MOVES)
def test_a_record_that_cannot_be_decoded_has_no_time_either(record, moves):
    """Also where the time is the Kafka record's own."""
    assert is_out(job_of("@timestamp"), record) is moves

"""The worker's cleaner finds fields that no row has, and leaves the plain way as soon as it can."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samplejoin.cleaning.missing_fields import FIRST_ROWS, WatchingCleaner
from samplejoin.cleaning.running_call import RunningCall
from samplejoin.engine.wire import pack_cell
from samplejoin.job.compile import compile_job
from tests.cleaning.cleaners import NOW, Record
from tests.job.helpers import model


class Cleaning:
    """A worker's cleaner, and what it has said of fields."""

    def __init__(self, **changes: Any) -> None:
        self.said: list[tuple[str, str, str]] = []
        job = compile_job(model(**changes), ".")
        self.cleaner = WatchingCleaner(job, RunningCall(), pack_cell, lambda *said: self.said.append(said))

    def clean(self, rows: int, topic: str = "imp", **row: Any) -> int:
        """So many records like this one; how many rows they became."""
        value = json.dumps({"uid": "u", "mid": "m", "ts": NOW, **row}).encode()
        out = self.cleaner.clean(topic, 0, [Record(value) for _ in range(rows)], NOW)
        return sum(count for (_, outcome), count in out.counts.items() if outcome == "ok")


def test_a_field_that_no_row_carries_is_named_once_with_those_they_carry():
    play = Cleaning(sample__place="impression.ctx.positon")
    assert play.clean(FIRST_ROWS - 1, pos=1, ctx={"position": 3}) == FIRST_ROWS - 1
    assert play.said == []
    assert "imp" not in play.cleaner.fast
    play.clean(2, pos=1, ctx={"position": 3})
    ((stream, field, said),) = play.said
    assert (stream, field) == ("impression", "ctx.positon")
    assert said == (
        "sample.place: none of the first 1000 rows of stream impression carries ctx.positon; they carry uid, mid, ts, "
        "pos, ctx.position (did you mean 'ctx.position'?)"
    )
    play.clean(2 * FIRST_ROWS, pos=1)
    assert len(play.said) == 1
    assert "imp" in play.cleaner.fast


def test_a_field_that_is_null_in_every_row_is_named():
    play = Cleaning()
    play.clean(FIRST_ROWS, pos=None)
    assert play.said == [
        ("impression", "pos", "sample.pos: pos is null in the first 1000 rows of stream impression")
    ]  # fmt: skip


def test_rows_that_have_all_fields_go_the_fast_way_at_once():
    play = Cleaning()
    play.clean(1, pos=3)
    assert set(play.cleaner.fast) == {"imp"}
    play.clean(1, "clk")
    assert set(play.cleaner.fast) == {"imp", "clk"}
    assert play.clean(5, pos=4) == 5
    assert play.said == []


@pytest.mark.rule(10)
def test_a_key_and_an_id_that_no_row_carries_are_named_too():
    play = Cleaning(streams__impression__id="request")
    record = Record(json.dumps({"uid": "u", "ts": NOW, "pos": 1}).encode())
    play.cleaner.clean("imp", 0, [record] * FIRST_ROWS, NOW)
    assert [(field, said.split(":")[0]) for _, field, said in play.said] == [
        ("mid", "key"),
        ("request", "streams.impression.id"),
    ]


def test_a_field_that_no_row_of_a_small_stream_has_carried_yet_is_named_once():
    play = Cleaning(sample__place="impression.ctx.positon")
    assert play.cleaner.absent() == []  # no rows: nothing is known
    play.clean(1, pos=None)
    assert play.cleaner.absent() == [
        "sample.place: the first row of stream impression does not carry ctx.positon; it carries uid, mid, ts, pos"
    ]
    play.clean(2, pos=1)
    assert play.cleaner.absent() == []
    assert play.said == []
    more = Cleaning(sample__place="impression.positon")
    more.clean(27, pos=1, position=2)
    assert more.cleaner.absent() == [
        "sample.place: none of the first 27 rows of stream impression carries positon; they carry uid, mid, ts, pos, "
        "position (did you mean 'position'?)"
    ]

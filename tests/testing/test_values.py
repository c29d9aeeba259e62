"""What users' code and producers give that no sample can carry: refused where it arises, the same everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samplejoin.testing import JobTest
from tests.job.helpers import job_data

T = 1_735_689_600_000

FUNCTIONS = """
import json

def lenient(record):
    return json.loads(record.value)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def kit(folder: Any, **changes: Any) -> JobTest:
    return JobTest(job_data(**changes), base_dir=folder)


def shown(job: JobTest, ts: int = T, **values: Any) -> None:
    job.send("impression", json.dumps({"uid": "u", "mid": 1, "ts": ts, "pos": 3, **values}))


def clicked(job: JobTest, ts: int = T + 5000, **values: Any) -> None:
    job.send("click", json.dumps({"uid": "u", "mid": 1, "ts": ts, **values}))


# ---- ids ------------------------------------------------------------------------------------------------------------

NO_IDS = [None, "", 0, "0", float("nan"), -7]


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", NO_IDS)
def test_clicks_with_an_id_that_says_nothing_all_count(folder, id_):
    job = kit(folder, streams__click__id="event", streams__click__decode="functions:lenient", junk_keys=["", "0", -7])
    shown(job)
    for n in range(3):
        clicked(job, T + n * 1000, event=id_)
    assert [sample["clicks"] for sample in job.finish()] == [3]
    assert ("folded_rows", "click") not in job.counts


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", NO_IDS)
def test_impressions_with_an_id_that_says_nothing_are_a_sample_each(folder, id_):
    changes = {"streams__impression__id": "rid", "streams__impression__decode": "functions:lenient"}
    job = kit(folder, **changes, repeat="each", junk_keys=["", "0", -7])
    for n in range(3):
        shown(job, T + n * 1000, rid=id_)
    assert len(job.finish()) == 3


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", ["e", 7, 1.5, True, ["a", 1]])
def test_rows_folded_by_id_are_counted(folder, id_):
    job = kit(folder, streams__click__id="event", streams__impression__id="event", repeat="each")
    for n in range(2):
        shown(job, T + n, event=id_)
    for n in range(3):
        clicked(job, T + n * 1000, event=id_)
    assert [sample["clicks"] for sample in job.finish()] == [1]
    assert job.counts["folded_rows", "click"] == 2
    assert job.counts["folded_rows", "impression"] == 1


# ---- first and last -------------------------------------------------------------------------------------------------


@pytest.mark.rule(2)
@pytest.mark.parametrize("reverse", [False, True])
def test_first_and_last_of_a_label_stream_are_of_the_rows_that_have_the_field(folder, reverse):
    """An action without a dwell says nothing about the dwell; of an impression all fields stem from one row."""
    sample = {f"{agg}_{name}": {"from": f"click.{name}", "agg": agg} for agg in ("first", "last") for name in "ab"}
    sample |= {f"shown_{agg}": {"from": "impression.pos", "agg": agg} for agg in ("first", "last")}
    rows: list[dict[str, Any]] = [{"like": 1}, {"a": 12.5}, {"a": None, "b": ["x"]}, {"a": 9, "b": {"y": 1}}, {}]
    job = kit(folder, sample=sample, label="1")
    sent = [lambda n=n, row=row: clicked(job, T + n * 1000, **row) for n, row in enumerate(rows)]
    sent += [lambda n=n, pos=pos: shown(job, T + n, pos=pos) for n, pos in enumerate([None, 2, None])]
    for send in reversed(sent) if reverse else sent:
        send()
    (body,) = job.finish()
    assert (body["first_a"], body["last_a"]) == (12.5, 9)
    assert (body["first_b"], body["last_b"]) == (["x"], {"y": 1})
    assert (body["shown_first"], body["shown_last"]) == (None, None)

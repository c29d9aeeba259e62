"""Odd input is reported in the log, in `/readyz` and as metrics; times at most once in ten minutes."""

from __future__ import annotations

import logging

import pytest

from samplejoin.worker.input_warnings import SAY_AGAIN_S, InputWatch
from samplejoin.worker.metrics import Metrics

NOW = 1_764_000_000_000


@pytest.fixture
def metrics():
    return Metrics("job", "1")


@pytest.mark.rule(9)
def test_times_in_another_unit_are_said_with_the_unit_that_is_meant(metrics, caplog):
    now = [0.0]
    watch = InputWatch(metrics, {"click": "ms"}, lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(int(2 * SAY_AGAIN_S)):
            watch.time_is_far("click", NOW // 1000, NOW)
            now[0] += 1
    assert len(caplog.records) == 2
    assert "event times of click are 55 years before their records" in caplog.text
    assert "did you mean time_unit: s, not ms?" in caplog.text
    assert watch.warnings() == [caplog.records[-1].getMessage()]
    assert 'samplejoin_far_times_total{pipeline="job",stream="click"} 1200.0' in metrics.text().decode()
    now[0] += SAY_AGAIN_S
    assert watch.warnings() == []


def test_a_null_field_stays_said(metrics, caplog):
    watch = InputWatch(metrics, {})
    watch.field_is_null("click", "dwel", "sample.dwell: …")
    assert watch.warnings() == ["sample.dwell: …"] == [record.getMessage() for record in caplog.records]
    assert 'samplejoin_null_fields{field="dwel",pipeline="job",stream="click"} 1.0' in metrics.text().decode()


@pytest.mark.rule(4)
def test_a_stream_of_orphans_only_is_named(caplog):
    metrics = Metrics("job", "1")
    watch = InputWatch(metrics, {"click": "ms"}, lambda: 1000.0)
    metrics.add("orphan_dropped_rows", ("click",), 99)
    watch.row_is_orphan("click", b'["7"]')
    assert watch.warnings() == [], "a job that has just started"
    metrics.add("orphan_dropped_rows", ("click",), 1)
    metrics.add("samples", ("dead",), 1000)
    metrics.add("samples", ("positive",), 40)
    metrics.add("samples", ("negative",), 59)
    assert watch.warnings() == [], "rows that join are counted with their sample: there are hardly any yet"
    metrics.add("samples", ("negative",), 1)
    (said,) = watch.warnings()
    assert said.startswith(
        'none of the first 100 rows of stream click has joined an impression; keys look like ["7"]: is it the same key'
    )
    watch.log_odd_streams()
    watch.log_odd_streams()
    assert [record.getMessage() for record in caplog.records] == [said]
    metrics.add("joined_rows", ("click",))
    assert watch.warnings() == []


@pytest.mark.rule(10)
def test_a_stream_whose_records_all_give_nothing_is_named(caplog):
    metrics = Metrics("job", "1")
    watch = InputWatch(metrics, {"show": "ms", "click": "ms"}, lambda: 1000.0)
    metrics.add("events", ("show", "ok"), 100)
    metrics.add("events", ("show", "filtered"), 500)
    metrics.add("events", ("click", "filtered"), 99)
    assert watch.warnings() == []
    metrics.add("events", ("click", "filtered"))
    (said,) = watch.warnings()
    assert said.startswith("all of the first 100 records of stream click were filtered: streams.click.clean")
    assert said.endswith("Is a `return` missing?")
    watch.log_odd_streams()
    watch.log_odd_streams()
    assert [record.getMessage() for record in caplog.records] == [said]
    metrics.add("events", ("click", "ok"))
    assert watch.warnings() == []


@pytest.mark.rule(7)
def test_a_stream_of_which_most_rows_have_no_key_is_named():
    metrics = Metrics("job", "1")
    watch = InputWatch(metrics, {"click": "ms"}, lambda: 1000.0)
    metrics.add("events", ("click", "junk_key"), 150)
    metrics.add("events", ("click", "ok"), 150)
    assert watch.warnings() == [], "half of them is what some logs are like"
    metrics.add("events", ("click", "junk_key"))
    (said,) = watch.warnings()
    assert said.startswith("151 rows of stream click had no key, or one of junk_keys, and were dropped; 150 were taken")

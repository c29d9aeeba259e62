"""Functions that fail too often are named, with the share and their last error."""

from __future__ import annotations

import pytest

from samplejoin.core.spec import Stream
from samplejoin.worker.error_ratio import Quality
from samplejoin.worker.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics("job", "1")


@pytest.fixture
def quality(metrics):
    streams = (Stream("show", "anchor", ("shows",)), Stream("click", "label", ("clicks",)))
    return Quality(metrics, 0.05, {"label": "functions:label", "format": "json"}, streams)


@pytest.mark.rule(12)
def test_a_function_that_fails_for_every_sample_is_named(metrics, quality):
    metrics.add("samples", ("dead",), 98)
    metrics.add("samples", ("negative",), 2)
    quality.sample_failed("format", "TypeError: x")
    quality.sample_failed("label", "KeyError: 'price'")
    expected = (
        "samples: 98.0% of the closed windows are dead letters (error_rate: 5.0%), most at label (functions:label); "
        "the last error: KeyError: 'price'"
    )
    assert quality.update() == quality.warnings == [expected]
    assert 'samplejoin_sample_error_ratio{pipeline="job"} 0.98' in metrics.text().decode()
    assert quality.update() == []  # nothing has come since: not said once more
    assert quality.warnings == [expected]


@pytest.mark.rule(12)
def test_samples_over_their_limit_are_named(metrics, quality):
    metrics.add("samples", ("dead",), 1)
    quality.sample_failed("sample_too_large", "sample of 300 bytes is over limits.sample (200 bytes)")
    (said,) = quality.update()
    assert said.endswith(
        "most at sample_too_large; the last error: sample of 300 bytes is over limits.sample (200 bytes)"
    )


@pytest.mark.rule(12)
def test_the_most_frequent_reason_of_a_stream_is_named(metrics, quality):
    metrics.add("records", ("clicks",), 10)
    metrics.add("records", ("shows",), 10)
    for _ in range(9):
        quality.record_failed("click", "clean", "functions:clean_click", "KeyError: 'uid'")
    quality.record_failed("click", "time", "ts", "ValueError: no time field 'ts'")
    (said,) = quality.update()
    assert said.startswith("stream click: 100.0% of its records are dead letters")
    assert said.endswith("most at clean (functions:clean_click); the last error: KeyError: 'uid'")


@pytest.mark.rule(12)
def test_a_function_that_begins_to_fail_after_a_long_time_is_noticed_and_one_that_is_well_again_too(metrics, quality):
    metrics.add("records", ("clicks",), 1_000_000)
    assert quality.update() == []
    for _ in range(20):
        metrics.add("records", ("clicks",), 10)
        quality.update()
    metrics.add("records", ("clicks",), 10)
    for _ in range(10):
        quality.record_failed("click", "clean", "functions:clean_click", "KeyError: 'uid'")
    assert len(quality.update()) == 1
    for _ in range(5):
        metrics.add("records", ("clicks",), 10)
        quality.update()
    assert quality.warnings == []


@pytest.mark.rule(12)
def test_the_share_is_one_of_records_however_many_rows_they_become(metrics, quality):
    """Half of the records fail; the others become a thousand rows each."""
    metrics.add("records", ("clicks",), 10)
    metrics.add("events", ("click", "ok"), 5000)
    metrics.add("events", ("click", "dead_row"), 400)  # rows, of which five records are dead letters
    for _ in range(5):
        quality.record_failed("click", "row", "functions:clean_click", "KeyError: 'uid'")
    assert [said.partition(", most")[0] for said in quality.update()] == [
        "stream click: 50.0% of its records are dead letters (error_rate: 5.0%)"
    ]
    assert 'samplejoin_error_ratio{pipeline="job",stream="click"} 0.5' in metrics.text().decode()

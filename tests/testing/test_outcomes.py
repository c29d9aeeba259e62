"""Every window that is closed has one outcome, and the counts add up to the windows."""

from __future__ import annotations

from typing import Any

import pytest

from samplejoin.testing import JobTest

START = 1_700_000_000_000
OUTCOMES = ("positive", "negative", "filtered", "down-sampled", "dead")


def format_sample(sample: dict[str, Any]) -> dict[str, Any] | None:
    return None if sample["kind"] == "filtered" else sample


def label(sample: dict[str, Any]) -> int:
    if sample["kind"] == "raises":
        raise KeyError("price")
    return int(sample["clicks"] > 0)


def job(**changes: Any) -> dict[str, Any]:
    return {
        "name": "outcomes",
        "brokers": "unused:9092",
        "streams": {
            "impression": {"role": "anchor", "topic": "impressions", "time": "ts"},
            "click": {"role": "label", "topic": "clicks", "time": "ts"},
        },
        "key": ["uid"],
        "window": "10s",
        "sample": {
            "kind": "impression.kind",
            "text": "impression.text",
            "clicks": {"from": "click", "agg": "count"},
        },
        "label": "tests.testing.test_outcomes:label",
        "format": "tests.testing.test_outcomes:format_sample",
        "limits": {"sample": "200B"},
        "outputs": {"samples": "outcomes-samples"},
        **changes,
    }


KINDS = ("plain", "filtered", "raises", "large")


def send_all(test: JobTest) -> int:
    """Impressions of every kind, each third with a click; how many windows they are."""
    for i in range(60):
        kind = KINDS[i % 4]
        text = "x" * (300 if kind == "large" else 3)
        test.send("impression", {"uid": f"u{i}", "ts": START + 100 * i, "kind": kind, "text": text})
        if i % 3 == 0:
            test.send("click", {"uid": f"u{i}", "ts": START + 100 * i + 1000})
    return 60


@pytest.mark.rule(12, 13, 14)
@pytest.mark.parametrize("changes", [
    {}, {"keep_negatives": 0.5}, {"late": "correct", "correction": "1m"}, {"repeat": "each"},
], ids=str)  # fmt: skip
def test_the_outcomes_add_up_to_the_windows(changes):
    test = JobTest(job(**changes))
    sent = send_all(test)
    samples = test.finish()
    by_outcome = {outcome: test.counts["samples", outcome] for outcome in OUTCOMES}
    assert sum(by_outcome.values()) == test.counts["windows"] == sent
    assert by_outcome["positive"] + by_outcome["negative"] == len(samples)
    assert by_outcome["dead"] == len(test.dead_letters)
    assert {letter.reason for letter in test.dead_letters} == {"label", "sample_too_large"}
    assert bool(by_outcome["down-sampled"]) == ("keep_negatives" in changes)


@pytest.mark.rule(5)
def test_a_correction_is_counted_as_one_and_not_as_a_window():
    test = JobTest(job(late="correct", correction="10m"))
    for kind in KINDS:
        text = "x" * (300 if kind == "large" else 3)
        test.send("impression", {"uid": kind, "ts": START, "kind": kind, "text": text})
    test.advance("2m")
    for kind in KINDS:
        test.send("click", {"uid": kind, "ts": START + 1000})
    test.finish()
    assert test.counts["windows"] == sum(test.counts["samples", outcome] for outcome in OUTCOMES) == len(KINDS)
    assert test.counts["late_corrections"] == len(KINDS)
    revisions = {outcome: test.counts["revisions", outcome] for outcome in ("sent", "filtered", "dead")}
    assert revisions == {"sent": 1, "filtered": 1, "dead": 2}

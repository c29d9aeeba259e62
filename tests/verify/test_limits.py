"""Windows that lack labels by `limits` or `max_wait`, and samples that are absent because of it (rules 8, 11)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from samplejoin.job.compile import Job
from samplejoin.verify.report import NOT_THERE
from tests.verify.support import START_MS, Topics, end, header, job_of, spoil, verify
from tests.verify.test_late import log_of, run

pytestmark = pytest.mark.rule(6, 11, 14)


def only_positives(sample: dict[str, Any]) -> dict[str, Any] | None:
    """A format that filters."""
    return sample if sample["label"] else None


def hot_world(**changes: Any) -> tuple[Job, Topics]:
    """60 users, each with five clicks in seconds of their own, of which the limits leave three: no label is 1."""
    job = job_of(limits={"rows": 3}, label="clicks > 3", **changes)
    topics = Topics()
    for i in range(60):
        topics.send("shows", {"user": f"u{i}", "ts": START_MS + i, "pos": i}, i % 2)
    for second in range(1, 6):
        for i in range(60):
            topics.send("clicks", {"user": f"u{i}", "ts": START_MS + i + 1000 * second})
    topics.send("shows", {"user": "calm", "ts": START_MS + 5000, "pos": 99})
    topics.send("clicks", {"user": "calm", "ts": START_MS + 5000})
    run(job, end(topics))
    return job, topics


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize(
    "changes", [{"keep_negatives": 0.5}, {"format": "tests.verify.test_limits:only_positives"}, {}]
)
def test_a_dropped_click_makes_a_negative_that_may_be_gone(changes, logged):
    job, topics = hot_world(**changes)
    report = verify(job, topics, log=log_of(job, topics) if logged else None)
    assert report.ok, report.as_dict()
    assert sum(report.exempt_reasons.values()) == 60
    if changes:
        assert report.exempt_reasons[NOT_THERE] > 15
    else:
        assert report.exempt_reasons == {"truncated: true": 60}


def test_the_log_knows_which_samples_must_be_there():
    """Nothing but the log can tell that a truncated sample was lost, and not down-sampled; or that it was changed."""
    job, topics = hot_world(keep_negatives=0.5)
    gone = topics.samples.pop(0)
    assert dict(gone.headers)["truncated"] == b"true"
    topics.samples[0] = spoil(topics.samples[0], clicks=1)
    assert verify(job, topics).ok
    assert verify(job, topics, log=log_of(job, topics)).wrong == {"lost": 1, "wrong_label": 1}


def test_a_truncated_sample_says_so_and_no_other():
    job, topics = hot_world()
    calm = next(i for i, s in enumerate(topics.samples) if orjson.loads(s.value)["user"] == "calm")
    hot = 0 if calm else 1
    topics.samples[hot] = header(topics.samples[hot], "truncated", b"false")
    topics.samples[calm] = header(topics.samples[calm], "truncated", b"true")
    report = verify(job, topics, log=log_of(job, topics))
    assert report.wrong == {"wrong_label": 1, "wrong_header": 1}
    assert {tuple(e.fields)[-1] for e in report.errors} == {"truncated"}


def test_where_nothing_can_have_been_dropped_a_sample_is_lost():
    job, topics = hot_world(keep_negatives=0.5)
    job = job_of(limits={"rows": 5}, label="clicks > 3", keep_negatives=0.5)
    report = verify(job, topics)
    assert report.lost > 15


def test_with_max_wait_a_negative_may_be_gone_too():
    """Nothing tells but the log, and that is trimmed."""
    job = job_of(max_wait="1m", keep_negatives=0.5, late="count", outputs={})
    topics = Topics()
    for i in range(40):
        topics.send("shows", {"user": f"u{i}", "ts": START_MS + i, "pos": i})
        topics.send("clicks", {"user": f"u{i}", "ts": START_MS + i})
    run(job, end(topics))
    assert verify(job, topics).ok
    del topics.samples[::2]
    report = verify(job, topics)
    assert (report.wrong, report.exempt_reasons) == ({}, {NOT_THERE: 20})
    assert verify(job, topics, log=log_of(job, topics)).wrong == {"lost": 20}

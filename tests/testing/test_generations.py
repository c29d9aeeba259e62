"""Two generations of a job, one until T and one from T on: the orphans are what neither has joined."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import orjson
import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.offline.run import InputRecord, run_offline
from samplejoin.testing import JobTest
from tests.testing.test_outcomes import START, job

CUT = "2023-11-14T22:14:20Z"
CUT_MS = START + 60_000
WINDOW_MS, BEFORE_MS = 10_000, 3_000


def generation(**changes: Any) -> dict[str, Any]:
    return job(
        label="n_clicks > 0", format="json", limits={}, before="3s", lateness="1s",
        sample={"clicks": {"from": "click.n", "agg": "list(20)"}, "n_clicks": {"from": "click", "agg": "count"}},
        outputs={"samples": "s", "orphan": "o", "late": "l"}, late="topic", **changes,
    )  # fmt: skip


def events(seed: int) -> list[tuple[str, dict[str, Any]]]:
    """A minute on both sides of the cut; half of the clicks are of an impression, the others of none."""
    r, made, n = Random(seed), [], 0
    for i in range(400):
        at = START + r.randrange(120_000)
        uid = f"u{i}"
        if r.random() < 0.6:
            made.append(("impression", {"uid": uid, "ts": at, "kind": "", "text": ""}))
        for _ in range(r.randrange(3)):
            n += 1
            made.append(("click", {"uid": uid, "ts": at - BEFORE_MS - 500 + r.randrange(WINDOW_MS + 5_000), "n": n}))
    return sorted(made, key=lambda event: event[1]["ts"] + r.randrange(1000))


def joined(samples: list[dict[str, Any]]) -> set[int]:
    return {n for sample in samples for n in sample["clicks"]}


@pytest.mark.rule(4, 15)
@pytest.mark.parametrize("seed", range(5))
def test_no_generation_calls_an_orphan_what_the_other_has_joined(seed):
    feed = events(seed)
    clicks = {record["n"]: record["ts"] for stream, record in feed if stream == "click"}
    whole, old, new = (
        JobTest(generation()),
        JobTest(generation(until=CUT)),
        JobTest(generation(start=CUT, generation=2)),
    )
    for test in (whole, old, new):
        for stream, record in feed:
            test.send(stream, record)
        test.finish()
        assert test.late == []
    by_all = joined([sample.body for sample in whole.samples])
    assert joined([s.body for s in old.samples]) | joined([s.body for s in new.samples]) == by_all
    near = {n for n, ts in clicks.items() if CUT_MS - BEFORE_MS <= ts < CUT_MS + WINDOW_MS - 1000}
    true_orphans = {n for n in clicks if n not in by_all}
    assert true_orphans & near
    said = Counter(n for test in (old, new) for orphan in test.orphans for n in orphan["fields"]["clicks"])
    assert said == Counter(true_orphans - near), "each once"
    for test in (old, new):
        counted = test.counts["orphan_dropped_rows", "click"] + test.counts["cut_rows", "click"]
        dropped = test.counts["events", "click", "after_until"] + test.counts["events", "click", "before_start"]
        assert counted + dropped + len(joined([s.body for s in test.samples])) == len(clicks)


@pytest.mark.rule(4, 6)
def test_the_offline_pass_leaves_the_same_rows_out():
    feed = events(7)
    data = generation(start=CUT, generation=2)
    test = JobTest(data)
    for stream, record in feed:
        test.send(stream, record)
    test.finish()
    records = [
        InputRecord(f"{stream}s", 0, i, record["ts"], orjson.dumps(record)) for i, (stream, record) in enumerate(feed)
    ]
    out, dead = run_offline(compile_job(model_of(data, environ={}), "."), records)
    assert not dead
    assert Counter(row.rows for row in out.side_rows) == Counter(row["rows"] for row in test.orphans)
    assert out.counts["cut_rows", "click"] == test.counts["cut_rows", "click"] > 0

"""The table of aggregates says what they do: each of its examples is run by a job in memory."""

from __future__ import annotations

import json

import pytest

from samplejoin.core.aggregates import LIMITED, PLAIN
from samplejoin.testing import JobTest
from tests.docs.test_docs import gen_docs
from tests.job.helpers import job_data

T = 1_735_689_600_000


@pytest.mark.rule(2)
@pytest.mark.parametrize("name", [*PLAIN, *LIMITED])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_examples_are_right(name, reverse):
    each = gen_docs().described()[name]
    assert len(each.examples) > 0
    for argument in {argument for argument, _, _ in each.examples}:
        agg = f"{name}({argument})" if argument else name
        job = JobTest(job_data(sample={"x": {"from": "click.x", "agg": agg}}, label="1"))
        wanted = {"none": json.loads(each.no_rows)}
        for number, (_, values, result) in enumerate(row for row in each.examples if row[0] == argument):
            rows = [(f"e{number}", at, value) for at, value in enumerate(eval(values))]
            for uid, at, value in reversed(rows) if reverse else rows:
                job.send("click", {"uid": uid, "mid": 1, "ts": T + at, **({} if value is None else {"x": value})})
            wanted[f"e{number}"] = result if result == "refused" else eval(result)
        for uid in wanted:
            job.send("impression", {"uid": uid, "mid": 1, "ts": T})
        made = {body["uid"]: body["x"] for body in job.finish()}
        refused = [uid for uid, value in wanted.items() if value == "refused"]
        assert len(job.dead_letters) == len(refused)
        for uid in refused:  # the row, or the sample if it is the rows together that are
            assert made.pop(uid, wanted["none"]) == wanted["none"]
        assert repr(sorted(made.items())) == repr(sorted((k, v) for k, v in wanted.items() if v != "refused"))

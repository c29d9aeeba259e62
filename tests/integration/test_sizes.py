"""Records that a topic does not take: none of a worker's by default, and a clear end where a topic takes less."""

from __future__ import annotations

import json

import pytest

from tests.integration.scenes import edit_job, record, wait_for_end
from tests.integration.support import feed
from tests.support.kafka import consume_all, create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.rule(4, 12)]

DEFAULT = {"max.message.bytes": "1048588"}


def test_an_orphan_of_any_size_stops_nothing_and_a_topic_that_takes_less_ends_the_worker(world, start_worker):
    edit_job(world, ("  likes:", "  note: {from: click.note, agg: max}\n  likes:"))
    orphans, samples = f"{world.name}-orphan", f"{world.name}-samples"
    create_topics(world.kafka.bootstrap, {orphans: 4, samples: 4}, DEFAULT)
    world.send([("click", 0, record("alone", note="\x01" * 400_000))])
    world.send(feed(seed=5, seconds=20, per_second=10))
    world.end()
    worker = start_worker(world, 1)
    world.wait_until_complete([worker])
    world.check()
    rows = [json.loads(each.value or b"") for each in consume_all(world.kafka.bootstrap, orphans)]
    (cut,) = [row for row in rows if row["fields"] is None]
    assert (cut["key"], cut["rows"], cut["fields_bytes"] > 2_000_000) == (["alone", "m"], 1, True)
    assert worker.metric("samplejoin_cut_side_rows_total", stream="click") == 1
    worker.stop()

    small = f"{world.name}2-samples"
    edit_job(world, (samples, small), (f"name: {world.name}", f"name: {world.name}2"))
    create_topics(world.kafka.bootstrap, {small: 4}, {"max.message.bytes": "100"})
    worker = start_worker(world, 2)
    assert wait_for_end(worker) == 1
    said = worker.log.read_text()
    assert f"topic {small} has max.message.bytes=100, a sample by limits.sample" in said
    assert f"worker stops: topic {small} takes no record as large as one of this job" in said
    assert "will be recovered" not in said

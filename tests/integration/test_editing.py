"""Generations side by side, edited jobs, internal topics that were altered (rule 6)."""

from __future__ import annotations

import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.core.oracle import Row, join
from tests.integration.changing import topics_there
from tests.integration.scenes import edit_job, wait_for_end
from tests.integration.support import START_MS, World, feed, wait_for
from tests.support.kafka import create_topics

pytestmark = pytest.mark.kafka


def iso(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    assert seconds == START_MS // 1000 + (ms - START_MS) // 1000
    minutes, second = divmod(20 + (ms - START_MS) // 1000, 60)  # START_MS is 22:13:20
    return f"2023-11-14T22:{13 + minutes:02d}:{second:02d}.{rest:03d}Z"


def expected_of(world: World, lowest: int, end: int, **environment: str) -> dict[str, bytes]:
    """By the oracle: the samples of the anchors in [lowest, end), of the job with these values."""
    spec = compile_job(load_job(world.job_file, environ=environment), world.root).spec
    by_key: dict[bytes, list[Row]] = {}
    for row in world.rows:
        if row.stream != "impression" or lowest <= row.time < end:
            by_key.setdefault(row.key, []).append(row)
    samples = [join(spec, rows)[0] for rows in by_key.values()]
    return {id_: sample[1] for each in samples for id_, sample in each.items()}


@pytest.mark.rule(6, 15)
def test_two_generations_side_by_side_share_the_anchors(world, start_worker):
    """The old one until T, the new one with another window and sample from T on: each anchor is in exactly one."""
    cut = START_MS + 60_500  # within a slice
    old = {"SAMPLEJOIN_UNTIL": iso(cut)}
    new = {"SAMPLEJOIN_GENERATION": "2", "SAMPLEJOIN_START": iso(cut), "SAMPLEJOIN_WINDOW": "30s"}
    world.send(feed(seed=90, seconds=60, per_second=50))
    first = start_worker(world, 1)
    wait_for(lambda: world.written() > 100, 60, first.log_tail, [first])
    assert first.stop() == 0
    world.send(feed(seed=92, seconds=60, per_second=50, start_s=60))  # labels of both halves on both sides
    workers = [start_worker(world, 1, **old), start_worker(world, 2, **new)]
    world.end()
    before, after = expected_of(world, 0, cut, **old), expected_of(world, cut, 1 << 60, **new)
    assert len(before) > 500
    assert len(after) > 500
    assert not before.keys() & after.keys()
    world._expected = before | after
    world.wait_until_complete(workers)
    world.check()
    made = {f"{world.name}-g2-{each}" for each in ("repartition", "changelog", "progress")}
    assert {topic for topic in topics_there(world) if "-g2-" in topic} == made
    for worker in workers:
        assert worker.metric("samplejoin_events_total", stream="impression", outcome="ok") > 0
    assert workers[0].metric("samplejoin_events_total", stream="impression", outcome="after_until") > 500
    assert workers[1].metric("samplejoin_events_total", stream="impression", outcome="before_start") > 500


def test_an_edited_job_is_refused_by_the_names_of_its_keys(world, start_worker):
    """At the start, before it fences the workers that run the job as it was: they go on."""
    first = start_worker(world, 1)
    world.send(feed(seed=93, seconds=60, per_second=20))
    wait_for(lambda: world.written() > 0, 60, first.log_tail, [first])
    job = world.job_file.read_text()
    edit_job(world, ("window: 20s", "window: 30s"), ("clicks > 0", "clicks > 1"))
    second = start_worker(world, 2)
    assert wait_for_end(second) == 1
    log = second.log.read_text()
    assert "label and window were edited since" in log
    assert "another `generation`" in log
    assert "Traceback" not in log
    world.job_file.write_text(job)
    edit_job(world)
    world.send(feed(seed=94, seconds=60, per_second=20, start_s=60))
    world.end()
    world.wait_until_complete([first])
    world.check()
    assert first.metric("samplejoin_rebalances_total") <= 1
    assert "will be recovered" not in first.log.read_text()  # nobody fenced it


@pytest.mark.parametrize(
    ("topic", "setting", "value"),
    [("repartition", "message.timestamp.type", "CreateTime"), ("changelog", "cleanup.policy", "compact")],
)
def test_internal_topics_with_wrong_settings_are_refused(world, start_worker, topic, setting, value):
    name = f"{world.name}-{topic}"
    create_topics(world.kafka.bootstrap, {name: 4}, {setting: value})
    worker = start_worker(world, 1)
    assert wait_for_end(worker) == 1
    assert f"topic {name} has {setting}={value}, it must be" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()

"""What a worker shows of itself: metrics, health, logs."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.scenes import edit_job, watch_until
from tests.integration.support import Worker, World, feed, wait_for
from tests.support.kafka import produce

pytestmark = pytest.mark.kafka

PARTITION_GAUGES = {
    "samplejoin_state_keys",
    "samplejoin_remembered_keys",
    "samplejoin_clock_seconds",
    "samplejoin_watermark_delay_seconds",
    "samplejoin_join_lag_records",
    "samplejoin_last_commit_timestamp_seconds",
    "samplejoin_left_out_sources",
}
SOURCE_GAUGES = {"samplejoin_consumer_lag_records", "samplejoin_last_event_timestamp_seconds"}


def series(worker: Worker) -> dict[str, set[tuple[str, ...]]]:
    """Metric name -> the (topic, partition)s, or (partition,)s, that it has series of."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(worker.get("/metrics")[1]):
        for sample in family.samples:
            assert sample.labels.get("pipeline", worker.world.name) == worker.world.name
            place = tuple(sample.labels[name] for name in ("topic", "partition") if name in sample.labels)
            found.setdefault(family.name, set()).add(place)
    return found


def shows_exactly(worker: Worker, joins: set[str], sources: set[tuple[str, str]]) -> bool:
    """Whether all gauges by partition speak of these, and of no other."""
    found = series(worker)
    return all(found.get(name) == {(p,) for p in joins} for name in PARTITION_GAUGES) and all(
        found.get(name) == sources for name in SOURCE_GAUGES
    )


def assigned(worker: Worker) -> tuple[set[str], set[tuple[str, str]]]:
    """Join partitions and sources of the last assignment that the worker has logged."""
    line = [line for line in worker.log.read_text().splitlines() if "assigned " in line][-1]
    tps = [tp.strip().rsplit("-", 1) for tp in line.split("assigned ")[1].split("[")[0].split(",")]
    internal = f"{worker.world.name}-repartition"
    return {p for t, p in tps if t == internal}, {(t, p) for t, p in tps if t != internal}


def test_metrics_speak_of_the_present_assignment_only(world: World, start_worker):
    world.send(feed(seed=91, seconds=60, per_second=50))
    first = start_worker(world, 1)
    wait_for(lambda: world.written() > 0, 60, first.log_tail, [first])
    everything = {(f"{world.name}-{s}", str(p)) for s in ("impression", "click", "like") for p in range(4)}
    wait_for(lambda: shows_exactly(first, set("0123"), everything), 30, first.log_tail, [first])
    status, text = first.get("/status.json")
    page = json.loads(text)
    assert (status, page["job"], page["problems"]) == (200, world.name, [])
    assert {join["partition"] for join in page["joins"]} == set(range(4))
    assert {(source["topic"], str(source["partition"])) for source in page["sources"]} == everything
    second = start_worker(world, 2)
    wait_for(lambda: len(assigned(first)[0]) == 2, 60, first.log_tail, [first, second])
    world.send(feed(seed=92, seconds=60, per_second=50, start_s=600))  # so that every partition commits again
    for worker in (first, second):
        wait_for(lambda: shows_exactly(worker, *assigned(worker)), 30, worker.log_tail, [worker])  # noqa: B023
    assert assigned(first)[0] | assigned(second)[0] == set("0123")
    assert first.metric("samplejoin_rebalances_total") >= 1


def test_health_pages_follow_the_worker(world: World, start_worker):
    world.send(feed(seed=93, seconds=60, per_second=50))
    worker = start_worker(world, 1)
    seen: list[tuple[int, str]] = []

    def ready() -> bool:
        page = worker.get("/readyz")
        if page[0] and page not in seen:
            seen.append(page)
        return bool(page[0] == 200)

    watch_until(lambda: worker.get("/livez")[0] == 200, 30, worker.log_tail)
    watch_until(ready, 30, worker.log_tail)
    assert [status for status, _ in seen[:-1]] == [503] * (len(seen) - 1)
    assert len(seen) > 1, "it was ready before it had recovered"
    problems = [problem for _, body in seen for problem in json.loads(body)["problems"]]
    assert "not in the group yet" in problems
    assert json.loads(worker.get("/livez")[1]) == {"live": True}
    for foreign in ("/", "/router/x/", "/table/x/"):
        assert worker.get(foreign)[0] == 404, "a page of Faust's own"

    garbage: list[bytes | None] = [b"not ours", None, b"B\x01" + bytes(50)]
    for topic in ("repartition", "progress", "changelog"):
        produce(world.kafka.bootstrap, f"{world.name}-{topic}", [(0, value, None, None) for value in garbage])
    wait_for(lambda: worker.metric("samplejoin_refused_records_total") == 6, 30, worker.log_tail, [worker])
    world.send(feed(seed=95, seconds=20, per_second=50, start_s=600))
    world.end()
    world.wait_until_complete([worker])
    world.check()
    wait_for(lambda: worker.get("/readyz")[0] == 200, 30, worker.log_tail, [worker])
    assert worker.stop() == 0
    log = worker.log.read_text()
    said = log.count("not a record of this job, passed over")
    assert said == 4, "once a minute for each topic; of the changelog the first two"
    assert "Traceback" not in log
    again = start_worker(world, 2)  # which reads the changelog from its beginning
    again.wait_ready()
    assert "changelog partition 0 offset" in again.log.read_text()


def test_logs_are_json_lines_where_there_is_no_terminal(world: World, start_worker):
    world.send(feed(seed=94, seconds=60, per_second=50))
    world.end()
    worker = start_worker(world, 1, SAMPLEJOIN_LOG_FORMAT="auto")
    world.wait_until_complete([worker])
    assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    assert any(line["event"].startswith("samplejoin ") for line in lines)


@pytest.mark.rule(8, 12)
def test_a_worker_says_why_nothing_comes_out(world: World, start_worker):
    """A stream without events that holds the clock, then a format that always fails: `/readyz`, metrics and log."""
    (world.root / "failing.py").write_text("def fail(sample):\n    raise KeyError('price')\n")
    edit_job(
        world,
        ("  like: {role", "  like: {idle: hold, role"),
        ("label: clicks > 0", "label: clicks > 0\nformat: failing:fail"),
    )
    records = [(s, p, r) for s, p, r in feed(seed=95, seconds=60, per_second=20) if s != "like"]
    world.send(records)
    worker = start_worker(world, 1)
    held = {"stream": "like", "source": f"{world.name}-like 000000", "why": "empty"}
    wait_for(lambda: worker.metric("samplejoin_clock_held_by", **held) == 4, 60, worker.log_tail, [worker])
    assert {("0",), ("1",), ("2",), ("3",)} == series(worker)["samplejoin_watermark_delay_seconds"]
    wait_for(
        lambda: "clock not known yet, held by stream like" in worker.log.read_text(), 30, worker.log_tail, [worker]
    )
    world.end()
    error = "most at format (failing:fail); the last error: KeyError: 'price'"
    warned = lambda: [w for w in json.loads(worker.get("/readyz")[1])["warnings"] if error in w]  # noqa: E731
    wait_for(lambda: bool(warned()), 60, worker.log_tail, [worker])
    assert worker.get("/readyz")[0] == 200
    assert error in worker.log.read_text()
    assert worker.metric("samplejoin_sample_error_ratio") == 1
    assert worker.stop() == 0

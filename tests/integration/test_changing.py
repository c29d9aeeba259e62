"""Changing a job: two generations side by side, edited jobs refused by name, and starting from the beginning."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from samplejoin.admin import migrate, reset
from samplejoin.admin.open_job import config_of
from samplejoin.engine.cluster import delete_topics
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.transaction import Transactions
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.core.oracle import Row, join
from tests.integration.scenes import edit_job, wait_for_end
from tests.integration.support import START_MS, Worker, World, feed, wait_for
from tests.support.kafka import create_topics, produce

pytestmark = pytest.mark.kafka


def iso(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    assert seconds == START_MS // 1000 + (ms - START_MS) // 1000
    minutes, second = divmod(20 + (ms - START_MS) // 1000, 60)  # START_MS is 22:13:20
    return f"2023-11-14T22:{13 + minutes:02d}:{second:02d}.{rest:03d}Z"


def command(world: World, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `samplejoin NAME JOB ...` to its end."""
    return subprocess.run(
        [sys.executable, "-c", "from samplejoin.cli import main; main()", name, str(world.job_file), *arguments],
        env={**os.environ, "SAMPLEJOIN_STATE_DIR": str(world.root / "state-1"), **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def expected_of(world: World, lowest: int, end: int, **environment: str) -> dict[str, bytes]:
    """By the oracle: the samples of the anchors in [lowest, end), of the job with these values."""
    spec = compile_job(load_job(world.job_file, environ=environment), world.root).spec
    by_key: dict[bytes, list[Row]] = {}
    for row in world.rows:
        if row.stream != "impression" or lowest <= row.time < end:
            by_key.setdefault(row.key, []).append(row)
    samples = [join(spec, rows)[0] for rows in by_key.values()]
    return {id_: sample[1] for each in samples for id_, sample in each.items()}


def some_run(world: World, worker: Worker) -> None:
    """Runs the job until it has closed some windows and still holds open keys, then stops it."""
    world.send(feed(seed=91, seconds=60, per_second=20))
    wait_for(lambda: len(world.samples()) > 0, 60, worker.log_tail, [worker])
    assert worker.stop() == 0


def topics_there(world: World) -> set[str]:
    topics = AdminClient({"bootstrap.servers": world.kafka.bootstrap}).list_topics(timeout=10).topics
    return {topic for topic in topics if topic.startswith(world.name)}


# ---- generations ----------------------------------------------------------------------------------------------------


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


# ---- edited jobs ----------------------------------------------------------------------------------------------------


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


# ---- reset ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule(6)
def test_after_a_reset_the_same_samples_come_once_more(world, start_worker):
    """Also where a worker on another machine still has the state of the former run."""
    worker = start_worker(world, 1)
    some_run(world, worker)
    early = Counter(world.samples())
    assert early
    elsewhere = world.root / "state-elsewhere"
    shutil.copytree(worker.state, elsewhere)

    shown = command(world, "reset", "--dry-run", "-o", "json")
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert plan["done"] is False
    assert plan["topics"] == [f"{world.name}-{each}" for each in ("repartition", "changelog", "progress")]
    assert set(plan["topics"]) <= topics_there(world)
    refused = command(world, "reset")
    assert refused.returncode == 1
    assert "pass --yes" in refused.stderr
    assert set(plan["topics"]) <= topics_there(world)

    done = command(world, "reset", "--yes")
    assert done.returncode == 0, done.stderr
    assert "with the same ids" in done.stdout
    assert not set(plan["topics"]) & topics_there(world)
    assert not (worker.state / world.name).exists()
    again = command(world, "reset", "--yes")
    assert again.returncode == 0, again.stderr

    world.send(feed(seed=95, seconds=60, per_second=20, start_s=60))
    world.end()
    other = start_worker(world, 2, SAMPLEJOIN_STATE_DIR=str(elsewhere))
    expected = Counter(world.expected().items()) + early
    wait_for(lambda: len(world.samples()) >= expected.total(), 90, other.log_tail, [other])
    assert Counter(world.samples()) == expected


def test_a_reset_is_refused_while_a_worker_lives(world, start_worker):
    worker = start_worker(world, 1)
    worker.wait_ready()
    before = topics_there(world)
    refused = command(world, "reset", "--yes", SAMPLEJOIN_STATE_DIR=str(world.root / "none"))
    assert refused.returncode == 1
    process = f"samplejoin-{socket.gethostname()}-{worker.running().pid} at 127.0.0.1"
    assert f"has live members, {process}: stop all workers" in refused.stderr
    assert topics_there(world) == before
    assert worker.get("/readyz")[0] == 200


@pytest.mark.parametrize("to", ["latest", "committed"])
def test_a_reset_that_skips(world, start_worker, to):
    """What was sent before is never read again; what comes after it is joined."""
    worker = start_worker(world, 1)
    some_run(world, worker)
    before = len(world.samples())
    done = command(world, "reset", "--yes", "--to", to)
    assert done.returncode == 0, done.stderr
    world.rows.clear()
    world.send(feed(seed=96, seconds=60, per_second=20, start_s=600))
    world.end()
    worker.start()
    expected = world.expected()
    wait_for(lambda: len(world.samples()) >= before + len(expected), 90, worker.log_tail, [worker])
    after = Counter(world.samples())
    assert after.total() == before + len(expected)
    assert all(after[sample] == 1 for sample in expected.items())


def test_a_reset_that_was_cut_off_shows_and_can_be_repeated(world, start_worker):
    """The offsets go first: without them a worker does not take up state that should be gone."""
    worker = start_worker(world, 1)
    some_run(world, worker)
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    admin.delete_consumer_groups([world.name])[world.name].result(30)
    worker.start()
    assert wait_for_end(worker) == 1
    assert "samplejoin reset" in worker.log.read_text()
    assert command(world, "reset", "--yes").returncode == 0
    worker.start()
    world.end()
    expected = world.expected()
    wait_for(lambda: set(expected.items()) <= set(world.samples()), 60, worker.log_tail, [worker])


@pytest.mark.rule(6)
@pytest.mark.parametrize("to", ["earliest", "latest", "committed"])
def test_a_reset_cut_off_before_the_state_is_gone_shows(world, start_worker, monkeypatch, to):
    """Offsets and a new log beneath the old state would be the worst of both."""
    worker = start_worker(world, 1)
    some_run(world, worker)
    config = asyncio.run(config_of(world.job_file, [f"state_dir={worker.state}"]))

    async def cut_off(config: EngineConfig, names: list[str]) -> None:
        if config.topics.changelog in names:
            raise KeyboardInterrupt
        await delete_topics(config, names)

    monkeypatch.setattr(reset, "delete_topics", cut_off)
    plan = asyncio.run(reset.plan_of(config, to))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(reset.carry_out(config, plan, to))
    for _ in range(2):  # a start does not make it look right
        worker.start()
        assert wait_for_end(worker) == 1
    assert worker.log.read_text().count(f"topic {world.name}-repartition does not exist, but") == 2
    assert command(world, "reset", "--yes", "--to", to).returncode == 0
    worker.start()
    worker.wait_ready()


def test_a_folder_that_no_worker_has_made_is_not_deleted(world, start_worker):
    """A project folder, say, that is called as the job is."""
    project = world.root / "state-1" / world.name
    (project / "0").mkdir(parents=True)
    (project / "README.md").write_text("mine")
    refused = command(world, "reset", "--yes")
    assert refused.returncode == 1
    assert "is not a state directory of samplejoin: it holds README.md; nothing was done" in refused.stderr
    assert (project / "README.md").read_text() == "mine"
    (project / "README.md").unlink()
    assert command(world, "reset", "--dry-run").returncode == 0
    assert [each.name for each in project.iterdir()] == ["0"]
    assert command(world, "reset", "--yes").returncode == 0
    assert not project.exists()


# ---- other partitions -----------------------------------------------------------------------------------------------


@pytest.mark.rule(1, 6, 7, 16)
@pytest.mark.parametrize("partitions", [6, 2])
def test_a_join_goes_on_with_other_partitions(world, start_worker, partitions):
    """In mid-stream, with open windows: no sample is lost, none comes twice, all are as the oracle has them."""
    workers = [start_worker(world, n) for n in (1, 2)]
    world.send(feed(seed=101, seconds=60, per_second=50))
    wait_for(lambda: world.written() > 100, 60, workers[0].log_tail, workers)
    world.send(feed(seed=102, seconds=60, per_second=50, start_s=60))
    workers[0].kill()  # whatever it had on its way
    assert workers[1].stop() == 0
    new = ("--set", "generation=2", "--set", f"partitions={partitions}", "--from-generation", "1")

    refused = command(world, "migrate", *new, "--yes")
    assert refused.returncode == 1
    assert "--drain" in refused.stderr or "has live members" in refused.stderr
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    group = lambda: admin.describe_consumer_groups([world.name])[world.name].result(10)  # noqa: E731
    wait_for(lambda: not group().members, 60, lambda: "the killed worker's session has not ended")
    drain = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    assert "drained: all that was read is joined and committed" in drain.log.read_text()
    done = command(world, "migrate", *new, "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["open_keys"] > 100
    again = command(world, "migrate", *new, "--yes")
    assert again.returncode == 1
    assert f"if {world.name} was migrated to it before, start its workers" in again.stderr

    old = start_worker(world, 3)
    assert wait_for_end(old) == 1
    assert "generation 2 of the job has state: this generation was migrated" in old.log.read_text()
    world.send(feed(seed=103, seconds=60, per_second=50, start_s=120))
    world.end()
    generation = {"SAMPLEJOIN_GENERATION": "2", "SAMPLEJOIN_PARTITIONS": str(partitions)}
    workers = [start_worker(world, n, **generation) for n in (4, 5)]
    world.wait_until_complete(workers)
    world.check()
    for worker in workers:
        assert worker.metric("samplejoin_late_rows_total") == 0
        assert worker.stop() == 0


@pytest.mark.rule(7, 16)
def test_a_migration_that_was_cut_off_shows_and_can_be_repeated(world, start_worker):
    """Killed after some of the state has been written: the new generation does not start on a part of it."""
    world.send(feed(seed=104, seconds=30, per_second=50))
    drain = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    new = ("--set", "generation=2", "--set", "partitions=6", "--from-generation", "1", "--yes")
    killed = command(
        world, "migrate", *new, SAMPLEJOIN_TEST_FAILPOINTS="commit-sent:3", SAMPLEJOIN_TEST_ALLOW_FAILPOINTS="1"
    )
    assert killed.returncode == -9, killed.stderr
    generation = {"SAMPLEJOIN_GENERATION": "2", "SAMPLEJOIN_PARTITIONS": "6"}
    worker = start_worker(world, 2, **generation)
    assert wait_for_end(worker) == 1
    assert "has no committed offsets" in worker.log.read_text()
    done = command(world, "migrate", *new)
    assert done.returncode == 0, done.stderr
    worker.start()
    world.end()
    world.wait_until_complete([worker])
    world.check()


def test_only_the_partitions_of_a_state_can_change(world, start_worker):
    world.send(feed(seed=105, seconds=30, per_second=20))
    drain = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    new = ("--set", "generation=2", "--from-generation", "1", "--yes")
    refused = command(world, "migrate", *new, "--set", "window=30s")
    assert refused.returncode == 1
    assert "window was edited since" in refused.stderr
    missing = command(world, "migrate", "--set", "generation=9", "--from-generation", "8", "--yes")
    assert missing.returncode == 1
    assert f"topic {world.name}-g8-changelog does not exist" in missing.stderr
    assert "Correct --from-generation" in missing.stderr
    assert command(world, "migrate", *new, "--dry-run").returncode == 0
    assert f"{world.name}-g2-changelog" not in topics_there(world)


@pytest.mark.rule(7, 16)
@pytest.mark.parametrize("moved", ["log", "offsets"])
def test_state_moves_from_a_cut_only(world, start_worker, moved):
    world.send(feed(seed=106, seconds=30, per_second=20))
    drain = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    if moved == "log":
        produce(world.kafka.bootstrap, f"{world.name}-repartition", [(2, b"something more", None, None)])
        said = "join partition 2 has committed position"
    else:
        admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
        offsets = ConsumerGroupTopicPartitions(world.name, [TopicPartition(f"{world.name}-click", 1, 0)])
        admin.alter_consumer_group_offsets([offsets])[world.name].result(30)
        said = "has covered other records than those committed"
    refused = command(world, "migrate", "--set", "generation=2", "--from-generation", "1", "--yes")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "--drain" in refused.stderr
    assert f"{world.name}-g2-changelog" not in topics_there(world)


@pytest.mark.rule(6, 7)
def test_state_moves_without_a_topic_that_was_deleted(world, start_worker):
    """A pattern has had it, so the joins have covered it; what the job reads now is at a cut all the same."""
    gone = f"{world.name}-click-old"
    create_topics(world.kafka.bootstrap, {gone: 1})
    by_name = world.job_file.read_text()
    world.job_file.write_text(by_name.replace(f"topic: {world.name}-click", f"pattern: {world.name}-click.*"))
    world.send(feed(seed=107, seconds=30, per_second=20))
    closing = json.dumps({"ts": START_MS + 60_000, "drop": 1}).encode()
    produce(world.kafka.bootstrap, gone, [(0, closing, None, None)] * 5)
    first = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(first, 60) == 0, first.log_tail()
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    admin.delete_topics([gone])[gone].result(30)
    wait_for(lambda: gone not in topics_there(world), 30, lambda: "still there")
    drain = start_worker(world, 2, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    done = command(world, "migrate", "--set", "generation=2", "--from-generation", "1", "--yes")
    assert done.returncode == 0, done.stderr
    world.end()
    worker = start_worker(world, 3, SAMPLEJOIN_GENERATION="2")
    world.wait_until_complete([worker])
    world.check()


@pytest.mark.rule(6, 7)
def test_a_migration_has_few_producers_at_a_time(world, start_worker, monkeypatch):
    """Each has sockets of its own, and there may be a thousand partitions."""
    world.send(feed(seed=108, seconds=30, per_second=50))
    drain = start_worker(world, 1, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain, 60) == 0, drain.log_tail()
    monkeypatch.setattr(migrate, "AT_ONCE", 4)
    open_now: set[Transactions] = set()
    most = []

    class Counted(Transactions):
        async def start(self) -> None:
            open_now.add(self)
            most.append(len(open_now))
            await super().start()

        async def close(self) -> None:
            await super().close()
            open_now.discard(self)

    monkeypatch.setattr(migrate, "Transactions", Counted)
    old = asyncio.run(config_of(world.job_file))
    plan = asyncio.run(migrate.plan_of(old, asyncio.run(config_of(world.job_file, ["generation=2", "partitions=6"]))))
    assert asyncio.run(migrate.carry_out(plan)) > 100
    assert most == [1] * 4 + [1, 2, 3, 4] + [1, 2]
    assert not open_now
    world.end()
    worker = start_worker(world, 2, SAMPLEJOIN_GENERATION="2", SAMPLEJOIN_PARTITIONS="6")
    world.wait_until_complete([worker])
    world.check()


def test_a_drain_needs_the_group_for_itself(world, start_worker):
    worker = start_worker(world, 1)
    worker.wait_ready()
    drain = start_worker(world, 2, SAMPLEJOIN_DRAIN="true")
    assert wait_for_end(drain) == 1
    assert "has live members" in drain.log.read_text()
    assert worker.get("/readyz")[0] == 200

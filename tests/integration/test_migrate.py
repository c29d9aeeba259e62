"""`samplejoin migrate`: the open keys in another number of partitions (rule 16)."""

from __future__ import annotations

import asyncio
import json

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from samplejoin.admin import migrate
from samplejoin.admin.job_config import config_of
from samplejoin.engine.transaction import Transactions
from tests.integration.changing import command, topics_there
from tests.integration.scenes import wait_for_end
from tests.integration.support import START_MS, feed, wait_for
from tests.support.kafka import create_topics, produce

pytestmark = pytest.mark.kafka


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
    plan = asyncio.run(
        migrate.plan_migration(old, asyncio.run(config_of(world.job_file, ["generation=2", "partitions=6"])))
    )
    assert asyncio.run(migrate.migrate_state(plan)) > 100
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

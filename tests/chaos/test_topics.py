"""Topics and offsets that change under a job: it stops and says what to do, or continues, and loses nothing."""

from __future__ import annotations

import os

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.integration.scenes import wait_for_end
from tests.integration.support import STREAMS, Worker, World, feed, wait_for
from tests.support.kafka import create_topics

LONG = os.environ.get("SAMPLEJOIN_TEST_LONG") == "1"

pytestmark = pytest.mark.kafka


def begun(world: World, start_worker) -> Worker:
    """A worker in the middle of a job, with open keys."""
    world.send(feed(seed=71, seconds=60, per_second=40))
    worker: Worker = start_worker(world, 1)
    wait_for(lambda: world.written() > 0, 60, worker.log_tail, [worker])
    return worker


@pytest.fixture
def admin(kafka):
    return AdminClient({"bootstrap.servers": kafka.bootstrap})


def delete(admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=10).topics, 30, lambda: "still there")


def ends_clearly(worker: Worker, *words: str, timeout_s: float = 30) -> None:
    """It ends by itself with status 1 and a last word that holds these."""
    assert wait_for_end(worker, timeout_s) == 1, worker.log_tail()
    said = [line for line in worker.log.read_text().splitlines() if "worker stops" in line][-1]
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in worker.log.read_text()


def finish(world: World, worker: Worker) -> None:
    """More input, the end of it, and every sample as the oracle has it."""
    world.send(feed(seed=72, seconds=30, per_second=40, start_s=1200))
    world.end()
    world.wait_until_complete([worker])
    world.check()


@pytest.mark.rule(7)
def test_deleted_offsets_stop_the_worker_until_they_are_committed_again(world, start_worker, admin):
    worker = begun(world, start_worker)
    assert worker.stop() == 0
    admin.delete_consumer_groups([world.name])[world.name].result(30)
    worker.start()
    ends_clearly(worker, f"group {world.name} has no committed offsets", "Commit")
    group = Consumer({"bootstrap.servers": world.kafka.bootstrap, "group.id": world.name})
    starts = [TopicPartition(f"{world.name}-{stream}", p, 0) for stream in STREAMS for p in range(4)]
    group.commit(offsets=starts, asynchronous=False)  # all of it is read again, and nothing joined twice
    group.close()
    worker.start()
    finish(world, worker)


@pytest.mark.rule(7)
def test_an_input_topic_that_is_gone_is_named(world, start_worker, admin):
    worker = begun(world, start_worker)
    assert worker.stop() == 0
    topic = f"{world.name}-click"
    delete(admin, topic)
    worker.start()
    ends_clearly(worker, topic, "do not exist", "create them")


@pytest.mark.rule(7)
def test_an_input_topic_made_anew_stops_the_worker(world, start_worker, admin):
    """With the topic Kafka forgets the group's offsets for it, so only the job's state knows of the old one."""
    worker = begun(world, start_worker)
    assert worker.stop() == 0
    topic = f"{world.name}-click"
    delete(admin, topic)
    create_topics(world.kafka.bootstrap, {topic: 4})
    worker.start()
    ends_clearly(worker, f"topic {topic}", timeout_s=10)


@pytest.mark.skipif(not LONG, reason="SAMPLEJOIN_TEST_LONG=1 only")
@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("which", ["click", "repartition"])
def test_a_topic_deleted_under_the_worker_stops_it(world, start_worker, admin, which):
    worker = begun(world, start_worker)
    topic = f"{world.name}-{which}"
    delete(admin, topic)
    ends_clearly(worker, topic, timeout_s=60)


@pytest.mark.rule(7)
def test_a_repartition_log_that_was_cut_stops_the_worker(world, start_worker, admin):
    """Blocks that nobody had joined are gone."""
    worker = begun(world, start_worker)
    worker.kill()
    world.send(feed(seed=73, seconds=60, per_second=40, start_s=600))
    worker.environment["SAMPLEJOIN_TEST_FAILPOINTS"] = "commit-begin"  # blocks are sent, and no commit has them
    worker.start()
    assert wait_for_end(worker) == -9
    del worker.environment["SAMPLEJOIN_TEST_FAILPOINTS"]
    topic = f"{world.name}-repartition"
    ends = [TopicPartition(topic, p, -1) for p in range(4)]
    for deleted in admin.delete_records(ends).values():
        deleted.result(30)
    worker.start()
    ends_clearly(worker, topic, "outside its log")


@pytest.mark.rule(8)
def test_more_partitions_of_an_input_topic(world, start_worker, admin):
    """Once the worker has seen them, what is written to them joins like the rest; a restart changes nothing."""
    worker = begun(world, start_worker)
    topic = f"{world.name}-click"
    admin.create_partitions([NewPartitions(topic, 6)])[topic].result(30)
    wait_for(lambda: "has grown from 4 to 6 partitions" in worker.log.read_text(), 60, worker.log_tail, [worker])
    owned = {"topic": topic, "partition": "5"}
    gauge = "samplejoin_last_event_timestamp_seconds"
    wait_for(lambda: f'partition="5",pipeline="{world.name}",topic="{topic}"' in worker.get("/metrics")[1], 60,
             lambda: f"{gauge} {owned}", [worker])  # fmt: skip
    more = feed(seed=74, seconds=60, per_second=40, start_s=600)
    spread = [(s, p + 2 if s == "click" else p, event) for s, p, event in more]  # to partitions 2, 3, 4 and 5
    world.send(spread)
    assert worker.stop() == 0
    worker.start()
    finish(world, worker)

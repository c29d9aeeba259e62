"""`samplejoin check` against a real Kafka: what the cluster says of a job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Consumer

from tests.conftest import kafka_server
from tests.integration.changing import command
from tests.integration.scenes import edit_job
from tests.integration.support import World, feed, wait_for
from tests.support.kafka import create_topics

pytestmark = pytest.mark.kafka


LOW = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "1000000"}


def checked(world: World, *arguments: str) -> dict[str, Any]:
    done = command(world, "check", "--broker", "-o", "json", *arguments)
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == report["ok"]
    return report


def messages(report: dict[str, Any]) -> list[str]:
    return [problem["message"] for problem in report["problems"]]


def test_a_job_that_runs(world, start_worker):
    """All is well, and what should be known of a cluster of one broker is a note."""
    worker = start_worker(world, 1)
    world.send(feed(seed=97, seconds=60, per_second=20))
    wait_for(lambda: world.written() > 0, 60, worker.log_tail, [worker])
    report = checked(world)
    assert report["ok"], report
    assert "the cluster has one broker: data that it loses cannot be recovered" in report["notes"]
    assert any(note.startswith("workers of the job run: samplejoin-") for note in report["notes"])
    assert worker.get("/readyz")[0] == 200
    assert checked(world, "--set", "generation=2", "--set", "window=30s")["ok"]
    (edited,) = checked(world, "--set", "window=30s")["problems"]
    assert "window was edited since" in edited["message"]
    assert (edited["path"], edited["file"]) == ("window", "--set window")
    more = messages(checked(world, "--set", "partitions=6"))
    for each in ("repartition", "changelog"):
        assert f"topic {world.name}-{each} has 4 partitions, the job file says 6" in " ".join(more)


def test_topics_that_were_made_by_hand(world):
    create_topics(world.kafka.bootstrap, {f"{world.name}-repartition": 4}, {"retention.ms": "604800000"})
    create_topics(world.kafka.bootstrap, {f"{world.name}-changelog": 4}, LOW)
    create_topics(world.kafka.bootstrap, {f"{world.name}-samples": 4}, {"min.insync.replicas": "2"})
    report = checked(world)
    found = messages(report)
    assert any(f"topic {world.name}-repartition has message.timestamp.type=CreateTime" in each for each in found)
    assert any(f"topic {world.name}-changelog has max.message.bytes=1000000" in each for each in found)
    assert any(f"topic {world.name}-samples has 1 replicas and min.insync.replicas=2" in each for each in found)
    assert any(f"topic {world.name}-repartition has retention.ms=604800000" in each for each in report["notes"])


def test_a_group_of_something_else(world):
    consumer = Consumer({"bootstrap.servers": world.kafka.bootstrap, "group.id": world.name, "client.id": "reports"})
    consumer.subscribe([f"{world.name}-click"])
    try:
        wait_for(lambda: bool(consumer.poll(0.2) or consumer.assignment()), 30, lambda: "not in its group")
        (found,) = messages(checked(world))
    finally:
        consumer.close()
    assert f"group {world.name} has members of another application, reports at 127.0.0.1" in found
    assert f"{world.name}-click" in found


def test_brokers_that_do_not_allow_our_transactions(tmp_path):
    with kafka_server(properties={"transaction.max.timeout.ms": 10_000}) as server:
        world = World(server, "short", tmp_path)
        assert "brokers allow transactions of 10000 ms" in messages(checked(world))[0]
        edit_job(world, extra="guarantee: at_least_once\n")
        assert checked(world)["ok"]


def test_access_rights_have_the_jobs_names(world):
    edit_job(world, extra="generation: 3\n")
    done = command(world, "check", "--acls")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    calls = [line for line in lines if not line.startswith("#")]
    assert all(line.startswith(f"kafka-acls.sh --bootstrap-server {world.kafka.bootstrap} --add ") for line in calls)
    of = {line[2:].split(",")[0] for line in lines if line.startswith("#")}
    assert of == {"worker", "verify and status", "reset", "migrate"}
    said = done.stdout
    assert f"--operation Write --transactional-id {world.name}-g3-join- --resource-pattern-type prefixed" in said
    assert f"--operation Read --group {world.name}-g3\n" in said
    assert f"--operation Delete --group {world.name}-g3\n" in said
    assert f"--operation Read --operation Delete --group {world.name}-g2\n" in said
    assert f"--operation Write --operation Create --topic {world.name}-samples --topic {world.name}-late" in said
    assert f"--topic {world.name}-g3-changelog" in said
    assert checked(world, "--acls")["rights"] == lines
    wrong = command(world, "check", "--acls", "--set", "streams.click.topic=nowhere")
    assert wrong.returncode == 1
    assert "topic nowhere does not exist" in wrong.stderr
    assert "--topic nowhere" in wrong.stdout

"""`samplejoin reset`: what is sent again, and resets that were interrupted."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections import Counter

import pytest
from confluent_kafka.admin import AdminClient

from samplejoin.admin import reset
from samplejoin.admin.job_config import config_of
from samplejoin.engine.cluster import delete_topics
from samplejoin.engine.config import EngineConfig
from tests.integration.changing import command, topics_there
from tests.integration.scenes import wait_for_end
from tests.integration.support import Worker, World, feed, wait_for

pytestmark = pytest.mark.kafka


def some_run(world: World, worker: Worker) -> None:
    """Runs the job until it has closed some windows and still holds open keys, then stops it."""
    world.send(feed(seed=91, seconds=60, per_second=20))
    wait_for(lambda: len(world.samples()) > 0, 60, worker.log_tail, [worker])
    assert worker.stop() == 0


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
    plan = asyncio.run(reset.plan_reset(config, to))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(reset.reset_job(config, plan, to))
    for _ in range(2):  # a start does not make it look right
        worker.start()
        assert wait_for_end(worker) == 1
    assert worker.log.read_text().count(f"topic {world.name}-repartition does not exist, but") == 2
    assert command(world, "reset", "--yes", "--to", to).returncode == 0
    worker.start()
    worker.wait_ready()


def test_a_folder_that_no_worker_has_made_is_not_deleted(world, start_worker):
    """A folder, for example of a project, that has the name of the job."""
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

"""All brokers away in mid-run: workers wait, log that they do, and continue where they were.

`SAMPLEJOIN_TEST_LONG=1` lets them be away for a minute, longer than any transaction may last, else for 12 s; and
adds brokers that are frozen instead of killed.
"""

from __future__ import annotations

import os
import re
import time

import pytest

from tests.integration.scenes import wait_for_end, watch_until
from tests.integration.support import Worker, World, feed, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

LONG = os.environ.get("SAMPLEJOIN_TEST_LONG") == "1"
AWAY_S = 60 if LONG else 12
#: two about the brokers, and what was under way when they went: commits, offsets
MOST_WARNINGS = 8


@pytest.fixture
def own_world(own_kafka, tmp_path):
    return World(own_kafka, "away", tmp_path)


def says_it_waits(worker: Worker) -> bool:
    """Whether `/readyz` says that no broker answers."""
    status, body = worker.get("/readyz")
    return status == 503 and "no answer from the brokers" in body


@pytest.mark.rule(7, 8, 16)
@pytest.mark.parametrize("how", ["killed", "frozen"] if LONG else ["killed"])
def test_workers_wait_for_the_brokers_and_go_on(own_world, own_kafka, start_worker, how):
    world = own_world
    world.send(feed(seed=51, seconds=300, per_second=100))
    workers = [start_worker(world, n) for n in (1, 2)]
    wait_for(lambda: world.written() > 1000, 60, workers[0].log_tail, workers)
    hasty = start_worker(world, 3, SAMPLEJOIN_SESSION_TIMEOUT_MS="5999")
    assert wait_for_end(hasty) == 1
    assert (
        "a session timeout of 5999 ms is outside what the brokers allow: set SAMPLEJOIN_SESS" in hasty.log.read_text()
    )
    assert "Traceback" not in hasty.log.read_text()
    went = time.monotonic()
    own_kafka.kill() if how == "killed" else own_kafka.pause()
    for worker in workers:
        wait_for(lambda: says_it_waits(worker), 30, worker.log_tail, workers)  # noqa: B023
        assert worker.get("/livez")[0] == 200
    time.sleep(max(0.0, went + AWAY_S - time.monotonic()))  # the fault itself
    own_kafka.start() if how == "killed" else own_kafka.resume()
    for worker in workers:
        worker.wait_ready(90)
    world.send(feed(seed=52, seconds=30, per_second=100, start_s=1200))
    world.end()
    world.wait_until_complete(workers)
    world.check()
    for worker in workers:
        log = worker.log.read_text()
        assert "waiting for them; nothing is lost" in log
        assert "answer again after" in log
        assert "Traceback" not in log
        lines = log.splitlines()
        assert not [line for line in lines if "[aiokafka" in line], "the client's noise stays below"
        assert max(map(len, lines)) < 450
        assert len([line for line in lines if "[warning" in line or "[error" in line]) <= MOST_WARNINGS, log
        assert worker.stop() == 0
    world.check()


@pytest.mark.rule(16)
@pytest.mark.parametrize("known", [False, True] if LONG else [False], ids=lambda known: f"known: {known}")
def test_a_worker_ends_in_time_though_the_brokers_are_away(own_world, own_kafka, start_worker, known):
    world = own_world
    world.send(feed(seed=53, seconds=200, per_second=100))
    worker = start_worker(world, 1)
    wait_for(lambda: world.written() > 1000, 60, worker.log_tail, [worker])
    own_kafka.kill()
    if known:
        watch_until(lambda: says_it_waits(worker), 30, worker.log_tail)
    assert worker.stop(10) == 0
    said = worker.log.read_text()
    assert "Traceback" not in said
    assert re.search(r"stopped in .* left the group without a last word: ", said.splitlines()[-1])
    own_kafka.start()
    worker.start()
    world.end()
    world.wait_until_complete([worker])
    world.check()

"""How a worker ends: told to, blocked by a user's function, or by a failure at any step of a commit or of a stop."""

from __future__ import annotations

import re
import signal
from functools import partial

import pytest

from samplejoin.engine.failpoints import COMMIT, STOP
from tests.integration.scenes import wait_for_end
from tests.integration.support import START_MS, feed, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.rule(16)]


BLOCKING = """
import os


def clean(record):
    blocked = record.get("block") and "BLOCK" in os.environ
    while blocked: pass
    return None if record.get("drop") else record
"""


def have_raised(worker, points):
    """Whether all of these places have."""
    log = worker.log.read_text()
    return all(f"failpoint {point.partition(':')[0]} raises" in log for point in points)


#: what a worker goes on after; what ends it; then where its stop fails
FAILURES = (
    ("commit-samples:2", "commit-sent:4", "join-ending", "join-ended"),
    ("commit-taken:2", "stop-begin"),
    ("commit-begin:3", "stop-sent"),
    ("commit-done:4", "stop-joined"),
    ("commit-storing:2", "stop-left"),
    ("commit-stored:3",),
)


def test_whatever_raises_in_a_commit_or_a_stop_loses_nothing(world, start_worker):
    """A worker after the other fails at a step of its commit, and then at one of its stop; the last one is well.

    What has been taken for the commit that failed is in no later one: only a worker that recovers may commit it.
    """
    assert {point.partition(":")[0] for points in FAILURES for point in points} == {*COMMIT, *STOP}
    for number, points in enumerate(FAILURES):
        world.send(feed(seed=number, seconds=6, per_second=60, start_s=number * 6))
        worker = start_worker(world, number, SAMPLEJOIN_TEST_FAILPOINTS=",".join(f"{p}:raise" for p in points))
        commits = [point for point in points if point.startswith("commit")]
        wait_for(partial(have_raised, worker, commits), 60, worker.log_tail)
        worker.signal(signal.SIGTERM)
        assert wait_for_end(worker) == (0 if number == 0 else 1), worker.log_tail()
        assert have_raised(worker, points), worker.log_tail()
        assert "FAILPOINTS ARE ARMED" in worker.log.read_text()
    last = start_worker(world, len(FAILURES))
    world.end()
    world.wait_until_complete([last])
    last.signal(signal.SIGINT)
    assert wait_for_end(last) == 0
    log = last.log.read_text()
    assert "stopping on SIGINT" in log
    assert "4 of 4 join partitions committed, offsets of 12 of 12 sources, left the group" in log
    assert "FAILPOINTS" not in log
    assert "-INT-" not in log
    world.check()


@pytest.mark.rule(12)
def test_a_function_that_blocks_does_not_keep_a_worker_from_ending(world, start_worker):
    """Ten seconds after SIGTERM at the latest, at once on the second Ctrl-C; and nothing is lost by it."""
    (world.root / "functions.py").write_text(BLOCKING)
    world.send(feed(seed=1, seconds=10, per_second=50))
    world.send([("click", 0, {"uid": "u", "mid": "m", "ts": START_MS + 10_000, "block": 1})])
    blocked = "has blocked this worker"
    worker = start_worker(world, 1, BLOCK="1")
    wait_for(lambda: blocked in worker.log.read_text(), 60, worker.log_tail, [worker])
    assert worker.stop(10) == 1
    log = worker.log.read_text()
    call = r"functions:clean at \S*click/\d/\d+"
    assert re.search(call + " has blocked .* It is in functions.py:7 in ", log)
    assert re.search("has not ended within 9 s of SIGTERM: it is at " + call + ", in functions.py:7", log)
    worker = start_worker(world, 2, BLOCK="1")
    wait_for(lambda: blocked in worker.log.read_text(), 60, worker.log_tail, [worker])
    worker.signal(signal.SIGINT)
    wait_for(lambda: worker.get("/livez")[0] == 0, 5, worker.log_tail)
    worker.signal(signal.SIGINT)
    assert wait_for_end(worker) == 1
    assert "was interrupted while it was stopping" in worker.log.read_text()
    last = start_worker(world, 3)
    world.end()
    world.wait_until_complete([last])
    assert last.stop() == 0
    world.check()

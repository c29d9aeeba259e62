"""The join on a real Kafka, as a team runs it: backlogs, outages, kills. Judged by the oracle."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.support import feed, wait_for

pytestmark = pytest.mark.kafka


@pytest.mark.rule(1, 2, 8)
def test_a_backlog_with_a_late_topic_joins_completely(world, start_worker):
    """300,000 events in the topics, likes appended ten minutes of event time behind: every label joins."""
    events = feed(seed=1, seconds=900, per_second=240, users=400)
    world.send(e for e in events if e[0] != "like")
    world.send(e for e in events if e[0] == "like")
    world.end()
    assert world.events > 300_000
    workers = [start_worker(world, n) for n in (1, 2)]
    world.wait_until_complete(workers, timeout_s=150)
    world.check()
    for worker in workers:
        assert worker.stop() == 0
    world.check()


@pytest.mark.rule(8, 16)
def test_an_outage_longer_than_the_window_loses_no_label(world, start_worker):
    """Both workers are away while more than a window of events is produced."""
    world.send(feed(seed=2, seconds=60, per_second=100))
    workers = [start_worker(world, n) for n in (1, 2)]
    wait_for(lambda: world.written() > 1000, 60, workers[0].log_tail, workers)
    assert [w.stop() for w in workers] == [0, 0]
    world.send(feed(seed=3, seconds=60, per_second=100, start_s=60))
    for worker in workers:
        worker.start()
    world.end()
    world.wait_until_complete(workers)
    world.check()


@pytest.mark.rule(7, 16)
@pytest.mark.parametrize("disk", ["same", "empty"])
def test_a_killed_worker_loses_and_doubles_nothing(world, start_worker, disk):
    """SIGKILL in mid-run, three times; restarted on the same disk or an empty one."""
    workers = [start_worker(world, n) for n in (1, 2)]
    for round_ in range(3):
        before = world.written()
        world.send(feed(seed=4 + round_, seconds=150, per_second=100, start_s=150 * round_))
        wait_for(lambda: world.written() > before + 500, 60, workers[0].log_tail, [])  # noqa: B023
        victim = workers[round_ % 2]
        victim.kill()
        if disk == "empty":
            shutil.rmtree(victim.state, ignore_errors=True)
        victim.start()
    world.end()
    world.wait_until_complete(workers)
    world.check()

"""A worker frozen for longer than the group waits: another takes over, and the first does no harm when it wakes up."""

from __future__ import annotations

import signal

import pytest

from tests.integration.support import feed, wait_for

pytestmark = pytest.mark.kafka


@pytest.mark.rule(6, 7, 16)
def test_a_frozen_worker_is_fenced_and_joins_again(world, start_worker):
    world.send(feed(seed=61, seconds=400, per_second=100))
    sleeper, other = workers = [start_worker(world, n) for n in (1, 2)]
    for worker in workers:
        worker.wait_ready()
    wait_for(lambda: world.written() > 1000, 60, sleeper.log_tail, workers)
    sleeper.signal(signal.SIGSTOP)
    wait_for(lambda: owns(other) == {"0", "1", "2", "3"}, 60, other.log_tail, [other])
    world.send(feed(seed=62, seconds=30, per_second=100, start_s=1500))
    sleeper.signal(signal.SIGCONT)
    wait_for(lambda: all(len(owns(w)) == 2 for w in workers), 60, sleeper.log_tail, workers)  # it is a member again
    world.send(feed(seed=63, seconds=30, per_second=100, start_s=2400))
    world.end()
    world.wait_until_complete(workers)
    world.check()
    for worker in workers:
        assert "Traceback" not in worker.log.read_text()
        assert worker.stop() == 0
    world.check()


def owns(worker) -> set[str]:
    """The join partitions that a worker steps, by its metrics."""
    lines = worker.get("/metrics")[1].splitlines()
    return {
        line.partition('partition="')[2].partition('"')[0]
        for line in lines
        if line.startswith("samplejoin_state_keys{")
    }

"""More workers and fewer, while events flow."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.integration.scenes import edit_job
from tests.integration.support import feed, wait_for
from tests.integration.test_zombie import owns

pytestmark = pytest.mark.kafka


@pytest.mark.rule(6, 7)
def test_one_worker_two_workers_one_worker(world, start_worker):
    first = start_worker(world, 1)
    first.wait_ready()
    world.send(feed(seed=71, seconds=400, per_second=100))
    wait_for(lambda: world.written() > 500, 60, first.log_tail, [first])
    second = start_worker(world, 2)
    wait_for(lambda: len(owns(first)) == len(owns(second)) == 2, 60, second.log_tail, [first, second])
    before = world.written()
    world.send(feed(seed=72, seconds=100, per_second=100, start_s=1200))
    wait_for(lambda: world.written() > before + 500, 60, second.log_tail, [first, second])
    assert first.stop() == 0
    world.send(feed(seed=73, seconds=100, per_second=100, start_s=2400))
    wait_for(lambda: len(owns(second)) == 4, 60, second.log_tail, [second])
    world.end()
    world.wait_until_complete([second])
    world.check()
    for worker in (first, second):
        assert "Traceback" not in worker.log.read_text()


@pytest.mark.rule(6, 16)
def test_at_least_once_repeats_only_what_is_the_same(world, start_worker):
    """Without transactions a SIGKILL may repeat samples: none is lost, a repeat has the same id and bytes."""
    edit_job(world, extra="guarantee: at_least_once\n")
    worker = start_worker(world, 1)
    for round_ in range(2):
        before = world.written()
        world.send(feed(seed=74 + round_, seconds=200, per_second=100, start_s=200 * round_))
        wait_for(lambda: world.written() > before + 300, 60, worker.log_tail, [worker])  # noqa: B023
        worker.kill()
        worker.start()
    world.end()
    world.wait_until_complete([worker])
    payloads = defaultdict(set)
    for id_, payload in world.samples():
        payloads[id_].add(payload)
    assert payloads == {id_: {payload} for id_, payload in world.expected().items()}

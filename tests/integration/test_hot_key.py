"""One key holds half of all events: combined and uncombined give the same samples, and its home gets a few cells."""

from __future__ import annotations

from collections import Counter

import pytest

from samplejoin.core.keys import encode_key
from samplejoin.core.messages import Block
from samplejoin.engine.wire import unpack_entry
from tests.integration.scenes import edit_job, forget_run
from tests.integration.support import World, feed
from tests.support.kafka import consume_all

pytestmark = pytest.mark.kafka

IN_FLIGHT = 500
HOT = encode_key(["hot", "hot"])


def hot_feed(seconds: float) -> list[tuple[str, int, dict[str, object]]]:
    """A feed in which one key has every second event of each stream."""
    seen: Counter[str] = Counter()
    events = []
    for stream, partition, event in feed(seed=31, seconds=seconds, per_second=200):
        seen[stream] += 1
        if seen[stream] % 2:
            event = event | {"uid": "hot", "mid": "hot"}
        events.append((stream, partition, event))
    return events


def hot_cells(world: World) -> Counter[tuple[str, int, int]]:
    """How many cells the hot key's home got for it, per (block, stream, slice), beyond the uncombined start."""
    cells: Counter[tuple[str, int, int]] = Counter()
    for log in consume_all(world.kafka.bootstrap, f"{world.name}-repartition"):
        entry = unpack_entry(log.value or b"")
        if isinstance(entry, Block):
            for key, stream, slice_, low, *_ in entry.cells:
                if key == HOT and low >= IN_FLIGHT:
                    cells[f"{log.partition}/{log.offset}", stream, slice_] += 1
    return cells


@pytest.mark.rule(11)
def test_a_hot_key_costs_its_home_a_few_cells(world, start_worker):
    """Twice the same job on the same input: the second time nothing is combined."""
    edit_job(world, extra=f"combine: true\nmax_in_flight: {IN_FLIGHT}\n")
    runs = []
    for number in (1, 2):
        worker = start_worker(world, number)
        if number == 1:  # a backlog would be sent one by one: an owner before this one may have sent it (ADR 11)
            worker.wait_ready()
            world.send(hot_feed(45))
            world.end()
        world.wait_until_complete([worker])
        assert worker.stop() == 0
        world.check()
        runs.append((dict(world.samples()), hot_cells(world)))
        if number == 1:
            forget_run(world)
            edit_job(world, ("combine: true", "combine: false"))

    (samples, combined), (again, uncombined) = runs
    assert samples == again
    assert set(combined.values()) == {1}
    assert sum(uncombined.values()) == sum(row.key == HOT and row.source[2] >= IN_FLIGHT for row in world.rows)
    assert uncombined.most_common(1)[0][1] > 20
    assert combined.total() * 5 < uncombined.total()

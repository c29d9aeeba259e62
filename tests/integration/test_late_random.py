"""Random labels that come after their samples: the last revisions equal the samples of a join with all rows in time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.integration.scenes import edit_job, record
from tests.integration.support import STREAMS, World, wait_for
from tests.support.kafka import consume_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SECONDS, USERS = 120, 150
Event = tuple[str, int, dict[str, Any]]


def impressions(random: Random) -> list[Event]:
    """One to three of each user, in the order of their times within each partition."""
    times = [(random.uniform(0, SECONDS), f"u{n}") for n in range(USERS) for _ in range(random.randint(1, 3))]
    return [("impression", n % 4, record(uid, second, pos=n)) for n, (second, uid) in enumerate(sorted(times))]


def labels(random: Random, shown: list[Event]) -> list[Event]:
    """Clicks and likes around the impressions, some outside of every window."""
    found = []
    for _, _, row in random.choices(shown, k=3 * len(shown)):
        second = (row["ts"] - record("", 0)["ts"]) / 1000 + random.uniform(-4, 24)
        more = {"dwell": random.choice([0.25, 1.5, 3.0])} if random.random() < 0.6 else {}
        found.append(("click" if more else "like", random.randrange(4), record(row["uid"], max(0, second), **more)))
    return sorted(found, key=lambda event: event[2]["ts"])


def last_revisions(world: World) -> dict[str, bytes]:
    """Sample id -> value; each id's revisions must be counted from 0 and rise with the offset."""
    last: dict[str, tuple[int, bytes]] = {}
    for each in consume_all(world.kafka.bootstrap, f"{world.name}-samples"):
        id_, revision = (each.headers["sample_id"] or b"").decode(), int(each.headers["revision"] or b"")
        assert revision == last.get(id_, (-1, b""))[0] + 1, f"revision {revision} of {id_} after {last.get(id_)}"
        last[id_] = revision, each.value or b""
    return {id_: value for id_, (_, value) in last.items()}


@pytest.mark.rule(3, 5, 6, 16)
@pytest.mark.parametrize("repeat", ["merge", "each"])
def test_late_labels_end_as_if_they_had_been_in_time(world, start_worker, repeat):
    edit_job(world, ("late: topic", f"late: correct\ncorrection: 1h\nrepeat: {repeat}"))
    random = Random(repeat)
    shown = impressions(random)
    joined = labels(random, shown)
    late = [event for event in joined if random.random() < 0.4]
    in_time = [event for event in joined if event not in late]
    world.send(sorted([*shown, *in_time], key=lambda event: event[2]["ts"]))
    closing = [(s, p, {**record("nobody", SECONDS + 60), "drop": 1}) for s in STREAMS for p in range(4)]
    world.send(closing)
    workers = [start_worker(world, n) for n in (1, 2)]
    world.wait_until_complete(workers)
    world.check()
    in_time_only = world.expected()
    random.shuffle(late)
    third = len(late) // 3
    for part in (late[:third], late[third : 2 * third], late[2 * third :]):
        world.send(part)
        workers[0].kill()
        workers[0].start()
    expected = world.expected()
    assert sum(expected[id_] != value for id_, value in in_time_only.items()) > 50
    wait_for(lambda: last_revisions(world) == expected, 90, workers[1].log_tail, workers)

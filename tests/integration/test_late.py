"""Labels that come after their sample, where a job starts to read, and streams of several topics."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from samplejoin.core.keys import encode_key
from tests.core.oracle import Row
from tests.integration.scenes import edit_job, encoded, record, send_raw
from tests.integration.support import STREAMS, World, feed, wait_for
from tests.support.kafka import Record, consume_all, create_topics, produce

pytestmark = pytest.mark.kafka


def samples_of(world: World) -> list[Record]:
    """All records of the samples topic."""
    return consume_all(world.kafka.bootstrap, f"{world.name}-samples")


def revisions(world: World, uid: str) -> list[Record]:
    """The samples of a user, by revision."""
    key = encode_key([uid, "m"])
    return sorted((r for r in samples_of(world) if r.key == key), key=lambda r: int(r.headers["revision"] or b""))


@pytest.mark.rule(5, 6)
def test_a_really_late_label_corrects_its_sample(world, start_worker):
    """The label is produced when the sample has gone out: a revision with the same id, to the same partition."""
    edit_job(world, ("late: topic", "late: correct\ncorrection: 1h"), ("  pos:", "  at: impression.ts\n  pos:"))
    users = [f"u{n}" for n in range(20)]
    world.send(("impression", n % 4, record(uid, n, pos=n)) for n, uid in enumerate(users))
    world.send(("click", n, record("u1", 1, dwell=1.0)) for n in range(1))
    closing = [(s, p, {**record("nobody", 120), "drop": 1}) for s in STREAMS for p in range(4)]
    world.send(closing)
    worker = start_worker(world, 1)
    world.wait_until_complete([worker])
    world.check()
    first = {r.headers["sample_id"]: r for r in samples_of(world)}

    world.send(("click", 1, record(uid, n + 3, dwell=2.5)) for n, uid in enumerate(users[:10]))
    wait_for(lambda: len(samples_of(world)) >= 30, 30, worker.log_tail, [worker])
    world.send(("like", 2, record(uid, n + 4)) for n, uid in enumerate(users[:5]))
    wait_for(lambda: len(samples_of(world)) >= 35, 30, worker.log_tail, [worker])

    last: dict[str, bytes] = {}
    for n, uid in enumerate(users):
        found = revisions(world, uid)
        assert [r.headers["revision"] for r in found] == [b"%d" % i for i in range(1 + (n < 10) + (n < 5))]
        assert {r.headers["sample_id"] for r in found} == {found[0].headers["sample_id"]} <= set(first)
        assert len({r.partition for r in found}) == 1
        assert [r.headers.get("previous_weight") for r in found] == [None, b"1.0", b"1.0"][: len(found)]
        assert [r.offset for r in found] == sorted(r.offset for r in found)
        last[(found[-1].headers["sample_id"] or b"").decode()] = found[-1].value or b""
    assert last == world.expected()  # the last revision equals the offline sample
    assert worker.metric("samplejoin_late_corrections_total") == 15


@pytest.mark.rule(1)
@pytest.mark.parametrize("start", ["latest", "time"])
def test_a_job_starts_where_it_says(world, start_worker, start):
    """Rows before the start are counted and dropped, whatever their offset."""
    world.send(feed(seed=81, seconds=60, per_second=20))
    if start == "latest":
        edit_job(world, extra="start: latest\n")
        world.rows.clear()
        worker = start_worker(world, 1)
        worker.wait_ready()
        shift = 600.0
    else:
        begin = int(time.time() * 1000) + 1
        wait_for(lambda: time.time() * 1000 > begin, 5, lambda: "")
        moment = datetime.fromtimestamp(begin / 1000, UTC).isoformat(timespec="milliseconds")
        edit_job(world, extra=f"start: {moment}\nmax_skew: 1h\n")
        shift = begin / 1000 + 60 - 1_700_000_000.0
    world.send(feed(seed=82, seconds=60, per_second=20, start_s=shift))
    dropped = 0
    before = [record("before", 0, pos=1), record("before", shift - 70, pos=1)]
    if start == "time":
        send_raw(world, "impression", 0, encoded(*before))
        old, world.rows = world.rows, [row for row in world.rows if row.time >= begin]
        dropped = len(old) - len(world.rows) + len(before)
        worker = start_worker(world, 1)
    world.send((s, p, {**record("nobody", shift + 600), "drop": 1}) for s in STREAMS for p in range(4))
    world.wait_until_complete([worker])
    world.check()
    assert worker.metric("samplejoin_events_total", outcome="before_start") == dropped


@pytest.mark.rule(2, 4)
def test_a_stream_of_several_topics_and_one_of_a_pattern(world, start_worker):
    """Also a second time, when the job's own topics are there and the pattern would match them."""
    name = world.name
    more = {f"{name}-click-b": 3, f"{name}-x-like": 2, f"{name}-y-like": 1}
    create_topics(world.kafka.bootstrap, more)
    text = world.job_file.read_text()
    text = text.replace(f"topic: {name}-click", f"topics: [{name}-click, {name}-click-b]")
    pattern = text.replace(f"topic: {name}-like", f"pattern: '{name}-(?!impression|click|samples|late|orphan|dead).*'")
    world.job_file.write_text(text.replace(f"topic: {name}-like", f"topics: [{', '.join(likes(name))}]"))
    edit_job(world)  # what the oracle sees
    world.job_file.write_text(pattern)

    for second in (0, 1500):
        events = feed(seed=83 + second, seconds=60, per_second=20, start_s=second)
        spread(world, events)
        closing = {**record("nobody", second + 700), "drop": 1}
        spread(world, [(s, p // 2, closing) for s in STREAMS for p in range(24)])
        worker = start_worker(world, 1)
        world.wait_until_complete([worker])
        world.check()
        assert worker.stop() == 0


def likes(name: str) -> list[str]:
    """The like stream's topics."""
    return [f"{name}-like", f"{name}-x-like", f"{name}-y-like"]


def spread(world: World, events: list[tuple[str, int, dict[str, Any]]]) -> None:
    """Produces clicks to two topics and likes to three, in turn, of 4, 3, 2 and 1 partitions."""
    counts = {f"{world.name}-click-b": 3, f"{world.name}-x-like": 2, f"{world.name}-y-like": 1}
    topics = {
        "impression": [f"{world.name}-impression"],
        "click": [f"{world.name}-click", f"{world.name}-click-b"],
        "like": likes(world.name),
    }
    batches: dict[str, list[Any]] = {}
    for n, (stream, partition, event) in enumerate(events):
        topic = topics[stream][n % len(topics[stream])]
        partition %= counts.get(topic, 4)
        offset = world._offsets.get((topic, partition), 0)
        world._offsets[topic, partition] = offset + 1
        batches.setdefault(topic, []).append((partition, encoded(event)[0], None, None))
        if "drop" not in event:
            key = encode_key([event["uid"], event["mid"]])
            world.rows.append(Row(stream, key, event["ts"], (topic, partition, offset, 0), event))
    world._expected = None
    for topic, batch in batches.items():
        produce(world.kafka.bootstrap, topic, batch)

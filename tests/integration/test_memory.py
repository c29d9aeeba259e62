"""A worker under a hard limit of 1 GiB: rows at every limit, batches that expand a thousandfold, a hot key.

A larger form: `MEMORY_KEYS=6000 MEMORY_HOT_SHOWS=8000 MEMORY_HOT_CLICKS=400 MEMORY_BOMB_MB=900 pytest ...`.
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer

from samplejoin.core.keys import encode_key
from tests.core.oracle import Row
from tests.integration.scenes import edit_job, letters
from tests.integration.support import START_MS, Worker, World, feed, wait_for
from tests.support.kafka import unique
from tests.support.memory import enter, memory_group, peak_bytes

pytestmark = pytest.mark.kafka

LIMIT_BYTES = 1 << 30
ROW_BYTES = 500_000
SPAN_MS = 5000
"""Of the large rows: those that the feed sends behind them are not late."""
KEYS = int(os.environ.get("MEMORY_KEYS", "1000"))
BOMB_BYTES = int(os.environ.get("MEMORY_BOMB_MB", "150")) << 20
HOT_CLICKS = int(os.environ.get("MEMORY_HOT_CLICKS", "100"))
HOT_SHOWS = int(os.environ.get("MEMORY_HOT_SHOWS", "2000"))
FUNCTIONS = """
def clean(record):
    return None if record.get("drop") else record


def format_sample(sample):
    sample = dict(sample, pos=len(sample["pos"]) if isinstance(sample["pos"], str) else sample["pos"])
    notes = sample.pop("notes")
    return sample if sample["uid"] == "hot" else dict(sample, notes=len(notes))
"""


def send(world: World, stream: str, partition: int, values: list[dict[str, Any]], compression: str = "zstd") -> None:
    """Rows that compress well: they are large where they are unpacked."""
    topic = f"{world.name}-{stream}"
    producer = Producer({
        "bootstrap.servers": world.kafka.bootstrap, "message.max.bytes": 1_000_000_000,
        "compression.type": compression, "enable.idempotence": True, "queue.buffering.max.kbytes": 2_000_000,
        "linger.ms": 20, "batch.size": 2_000_000,
    })  # fmt: skip
    for value in values:
        offset = world._offsets.get((topic, partition), 0)
        world._offsets[topic, partition] = offset + 1
        producer.produce(topic, json.dumps(value).encode(), partition=partition)
        if "bomb" not in value:
            key = encode_key([value["uid"], value["mid"]])
            world.rows.append(Row(stream, key, value["ts"], (topic, partition, offset, 0), value))
        producer.poll(0)
    assert producer.flush(60) == 0


def attack(world: World) -> None:
    """Large rows of many keys, small clicks on them; bombs; a hot key with large clicks, one with large impressions."""
    text = "x" * ROW_BYTES
    for partition in range(4):
        keys = range(partition, KEYS, 4)
        send(world, "impression", partition, [
            {"uid": f"large-{n}", "mid": "m", "ts": START_MS + n * SPAN_MS // KEYS, "pos": text} for n in keys
        ])  # fmt: skip
        send(world, "click", partition, [
            {"uid": f"large-{n}", "mid": "m", "ts": START_MS + n * SPAN_MS // KEYS + 100, "dwell": 0.5} for n in keys
        ])  # fmt: skip
    send(world, "impression", 1, [
        {"uid": "shown", "mid": "m", "ts": START_MS + n, "pos": text, "id": n * 4 // 5} for n in range(HOT_SHOWS)
    ])  # fmt: skip
    send(world, "impression", 0, [{"uid": "hot", "mid": "m", "ts": START_MS, "pos": 1}])
    hot = {"uid": "hot", "mid": "m", "dwell": 0.25}
    send(world, "click", 0, [{**hot, "ts": START_MS + 10 * n, "note": text} for n in range(HOT_CLICKS)])
    send(world, "click", 0, [{**hot, "ts": START_MS + 6000 + n} for n in range(2000)])
    for partition, codec in enumerate(("zstd", "gzip", "lz4", "snappy")):
        size = BOMB_BYTES if codec in ("zstd", "gzip") else 20 << 20
        send(world, "click", partition, [{"bomb": "x" * size}], codec)


@pytest.mark.rule(11, 12)
def test_a_worker_stays_below_its_limit(world):
    (world.root / "large.py").write_text(FUNCTIONS)
    edit_job(
        world,
        ("functions:", "large:"),
        ("impression: {role: anchor,", "impression: {role: anchor, id: id,"),
        ("label: clicks > 0", "label: clicks > 0\nformat: large:format_sample"),
        ("  likes:", "  notes: {from: click.note, agg: list(3)}\n  likes:"),
    )
    attack(world)
    world.send(feed(seed=41, seconds=20, per_second=50))
    world.end()
    with memory_group(unique("samplejoin"), LIMIT_BYTES) as group:
        worker = Worker(world, 1)
        worker.before = partial(enter, group)
        try:
            worker.start()
            world.wait_until_complete([worker])
            wait_for(lambda: len(letters(world)) >= 4, 60, worker.log_tail, [worker])
            peak = peak_bytes(worker.running().pid)
        finally:
            worker.close()
    world.check()
    print(f"peak {peak >> 20} MiB, of {LIMIT_BYTES >> 20}; control group: {group}")
    assert [headers["reason"] for headers, _ in letters(world)] == ["too_large"] * 4
    assert peak < LIMIT_BYTES

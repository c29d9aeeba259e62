"""Helpers of the tests of bad input and faults besides `support`: edited jobs, raw records, answers of a worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from confluent_kafka.admin import AdminClient

from samplejoin.core.keys import encode_key
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.core.oracle import Row
from tests.integration.support import START_MS, STREAMS, Worker, World, wait_for
from tests.support.kafka import consume_all, produce


def edit_job(world: World, *changes: tuple[str, str], extra: str = "") -> World:
    """The world with a job file in which each text of `changes` stands for the other; every one must be found."""
    text = world.job_file.read_text()
    for old, new in changes:
        assert old in text, f"{old!r} is not in the job file"
        text = text.replace(old, new)
    world.job_file.write_text(text + extra)
    world.spec = compile_job(load_job(world.job_file, environ={}), world.root).spec
    return world


def send_raw(
    world: World,
    stream: str,
    partition: int,
    values: list[bytes | None],
    *,
    key: bytes | None = None,
    commit: bool | None = None,
) -> list[int]:
    """Produces values as they are; their offsets. `commit` as in `produce`: a transaction ends with a marker."""
    topic = f"{world.name}-{stream}"
    first = world._offsets.get((topic, partition), 0)
    produce(world.kafka.bootstrap, topic, [(partition, value, None, key) for value in values], commit=commit)
    world._offsets[topic, partition] = first + len(values) + (commit is not None)
    return [first + i for i in range(len(values))]


def remember(world: World, stream: str, partition: int, offset: int, row: dict[str, Any], index: int = 0) -> None:
    """A row that cleaning is known to make of what was sent raw."""
    key = encode_key([row["uid"], row["mid"]])
    world.rows.append(Row(stream, key, row["ts"], (f"{world.name}-{stream}", partition, offset, index), row))
    world._expected = None


def record(uid: str, second: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A record of user `uid` at that second of the stream's time."""
    return {"uid": uid, "mid": "m", "ts": START_MS + int(second * 1000), **fields}


def encoded(*records: dict[str, Any]) -> list[bytes | None]:
    """Records as JSON."""
    return [json.dumps(each).encode() for each in records]


def letters(world: World) -> list[tuple[dict[str, str], bytes]]:
    """Headers (without their prefix) and value of every dead letter so far."""
    found = consume_all(world.kafka.bootstrap, f"{world.name}-dead-letter")
    return [
        ({k.removeprefix("samplejoin."): (v or b"").decode() for k, v in r.headers.items()}, r.value or b"")
        for r in found
    ]


def outcomes(workers: list[Worker]) -> Counter[tuple[str, str]]:
    """(stream, outcome) -> how many, of all workers."""
    found: Counter[tuple[str, str]] = Counter()
    for worker in workers:
        for line in worker.get("/metrics")[1].splitlines():
            if line.startswith("samplejoin_events_total{"):
                labels, value = line.partition("{")[2].rsplit("} ", 1)
                named = dict(part.split("=") for part in labels.split(","))
                found[named["stream"].strip('"'), named["outcome"].strip('"')] += int(float(value))
    return found


def wait_for_end(worker: Worker, timeout_s: float = 30) -> int:
    """Waits until the worker has ended by itself; its exit status."""
    wait_for(lambda: worker.running().poll() is not None, timeout_s, worker.log_tail)
    status = worker.running().returncode
    assert status is not None
    return status


def watch_until(condition: Callable[[], bool], timeout_s: float, say: Callable[[], str], every_s: float = 0.02) -> None:
    """As `wait_for`, for what shows only briefly."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not reached in {timeout_s} s. {say()}"
        time.sleep(every_s)


def forget_run(world: World) -> None:
    """Deletes all that workers of the job made in Kafka; its input topics stay."""
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    inputs = {f"{world.name}-{stream}" for stream in STREAMS}
    made = {t for t in admin.list_topics(timeout=10).topics if t.startswith(world.name)} - inputs
    for deleted in admin.delete_topics(sorted(made), operation_timeout=30).values():
        deleted.result()
    for deleted in admin.delete_consumer_groups([world.name], request_timeout=30).values():
        deleted.result()
    watch_until(lambda: not made & set(admin.list_topics(timeout=10).topics), 30, lambda: f"{made} are still there")

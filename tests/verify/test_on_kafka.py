"""`samplejoin verify` on a real Kafka, behind a real worker: what it says of a right job, and of tampered topics."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.integration.support import START_MS, World, feed, wait_for
from tests.support.kafka import consume_all

pytestmark = [pytest.mark.kafka, pytest.mark.rule(6, 16)]


def verify(world: World, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and report."""
    command = [sys.executable, "-m", "samplejoin.cli", "verify", str(world.job_file), "-o", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}


def wrong(report: dict[str, Any]) -> dict[str, int]:
    """The errors of a report by class."""
    names = ("lost", "doubled", "wrong_label", "wrong_field", "wrong_weight", "wrong_header", "unexplained")
    return {name: report[name] for name in names if report[name]}


def resend(world: World, record: Any, value: bytes | None = None, **headers: bytes) -> None:
    """A record of the samples topic once more, changed."""
    producer = Producer({"bootstrap.servers": world.kafka.bootstrap})
    producer.produce(
        record.topic,
        value or record.value,
        record.key,
        record.partition,
        headers=list({**record.headers, **headers}.items()),
    )
    assert producer.flush(30) == 0


def test_a_right_job_then_one_that_was_tampered_with(world, start_worker):
    """At a resolution of 1 ms: every window has an end of its own."""
    world.job_file.write_text(world.job_file.read_text().replace("window: 20s", "window: 20001ms\nresolution: 1ms"))
    world.spec = compile_job(load_job(world.job_file, environ={}), world.job_file.parent).spec
    world.send(feed(7, 60, 50))
    world.send([("impression", 0, {"uid": "bad", "mid": "bad", "ts": "never", "drop": 1})])
    world.end()
    worker = start_worker(world, 1)
    world.wait_until_complete([worker])
    wait_for(lambda: verify(world)[1].get("open", 1) == 0, 60, worker.log_tail, [worker])

    status, report = verify(world)
    assert (status, report["ok"], wrong(report)) == (0, True, {}), report
    assert report["windows"] == report["samples"] == report["right"] == len(world.expected())
    assert report["exempt"] == 0
    assert (report["letters"]["expected"], report["letters"]["found"]) == (1, 1)
    assert report["orphans"]["expected"] == report["orphans"]["found"] > 0
    assert report["streams"]["impression"]["dead"] == {"time": 1}

    status, share = verify(world, "--sample", "1/8")
    assert (status, share["share"]) == (0, 0.125)
    assert 0 < share["windows"] < report["windows"] / 4

    status, said = verify(world, "--set", "window=30s", "--set", "keep_negatives=0.5")
    assert (status, said["stderr"].partition(". ")[0]) == (
        2, "the samples were made by another version of the job; edited since: keep_negatives, window"
    )  # fmt: skip

    records = consume_all(world.kafka.bootstrap, f"{world.name}-samples")
    resend(world, records[0])
    resend(world, records[1], sample_id=b"0" * 32)
    resend(world, records[2], json.dumps({**json.loads(records[2].value or b""), "label": 7}).encode())
    status, report = verify(world)
    assert (status, wrong(report)) == (1, {"doubled": 2, "unexplained": 1})
    example = next(e for e in report["errors"] if e["class"] == "doubled")
    assert example["at"].startswith(f"{world.name}-samples/{records[0].partition}/")
    assert example["sources"][0].startswith(f"{world.name}-impression/")


@pytest.mark.rule(5)
def test_late_rows_and_open_windows(world, start_worker):
    """Rows that come after their windows have closed are exempt, by the log; what is not due yet is open."""
    world.job_file.write_text(
        world.job_file.read_text().replace("late: topic", "late: count").replace(f", late: {world.name}-late", "")
    )
    world.send(feed(8, 40, 40))
    world.end()
    worker = start_worker(world, 1)
    world.wait_until_complete([worker])
    impression = next(r for r in world.rows if r.stream == "impression")
    uid, mid = impression.value["uid"], impression.value["mid"]
    before = verify(world)[1]
    world.send([("click", 2, {"uid": uid, "mid": mid, "ts": impression.time + 1, "dwell": 1.0})])
    world.send([("impression", 1, {"uid": "late", "mid": "late", "ts": START_MS, "pos": 1})])

    def read() -> bool:
        return bool(worker.metric("samplejoin_late_dropped_rows_total") >= 2)

    wait_for(read, 60, worker.log_tail, [worker])
    assert worker.stop() == 0
    status, report = verify(world)
    assert (status, wrong(report)) == (0, {}), report
    assert (report["exempt_reasons"], report["replay"]["used"]) == ({"late row": 2}, True)
    assert report["windows"] == before["windows"] + 1

    world.send([("impression", 3, {"uid": "new", "mid": "new", "ts": START_MS + 700_000, "pos": 1})])
    world.end()
    status, report = verify(world)
    assert (status, report["open"], report["behind"]) == (0, 1, 1), report

    assert report["notes"] == []


def test_what_cannot_be_verified_is_said(world):
    assert verify(world)[0] == 2
    stderr = verify(world)[1]["stderr"]
    assert "samples topic" in stderr
    assert "Traceback" not in stderr
    status, said = verify(world, "--set", "clock=processing", "--set", "late=count")
    assert status == 2
    assert "clock: processing" in said["stderr"]
    status, said = verify(world, "--set", "brokers=127.0.0.1:1")
    assert status == 2
    assert "no broker answers" in said["stderr"]
    assert verify(world, "--sample", "2/3")[0] == 2


def test_a_job_that_started_at_the_end_of_its_inputs_and_inputs_that_were_deleted(world, start_worker):
    """The log tells where it began; what retention has deleted narrows what can be compared, and that is said."""
    world.send(feed(9, 20, 30))
    before = len(world.expected())
    world.job_file.write_text(world.job_file.read_text() + "start: latest\n")
    worker = start_worker(world, 1)
    worker.wait_ready()
    world.rows.clear()
    world.send(feed(10, 40, 30, start_s=100, users=41))
    world.end()
    world.wait_until_complete([worker])
    assert worker.stop() == 0
    status, report = verify(world)
    assert (status, wrong(report), report["notes"]) == (0, {}, []), report
    assert report["right"] == report["windows"] == len(world.expected()) != before

    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    for future in admin.delete_records([TopicPartition(f"{world.name}-impression", p, 250) for p in range(4)]).values():
        future.result()
    status, report = verify(world)
    assert status == 0, report
    assert report["unverifiable"] > 0
    assert f"retention has deleted the beginning of {world.name}-impression" in report["notes"][0]
    assert report["from"] is not None

"""A record that no worker survives is passed over when an operator asks for it, and the skip is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.scenes import edit_job, encoded, record, send_raw, wait_for_end
from tests.integration.support import World, feed, wait_for

pytestmark = pytest.mark.kafka

FUNCTIONS = """
import os


def clean(record):
    if record.get("do") == "die":
        os._exit(9)
    return None if record.get("drop") else record
"""


def command(world: World, *arguments: str) -> tuple[int, str]:
    """Exit status and all that a command of ours says."""
    name, *rest = arguments
    line = [sys.executable, "-m", "samplejoin.cli", name, str(world.job_file), *rest]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.rule(7)
def test_a_record_that_kills_workers_is_passed_over(world, start_worker):
    (world.root / "deadly.py").write_text(FUNCTIONS)
    edit_job(world, ("functions:", "deadly:"))
    world.send(feed(seed=31, seconds=20, per_second=20))
    (poison,) = send_raw(world, "click", 1, encoded(record("poison", 1, do="die")))
    world.send(feed(seed=32, seconds=20, per_second=20, start_s=20))
    world.end()
    place = f"{world.name}-click/1/{poison}"
    for number in (1, 2):
        assert wait_for_end(start_worker(world, number)) == 9
    assert command(world, "skip") == (0, f"job {world.name}: nothing is skipped\n")

    for wrong, said in (
        (f"{world.name}-samples/0/0", f"{world.name}-samples is not an input topic of the job"),
        (f"{world.name}-click/9/0", "has 4 partitions"),
        (f"{world.name}-click/1/{poison + 9999}", "outside its log, which holds offsets 0 to"),
    ):
        status, text = command(world, "skip", wrong, "--reason", "none", "--yes")
        assert (status, said in text) == (1, True), text
    status, text = command(world, "skip", place, "--reason", "kills workers", "--yes")
    assert status == 0, text

    worker = start_worker(world, 3)
    world.wait_until_complete([worker])
    world.check()
    assert worker.metric("samplejoin_skipped_records_total", topic=f"{world.name}-click") == 1
    assert f"{place} is passed over: asked for by" in worker.log.read_text()

    def read_to_the_end() -> bool:
        return bool(worker.metric("samplejoin_consumer_lag_records") == 0)

    wait_for(read_to_the_end, 30, worker.log_tail, [worker])
    status, text = command(world, "verify", "-o", "json")
    report: dict[str, Any] = json.loads(text)
    assert (status, report["ok"], report["skipped"]) == (0, True, {f"{world.name}-click": 1}), report["verdict"]

    status, text = command(world, "skip", place, "--reason", "once more", "--yes")
    assert (status, "the job has read" in text) == (1, True), text
    status, text = command(world, "skip", "-o", "json")
    (kept,) = json.loads(text)
    assert (kept["reason"], kept["first"], kept["last"]) == ("kills workers", poison, poison)
    assert kept["by"]

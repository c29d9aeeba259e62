"""`samplejoin status` says in its first line whether a job is well and, if not, what keeps samples from coming."""

from __future__ import annotations

import json

import pytest

from tests.integration.scenes import edit_job, send_raw
from tests.integration.support import World, feed, wait_for
from tests.integration.test_skip import command

pytestmark = pytest.mark.kafka


def first_line(world: World) -> str:
    return command(world, "status")[1].splitlines()[0]


def test_a_job_before_while_and_after_it_runs(world, start_worker):
    world.send(feed(seed=51, seconds=40, per_second=20))
    code, text = command(world, "status")
    assert code == 3
    assert text.startswith(f"{world.name}: no worker runs; {world.events:,} records wait to be read\n")

    worker = start_worker(world, 1)
    send_raw(world, "click", 1, [b"{not json"])
    world.end()
    world.wait_until_complete([worker])
    wait_for(
        lambda: f"{world.name}: well: 1 worker, lag 0" in command(world, "status")[1], 60, worker.log_tail, [worker]
    )
    code, text = command(world, "status", "-o", "json")
    page = json.loads(text)
    assert (code, page["well"], page["unowned"]) == (0, True, [])
    (shown,) = page["workers"]
    assert len(shown["page"]["joins"]) == 4
    assert all(join["clock"]["value_ms"] for join in shown["page"]["joins"])
    assert page["kafka"]["last_sample_ms"] > 0
    assert page["kafka"]["join_lag"] < 40, "ticks of a moment, at most"
    assert page["kafka"]["dead"]["by_reason"] == {"decode": 1}
    assert f"{world.name}-click/1/" in page["kafka"]["dead"]["examples"]["decode"]

    edit_job(world, ("window: 20s", "window: 21s"))
    assert first_line(world) == f"{world.name}: the job file is another than the one that runs: window was edited since"
    edit_job(world, ("window: 21s", "window: 20s"))
    code, text = command(world, "status", "--workers", "127.0.0.1:1")
    assert (code, "no web port answers (127.0.0.1:1: " in text.splitlines()[0]) == (3, True)
    assert worker.stop() == 0
    wait_for(lambda: first_line(world) == f"{world.name}: no worker runs; everything is read", 30, worker.log_tail)


@pytest.mark.rule(8)
def test_a_stream_that_is_waited_for_is_named(world, start_worker):
    edit_job(
        world, ("click, clean: functions:clean, time: ts}", "click, clean: functions:clean, time: ts, idle: hold}")
    )
    worker = start_worker(world, 1)
    world.send(row for row in feed(seed=52, seconds=40, per_second=20) if row[0] != "click")
    held = "no window closes: the clock is held by stream click"
    wait_for(lambda: held in first_line(world), 120, worker.log_tail, [worker])
    assert "`idle: hold` waits for one" in first_line(world)

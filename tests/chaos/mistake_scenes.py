"""A scene for each planted mistake: in it the protection is needed, whatever the machine's speed.

Each returns whether the protection was seen at work, which is asked of the right worker only; then `Play.judge`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.covering import SourceWriter
from samplejoin.core.identity import source_id
from samplejoin.core.messages import Entry, Tick
from samplejoin.engine.wire import pack_entry
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.chaos.mistake_play import WINDOW_S, Play, events
from tests.integration.scenes import edit_job, encoded, record, send_raw, wait_for_end
from tests.integration.support import START_MS, Worker, wait_for
from tests.support.kafka import consume_all, create_topics, produce

STEP_S = 10
ASSIGNED = "] assigned "
TOO_LARGE = "takes no record as large as one of this job"


class Scene(NamedTuple):
    """What is played, and what the judge must say of a worker with the mistake."""

    play: Callable[[Play], bool]
    caught: str


# ---- owners of a join partition --------------------------------------------------------------------------------------


def an_old_owner_wakes_up(play: Play) -> bool:
    """It is frozen with all samples sent, and not committed; another takes over and sends them; then it goes on."""
    play.prepare()
    old = play.start_and_freeze(1, "commit-sent:1:stop")
    new = play.start(2)
    wait_for(lambda: _commits(new) > 0, 60, new.log_tail, [new])
    joined = old.log.read_text().count(ASSIGNED)
    old.signal(signal.SIGCONT)
    wait_for(lambda: old.log.read_text().count(ASSIGNED) > joined, 60, old.log_tail, [old])
    return _has_aborted(play)


def an_old_owner_commits_while_the_new_one_recovers(play: Play) -> bool:
    """The new one knows the changelog's end and is frozen while it reads; the old one goes on, and is gone.

    It ends before it joins the group again, for then the new one would recover once more.
    """
    play.prepare()
    old = play.start_and_freeze(1, "commit-sent:1:stop,revoked:1")
    new = play.start_and_freeze(2, "recovery-read:1:stop", session_s=60)
    old.signal(signal.SIGCONT)
    assert wait_for_end(old) == -signal.SIGKILL, old.log_tail()
    new.signal(signal.SIGCONT)
    wait_for(lambda: _commits(new) > 0, 60, new.log_tail, [new])
    return _has_aborted(play)


def killed_between_acknowledged_and_committed(play: Play) -> bool:
    """All of a commit is in Kafka and its transaction is not committed; then the same disk again."""
    play.prepare()
    play.start_and_die(1, "commit-sent:1")
    lost = not play.is_complete()
    play.start(1)
    return lost


def killed_between_acknowledged_and_committed_without_its_disk(play: Play) -> bool:
    """As before, but nothing is left on the disk: the state comes from the changelog alone."""
    play.prepare()
    shutil.rmtree(play.start_and_die(1, "commit-sent:1").state)
    lost = not play.is_complete()
    play.start(1)
    return lost


def a_commit_fails_and_the_worker_stops(play: Play) -> bool:
    """The first commit with rows raises when it has taken them; the worker stops as it does on any failure."""
    play.world.send(events(WINDOW_S - 5))
    worker = play.start(1, "commit-taken:1:raise")
    failed = wait_for_end(worker) == 1
    play.start(1)
    play.wait_read()
    play.world.end()
    return failed


def a_sample_is_refused_by_the_broker(play: Play) -> bool:
    """One sample is larger than its topic takes: the worker ends, and goes on when the limit is raised."""
    world = edit_job(play.world, ("  pos: impression.pos", "  pos: impression.pos\n  note: impression.note"))
    topic = f"{world.name}-samples"
    create_topics(world.kafka.bootstrap, {topic: 1}, {"max.message.bytes": "50000"})
    play.prepare(("impression", 0, record("long", 1, pos=1, note="n" * 100_000)))
    worker = play.start(1)
    wait_for(lambda: TOO_LARGE in worker.log.read_text() or _commits(worker) > 0, 30, worker.log_tail)
    refused = TOO_LARGE in worker.log.read_text() and wait_for_end(worker) == 1
    _set_limit(play, topic, 1_000_000)
    if refused:
        play.start(1)
    return refused


def _set_limit(play: Play, topic: str, size_bytes: int) -> None:
    """The largest batch that a topic takes."""
    limit = ConfigEntry("max.message.bytes", str(size_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[limit])
    admin = AdminClient({"bootstrap.servers": play.world.kafka.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)


# ---- owners of a source ----------------------------------------------------------------------------------------------


def killed_before_offsets_are_committed(play: Play) -> bool:
    """The next owner sends again what has been merged already."""
    play.world.send(events(WINDOW_S - 5))
    play.start_and_die(1, "offsets-begin:1")
    worker = play.start(1)
    play.wait_read()
    play.world.end()
    return _seen(worker, "skipped_entries")


def killed_before_offsets_are_committed_and_more_rows_come(play: Play) -> bool:
    """The next owner reads rows of the same keys and seconds in one go, of which some have been merged."""
    play.world.send(events(WINDOW_S - 5))
    play.start_and_die(1, "offsets-begin:1")
    sent_again = play.unread() == play.world.events
    play.world.send(events(WINDOW_S - 5))
    play.start(1)
    play.wait_read()
    play.world.end()
    return sent_again


def killed_while_its_blocks_wait(play: Play) -> bool:
    """All rows are read and none of their blocks has left the worker, which dies: it had nothing to commit."""
    world = play.world
    worker = play.start(1, "block-begin:1:hold")
    world.send(("impression", 0, record(f"u{n}", n / 20, pos=n)) for n in range(300))
    wait_for(lambda: worker.metric("samplejoin_records_total") >= 300, 60, worker.log_tail, [worker])
    with contextlib.suppress(AssertionError):  # ten commits' time: only the mistaken worker commits anything
        wait_for(lambda: play.unread() == 0, 5, worker.log_tail)
    waited = play.unread() == 300
    worker.kill()
    play.start(1)
    world.end()
    return waited


def an_old_owner_sends_a_later_block(play: Play) -> bool:
    """Its block before that one never got into the log; the present owner has not come so far yet."""

    def later_block(writer: SourceWriter) -> Entry:
        return writer.block(0, writer.batch(29, None), _cells(play, range(20, 30)))

    return _old_owner_says(play, later_block)


def an_old_owner_ticks_beyond_what_is_joined(play: Play) -> bool:
    """Its blocks were acknowledged by Kafka and never joined; the present owner has not come so far yet."""

    def tick(writer: SourceWriter) -> Entry:
        writer.batch(29, _impression(29)["ts"])
        writer.settle()
        return Tick([writer.tick(0)], {})

    return _old_owner_says(play, tick)


def _old_owner_says(play: Play, later: Callable[[SourceWriter], Entry]) -> bool:
    """An old owner of the impressions, played by the test with the product's own writer.

    It had read 30 impressions, and given the join a block of the first 20 that it never took. Ten of them are sent by
    the present owner before it speaks, and the others after. The other topics are far ahead.
    """
    world = play.world
    ahead = {"ts": START_MS + 3_600_000, "drop": 1}
    world.send([*(("impression", 0, _impression(n)) for n in range(10)), ("click", 0, ahead), ("like", 0, ahead)])
    worker = play.start(1)
    play.wait_read()
    writer = SourceWriter(source_id(f"{world.name}-impression", 0), 1, -1, 50_000)
    writer.block(0, writer.batch(19, None), ())
    produce(world.kafka.bootstrap, f"{world.name}-repartition", [(0, pack_entry(later(writer)), None, None)])
    world.send(("impression", 0, _impression(n)) for n in range(10, 30))
    world.end()
    return _seen(worker, "gap_refused")


def _impression(n: int) -> dict[str, Any]:
    return record(f"u{n}", n * STEP_S, pos=n)


def _cells(play: Play, numbers: range) -> list[Any]:
    """What cleaning makes of some impressions, by the job's own cleaner."""
    world = play.world
    cleaner = Cleaner(compile_job(load_job(world.job_file, environ={}), world.root))
    now_ms = int(time.time() * 1000)
    records = [
        SimpleNamespace(
            value=json.dumps(_impression(n)).encode(), key=None, timestamp=now_ms, timestamp_type=0, headers=(),
            offset=n,
        )
        for n in numbers
    ]  # fmt: skip
    return cleaner.clean(f"{world.name}-impression", 0, records, now_ms).cells[0]


# ---- what is read, and when it is ------------------------------------------------------------------------------------


def aborted_input(play: Play) -> bool:
    """A producer of impressions and clicks aborts its transaction; others do not."""
    world = play.world
    for stream in ("impression", "click"):
        send_raw(world, stream, 0, encoded(*(record(f"u{n}", n, pos=1, dwell=1.0) for n in range(5))), commit=False)
    world.send(events(WINDOW_S - 5))
    world.end()
    play.start(1)
    topic = f"{world.name}-impression"
    return len(consume_all(world.kafka.bootstrap, topic, "read_uncommitted")) > len(
        consume_all(world.kafka.bootstrap, topic)
    )


def labels_are_ten_minutes_behind(play: Play) -> bool:
    """Ten minutes of impressions are joined before the first of their clicks and likes is read."""
    world = play.world
    rows = [(s, p, {**row, "ts": row["ts"] + 40_000 * n}) for n in range(15) for s, p, row in events(WINDOW_S - 5)]
    world.send(row for row in rows if row[0] == "impression")
    play.start(1)
    play.wait_read()
    waited = not world.written()
    world.send(row for row in rows if row[0] != "impression")
    world.end()
    return waited


SCENES = {
    "no-fencing": Scene(an_old_owner_wakes_up, "samples twice"),
    "fenced-after-recovery": Scene(an_old_owner_commits_while_the_new_one_recovers, "samples twice"),
    "gaps-accepted": Scene(an_old_owner_sends_a_later_block, "10 of 30 samples lost"),
    "rows-merged-again": Scene(killed_before_offsets_are_committed, "samples wrong"),
    "ticks-believed": Scene(an_old_owner_ticks_beyond_what_is_joined, "20 of 30 samples lost"),
    "sends-not-awaited": Scene(a_sample_is_refused_by_the_broker, "samples lost"),
    "store-before-commit": Scene(killed_between_acknowledged_and_committed, "samples lost"),
    "combined-from-the-start": Scene(
        killed_before_offsets_are_committed_and_more_rows_come, "the clock stands still at"
    ),
    "uncommitted-input": Scene(aborted_input, "samples wrong"),
    "uncommitted-changelog": Scene(killed_between_acknowledged_and_committed_without_its_disk, "samples lost"),
    "clock-from-rows": Scene(labels_are_ten_minutes_behind, "samples wrong"),
    "acknowledged-when-sent": Scene(killed_while_its_blocks_wait, "samples lost"),
    "commits-after-a-failure": Scene(a_commit_fails_and_the_worker_stops, "samples lost"),
}


def _has_aborted(play: Play) -> bool:
    """Whether samples stand in their topic that were never committed."""
    every = consume_all(play.world.kafka.bootstrap, f"{play.world.name}-samples", "read_uncommitted")
    return len(every) > len(play.world.samples())


def _commits(worker: Worker) -> float:
    return worker.metric("samplejoin_commits_total")


def _seen(worker: Worker, counter: str) -> bool:
    """Whether the right worker counts it; a mistaken one never will, so only the judge waits for more."""
    if worker.command is not Worker.command:
        return False
    wait_for(lambda: worker.metric(f"samplejoin_{counter}_total") > 0, 30, worker.log_tail, [worker])
    return True

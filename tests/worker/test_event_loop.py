"""How long fetches and commits wait."""

from __future__ import annotations

import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState

from samplejoin.engine.clients import FETCH_BYTES, FLOWING, STILL, pace
from samplejoin.engine.memory_budget import Memory
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.worker import join_task as join_module
from samplejoin.worker.gc_control import FEW_OBJECTS, MOST_LOOKS, Collector
from samplejoin.worker.join_task import JoinTask
from samplejoin.worker.loop_monitor import LoopWatch, next_sleep_s

TP = TopicPartition("shows", 0)


class Client:
    """What a fetcher asks of a client, with one broker that has all there is."""

    _metadata_max_age_ms = 10_000

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: 1)


@pytest.fixture
async def fetcher():
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([TP])
    subscriptions.subscription.assignment.state_value(TP).reset_to(0)
    made = Fetcher(Client(), subscriptions)
    made._fetch_task.cancel()
    yield made
    await made.close()


def asked_for(fetcher) -> tuple[int, int]:
    """Least bytes and longest wait of the request that would go out now."""
    (((_, request),), *_) = fetcher._get_actions_per_node(fetcher._subscriptions.subscription.assignment)
    return request._min_bytes, request._max_wait_ms


async def test_fetches_are_large_while_records_flow_and_prompt_while_none_do(fetcher):
    for flowing, expected in ((True, FLOWING), (False, STILL)):
        pace(SimpleNamespace(_fetcher=fetcher), flowing)
        assert asked_for(fetcher) == expected
    assert STILL[0] == 1  # the first record ends the wait
    assert FLOWING[0] <= FETCH_BYTES // 2  # what one partition may send at most must be enough, or a backlog waits


def join() -> Any:
    made = object.__new__(JoinTask)
    made._hurry, made._changes = asyncio.Event(), asyncio.Event()
    made._changes.set()
    return made


async def test_samples_of_closed_windows_do_not_wait_for_the_whole_interval():
    waiting = join()
    waiting._last_commit = time.monotonic() - 1800.0  # half an hour, half an interval
    waiting._hurry.set()
    async with asyncio.timeout(60):
        await waiting._until_due(3600.0)
    assert not waiting._hurry.is_set()


async def test_commits_are_half_an_interval_apart_at_least():
    waiting = join()
    waiting._last_commit = time.monotonic()
    waiting._hurry.set()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await waiting._until_due(3600.0)


async def test_without_closed_windows_the_interval_decides():
    waiting = join()
    waiting._last_commit = time.monotonic() - 3600.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await waiting._until_due(3600.0)
    async with asyncio.timeout(60):
        await waiting._until_due(0.01)


async def test_without_changes_nothing_is_looked_at_until_the_first_one():
    waiting = join()
    waiting._last_commit = time.monotonic() - 3600.0
    waiting._changes.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await waiting._until_due(0.01)
    waiting._changes.set()
    async with asyncio.timeout(60):
        await waiting._until_due(0.01)


async def test_a_commit_is_due_once_it_holds_much(monkeypatch):
    """A backlog changes more keys within an interval than one step of the event loop should collect."""
    monkeypatch.setattr(join_module, "COMMIT_KEYS", 2)
    busy = stepping(monkeypatch)
    for offset, hurries in ((0, False), (1, False), (2, True)):
        await busy.apply([SimpleNamespace(offset=offset, value=b"", timestamp=0)])
        assert busy._hurry.is_set() == hurries


async def test_bytes_make_a_commit_due_too_and_then_hold_the_join(monkeypatch):
    """Half of a partition's share: soon. All of it: before anything else is stepped."""
    busy, committed = stepping(monkeypatch), []

    async def commit() -> None:
        committed.append(busy.position)
        busy._grown = 0

    busy.commit = commit
    busy.config.memory.partitions = 4
    share = busy.config.memory.uncommitted
    for offset, size, hurries in ((0, share // 3, False), (1, share // 3, True), (2, share // 2, True)):
        await busy.apply([SimpleNamespace(offset=offset, value=bytes(size), timestamp=0)])
        assert busy._hurry.is_set() == hurries
    assert committed == [3]


async def test_small_rows_that_change_large_states_count_as_those(monkeypatch):
    busy, committed = stepping(monkeypatch), []

    async def commit() -> None:
        committed.append(busy.position)

    busy.commit, busy._growth = commit, 1000.0
    size = busy.config.memory.uncommitted // 900
    await busy.apply([SimpleNamespace(offset=0, value=bytes(size), timestamp=0)])
    assert committed == [1]


def stepping(monkeypatch):
    """A join partition whose entries change a key each and take as many bytes as their record."""
    monkeypatch.setattr(join_module, "unpack_sized", lambda value: (value, len(value)))
    keys: dict[bytes, None] = {}
    busy = join()
    busy.config, busy.table = SimpleNamespace(memory=Memory(1 << 30)), SimpleNamespace(loaded=0, peeked=0)
    busy._grown, busy._growth, busy._loaded = 0, 1.0, 0
    busy._applied, busy._outbox, busy.scheduler, busy.position, busy.running = (
        asyncio.Lock(),
        None,
        FairScheduler(),
        0,
        True,
    )
    busy.rewinds, busy._sample = SimpleNamespace(count=lambda *_: None), None
    busy.partition = SimpleNamespace(
        changed=keys, covered={}, due=lambda: False, sweep=None,
        apply=lambda entry, offset, *_: keys.update({b"%d" % offset: None}),
    )  # fmt: skip
    return busy


@pytest.mark.parametrize(
    ("slept_s", "late_s", "used_s", "next_s"),
    [
        (0.05, 0.0, 0.009, 0.25), (0.25, 0.0, 0.049, 0.25),  # next to nothing to do
        (0.05, 0.0, 0.011, 0.05), (0.25, 0.0, 0.051, 0.05),  # something
        (0.25, 0.06, 0.0, 0.05),  # woken late without work of its own: a slow disk, say
    ],
)  # fmt: skip
def test_the_loop_is_watched_less_often_while_it_does_nothing(slept_s, late_s, used_s, next_s):
    assert next_sleep_s(slept_s, late_s, used_s) == next_s


async def test_a_stall_is_measured_as_long_as_it_was(monkeypatch):
    """Not longer by the turn of the loop after it, in which a task that slept would have been woken."""
    loop, seen, now_s = asyncio.get_running_loop(), [], [1000.0]
    clock, later = loop.time, []

    class Meters:
        def observe(self, name: str, labels: tuple[str, ...], value: float) -> None:
            assert name == "loop_stall_seconds"
            seen.append(round(value, 6))

    monkeypatch.setattr(loop, "time", lambda: now_s[0])
    monkeypatch.setattr(loop, "call_at", lambda at, call, *args: later.append((at, call, args)))
    watch = LoopWatch(Meters())
    await watch.on_start()
    for late_s in (0.0, 0.3):
        at, call, args = later.pop()
        now_s[0] = at + late_s
        call(*args)
    monkeypatch.setattr(loop, "time", clock)
    assert seen == [0.0, 0.3]
    assert len(later) == 1, "it goes on"


def test_cycles_are_searched_when_little_is_under_way_and_after_a_while_all_the_same(monkeypatch):
    searched: list[int] = []
    under_way = [5]
    monkeypatch.setattr(gc, "get_count", lambda: (under_way[0], 0, 0))
    monkeypatch.setattr(gc, "collect", searched.append)
    collector = Collector()
    collector.collect_if_due()
    assert searched == [1]
    under_way[0] = FEW_OBJECTS + 1
    for _ in range(MOST_LOOKS - 1):
        collector.collect_if_due()
    assert searched == [1]
    collector.collect_if_due()
    assert searched == [1, 1]

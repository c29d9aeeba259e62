"""When a drain has reached its cut, with a log, a join and a group that change as Kafka may change them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from samplejoin.core.messages import Block, Tick
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition import Partition
from samplejoin.core.spec import Spec, Stream
from samplejoin.engine.cluster import Member
from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.sources import Sources
from samplejoin.worker import drain as module
from samplejoin.worker.drain import Drain

SPEC = Spec("job", (Stream("show", "anchor", ("shows",)), Stream("click", "label", ("clicks",))), ("k",), (), 5000)
CONFIG = EngineConfig(SPEC, "f", Topics("job", "s", None, None, "d"), 1, Path("state"), {})
SHOWS, CLICKS, GROWN = TopicPartition("shows", 0), TopicPartition("clicks", 0), TopicPartition("clicks", 1)
LOG = TopicPartition("job-repartition", 0)
IO_S = 0.02


class Stage:
    """One worker with one join partition. It is log, sender, consumer, group and joins in one, as a drain sees them."""

    def __init__(self) -> None:
        self.ends = {SHOWS: 100, CLICKS: 0, LOG: 0}
        self.sources = Sources(CONFIG)
        self.sources.partitions = {"shows": 1, "clicks": 1}
        self.committed = {SHOWS: 20, CLICKS: 0}
        self.partition = Partition(SPEC)
        self.table = SimpleNamespace(committed_position=0)
        self.join = SimpleNamespace(partition=self.partition, position=0, table=self.table)
        self.running = {0: self.join}
        self.consumer, self.assigned, self.unacked, self.ticks = self, True, 0, 0
        self.committing = True
        self.drain = Drain(CONFIG, self, self.sources, self, self)  # type: ignore[arg-type]
        self.assign(SHOWS, CLICKS)
        self.step(Block("shows 000000", 1, None, 19, []))

    def assignment(self) -> set[Any]:
        return {*self.sources.owned, LOG}

    async def end_offsets(self, tps: set[Any]) -> dict[Any, int]:
        found = {tp: self.ends[tp] for tp in tps}
        await asyncio.sleep(IO_S)
        return found

    async def commit(self, recover: bool = False) -> None:
        """Of the group, and of the joins."""
        for tp, owned in self.sources.owned.items():
            self.committed[tp] = owned.writer.acked + 1
            owned.writer.confirm(owned.writer.acked)
        self.table.committed_position = self.join.position

    def enqueue(self, partition: int, entry: Tick, acked: Callable[[int], None]) -> None:
        self.ticks += 1
        self.step(entry)
        acked(self.ends[LOG] - 1)

    def step(self, entry: Any) -> None:
        self.partition.apply(entry, self.ends[LOG], 0, Outcomes())
        self.partition.sweep(Outcomes())
        self.ends[LOG] += 1
        self.join.position = self.ends[LOG]

    def assign(self, *tps: Any) -> None:
        for tp in tps:
            self.sources.add(tp, 1, self.committed.get(tp, 0), "", self.ends[tp])

    async def read(self) -> None:
        """Joins whatever may be read, acknowledges and commits it."""
        while True:
            for tp, owned in list(self.sources.owned.items()):
                upto = self.ends[tp] - 1
                if self.drain.may_read() and upto > owned.delivered:
                    owned.delivered = owned.held_upto = upto
                    self.step(owned.writer.block(0, owned.writer.batch(upto, None), []))
                    owned.writer.settle()
            if self.committing:
                await self.commit()
            await asyncio.sleep(IO_S / 2)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    async def play(self, *meanwhile: Any) -> None:
        """Drains to the end, while these go on."""
        tasks = [asyncio.create_task(each) for each in (self.read(), *meanwhile)]
        try:
            async with asyncio.timeout(5):
                await self.drain.run()
        finally:
            for task in tasks:
                task.cancel()

    def check(self) -> None:
        """The state can go on from here."""
        committed = {f"{tp.topic} {tp.partition:06d}": offset - 1 for tp, offset in self.committed.items() if offset}
        assert {source: self.partition.covered[source] for source in committed} == committed
        assert self.join.position == self.table.committed_position == self.ends[LOG]
        assert not self.partition._pending
        assert not self.unacked


@pytest.fixture
def stage(monkeypatch) -> Stage:
    monkeypatch.setattr(module, "POLL_S", IO_S / 4)
    return Stage()


def alone(monkeypatch, *members: str) -> None:
    async def members_of(_: EngineConfig) -> list[Member]:
        return [Member(each, "127.0.0.1", frozenset()) for each in members]

    monkeypatch.setattr(module, "members_of", members_of)


@pytest.mark.rule(7)
def test_what_the_inputs_hold_is_joined_and_committed(stage):
    """Also if one of them is empty: nothing of it is covered, and nothing needs to be."""
    asyncio.run(stage.play())
    stage.check()
    assert stage.committed == {SHOWS: 100, CLICKS: 0}


@pytest.mark.rule(7)
def test_a_topic_that_the_job_has_no_more(stage):
    """Of a pattern, and deleted: the joins have covered it, and nobody owns it."""
    stage.partition.covered["gone 000000"] = 5
    asyncio.run(stage.play())
    stage.check()


@pytest.mark.rule(5, 7)
def test_a_correction_that_waits_for_a_tick(stage):
    """All is read and committed already, and no timer ticks any more."""
    stage.committed[SHOWS] = stage.ends[SHOWS]
    stage.assign(SHOWS)
    stage.step(Block("shows 000000", 1, None, 99, []))
    asyncio.run(stage.commit())
    stage.partition._pending[b"k"] = None
    asyncio.run(stage.play())
    stage.check()


@pytest.mark.rule(7)
def test_a_tick_that_is_still_on_its_way(stage):
    """Of the timer: it lands when the drain has ticked already."""

    async def late() -> None:
        stage.unacked = 1
        await stage.until(lambda: stage.ticks > 0)
        await asyncio.sleep(IO_S * 3)
        stage.step(Tick([], {}))
        stage.unacked = 0

    asyncio.run(stage.play(late()))
    stage.check()


@pytest.mark.rule(7)
@pytest.mark.parametrize("reading", [True, False])
def test_sources_that_are_dealt_anew(stage, reading):
    """In between none is owned; then what was joined and not committed must be read again."""
    stage.committing = False

    async def deal() -> None:
        await asyncio.sleep(IO_S / 2)
        await stage.until(lambda: stage.drain.may_read() == reading)
        stage.assigned = False
        stage.sources.drop([SHOWS, CLICKS])
        await asyncio.sleep(IO_S * 10)
        assert stage.ticks == 0
        stage.assign(SHOWS, CLICKS)
        stage.assigned = stage.committing = True

    asyncio.run(stage.play(deal()))
    stage.check()
    assert stage.committed[SHOWS] == 100


@pytest.mark.rule(7)
def test_an_input_that_grows(stage, monkeypatch):
    """It is missing from the assignment until the group has reassigned; nobody has joined."""
    alone(monkeypatch, "one")

    async def grow() -> None:
        await asyncio.sleep(IO_S / 2)
        stage.ends[GROWN] = 7
        stage.sources.partitions = {"shows": 1, "clicks": 2}
        await asyncio.sleep(IO_S * 5)
        stage.assign(GROWN)

    asyncio.run(stage.play(grow()))
    stage.check()


def test_another_worker_that_joins(stage, monkeypatch):
    alone(monkeypatch, "one", "two")

    async def join() -> None:
        stage.sources.drop([SHOWS])

    with pytest.raises(WorkerError, match=r"members are one at 127\.0\.0\.1, two at 127\.0\.0\.1\. Stop all workers"):
        asyncio.run(stage.play(join()))


def test_what_keeps_it_is_said(stage, caplog):
    """A join has covered more than is committed, until it is read."""
    stage.partition.covered["clicks 000000"] = 9

    async def more() -> None:
        await stage.until(lambda: "not at the cut" in caplog.text)
        stage.ends[CLICKS] = 10

    with caplog.at_level(logging.INFO):
        asyncio.run(stage.play(more()))
    stage.check()
    assert "not at the cut yet, join partitions 0; going on" in caplog.text

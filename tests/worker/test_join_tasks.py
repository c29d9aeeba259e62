"""Recoveries that are interrupted from outside start again: a partition never stays without its join silently."""

from __future__ import annotations

import asyncio

import pytest

from samplejoin.engine import transaction
from samplejoin.engine.clients import close_producer
from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.engine.scheduler import FairScheduler
from samplejoin.engine.transaction import CommitFailed, Transactions
from samplejoin.worker import join_tasks as module
from samplejoin.worker.join_tasks import JoinTasks

pytestmark = pytest.mark.rule(16)


@pytest.fixture
def config(tmp_path):
    return EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]


class Join:
    """A join partition whose first recovery ends as the test says."""

    first: BaseException | None = None
    ending: BaseException | None = None

    def __init__(self, config: object, number: int, *_: object) -> None:
        self.number, self.position, self.running, self.phase = number, 0, True, "reading"
        self.committed_position = 7
        self.table = self

    async def start(self, floor: int) -> int:
        error, Join.first = Join.first, None
        if error is not None:
            raise error
        return 0

    async def stop(self, commit: bool) -> None:
        if Join.ending is not None:
            raise Join.ending


class Reader:
    """Knows which partitions are read, of a member of the group."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    def join_ready(self, partition: int, position: int) -> None:
        self.ready.set()

    def join_lost(self, partition: int) -> None:
        pass

    async def is_member(self) -> bool:
        return True


class Meters:
    """Counts nothing."""

    def observe(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("error", [asyncio.CancelledError(), CommitFailed("not fenced")])
async def test_a_recovery_that_was_broken_off_is_begun_again(monkeypatch, config, error):
    """aiokafka can raise a CancelledError of its own: taken for ours, it would end the recovery for good."""
    fatal: list[BaseException] = []
    monkeypatch.setattr(module, "JoinTask", Join)
    monkeypatch.setattr(module, "Transactions", lambda *_: None)
    reader = Reader()
    joins = JoinTasks(config, reader, None, Meters(), lambda n: None, lambda n: None, fatal.append, FairScheduler())  # type: ignore[arg-type, return-value]
    Join.first = error
    await joins.assign({1}, set(), {})
    async with asyncio.timeout(10):
        await reader.ready.wait()
    assert set(joins.running) == {1}
    assert not fatal
    await joins.stop(None)
    assert joins.positions() == {1: 7}, "the group is told after the joins have ended"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("disk full")])
async def test_a_partition_that_ended_badly_can_come_back(monkeypatch, config, error):
    """Closing its client was broken off, say: its next start waits for the end, and for nothing else."""
    fatal: list[BaseException] = []
    monkeypatch.setattr(module, "JoinTask", Join)
    monkeypatch.setattr(module, "Transactions", lambda *_: None)
    monkeypatch.setattr(Join, "ending", error)
    joins = JoinTasks(config, Reader(), None, Meters(), lambda n: None, lambda n: None, fatal.append, FairScheduler())  # type: ignore[arg-type, return-value]
    async with asyncio.timeout(10):
        for wanted in ({1}, set(), {1}):
            await joins.assign(wanted, set(), {})
            assert set(joins.running) == wanted
    assert not fatal
    await joins.stop(None)


async def test_a_client_that_cancels_itself_is_closed_all_the_same():
    """aiokafka's `stop` awaits a sender that it has cancelled: what comes out of it is not our own end."""
    closed = []

    class Client:
        _closed = False

        def __init__(self) -> None:
            self._sender, self.client = self, self

        async def stop(self) -> None:
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task

        async def close(self) -> None:
            closed.append(1)

    client = Client()
    assert await close_producer(client, 5.0) is False
    assert (len(closed), client._closed) == (2, True)


async def test_fencing_without_end_is_given_up_and_said(monkeypatch, config):
    """The client itself would ask for ever, without a word, while Kafka does not end the last transaction."""
    monkeypatch.setattr(transaction, "FENCE_TIMEOUT_S", 0.0)

    class Kafka:
        async def start(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(transaction, "producer", lambda *_: Kafka())
    with pytest.raises(CommitFailed, match=r"join partition 3: Kafka has not ended .* \(transactional id job-join-3"):
        await Transactions(config, 3).start()

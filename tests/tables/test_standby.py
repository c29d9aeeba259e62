"""A standby keeps following whatever its owner does to the changelog."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import OffsetOutOfRangeError

from samplejoin.engine.config import EngineConfig, Topics
from samplejoin.stores.memory import MemoryStore
from samplejoin.tables import standby as module
from samplejoin.tables.standby import Standby

pytestmark = pytest.mark.rule(16)


@pytest.mark.parametrize("error", [OffsetOutOfRangeError({}), asyncio.CancelledError()])
async def test_it_begins_anew(monkeypatch, tmp_path, error):
    """Overtaken by trimming, or broken off by a client that cancelled a task of its own: the worker goes on."""
    config = EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]
    fatal: list[BaseException] = []
    errors, following = [error], asyncio.Event()

    class Follower:
        async def follow(self) -> None:
            if errors:
                raise errors.pop()
            following.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(module, "Replica", lambda *_: Follower())
    standby = Standby(config, 0, MemoryStore, fatal.append)
    standby.start()
    async with asyncio.timeout(10):
        await following.wait()
    assert not fatal
    await standby.stop()

"""The group service with a client whose state changes between its calls."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownError

from samplejoin.engine import group as module
from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.coordinator import MOST_FAILURES
from samplejoin.engine.fetched_records import Reading
from samplejoin.engine.group import Group
from samplejoin.engine.sources import Sources

OLD, NEW = TopicPartition("job-repartition", 1), TopicPartition("job-repartition", 2)


async def nothing(*_: Any) -> None:
    pass


@pytest.fixture
async def group(tmp_path):
    fatal: list[BaseException] = []

    config = EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]
    made = Group(config, Sources(config), None, None, Reading(), fatal.append)  # type: ignore[arg-type]
    made.consumer = AIOKafkaConsumer()
    yield made, fatal
    await made.consumer.stop()


async def test_a_partition_that_has_moved_away_has_no_end(group):
    """A join can become ready while it is being revoked: asking for its lag must not end the worker."""
    group, _ = group
    group.consumer.assign([OLD])
    group.consumer.assign([NEW])
    assert group.end_of(OLD) is None


async def test_a_coordinator_that_never_recovers_is_a_clear_stop(group, monkeypatch):
    """aiokafka does not know an overloaded broker's answer: it is joined again, but not for ever."""
    group, fatal = group
    asked: list[object] = []
    monkeypatch.setattr("asyncio.sleep", nothing)
    monkeypatch.setattr(module, "request_rejoin", asked.append)

    async def step() -> None:
        raise KafkaError(repr(UnknownError()))

    await group._pump(step)
    assert len(asked) == MOST_FAILURES
    assert isinstance(fatal[0], WorkerError)
    assert "group job: the broker that coordinates it has failed 10 times in a row (KafkaError: Unknown" in str(
        fatal[0]
    )
    assert "look at its log" in str(fatal[0])

"""The group service beside a client that moves on under its hands."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownError

from samplejoin.engine.config import EngineConfig, Topics, WorkerError
from samplejoin.engine.group import Group
from samplejoin.engine.sources import Sources

OLD, NEW = TopicPartition("job-repartition", 1), TopicPartition("job-repartition", 2)


@pytest.fixture
async def group(tmp_path):
    fatal: list[BaseException] = []

    async def nothing(*_: Any) -> None:
        pass

    config = EngineConfig(None, "print", Topics("job", "s", None, None, "d"), 4, tmp_path, {})  # type: ignore[arg-type]
    made = Group(
        config, Sources(config), deliver_source=nothing, deliver_join=nothing, may_read=bool, on_revoked=nothing,
        on_joins=nothing, positions=dict, assignor=None, fatal=fatal.append,  # type: ignore[arg-type]
    )  # fmt: skip
    made.consumer = AIOKafkaConsumer()
    yield made, fatal
    await made.consumer.stop()


async def test_a_partition_that_has_moved_away_has_no_end(group):
    """A join can become ready while it is being revoked: asking for its lag must not end the worker."""
    group, _ = group
    group.consumer.assign([OLD])
    group.consumer.assign([NEW])
    assert group.end_of(OLD) is None


async def test_a_failed_coordinator_is_a_clear_stop(group):
    """aiokafka gives the group up on an answer that it does not know; every fetch raises that from then on."""
    group, fatal = group

    async def step() -> None:
        raise KafkaError(repr(UnknownError()))

    await group._pump(step)
    assert isinstance(fatal[0], WorkerError)
    assert "group job: the broker that coordinates it failed" in str(fatal[0])
    assert "Start the worker again" in str(fatal[0])

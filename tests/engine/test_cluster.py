"""Commands wait for a group's coordinator that has only just come, or moves, and for nothing else."""

from __future__ import annotations

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError, KafkaConnectionError

from samplejoin.engine.cluster import while_moving


class Attempts:
    """Raises each error once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "there"


async def test_a_coordinator_that_is_not_there_yet_is_asked_again():
    attempts = Attempts(GroupCoordinatorNotAvailableError(), GroupLoadInProgressError())
    assert await while_moving(attempts, pause_s=0) == "there"


async def test_not_for_ever():
    with pytest.raises(GroupLoadInProgressError):
        await while_moving(Attempts(GroupLoadInProgressError()), timeout_s=-1)


async def test_brokers_that_are_away_are_not_waited_for():
    with pytest.raises(KafkaConnectionError):
        await while_moving(Attempts(KafkaConnectionError()))

"""The interface by which `Group` hands on what it reads; implemented by the worker's runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.engine.sources import OwnedSource, SourceBlock


class GroupHandler(Protocol):
    """Handles partitions and records of a group member. All calls come from `engine.group.Group`."""

    def may_read(self, owned: OwnedSource) -> bool:
        """Whether this source may be fetched from now."""

    async def on_source_block(self, block: SourceBlock) -> None:
        """Takes records of an input topic, in offset order. Reading goes on when this returns."""

    async def on_join_records(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        """Records of a join partition's log, in offset order. Reading goes on when this returns."""

    async def on_revoked(self, member: bool) -> None:
        """Prepares for losing all partitions; `member`: the group still accepts commits of this generation."""

    async def on_joins(self, joins: set[int], standbys: set[int], floors: dict[int, int]) -> None:
        """Starts the join partitions and standbys of an assignment; `floors`: positions that a recovery must reach."""

    def positions(self) -> dict[int, int]:
        """Returns join partition -> next offset in its log after its last commit, for the group's commit."""

"""What a member of the consumer group does with what it gets: implemented by the worker's runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.engine.sources import OwnedSource, SourceBlock


class GroupHandler(Protocol):
    """Six calls, all made by `engine.group.Group`."""

    def may_read(self, owned: OwnedSource) -> bool:
        """Whether more may be fetched of this source now."""

    async def on_source_block(self, block: SourceBlock) -> None:
        """Records of an input topic, in offset order. Reading goes on when this returns."""

    async def on_join_records(self, partition: int, records: Sequence[KafkaRecord]) -> None:
        """Records of a join partition's log, in offset order. Reading goes on when this returns."""

    async def on_revoked(self, member: bool) -> None:
        """All partitions may go; `member`: the group still takes commits of this generation."""

    async def on_joins(self, joins: set[int], standbys: set[int], floors: dict[int, int]) -> None:
        """The join partitions and standbys of an assignment; `floors`: positions they have certainly reached."""

    def positions(self) -> dict[int, int]:
        """The next offset in its log of each join partition's last commit, for the group."""

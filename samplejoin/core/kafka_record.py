"""A record as it is fetched from Kafka, whoever made the object: the client, the test kit, `check --records`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class KafkaRecord(Protocol):
    """What is read of a record. Topic and partition are known to whoever fetches it."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """In ms; below 0: none."""

    @property
    def timestamp_type(self) -> int:
        """0: set by the producer, 1: by the broker as it appended the record."""

    @property
    def key(self) -> bytes | None:
        """None: the record has no key."""

    @property
    def value(self) -> bytes | None:
        """None: the record has no value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names can repeat."""

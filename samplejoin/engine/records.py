"""Fetched records as aiokafka's parser makes them, without the object per record that its consumer puts round each.

What is left of aiokafka's reading is everything that matters: control batches, aborted transactions, checksums and
positions are its own (`PartitionRecords`). The record is Cython's: `offset`, `timestamp`, `timestamp_type`, `key`,
`value`, `headers`, and nothing of topic and partition, which whoever fetches knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher


def bare(value: Any) -> Any:
    """A consumer with this as its `value_deserializer` gives bare records. Never called."""
    return value


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Takes the place of aiokafka's class; consumers that do not ask for bare records see no difference."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self._value_deserializer is bare:
            self._consumer_record = _as_it_is

    def __iter__(self) -> Iterator[Any]:
        """The generator itself: one call per record less than going through `__next__`."""
        records: Iterator[Any] | None = self._records_iterator
        return iter(()) if records is None else records


def _as_it_is(_: Any, record: Any) -> Any:
    return record


fetcher.PartitionRecords = _Records

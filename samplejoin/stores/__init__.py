"""Stores of a join partition's state: the protocol, with implementations in memory and in RocksDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from samplejoin.errors import SamplejoinError


class Store(Protocol):
    """Bytes by key, written in atomic batches. Every call may block on the disk; all raise StoreError.

    One task uses a store at a time: the table of the join partition, which reads in `need` and writes after a commit.
    """

    def get(self, key: bytes) -> bytes | None:
        """Returns the value of a key; None if it has none."""

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Returns the value of each key, in their order; None for a key without one."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Writes all puts and deletes, or none of them. Raises StoreError, for example on a full disk."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields all entries whose key starts with `prefix`, in key order. Do not write while it runs."""

    def expect_reads(self, reads: bool) -> None:
        """Sets whether keys will be read between writes. RocksDB is closed and opened again with other memtables."""

    def clear(self) -> None:
        """Deletes all entries."""

    def close(self) -> None:
        """Releases files and locks."""


class StoreError(SamplejoinError):
    """The state directory cannot be read, written or opened."""

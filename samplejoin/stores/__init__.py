"""Stores of a join partition's state: the protocol, with implementations in memory and in RocksDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from samplejoin.errors import SamplejoinError


class Store(Protocol):
    """A map from bytes to bytes, written in atomic batches."""

    def get(self, key: bytes) -> bytes | None:
        """Returns the value of a key, None if it has none."""

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Returns the value of each key in order, None for a key without one."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Applies all puts and deletes, or none of them. Raises StoreError, for example on a full disk."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields all (key, value) whose key starts with `prefix`, in key order."""

    def expect_reads(self, reads: bool) -> None:
        """Tells the store whether keys will be read between writes; if not, it may be optimized for writing alone."""

    def clear(self) -> None:
        """Deletes everything."""

    def close(self) -> None:
        """Releases files and locks."""


class StoreError(SamplejoinError):
    """The state directory cannot be read, written or opened."""

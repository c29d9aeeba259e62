"""Where a partition's state rests between commits: one protocol, a memory and a RocksDB implementation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from samplejoin.errors import SamplejoinError


class Store(Protocol):
    """Bytes by key, written in atomic batches."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None without one."""

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The value of each key, None for one without."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """All puts and deletes, or none of them. Raises StoreError, e.g. on a full disk."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with `prefix`, in key order."""

    def expect_reads(self, reads: bool) -> None:
        """Says whether keys will be read between writes; without it a store may be made for writing alone."""

    def clear(self) -> None:
        """Forgets everything."""

    def close(self) -> None:
        """Releases files and locks."""


class StoreError(SamplejoinError):
    """The state directory cannot be used."""

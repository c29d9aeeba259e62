"""The states of a partition's keys: those in memory, those that rest in a store, and the changed ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class KeyStates(Protocol):
    """The key states that a `Partition` works on. The two dicts stay the same objects for its life.

    A step reads what rests elsewhere at two points only: `need` before a block's cells are merged and before due keys
    are looked at, `peek` for the leaves of a large key.
    """

    @property
    def cache(self) -> dict[bytes, Any]:
        """Join key -> state, packed or not: at least the keys that a step has asked for by `need`."""

    @property
    def changed(self) -> dict[bytes, None]:
        """Keys changed since the last commit, in order of change, which is also allocation order: so a commit walks
        memory sequentially. One that is not in `cache` was deleted."""

    def need(self, keys: Iterable[bytes]) -> None:
        """Loads those of the keys that rest in the store into `cache`. Blocks."""

    def peek(self, key: bytes) -> bytes | None:
        """Returns the packed state of a key that rests in the store, without loading it into `cache`. Blocks."""


class AllKeys:
    """All keys in memory: there is no store."""

    def __init__(self) -> None:
        self.cache: dict[bytes, Any] = {}
        self.changed: dict[bytes, None] = {}

    def need(self, keys: Iterable[bytes]) -> None:
        """Does nothing."""

    def peek(self, key: bytes) -> bytes | None:
        """Returns None: there is no store."""
        return None

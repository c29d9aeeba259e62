"""Where the states of a partition's keys are: those at hand, those that rest elsewhere, and which have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class KeyStates(Protocol):
    """What a `Partition` works on. The two dicts stay the same objects for the partition's life.

    A step reads what rests elsewhere at two points only: `need` before a block's cells are merged and before due keys
    are looked at, `peek` for the leaves of a large key.
    """

    @property
    def cache(self) -> dict[bytes, Any]:
        """Join key -> state, packed or not: all that a step has asked for by `need`, and what else is at hand."""

    @property
    def changed(self) -> dict[bytes, None]:
        """Keys changed since the last commit, in order of change, which is also allocation order: so a commit walks
        memory sequentially. One that is not in `cache` was deleted."""

    def need(self, keys: Iterable[bytes]) -> None:
        """Brings those of the keys that rest elsewhere into `cache`. Blocks."""

    def peek(self, key: bytes) -> bytes | None:
        """The state of a key that rests elsewhere, packed; it is not brought. Blocks."""


class AllKeys:
    """All keys in memory: nothing rests elsewhere."""

    def __init__(self) -> None:
        self.cache: dict[bytes, Any] = {}
        self.changed: dict[bytes, None] = {}

    def need(self, keys: Iterable[bytes]) -> None:
        """Nothing to bring."""

    def peek(self, key: bytes) -> bytes | None:
        """Nothing rests elsewhere."""
        return None

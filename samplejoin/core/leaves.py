"""A sorted sequence of a key's entries in leaves of bounded size, each a record of its own in cache, changelog, store.

So reading, adding or removing an entry costs one leaf, however many there are. The directory of the leaves is part of
the key's head record. A leaf is named by its key, SEPARATOR and a number; no join key contains that byte (rule 10).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from samplejoin.core.spec import Spec

Entry = list[Any]

SEPARATOR = b"\0"
#: a leaf with more entries, or more bytes and two entries, is split
LEAF_ENTRIES = 64
LEAF_BYTES = 16 << 10


class Shelf(Protocol):
    """Where the records of a join partition are: by name, open or packed; `changed` names what is to be persisted."""

    spec: Spec
    keys: dict[bytes, Any]
    changed: dict[bytes, None]

    def need(self, keys: Iterable[bytes]) -> None:
        """Brings records that rest elsewhere into `keys`."""


def home_of(name: bytes) -> bytes:
    """The join key that a record belongs to: itself, or the one whose leaf it is."""
    return name.partition(SEPARATOR)[0]


def is_leaf(name: bytes) -> bool:
    """Whether a record is a leaf of a large key."""
    return SEPARATOR in name


class Leaves:
    """Entries in the order of `rank`, those of equal rank as they came.

    `directory` is changed in place: the first rank, the number and the bytes (nearly) of each leaf, in their order.
    """

    def __init__(
        self, shelf: Shelf, key: bytes, directory: list[list[int]], rank: Callable[[Entry], int],
        number: Callable[[], int],
    ) -> None:  # fmt: skip
        self._shelf, self._prefix, self._rank, self._number = shelf, key + SEPARATOR, rank, number
        self._firsts, self._ids, self._sizes = directory
        #: the packed leaf that was read last, and what is in it
        self._last: tuple[Any, list[Entry]] = (None, [])

    def __bool__(self) -> bool:
        return bool(self._firsts)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def between(self, low: int, high: int) -> Iterator[Entry]:
        """Entries with low <= rank < high; changing them changes nothing here."""
        for at in self._touched(low, high):
            leaf = self._read(at)
            start, end = self._span(leaf, low, high)
            yield from leaf[start:end]

    def after(self, rank: int) -> Entry | None:
        """The first entry of this rank or a higher one."""
        at = max(0, bisect_left(self._firsts, rank) - 1)
        for each in range(at, min(at + 2, len(self._firsts))):
            leaf = self._read(each)
            place = bisect_left(leaf, rank, key=self._rank)
            if place < len(leaf):
                found: Entry = leaf[place]
                return found
        return None

    def first(self) -> Entry | None:
        """The entry of the lowest rank."""
        return self._read(0)[0] if self._firsts else None

    def before(self, rank: int) -> Entry | None:
        """The last entry of a lower rank."""
        at = bisect_left(self._firsts, rank) - 1
        if at < 0:
            return None
        leaf = self._read(at)
        found: Entry = leaf[bisect_left(leaf, rank, key=self._rank) - 1]
        return found

    # ---- changing ---------------------------------------------------------------------------------------------------

    def open(self, low: int, high: int) -> Iterator[Entry]:
        """As `between`; what is changed in an entry stays, its rank must not change."""
        for at in self._touched(low, high):
            leaf = self._read(at)
            start, end = self._span(leaf, low, high)
            if start < end:
                yield from self._opened(at, leaf)[start:end]

    def grow(self, rank: int, by: int) -> None:
        """An entry of this rank, found by `open`, has become larger by so many bytes."""
        self._sizes[max(0, bisect_right(self._firsts, rank) - 1)] += by

    def insert(self, entry: Entry, size: int) -> None:
        """Adds an entry of so many bytes."""
        rank = self._rank(entry)
        at = bisect_right(self._firsts, rank) - 1
        if at < 0:
            if not self._firsts or self._full(0, self._read(0), size):
                self._add(0, [entry], size)
                return
            at, self._firsts[0] = 0, rank
        leaf = self._opened(at, self._read(at))
        place = bisect_right(leaf, rank, key=self._rank)
        if not self._full(at, leaf, size):
            leaf.insert(place, entry)
            self._sizes[at] += size
        elif place == len(leaf):  # most entries come in order: leaves are filled
            self._add(at + 1, [entry], size)
        else:
            self._split(at, leaf)
            self.insert(entry, size)

    def take(self, low: int, high: int, leaves: int | None = None) -> list[Entry]:
        """Removes the entries with low <= rank < high, or those in the lowest so many leaves, and returns them."""
        taken: list[Entry] = []
        for at in reversed(self._touched(low, high)[:leaves]):
            leaf = self._read(at)
            start, end = self._span(leaf, low, high)
            taken[:0] = leaf[start:end]
            left = len(leaf) - (end - start)
            if not left:
                self._drop(at)
            elif start < end:
                self._sizes[at] = self._sizes[at] * left // len(leaf)
                del self._opened(at, leaf)[start:end]
                self._firsts[at] = self._rank(leaf[0])
        return taken

    # ---- leaves -----------------------------------------------------------------------------------------------------

    def _touched(self, low: int, high: int) -> range:
        """The leaves that can hold such entries, brought to where they can be read."""
        touched = range(max(0, bisect_left(self._firsts, low) - 1), bisect_left(self._firsts, high))
        if len(touched) > 1:
            self._shelf.need([self._name(at) for at in touched])
        return touched

    def _span(self, leaf: list[Entry], low: int, high: int) -> tuple[int, int]:
        start = bisect_left(leaf, low, key=self._rank)
        return start, bisect_left(leaf, high, lo=start, key=self._rank)

    def _name(self, at: int) -> bytes:
        return self._prefix + self._ids[at].to_bytes(4)

    def _read(self, at: int) -> list[Entry]:
        name, keys = self._name(at), self._shelf.keys
        if name not in keys:
            self._shelf.need((name,))
        leaf = keys[name]
        if type(leaf) is not bytes:
            entries: list[Entry] = leaf
            return entries
        if self._last[0] is not leaf:
            self._last = (leaf, self._shelf.spec.codec.loads(leaf))
        return self._last[1]

    def _opened(self, at: int, leaf: list[Entry]) -> list[Entry]:
        """The leaf as it was read, to be changed."""
        name = self._name(at)
        self._shelf.keys[name] = leaf
        self._shelf.changed[name] = None
        return leaf

    def _full(self, at: int, leaf: list[Entry], size: int) -> bool:
        return len(leaf) >= LEAF_ENTRIES or self._sizes[at] + size > LEAF_BYTES

    def _add(self, at: int, leaf: list[Entry], size: int) -> None:
        self._firsts.insert(at, self._rank(leaf[0]))
        self._ids.insert(at, self._number())
        self._sizes.insert(at, size)
        self._opened(at, leaf)

    def _split(self, at: int, leaf: list[Entry]) -> None:
        """Into halves; of two entries or more: one more goes before or behind a single one."""
        middle = len(leaf) // 2
        size, self._sizes[at] = self._sizes[at] - self._sizes[at] // 2, self._sizes[at] // 2
        self._add(at + 1, leaf[middle:], size)
        del leaf[middle:]

    def _drop(self, at: int) -> None:
        name = self._name(at)
        self._shelf.keys.pop(name, None)
        self._shelf.changed[name] = None
        for column in (self._firsts, self._ids, self._sizes):
            del column[at]

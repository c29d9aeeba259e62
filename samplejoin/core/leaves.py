"""A sorted sequence of a key's entries in leaves of bounded size, each a record of its own in cache, changelog, store.

Reading, adding or removing an entry costs one leaf, however many there are. The directory of the leaves is part of
the key's head record. A leaf is named by its key, SEPARATOR and a number; no join key contains that byte (rule 10).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from samplejoin.core.spec import Spec

Entry = list[Any]

SEPARATOR = b"\0"
#: limits of a leaf: one with more entries, or more bytes and at least two entries, is split
LEAF_ENTRIES = 64
LEAF_BYTES = 16 << 10
#: a range over more leaves is read without loading them into the cache
BROUGHT_LEAVES = 4


class Shelf(Protocol):
    """The records of a join partition by name, open or packed; `changed` names those to persist."""

    spec: Spec
    keys: dict[bytes, Any]
    changed: dict[bytes, None]

    def need(self, keys: Iterable[bytes]) -> None:
        """Loads records that rest in the store into `keys`."""

    def peek(self, key: bytes) -> bytes | None:
        """Returns a record that rests in the store, packed, without loading it."""


def home_of(name: bytes) -> bytes:
    """Returns the join key that a record belongs to: the record's own name, or the key of a leaf."""
    return name.partition(SEPARATOR)[0]


def is_leaf(name: bytes) -> bool:
    """Whether a record is a leaf of a large key."""
    return SEPARATOR in name


class Leaves:
    """Entries in the order of `rank`, those of equal rank as they came.

    `directory` is changed in place: the first rank, the number and the bytes (nearly) of each leaf, in their order.
    What is only read of a leaf that rests elsewhere leaves it there, of many leaves and with `passing` of any.
    """

    def __init__(
        self,
        shelf: Shelf,
        key: bytes,
        directory: list[list[int]],
        rank: Callable[[Entry], int],
        number: Callable[[], int],
        passing: bool = False,
    ) -> None:
        self._shelf, self._prefix, self._rank, self._number = shelf, key + SEPARATOR, rank, number
        self._passing = passing
        self._firsts, self._ids, self._sizes = directory
        #: of the leaf that was read last and is not open: its name, its bytes if they are in `keys`, what is in it
        self._last: tuple[bytes, object, list[Entry]] = (b"", None, [])

    def __bool__(self) -> bool:
        return bool(self._firsts)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def between(self, low: int, high: int) -> Iterator[Entry]:
        """Yields the entries with low <= rank < high, for reading only."""
        touched = self._touched(low, high)
        for at in touched:
            leaf = self._read(at, len(touched) > BROUGHT_LEAVES)
            start, end = self._span(leaf, low, high)
            yield from leaf[start:end]

    def after(self, rank: int) -> Entry | None:
        """Returns the first entry of this rank or a higher one; None without one."""
        at = max(0, bisect_left(self._firsts, rank) - 1)
        for each in range(at, min(at + 2, len(self._firsts))):
            leaf = self._read(each)
            place = bisect_left(leaf, rank, key=self._rank)
            if place < len(leaf):
                found: Entry = leaf[place]
                return found
        return None

    def first(self) -> Entry | None:
        """Returns the entry of the lowest rank; None without entries."""
        return self._read(0)[0] if self._firsts else None

    def before(self, rank: int) -> Entry | None:
        """Returns the last entry of a lower rank; None without one."""
        at = bisect_left(self._firsts, rank) - 1
        if at < 0:
            return None
        leaf = self._read(at)
        found: Entry = leaf[bisect_left(leaf, rank, key=self._rank) - 1]
        return found

    # ---- changing ---------------------------------------------------------------------------------------------------

    def open(self, low: int, high: int) -> Iterator[Entry]:
        """As `between`; what is changed in an entry stays, its rank must not change."""
        for entry, keep in self.visit(low, high):
            keep()
            yield entry

    def visit(self, low: int, high: int) -> Iterator[tuple[Entry, Callable[[], object]]]:
        """As `between`; what is changed in an entry stays if what comes with it is called before anything is moved."""
        touched = self._touched(low, high)
        for at in touched:
            leaf = self._read(at, len(touched) > BROUGHT_LEAVES)
            start, end = self._span(leaf, low, high)
            keep = partial(self._opened, at, leaf)
            for entry in leaf[start:end]:
                yield entry, keep

    def grow(self, rank: int, by: int) -> None:
        """An entry of this rank, found by `open`, has become larger by so many bytes."""
        self._sizes[max(0, bisect_right(self._firsts, rank) - 1)] += by

    def insert(self, entry: Entry, size: int) -> None:
        """Adds an entry of the given size in bytes."""
        rank = self._rank(entry)
        at = bisect_right(self._firsts, rank) - 1
        if at < 0:
            if not self._firsts or self._full(0, self._read(0), size):
                self._add(0, [entry], size)
                return
            at, self._firsts[0] = 0, rank
        leaf = self._read(at)
        place = bisect_right(leaf, rank, key=self._rank)
        if not self._full(at, leaf, size):
            self._opened(at, leaf).insert(place, entry)
            self._sizes[at] += size
        elif place == len(leaf):  # most entries come in order, so leaves are filled
            self._add(at + 1, [entry], size)
        else:
            self._split(at, self._opened(at, leaf))
            self.insert(entry, size)

    def take(self, low: int, high: int, leaves: int | None = None) -> list[Entry]:
        """Removes the entries with low <= rank < high, or those in the lowest so many leaves, and returns them."""
        taken: list[Entry] = []
        touched = self._range(low, high)[:leaves]
        for at in reversed(touched):
            leaf = self._read(at, len(touched) > BROUGHT_LEAVES)
            start, end = self._span(leaf, low, high)
            taken[:0] = leaf[start:end]
            self._cut(at, leaf, start, end)
        return taken

    def drop(self, low: int, high: int) -> None:
        """Removes the entries with low <= rank < high. A leaf of which nothing stays is not read."""
        touched = self._range(low, high)
        #: no entry of a leaf is behind the first one of the next leaf
        bounds = [*self._firsts[touched.start + 1 : touched.stop + 1], high]
        for at, bound in reversed(list(zip(touched, bounds, strict=False))):
            if low <= self._firsts[at] and bound < high:
                self._drop(at)
            else:
                leaf = self._read(at)
                self._cut(at, leaf, *self._span(leaf, low, high))

    # ---- leaves -----------------------------------------------------------------------------------------------------

    def _range(self, low: int, high: int) -> range:
        """Returns the leaves that can hold entries with these ranks."""
        return range(max(0, bisect_left(self._firsts, low) - 1), bisect_left(self._firsts, high))

    def _touched(self, low: int, high: int) -> range:
        """As `_range`; loads the leaves at once if they are few."""
        touched = self._range(low, high)
        if 1 < len(touched) <= BROUGHT_LEAVES and not self._passing:
            self._shelf.need([self._name(at) for at in touched])
        return touched

    def _span(self, leaf: list[Entry], low: int, high: int) -> tuple[int, int]:
        start = bisect_left(leaf, low, key=self._rank)
        return start, bisect_left(leaf, high, lo=start, key=self._rank)

    def _name(self, at: int) -> bytes:
        return self._prefix + self._ids[at].to_bytes(4)

    def _read(self, at: int, many: bool = False) -> list[Entry]:
        """The entries of a leaf, which is brought for it unless it is one of many, or all are read in passing."""
        name, keys = self._name(at), self._shelf.keys
        leaf = keys.get(name)
        if leaf is None:
            if many or self._passing:
                return self._peeked(name)
            self._shelf.need((name,))
            leaf = keys[name]
        if type(leaf) is not bytes:
            entries: list[Entry] = leaf
            return entries
        if self._last[1] is not leaf:
            self._last = (name, leaf, self._shelf.spec.codec.loads(leaf))
        return self._last[2]

    def _peeked(self, name: bytes) -> list[Entry]:
        if self._last[0] != name:
            packed = self._shelf.peek(name)
            if packed is None:
                raise KeyError(name)
            self._last = (name, None, self._shelf.spec.codec.loads(packed))
        return self._last[2]

    def _opened(self, at: int, leaf: list[Entry]) -> list[Entry]:
        """Returns the leaf, opened for changes."""
        name, shelf = self._name(at), self._shelf
        if name not in shelf.keys:  # leaves in `keys` are counted where they are loaded
            shelf.need((name,))
        shelf.keys[name] = leaf
        shelf.changed[name] = None
        return leaf

    def _cut(self, at: int, leaf: list[Entry], start: int, end: int) -> None:
        left = len(leaf) - (end - start)
        if not left:
            self._drop(at)
        elif start < end:
            self._sizes[at] = self._sizes[at] * left // len(leaf)
            del self._opened(at, leaf)[start:end]
            self._firsts[at] = self._rank(leaf[0])

    def _full(self, at: int, leaf: list[Entry], size: int) -> bool:
        return len(leaf) >= LEAF_ENTRIES or self._sizes[at] + size > LEAF_BYTES

    def _add(self, at: int, leaf: list[Entry], size: int) -> None:
        self._firsts.insert(at, self._rank(leaf[0]))
        self._ids.insert(at, self._number())
        self._sizes.insert(at, size)
        name = self._name(at)
        self._shelf.keys[name] = leaf
        self._shelf.changed[name] = None

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

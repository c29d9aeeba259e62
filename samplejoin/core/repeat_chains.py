"""Where the windows of a large key begin, with `repeat: each` and anchors that have ids.

An anchor opens a window unless an earlier one of its id has opened one that holds it (rule 7). In leaves are the slices
of every id's anchors, those in which it opens a window, and the slices in which any window begins. So an anchor, or a
search, costs a few leaves, however often its id repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from samplejoin.core.cells import SLICE
from samplejoin.core.leaves import Leaves, Shelf

ANCHOR, OPENING = range(2)
RANK, STREAM, ID, AT = range(1, 5)
#: a rank is some bits of a hash, one for the kind, and a slice: it fits into 64 bits
HASH_BITS, SLICE_BITS = 13, 49


class Chains:
    """`ids` has `[None, rank, stream, id, slice]` per anchor and per opening; `starts` `[None, slice]` per window."""

    def __init__(
        self,
        shelf: Shelf,
        key: bytes,
        directories: list[list[list[int]]],
        number: Callable[[], int],
        passing: bool = False,
    ) -> None:
        streams = len(shelf.spec.plans)
        self._window = shelf.spec.window
        self.ids = Leaves(shelf, key, directories[0], lambda entry: int(entry[RANK]), number, passing)
        self.starts = Leaves(shelf, key, directories[1], lambda entry: int(entry[SLICE]) * streams, number, passing)
        self._streams = streams

    def add(self, stream: int, id_: object, slice_: int) -> None:
        """Adds an anchor. One that comes before others of its id can move the windows that those open."""
        if id_ is None:
            self._begin(slice_)
            return
        self._enter(ANCHOR, stream, id_, slice_)
        if any(self._between(OPENING, stream, id_, slice_ - self._window + 1, slice_ + 1)):
            return
        following: int | None = slice_
        while following is not None and not self.opens(stream, id_, following):  # until one matches an earlier one
            self._enter(OPENING, stream, id_, following)
            self._begin(following)
            for entry in self._take(OPENING, stream, id_, following + 1, following + self._window):
                self._end(entry[AT])
            following = self._next(stream, id_, following + self._window)

    def opens(self, stream: int, id_: object, slice_: int) -> bool:
        """Whether an anchor with that id opens a window in that slice."""
        return id_ is None or any(self._between(OPENING, stream, id_, slice_, slice_ + 1))

    def anchors(self, stream: int, id_: object, start: int) -> int:
        """Returns the number of anchors in the window that the id opens at `start`."""
        return sum(1 for _ in self._between(ANCHOR, stream, id_, start, start + self._window))

    def forget(self, stream: int, id_: object, start: int) -> None:
        """Forgets the window that the id opens at `start`, if it does, and its repeats."""
        if self._take(OPENING, stream, id_, start, start + 1):
            self._take(ANCHOR, stream, id_, start, start + self._window)

    def forget_start(self, start: int) -> None:
        """Forgets that windows begin there."""
        self.starts.take(start * self._streams, (start + 1) * self._streams)

    def _begin(self, slice_: int) -> None:
        self.starts.insert([None, slice_], 12)

    def _end(self, slice_: int) -> None:
        for entry in self.starts.take(slice_ * self._streams, (slice_ + 1) * self._streams)[1:]:
            self._begin(entry[SLICE])

    def _enter(self, kind: int, stream: int, id_: object, slice_: int) -> None:
        self._insert([None, _place(kind, stream, id_) + slice_, stream, id_, slice_])

    def _insert(self, entry: list[Any]) -> None:
        self.ids.insert(entry, 24 + (4 * len(entry[ID]) if type(entry[ID]) is str else len(repr(entry[ID]))))

    def _between(self, kind: int, stream: int, id_: object, low: int, high: int) -> Iterator[list[object]]:
        place = _place(kind, stream, id_)
        for entry in self.ids.between(place + low, place + high):
            if entry[STREAM] == stream and entry[ID] == id_:
                yield entry

    def _take(self, kind: int, stream: int, id_: object, low: int, high: int) -> list[list[Any]]:
        if not any(self._between(kind, stream, id_, low, high)):
            return []
        place, mine = _place(kind, stream, id_), []
        for entry in self.ids.take(place + low, place + high):
            if entry[STREAM] == stream and entry[ID] == id_:
                mine.append(entry)
            else:
                self._insert(entry)
        return mine

    def _next(self, stream: int, id_: object, slice_: int) -> int | None:
        """The slice of the id's first anchor from this one on."""
        place = _place(ANCHOR, stream, id_)
        rank, end = place + slice_, place + (1 << SLICE_BITS - 1)
        while (entry := self.ids.after(rank)) is not None and entry[RANK] < end:
            at = entry[RANK] - place
            if any(self._between(ANCHOR, stream, id_, at, at + 1)):
                return int(at)
            rank = entry[RANK] + 1  # another id, of the same hash
        return None


def _place(kind: int, stream: int, id_: object) -> int:
    hashed = crc32(repr((stream, id_)).encode("utf-8", "surrogatepass")) & ((1 << HASH_BITS) - 1)
    return (hashed << 1 | kind) << SLICE_BITS

"""The sent windows of a large key, remembered for corrections (rule 5).

They have leaves of their own, so that the impressions of a window, which can be large, are not written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from samplejoin.core.cells import SLICE, STREAM, Cell, order_of
from samplejoin.core.large_key_windows import Place
from samplejoin.core.leaves import Leaves, Shelf

#: places after the stream and slice of a window's first anchor
ORDER, REVISION, WEIGHT, CHANGED = range(2, 6)


class Remembered:
    """`[stream, slice, order, revision, weight, whether a label has joined since]` per window."""

    def __init__(
        self, shelf: Shelf, key: bytes, directory: list[list[int]], number: Callable[[], int], passing: bool
    ) -> None:
        self._streams = streams = len(shelf.spec.plans)
        self._leaves = Leaves(
            shelf, key, directory, lambda e: int(e[SLICE]) * streams + int(e[STREAM]), number, passing
        )

    def add(self, first: Cell, revision: int, weight: float, changed: bool) -> None:
        """Enters a window by its first anchor."""
        order = list(order_of(first))
        self._leaves.insert([*first[: SLICE + 1], order, revision, weight, changed], 40 + len(order[1]))

    def note(self, first: Cell) -> None:
        """Records that a label has joined the window of this first anchor."""
        for entry in self._opened(first):
            entry[CHANGED] = True

    def revise(self, first: Cell, revision: int, weight: float) -> None:
        """Records that the window was sent again."""
        for entry in self._opened(first):
            entry[REVISION:] = [revision, weight, False]

    def _opened(self, first: Cell) -> Iterator[list[object]]:
        place = first[SLICE] * self._streams + first[STREAM]
        for entry, keep in self._leaves.visit(place, place + 1):
            if tuple(entry[ORDER]) == order_of(first):
                keep()
                yield entry

    def changed(self, start: int) -> dict[Place, tuple[int, float]]:
        """Revision and weight of the windows beginning in this slice that a label has joined, by first anchor."""
        entries = self._leaves.between(start * self._streams, (start + 1) * self._streams)
        return {(tuple(e[ORDER]), e[STREAM]): (e[REVISION], e[WEIGHT]) for e in entries if e[CHANGED]}

    def drop(self, start: int) -> None:
        """Forgets the windows beginning in this slice."""
        self._leaves.drop(start * self._streams, (start + 1) * self._streams)

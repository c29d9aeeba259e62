"""When a key must be looked at next: buckets of keys by slice, and a heap of the slices."""

from __future__ import annotations

import heapq


class Deadlines:
    """Keys by deadline slice. A key may stand in several buckets; looking at it too early or twice does no harm."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[bytes]] = {}
        self._slices: list[int] = []
        self._popping: int | None = None

    def add(self, slice_: int, key: bytes) -> None:
        """Looks at `key` when the clock reaches `slice_`."""
        bucket = self._buckets.get(slice_)
        if bucket is None:
            bucket = self._buckets[slice_] = []
            heapq.heappush(self._slices, slice_)
        elif bucket and bucket[-1] == key:
            return
        bucket.append(key)

    def due(self, clock: int) -> bool:
        """Whether any key's deadline is at or below the clock."""
        return bool(self._slices) and self._slices[0] <= clock

    def pop(self, clock: int) -> bytes | None:
        """A key whose deadline is at or below the clock, None if there is none. Each comes once per slice, in order.

        A key that is looked at enters its further deadlines again; taken twice, they would double with every slice.
        """
        while self.due(clock):
            slice_ = self._slices[0]
            bucket = self._buckets[slice_]
            if slice_ != self._popping:
                self._popping = slice_
                bucket[:] = sorted(set(bucket), reverse=True)
            if bucket:
                return bucket.pop()
            del self._buckets[heapq.heappop(self._slices)]
            self._popping = None
        return None

    def furthest(self) -> int | None:
        """The latest deadline, None without any."""
        return max(self._slices, default=None)

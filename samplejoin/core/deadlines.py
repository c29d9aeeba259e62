"""The deadlines at which keys are processed next: buckets of keys by slice, and a heap of the slices."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class Deadlines:
    """Keys by deadline slice. A key may be in several buckets; processing it too early or twice does no harm."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[bytes]] = {}
        self._slices: list[int] = []
        #: the latest slice; only early slices ever leave
        self._furthest = 0
        self._popping: int | None = None
        #: slices with keys that `take_new` has not returned yet, and how many keys of the bucket it has returned
        self._touched: set[int] = set()
        self._taken: dict[int, int] = {}
        #: of the slice that is being popped, whose order has changed: what it has not given yet
        self._popping_new: list[bytes] = []

    def add(self, slice_: int, key: bytes) -> None:
        """Registers `key` for the moment when the clock reaches `slice_`."""
        bucket = self._buckets.get(slice_)
        if bucket is None:
            bucket = self._bucket(slice_)
        elif bucket and bucket[-1] == key:
            return
        bucket.append(key)
        if slice_ == self._popping:
            self._popping_new.append(key)
        else:
            self._touched.add(slice_)

    def extend(self, slice_: int, keys: list[bytes]) -> None:
        """Registers each of these keys."""
        bucket = self._buckets.get(slice_)
        if bucket is None:
            bucket = self._bucket(slice_)
        bucket.extend(keys)
        if slice_ == self._popping:
            self._popping_new.extend(keys)
        else:
            self._touched.add(slice_)

    def restore(self, slice_: int, keys: Iterable[bytes]) -> None:
        """Registers keys that `take_new` returned before a restart."""
        bucket = self._buckets.get(slice_)
        if bucket is None:
            bucket = self._bucket(slice_)
        bucket.extend(keys)
        self._taken[slice_] = len(bucket)

    def take_new(self) -> list[tuple[int, list[bytes]]]:
        """Returns the deadlines registered since the last call, by slice. With earlier results they are complete."""
        new = []
        if self._popping is not None and self._popping_new:
            new.append((self._popping, self._popping_new))
            self._popping_new = []
        for slice_ in sorted(self._touched):
            bucket = self._buckets.get(slice_)
            if bucket:
                new.append((slice_, bucket[self._taken.get(slice_, 0) :]))
                self._taken[slice_] = len(bucket)
        self._touched.clear()
        return sorted(new)

    def due(self, clock: int) -> bool:
        """Whether any key's deadline is at or below the clock."""
        return bool(self._slices) and self._slices[0] <= clock

    def pop(self, clock: int) -> bytes | None:
        """Removes and returns a key that is due, None if there is none; within a slice in order of registration.

        Returns each key at most once per slice. Processing a key registers its later deadlines again, so a second
        return would double them. Neighbours were registered together, and their states are close in memory.
        """
        while self.due(clock):
            slice_ = self._slices[0]
            bucket = self._buckets[slice_]
            if slice_ != self._popping:
                if self._popping is not None:  # a lower slice came: the other's keys are returned again
                    self._touched.add(self._popping)
                self._popping = slice_
                self._popping_new = bucket[self._taken.pop(slice_, 0) :]
                self._touched.discard(slice_)
                bucket[:] = reversed(dict.fromkeys(bucket))
            if bucket:
                return bucket.pop()
            del self._buckets[heapq.heappop(self._slices)]
            self._popping, self._popping_new = None, []
        return None

    def take(self, clock: int, limit: int) -> list[bytes]:
        """Removes and returns up to `limit` due keys of one slice; empty if nothing is due."""
        first = self.pop(clock)
        if first is None:
            return []
        assert self._popping is not None
        bucket = self._buckets[self._popping]
        start = max(0, len(bucket) - limit + 1)
        keys = [first, *reversed(bucket[start:])]
        del bucket[start:]
        return keys

    def furthest(self) -> int | None:
        """Returns the latest deadline; None without any."""
        return self._furthest if self._slices else None

    def _bucket(self, slice_: int) -> list[bytes]:
        self._furthest = max(slice_, self._furthest) if self._slices else slice_
        bucket = self._buckets[slice_] = []
        heapq.heappush(self._slices, slice_)
        return bucket

"""The join step by step: what the rules 1, 3, 4 and 5 say at each row and at each move of the clock, word by word.

Unlike `oracle`, which knows all rows at once, it knows only the rows so far, and the clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from samplejoin.core.spec import Spec
from tests.core import oracle
from tests.core.oracle import Row, slice_of

Emitted = tuple[str, int, int, bytes, float, float]
"""(sample id, revision, slice in ms, payload, weight, previous weight)"""


@dataclass
class Gone:
    """A window whose end the clock has passed: its next revision, whether that is due, and the weight of the one that
    went out last."""

    revision: int = 0
    due: bool = True
    weight: float = 0.0


@dataclass
class Key:
    """One join key: the rows that are known, and its closed windows by the source of their first row."""

    rows: list[Row] = field(default_factory=list)
    gone: dict[Any, Gone] = field(default_factory=dict)


class Stepwise:
    """A job's join. Clocks are slices; rows that join nothing are counted in `aside`."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.clock = spec, -(1 << 62)
        self.streams = {s.name: s for s in spec.streams}
        self.keys: dict[bytes, Key] = {}
        self.aside: Counter[Any] = Counter()

    def row(self, row: Row) -> None:
        """A row arrives."""
        key = self.keys.setdefault(row.key, Key())
        if slice_of(self.spec, row) >= self.clock or self._late_but_taken(key, row):
            key.rows.append(row)
        else:
            self._aside(row)

    def _late_but_taken(self, key: Key, row: Row) -> bool:
        """Rule 5."""
        openers, slice_ = [w[0] for w in self._windows(key)], slice_of(self.spec, row)
        if self.streams[row.stream].role == "anchor":
            return self.spec.repeat == "merge" and any(
                slice_of(self.spec, o) <= slice_ < self._end(o) and self._end(o) > self.clock for o in openers
            )
        place = oracle.holder(self.spec, openers, row)
        if place is None:
            return slice_ + self.spec.before >= self.clock
        if self._end(openers[place]) <= self.clock:
            key.gone[openers[place].source].due = True
        return True

    def tick(self, clock: int) -> list[Emitted]:
        """The clock is at `clock`: what goes out now, neither before nor later."""
        self.clock = max(clock, self.clock)
        return [sample for name, key in self.keys.items() for sample in self._close(name, key)]

    def _close(self, name: bytes, key: Key) -> list[Emitted]:
        emitted = []
        windows = self._windows(key)
        for window in windows:
            if self._end(window[0]) <= self.clock:
                gone = key.gone.setdefault(window[0].source, Gone())
                sample = oracle.finish(self.spec, self.streams, name, window) if gone.due else None
                if sample is not None:
                    emitted.append((sample[0], gone.revision, *sample[1:], gone.weight))
                    gone.weight = sample[3]
                gone.revision += gone.due
                gone.due = False
        self._forget(key, windows)
        return emitted

    def _forget(self, key: Key, windows: list[list[Row]]) -> None:
        """Windows that cannot be corrected any more, with their rows, and labels that no window can hold any more."""
        old = [w for w in windows if self._end(w[0]) + self.spec.correction <= self.clock]
        leaving = {row.source for window in old for row in window}
        held = {row.source for window in windows for row in window}
        orphans = [
            row for row in key.rows
            if row.source not in held and slice_of(self.spec, row) + self.spec.before < self.clock
        ]  # fmt: skip
        for row in orphans:
            self._aside(row)
        leaving |= {row.source for row in orphans}
        key.rows = [row for row in key.rows if row.source not in leaving]
        for window in old:
            del key.gone[window[0].source]

    def _windows(self, key: Key) -> list[list[Row]]:
        return oracle.windows(self.spec, key.rows)[0]

    def _end(self, opener: Row) -> int:
        return slice_of(self.spec, opener) + self.spec.window

    def _aside(self, row: Row) -> None:
        self.aside[row.key, row.stream, slice_of(self.spec, row) * self.spec.resolution_ms] += 1

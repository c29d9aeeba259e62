"""Closes the windows of a large key in parts, the earliest first. Each part reads only the cells that it closes.

The state records the progress after each part, so a sweep can end, commit or crash inside a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samplejoin.core import side_rows
from samplejoin.core.cells import SLICE, STREAM
from samplejoin.core.large_key import DIRTY, ORPHANED, OUT, Large
from samplejoin.core.large_key_windows import LargeWindow, place_of
from samplejoin.core.outcomes import Outcomes

if TYPE_CHECKING:
    from samplejoin.core.partition import Partition

#: labels outside all windows that are taken at once
ORPHAN_LEAVES = 4
#: number of cells that costs about as much as a key with one window
CELLS_PER_KEY = 8


class Closing:
    """One pass over a large key. `left` is the remaining budget, in keys; at 0 it stops between two windows."""

    def __init__(self, partition: Partition, large: Large, out: Outcomes, left: int) -> None:
        self.partition, self.large, self.out, self.left = partition, large, out, left
        self.spec, self.clock = partition.spec, partition.clock.slice

    def close(self) -> bool:
        """Sends ended windows, drops orphans, removes what is past correction. Returns False if more is due."""
        large, clock = self.large, self.clock
        if not (self._send_ended() and self._drop_orphans() and self._forget()):
            return False
        large.body[OUT], large.body[ORPHANED] = clock - self.spec.window, clock - self.spec.before
        large.forget_counts(clock)
        return True

    def correct(self) -> bool:
        """Sends a revision of every window that a late label has joined. Returns False if more is due."""
        dirty = self.large.body[DIRTY]
        while dirty:
            if self.left <= 0:
                return False
            start, large = dirty.pop(0), self.large
            changed = large.remembered.changed(start)
            for window in large.windows(start):
                if (place := place_of(window.anchor)) in changed:
                    revision, weight = changed[place]
                    self.out.revised = True
                    sent = self._finish(window, revision + 1, weight)
                    large.remembered.revise(window.anchor, revision + 1, sent or weight)
        return True

    def _send_ended(self) -> bool:
        large, window, sent = self.large, self.spec.window, None
        while (start := large.start_after(large.body[OUT])) is not None and start + window <= self.clock:
            if self.left <= 0:
                return False
            self._send(start)
            large.body[OUT] = sent = start
        if sent is not None and large.shifts:
            self._watch_labels(sent + 2 * window)
        return True

    def _send(self, start: int) -> None:
        spec, large = self.spec, self.large
        for window in large.windows(start):
            if spec.clock == "processing" and not spec.plans[window.anchor[STREAM]].anchor:
                self._put_aside(window)
                continue
            weight = self._finish(window)
            if spec.correction:
                large.remembered.add(window.anchor, 0, weight, False)
        if spec.correction:
            self.partition.deadlines.add(start + spec.window + spec.correction, large.key)
        else:
            large.remove(start)

    def _put_aside(self, window: LargeWindow) -> None:
        """Drops a window that labels have opened and no anchor joined (processing time)."""
        for count, cell in enumerate(window.anchors):
            side_rows.put(self.partition, "orphan", self.large.key, cell, self.out)
            self.left -= not count % CELLS_PER_KEY

    def _watch_labels(self, end: int) -> None:
        """Handles labels whose window moved, because an anchor came that lies before its anchor."""
        before, large = self.spec.before, self.large
        for low, high in large.gaps(self.clock - before, end):
            for cell in large.labels_in(low, high):
                self.partition.deadlines.add(cell[SLICE] + before + 1, large.key)

    def _finish(self, window: LargeWindow, revision: int = 0, previous_weight: float = 0.0) -> float:
        clock = self.partition.clock
        window.fold(self.spec)
        self.left -= 1 + window.cells // CELLS_PER_KEY
        return self.partition.finisher.finish(
            self.large.key,
            window,
            self.out,
            revision=revision,
            previous_weight=previous_weight,
            truncated=self.large.truncated(window.slice),
            missing=clock.missing_streams() if clock.left_out else (),
        )

    def _drop_orphans(self) -> bool:
        """Handles labels that no window holds or can still hold (rule 4); late ones count as late (rule 5)."""
        large = self.large
        for low, high in large.gaps(large.body[ORPHANED], self.clock - self.spec.before):
            while cells := large.take_labels(low, high, ORPHAN_LEAVES):
                for cell in cells:
                    side_rows.unheld(self.partition, large.key, cell, self.out)
                self.left -= 1 + len(cells) // CELLS_PER_KEY
                if self.left <= 0:
                    return False
            large.body[ORPHANED] = high
        return True

    def _forget(self) -> bool:
        large, kept = self.large, self.spec.window + self.spec.correction
        while self.spec.correction and (start := large.first_start()) is not None and start + kept <= self.clock:
            if self.left <= 0:
                return False
            large.remove(start)
            self.left -= 1
        return True

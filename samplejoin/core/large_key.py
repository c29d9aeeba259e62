"""A key with more cells than one record should hold: its cells lie in leaves, its windows are found by search.

A small key's state is `[cells, None, closed]`; a large one's is its head, `[None, body]`, and leaves next to it. The
body holds the directories of the leaves, what is counted per bucket (rule 11), and how far closing has come. Labels of
windows that begin in the same slice are one range of slices, whatever the job's options: that range, and the neighbours
that bound it, are all that closing a window looks at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial
from typing import Any

from samplejoin.core import closed_windows
from samplejoin.core.cells import MARK, PARTIALS, ROWS, SLICE, STREAM, Cell, merge_partials, order_of
from samplejoin.core.fold import windows_of
from samplejoin.core.large_key_windows import Cells, LargeWindow, Lowest, name_of, place_of
from samplejoin.core.leaves import Leaves, Shelf
from samplejoin.core.repeat_chains import Chains
from samplejoin.core.sent_windows import Remembered
from samplejoin.core.user_errors import mistakes

ANCHORS, LABELS, CHAINS, STARTS, BUCKETS, DIRTY, OUT, ORPHANED, NUMBER, REMEMBERED = range(10)
#: a rank higher than all others
_ALL = 1 << 80
BUCKET, TAKEN, BYTES, FIRST_CUT, LAST_CUT = range(5)


def new_head(clock: int, window: int, before: int) -> list[object]:
    """Returns the head of a large key without cells, at a clock up to which everything is closed."""
    directories: list[object] = [[[], [], []] for _ in range(5)]
    anchors, labels, remembered, *chains = directories
    return [None, [anchors, labels, chains, [], [], [], clock - window, clock - before, 0, remembered]]


class Large:
    """A large key, opened: changes go into its head, which the caller keeps, and into its leaves.

    With `passing` leaves that rest elsewhere are not brought to be read: they will not be looked at again soon.
    """

    def __init__(self, shelf: Shelf, key: bytes, head: list[Any], passing: bool = False) -> None:
        self.spec, self.key, self.body = shelf.spec, key, head[1]
        self._streams = streams = len(self.spec.plans)
        self._each = self.spec.repeat == "each" and self.spec.clock == "event"
        body = self.body

        def rank(cell: Cell) -> int:
            place: int = cell[SLICE] * streams + cell[STREAM]
            return place

        # not a method: with a reference back to here all that was read would stay until cycles are searched for
        number = partial(_next_number, body)
        has_ids = self._each and any(plan.anchor and plan.stream.id_field for plan in self.spec.plans)
        self.anchors = Leaves(shelf, key, body[ANCHORS], rank, number, passing)
        self.labels = Leaves(shelf, key, body[LABELS], rank, number, passing)
        self._chains = Chains(shelf, key, body[CHAINS], number, passing) if has_ids else None
        self.remembered = Remembered(shelf, key, body[REMEMBERED], number, passing)
        #: with `repeat: each`: an entry, or several, in every slice in which windows begin
        self._starts = self.anchors if self._chains is None else self._chains.starts

    @property
    def empty(self) -> bool:
        """Whether the key has no cells."""
        return not (self.anchors or self.labels)

    @property
    def is_open(self) -> bool:
        """Whether the key has more than records of sent windows."""
        last = self.labels.before(_ALL)
        return self.start_after(self.body[OUT]) is not None or (last is not None and self.holder(last[SLICE]) is None)

    @property
    def shifts(self) -> bool:
        """Whether an anchor can move the windows behind it."""
        return not self._each or (self._chains is not None and bool(self._chains.ids))

    # ---- rows ---------------------------------------------------------------------------------------------------

    def add(self, cell: Cell) -> bool:
        """Merges or inserts a cell. Returns False if it is a label over its bucket's limits (rule 11), dropped."""
        spec, plan = self.spec, self.spec.plans[cell[STREAM]]
        opens = plan.anchor or spec.clock == "processing"
        leaves = self.anchors if opens else self.labels
        bucket = None if plan.anchor else self._bucket(cell[SLICE] // spec.window)
        place = cell[SLICE] * self._streams + cell[STREAM]
        if not plan.single and len(cell) == MARK:
            for known in leaves.open(place, place + 1):
                if len(known) > MARK:
                    continue  # a late label that waits for an anchor
                try:
                    merged = merge_partials(plan, known[PARTIALS], cell[PARTIALS])
                except mistakes():  # a user's aggregate: kept apart, its sample will say so (rule 12)
                    continue
                grown = self._size([*cell[:ROWS], known[ROWS] + cell[ROWS], merged]) - self._size(known[:MARK])
                if bucket and not self._has_room(bucket, cell[SLICE], 0, grown):
                    return False
                known[PARTIALS], known[ROWS] = merged, known[ROWS] + cell[ROWS]
                leaves.grow(place, grown)
                return True
        size = self._size(cell)
        if bucket and not self._has_room(bucket, cell[SLICE], 1, size):
            return False
        leaves.insert(cell, size)
        if opens:
            self._opened(cell)
        return True

    def take_over(self, cells: list[Cell], closed: list[Any]) -> None:
        """Takes the cells of a small key, and its records of sent windows."""
        for window in windows_of(self.spec, cells) if closed else ():
            known = closed_windows.find(closed, window)
            if known is not None:
                self.remembered.add(window.anchor, *known[closed_windows.REVISION :])
                if known[closed_windows.DIRTY]:
                    self._note_dirty(window.slice)
        if cells and self.spec.clock == "processing":  # windows may have ended with the entry that is being stepped
            self.body[OUT] = min(self.body[OUT], min(cell[SLICE] for cell in cells) - 1)
        for cell in sorted(cells, key=lambda cell: int(cell[SLICE])):
            plan, size = self.spec.plans[cell[STREAM]], self._size(cell)
            if not plan.anchor:
                bucket = self._bucket(cell[SLICE] // self.spec.window)
                bucket[TAKEN] += 1
                bucket[BYTES] += size
            if plan.anchor or self.spec.clock == "processing":
                self.anchors.insert(cell, size)
                self._opened(cell)
            else:
                self.labels.insert(cell, size)

    def _size(self, cell: Cell) -> int:
        return len(self.spec.codec.pack(cell))

    def _bucket(self, number: int) -> list[Any]:
        buckets = self.body[BUCKETS]
        at = bisect_left(buckets, number, key=lambda b: b[BUCKET])
        if at == len(buckets) or buckets[at][BUCKET] != number:
            buckets.insert(at, [number, 0, 0, None, None])
        found: list[Any] = buckets[at]
        return found

    def _has_room(self, bucket: list[Any], slice_: int, cells: int, size: int) -> bool:
        """Takes so much of a bucket, or notes that a label of this slice is dropped.

        A bucket is as long as a window, so one that has a slice between its first and last cut has one of these too.
        """
        spec = self.spec
        if bucket[TAKEN] + cells > spec.max_rows or bucket[BYTES] + max(0, size) > spec.max_bytes:
            first, last = bucket[FIRST_CUT], bucket[LAST_CUT]
            bucket[FIRST_CUT] = slice_ if first is None else min(first, slice_)
            bucket[LAST_CUT] = slice_ if last is None else max(last, slice_)
            return False
        bucket[TAKEN] += cells
        bucket[BYTES] += size
        return True

    def truncated(self, start: int) -> bool:
        """Whether a label of the window that begins in this slice was dropped."""
        low, high = start - self.spec.before, start + self.spec.window
        buckets = self.body[BUCKETS]
        for at in range(bisect_left(buckets, low // self.spec.window, key=lambda b: b[BUCKET]), len(buckets)):
            number, _, _, first, last = buckets[at]
            if number * self.spec.window >= high:
                break
            if first is not None and first < high and last >= low:
                return True
        return False

    # ---- where windows begin ----------------------------------------------------------------------------------------

    def start_upto(self, slice_: int) -> int | None:
        """Returns the latest slice at or before this one in which a window begins; None without one."""
        if not self._each:
            starts = self.body[STARTS]
            at = bisect_right(starts, slice_)
            return starts[at - 1] if at else None
        entry = self._starts.before((slice_ + 1) * self._streams)
        return None if entry is None else entry[SLICE]

    def start_after(self, slice_: int) -> int | None:
        """Returns the earliest slice after this one in which a window begins; None without one."""
        if not self._each:
            starts = self.body[STARTS]
            at = bisect_right(starts, slice_)
            return starts[at] if at < len(starts) else None
        entry = self._starts.after((slice_ + 1) * self._streams)
        return None if entry is None else entry[SLICE]

    def first_start(self) -> int | None:
        """Returns the slice in which the earliest window begins; None without windows."""
        if not self._each:
            return self.body[STARTS][0] if self.body[STARTS] else None
        entry = self._starts.first()
        return None if entry is None else entry[SLICE]

    def holder(self, slice_: int) -> int | None:
        """Returns where the windows begin of which one holds a label of this slice (rule 3); None if none does."""
        spec = self.spec
        if self._each and spec.attribution == "first":
            start = self.start_after(slice_ - spec.window)
            return start if start is not None and start - spec.before <= slice_ else None
        start = self.start_upto(slice_)
        if start is not None and slice_ < start + spec.window:
            return start
        start = self.start_after(slice_)
        return start if start is not None and start - spec.before <= slice_ else None

    def label_range(self, start: int) -> tuple[int, int]:
        """Returns the range of slices, end exclusive, whose labels belong to a window that begins in this slice."""
        spec = self.spec
        last, end = self.start_upto(start - 1), start + spec.window
        low = start - spec.before if last is None else max(last + spec.window, start - spec.before)
        if self._each and spec.attribution == "first":
            return low, end
        following = self.start_after(start)
        return min(low, start), end if following is None else min(end, following)

    def gaps(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yields the parts of a range of slices that no window holds."""
        spec = self.spec
        while low < high:
            start = self.start_upto(low)
            if start is not None and low < start + spec.window:
                low = start + spec.window
                continue
            start = self.start_after(low)
            end = high if start is None else min(high, start - spec.before)
            if low < end:
                yield low, end
            low = high if start is None else start + spec.window

    def _opened(self, cell: Cell) -> None:
        """Updates the slices in which windows begin, for a new anchor."""
        if self._each:
            if self._chains is not None:
                self._chains.add(cell[STREAM], cell[PARTIALS][0][2], cell[SLICE])
            return
        window, starts = self.spec.window, self.body[STARTS]
        first = end = bisect_right(starts, cell[SLICE])
        if first and cell[SLICE] < starts[first - 1] + window:
            return
        new: list[int] = [cell[SLICE]]
        while True:  # until a start matches an earlier one
            following = self.anchors.after((new[-1] + window) * self._streams)
            while end < len(starts) and (following is None or starts[end] < following[SLICE]):
                end += 1
            if following is None or (end < len(starts) and starts[end] == following[SLICE]):
                break
            new.append(following[SLICE])
        starts[first:end] = new

    # ---- windows ----------------------------------------------------------------------------------------------------

    def windows(self, start: int) -> Iterator[LargeWindow]:
        """Yields the windows that begin in this slice, with their labels. Add or remove no cell meanwhile."""
        low, high = self.label_range(start)
        labels, end = Cells(partial(self.labels_in, low, high)), start + self.spec.window
        lowest = self._lowest(start)
        holding = self._holding(start, lowest)
        if not self._each:
            anchors = Cells(partial(self._anchors_in, start, end))
            yield LargeWindow(start, end, holding, anchors, labels)
            return
        mine = place_of(holding)
        for cell in self._firsts(start, lowest):
            window = LargeWindow(start, end, cell, [cell], labels if place_of(cell) == mine else ())
            if self._chains is not None and (name := name_of(cell))[1] is not None:
                window.repeats = self._chains.anchors(*name, start) - 1
            yield window

    def _holding(self, start: int, lowest: Lowest) -> Cell:
        """Returns the first anchor of the window that holds the labels, among the windows that begin in this slice."""
        if self._each:
            best = max if self.spec.attribution == "last" else min
            return best(self._firsts(start, lowest), key=place_of)
        if self.spec.clock == "event":
            return min(self._anchors_in(start, start + 1), key=place_of)
        found: Cell | None = None
        for cell in self._anchors_in(start, start + self.spec.window):
            if found is not None and cell[SLICE] > found[SLICE] and self._is_anchor(found):
                break
            if found is None or self._before(cell, found):
                found = cell
        assert found is not None
        return found

    def _is_anchor(self, cell: Cell) -> bool:
        return self.spec.plans[cell[STREAM]].anchor

    def _before(self, cell: Cell, other: Cell) -> bool:
        """By processing time: labels open windows too, but an anchor is the first one."""
        anchor, has_anchor = self._is_anchor(cell), self._is_anchor(other)
        if anchor != has_anchor:
            return anchor
        return cell[SLICE] == other[SLICE] and place_of(cell) < place_of(other)

    def _firsts(self, start: int, lowest: Lowest) -> Iterator[Cell]:
        """With `repeat: each`: the first anchors of the windows that begin in this slice.

        Beside them there can be repeats of windows that began earlier, with ids that open nothing here.
        """
        for cell in self._anchors_in(start, start + 1):
            name = name_of(cell)
            if self._chains is None or name[1] is None or lowest.get(name) == order_of(cell):
                yield cell

    def _lowest(self, start: int) -> Lowest:
        """Returns the ids that open windows in this slice, with the lowest place of their anchors."""
        if self._chains is None:
            return {}
        lowest: Lowest = {}
        for cell in self._anchors_in(start, start + 1):
            name, order = name_of(cell), order_of(cell)
            if name[1] is not None and (name not in lowest or order < lowest[name]):
                lowest[name] = order
        return {name: order for name, order in lowest.items() if self._chains.opens(*name, start)}

    def _anchors_in(self, low: int, high: int) -> Iterator[Cell]:
        return self.anchors.between(low * self._streams, high * self._streams)

    def correct(self, start: int) -> None:
        """Records that a label has joined the sent windows that begin in this slice."""
        self.remembered.note(self._holding(start, self._lowest(start)))
        self._note_dirty(start)

    @property
    def is_dirty(self) -> bool:
        """Whether a sent window must be corrected."""
        return bool(self.body[DIRTY])

    def _note_dirty(self, start: int) -> None:
        dirty = self.body[DIRTY]
        at = bisect_left(dirty, start)
        if at == len(dirty) or dirty[at] != start:
            dirty.insert(at, start)

    def labels_in(self, low: int, high: int) -> Iterator[Cell]:
        """Yields the label cells of a range of slices."""
        return self.labels.between(low * self._streams, high * self._streams)

    def take_labels(self, low: int, high: int, leaves: int | None = None) -> list[Cell]:
        """Removes the label cells of a range of slices, from at most the given number of lowest leaves."""
        return self.labels.take(low * self._streams, high * self._streams, leaves)

    def remove(self, start: int) -> None:
        """Removes the windows that begin in this slice, with their cells; no window may begin earlier.

        With `repeat: each` repeats stay until no window begins before them: so cells go by whole leaves, unread.
        """
        low, high = self.label_range(start)
        self.labels.drop(low * self._streams, high * self._streams)
        self.remembered.drop(start)
        if not self._each:
            self.anchors.drop(start * self._streams, (start + self.spec.window) * self._streams)
            del self.body[STARTS][0]
            return
        if self._chains is not None:
            for stream, id_ in dict.fromkeys(map(name_of, self._anchors_in(start, start + 1))):
                if id_ is not None:
                    self._chains.forget(stream, id_, start)
            self._chains.forget_start(start)
        following = self.start_after(start)
        self.anchors.drop(start * self._streams, _ALL if following is None else following * self._streams)

    # ---- an end -----------------------------------------------------------------------------------------------------

    def forget_counts(self, clock: int) -> None:
        """Drops the counts of buckets that no present or future window can overlap."""
        spec, buckets = self.spec, self.body[BUCKETS]
        reach = spec.window + spec.before + spec.window + spec.correction
        del buckets[: bisect_right(buckets, clock, key=lambda b: int(b[BUCKET]) * spec.window + reach)]

    def needed_until(self) -> int:
        """Returns the clock from which a key without cells can be dropped: no row in time meets its counts or cuts."""
        window, ends = self.spec.window, [int(self.body[OUT])]
        for number, _, _, _, last_cut in self.body[BUCKETS]:
            ends.append((number + 1) * window)
            if last_cut is not None:
                ends.append(last_cut + self.spec.before + 1)
        return max(ends)


def _next_number(body: list[Any]) -> int:
    """Returns the number of a new leaf."""
    body[NUMBER] += 1
    return int(body[NUMBER])

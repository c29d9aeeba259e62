"""One join partition as a state machine: entries of its repartition log in, outcomes out. Knows nothing of Kafka.

The same log gives the same outcomes, whoever steps it and however often (rules 6 and 8). A key's state is the list
`[cells, None, closed]`: its cells; and, with `late: correct`, the windows that have gone out: `[slice, order, end,
revision, weight, dirty]`. It rests packed by the job's codec, and is opened to be changed or closed. A key that has
grown too large for one record is a `Large` one for the rest of its life.
"""

from __future__ import annotations

from typing import Any

from samplejoin.core import closed_windows, damaged_state, leaves, side_rows
from samplejoin.core.cells import (
    BODY,
    CELLS,
    CLOSED,
    MARK,
    SLICE,
    STREAM,
    WIRE_KEY,
    WIRE_PARTIALS,
    WIRE_SLICE,
    Cell,
    KeyState,
    WireCell,
    insert,
)
from samplejoin.core.clock import Clock
from samplejoin.core.closed_windows import DIRTY, END, REVISION, WEIGHT
from samplejoin.core.covering import accepted, is_gap
from samplejoin.core.deadlines import Deadlines
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import Window, assign_labels, holder, windows_of
from samplejoin.core.key_states import AllKeys, KeyStates
from samplejoin.core.large_key import Large, new_head
from samplejoin.core.large_key_closing import Closing
from samplejoin.core.messages import Block, Entry, Source, Tick
from samplejoin.core.outcomes import Outcomes
from samplejoin.core.partition_state import PartitionState
from samplejoin.core.spec import Spec

#: due keys that are taken in one call
TAKEN_KEYS = 256
#: share of a bucket's limit (rule 11) that a small key may use, so that its count need not be remembered
SMALL_PART = 16
#: rows that a cell may gain before the bytes of its small key are counted again
LOOK_ROWS = 64
UNLIMITED = 1 << 62


class Partition:
    """The join of one partition, on `states`; the caller persists what `changed` names."""

    def __init__(self, spec: Spec, states: KeyStates | None = None) -> None:
        self.spec = spec
        states = AllKeys() if states is None else states
        self.keys, self.changed = states.cache, states.changed
        self.need, self.peek = states.need, states.peek
        #: H of rule 7: highest covered offset per source
        self.covered: dict[Source, int] = {}
        self.clock = Clock(spec)
        self.deadlines = Deadlines()
        self.finisher = Finisher(spec)
        #: the packed parts around a lone packed cell; None with processing time, where its slice is still to be set
        self._lone = spec.codec.lone if spec.clock == "event" else None
        #: keys with a sample to correct; `_is_revising` from a tick until its sweep is done: one revision per tick
        self._pending: dict[bytes, None] = {}
        self._is_revising = False
        #: keys without open windows, remembered for corrections only. Keys closed before a restart are not in it until
        #: they are processed again
        self.remembered: set[bytes] = set()
        #: keys that a sweep has finished at this clock
        self._looked: set[bytes] = set()
        self._small_cells = min(leaves.LEAF_ENTRIES, max(1, spec.max_rows // SMALL_PART))
        self._small_bytes = min(leaves.LEAF_BYTES, spec.max_bytes // SMALL_PART)
        #: of a cell: with `_small_cells` of them a key is still a small one
        self._light_bytes = self._small_bytes // leaves.LEAF_ENTRIES

    # ---- entries of the log -------------------------------------------------------------------------------------

    def apply(self, entry: Entry, log_offset: int, append_ms: int, out: Outcomes) -> None:
        """Steps one entry. The caller sweeps to the end before the next one."""
        self.clock.record_append_time(append_ms)
        self._looked.clear()
        if isinstance(entry, Block):
            self._block(entry, out)
        else:
            self._tick(entry, log_offset, out)

    def _block(self, block: Block, out: Outcomes) -> None:
        source = block.source
        cells = accepted(self.covered.get(source, -1), block)
        if isinstance(cells, str):
            out.count(cells, source)
            return
        self.covered[source] = block.upto
        self.clock.rows_taken(source)
        self.need(cell[WIRE_KEY] for cell in cells)
        for cell in self._open_keys(cells):
            try:
                self._merge(cell, source, out)
            except Exception as error:
                if damaged_state.drop_cell(self, cell, error, out):
                    self._merge(cell, source, out)

    def _tick(self, tick: Tick, log_offset: int, out: Outcomes) -> None:
        clock = self.clock
        for topic, count in tick.partitions.items():
            clock.partitions[topic] = max(count, clock.partitions.get(topic, 0))
        for entry in tick.entries:
            covered = self.covered.get(entry.source, -1)
            if entry.upto > covered:
                if is_gap(covered, entry.after):
                    out.count("gap_refused", entry.source)
                    continue
                self.covered[entry.source] = covered = entry.upto
                clock.rows_taken(entry.source)
            clock.tick(entry, covered, log_offset)
        clock.advance()
        self._is_revising = bool(self._pending)

    # ---- rows ---------------------------------------------------------------------------------------------------

    def _open_keys(self, cells: list[WireCell]) -> list[WireCell]:
        """Stores, still packed, every cell whose key has no state yet; returns the rest for merging.

        Cells of different keys have nothing to do with each other, and those of one key stay in order. If any is late
        nothing is taken: what becomes of a late one depends on what its key has before it.
        """
        spec, clock = self.spec, self.clock.slice
        if self._lone is None or not cells or type(cells[0][WIRE_PARTIALS]) is not bytes:
            return cells
        if min(cell[WIRE_SLICE] for cell in cells) < clock:
            return cells
        keys, anchors, (before, behind) = self.keys, self.finisher.anchors, self._lone
        window, orphaned, most = spec.window, spec.before + 1, self._small_bytes
        opened: dict[int, list[bytes]] = {}
        others = []
        for cell in cells:
            key, stream, slice_, _, _, _, packed = cell
            if key in keys or len(packed) > most:
                others.append(cell)
                continue
            keys[key] = before + packed + behind
            deadline = slice_ + window if stream in anchors else max(slice_ + orphaned, clock + 1)
            if deadline in opened:
                opened[deadline].append(key)
            else:
                opened[deadline] = [key]
        for deadline, those in opened.items():
            self.changed.update(dict.fromkeys(those))
            self.deadlines.extend(deadline, those)
        return others

    def _merge(self, wire: WireCell, source: Source, out: Outcomes) -> None:
        key, stream, slice_, low, _, rows, partials = wire
        clock = self.clock.slice
        spec = self.spec
        plan = spec.plans[stream]
        state: Any = self.keys.get(key)
        if type(partials) is bytes:
            cell, size = spec.codec.loads(partials), len(partials)
        else:
            cell = [stream, slice_, rows, partials]
            size = len(spec.codec.pack(cell))
        heavy = False
        if type(state) is bytes:
            heavy = len(state) > self._small_bytes
            state = self.keys[key] = spec.codec.loads(state)
        large = Large(self, key, state) if state is not None and state[CELLS] is None else None
        if spec.clock == "processing":
            slice_ = cell[SLICE] = clock
        if slice_ < clock:
            out.count("late_rows", plan.stream.name, rows)
            if not side_rows.accept_late(self, key, cell, large if large is not None else state, [source, low], out):
                return
        if state is None and size <= self._small_bytes:
            state = self.keys[key] = [[cell], None, []]
        elif state is not None and large is None and not heavy and self._stays_small(state[CELLS], size):
            total = insert(spec.plans, state[CELLS], cell)
            if total % LOOK_ROWS < rows and self._bytes_of(state[CELLS]) > self._small_bytes:
                large = self._grow(key, state)
        else:
            late = large is not None and slice_ < clock  # of small keys only
            large = self._grow(key, state or [[], None, []]) if large is None else large
            side_rows.add_to_large(self, large, cell, late, out)
        self.changed[key] = None
        if self.remembered:
            self.remembered.discard(key)
        if plan.anchor or spec.clock == "processing":
            self.deadlines.add(slice_ + spec.window, key)
        elif large is not None:
            if large.holder(slice_) is None:
                self.deadlines.add(max(slice_ + spec.before + 1, clock + 1), key)
        elif not any(spec.plans[c[STREAM]].anchor for c in state[CELLS]):
            self.deadlines.add(max(slice_ + spec.before + 1, clock + 1), key)
        else:
            self._watch_label(key, state, slice_)

    def _stays_small(self, cells: list[Cell], size: int) -> bool:
        """Whether a key with these cells can stay a small one with a further one of `size` bytes."""
        if len(cells) >= self._small_cells:
            return False
        return size <= self._light_bytes or size + self._bytes_of(cells) <= self._small_bytes

    def _bytes_of(self, cells: list[Cell]) -> int:
        return sum(len(self.spec.codec.pack(cell)) for cell in cells)

    def _grow(self, key: bytes, state: KeyState) -> Large:
        """Makes a small key a large one."""
        head = self.keys[key] = new_head(self.clock.slice, self.spec.window, self.spec.before)
        large = Large(self, key, head)
        large.take_over(state[CELLS], state[CLOSED])
        return large

    def _watch_label(self, key: bytes, state: KeyState, slice_: int) -> None:
        """A label next to anchors needs a deadline of its own only if none of them holds it yet."""
        spec, cells = self.spec, state[CELLS]
        lone_anchor = len(cells) == 2 and spec.plans[cells[0][STREAM]].anchor
        if lone_anchor and -spec.before <= slice_ - cells[0][SLICE] < spec.window:
            return
        window = holder(self.spec, windows_of(self.spec, state[CELLS]), slice_)
        if window is None:
            self.deadlines.add(slice_ + self.spec.before + 1, key)

    def correct(self, key: bytes, rows: int, out: Outcomes) -> None:
        """Labels have joined a window of the key that has gone out: the next tick sends a revision."""
        self._pending[key] = None
        out.count("late_corrections", by=rows)

    # ---- windows ------------------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether a sweep is due."""
        return self._is_revising or self.deadlines.due(self.clock.slice)

    def sweep(self, out: Outcomes, limit: int | None = None) -> bool:
        """Closes windows that the clock has ended; at most `limit` keys are looked at, of large ones so many windows.

        True if more are due (1, 15).
        """
        left = UNLIMITED if limit is None else limit
        while left > 0 and (key := self._next_revision()) is not None:
            left -= 1 + self._close_due([key], out, left, revise=True)
        while left > 0 and (keys := self.deadlines.take(self.clock.slice, min(left, TAKEN_KEYS))):
            left -= len(keys) + self._close_due(keys, out, left)
        self.finisher.count(out)
        return self.due()

    def _close_due(self, keys: list[bytes], out: Outcomes, left: int, revise: bool = False) -> int:
        """Looks at keys whose deadline has come. Most have one window and nothing else: they go a short way.

        Returns what large ones have cost on top of that.
        """
        states, clock, loads = self.keys, self.clock.slice, self.spec.codec.loads
        finish_whole, changed = self.finisher.finish_whole, self.changed
        short, spent = not self.clock.left_out, 0
        self.need(keys)
        for key in keys:
            state = states.get(key)
            if state is None:
                continue
            try:
                if type(state) is bytes:
                    state = loads(state)
                if short and not state[BODY] and finish_whole(key, state[CELLS], clock, out):
                    changed[key] = None
                    del states[key]
                elif state[BODY]:
                    spent += self._close_large(key, state, out, left - spent, revise)
                elif revise or key not in self._looked:
                    self._close(key, state, clock, out, revise)
            except Exception as error:
                damaged_state.mend_key(self, key, error, out)
        return spent

    def _next_revision(self) -> bytes | None:
        if not self._is_revising:
            return None
        key = next(iter(self._pending), None)
        if key is not None:
            del self._pending[key]
        self._is_revising = bool(self._pending)
        return key

    def _close(self, key: bytes, state: KeyState, clock: int, out: Outcomes, revise: bool) -> None:
        spec = self.spec
        windows = windows_of(spec, state[CELLS])
        pending = assign_labels(spec, windows, state[CELLS])
        kept: list[Cell] = []
        closed: list[object] = []
        is_open = False
        for window in windows:
            is_open = is_open or window.end > clock
            if window.end <= clock:
                record = self._emit(key, state, window, out, revise)
                if window.end + spec.correction <= clock:
                    continue
                closed.append(record)
            kept += window.anchors + window.labels
        for cell in pending:
            if cell[SLICE] + spec.before < clock:
                side_rows.unheld(self, key, cell, out)
            else:
                self.deadlines.add(cell[SLICE] + spec.before + 1, key)
                kept.append(cell)
                is_open = True
        self.changed[key] = None
        if spec.correction:
            (self.remembered.add if closed and not is_open else self.remembered.discard)(key)
        if kept:
            self.keys[key] = [kept, None, closed]
            self._looked.add(key)
        else:
            del self.keys[key]

    def _close_large(self, key: bytes, state: KeyState, out: Outcomes, left: int, revise: bool) -> int:
        """As `_close`, in part if `left` does not suffice: the key is due again then. Returns what it has cost."""
        if not revise and key in self._looked:
            return 0
        large, clock = Large(self, key, state, passing=True), self.clock.slice
        closing = Closing(self, large, out, left)
        self.keys[key] = state
        self.changed[key] = None
        if revise:
            if not closing.correct():
                self._pending[key] = None
                self._is_revising = True
        elif not closing.close():
            self.deadlines.add(clock, key)
        elif large.empty and large.needed_until() <= clock:
            del self.keys[key]
            self.remembered.discard(key)
        else:
            if large.empty:
                self.deadlines.add(large.needed_until(), key)
            elif self.spec.correction:
                (self.remembered.discard if large.is_open else self.remembered.add)(key)
            self._looked.add(key)
        return left - closing.left

    def _emit(self, key: bytes, state: KeyState, window: Window, out: Outcomes, revise: bool) -> list[object]:
        """Sends the window's sample, its correction, or nothing if it has gone out unchanged; returns its record."""
        spec = self.spec
        if spec.clock == "processing" and not spec.plans[window.anchor[STREAM]].anchor:
            for cell in window.anchors:
                side_rows.put(self, "orphan", key, cell, out)
            return []
        missing = self.clock.missing_streams() if self.clock.left_out else ()
        if not spec.correction:  # nothing is remembered of a window that has gone out
            self.finisher.finish(key, window, out, missing=missing)
            return []
        known = closed_windows.find(state[CLOSED], window)
        if known is None:
            self.deadlines.add(window.end + spec.correction, key)
            return closed_windows.closed_window(window, self.finisher.finish(key, window, out, missing=missing))
        if known[DIRTY] and revise:
            out.revised = True
            weight = self.finisher.finish(
                key, window, out, revision=known[REVISION] + 1, previous_weight=known[WEIGHT], missing=missing
            )
            closed_windows.revise(known, weight)
        return list(known)

    # ---- state --------------------------------------------------------------------------------------------------

    def dump(self) -> PartitionState:
        """The partition's own state apart from its keys and their deadlines."""
        return PartitionState(dict(self.covered), self.clock.dump(), self._is_revising, list(self._pending))

    def load(self, state: PartitionState) -> None:
        """Restores `state`; deadlines come back by `deadlines.restore` or `watch`, then the caller sweeps."""
        self.covered = dict(state.covered)
        self.clock.load(state.clock)
        self._is_revising, self._pending = state.is_revising, dict.fromkeys(state.pending)

    def watch(self, name: bytes, state: Any) -> None:
        """Registers the deadlines of a stored record from its state alone, where they were not kept."""
        if leaves.is_leaf(name):
            self._watch_cells(leaves.home_of(name), [cell for cell in state if cell[STREAM] is not None])
        elif state[CELLS] is None:
            large = Large(self, name, state)
            self.deadlines.add(large.needed_until(), name)
            if large.is_dirty:
                self._pending[name] = None
        else:
            self._watch_cells(name, state[CELLS])
            for known in state[CLOSED]:
                self.deadlines.add(known[END] + self.spec.correction, name)
                if known[DIRTY]:
                    self._pending[name] = None

    def _watch_cells(self, key: bytes, cells: list[Cell]) -> None:
        spec = self.spec
        for cell in cells:
            opens = spec.clock == "processing" or spec.plans[cell[STREAM]].anchor
            self.deadlines.add(cell[SLICE] + (spec.window if opens else spec.before + 1), key)
            if opens and len(cell) > MARK:  # what is remembered of a window
                self.deadlines.add(cell[SLICE] + spec.window + spec.correction, key)

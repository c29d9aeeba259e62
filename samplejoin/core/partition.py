"""One join partition as a state machine: entries of its repartition log in, outcomes out. Knows nothing of Kafka.

The same log gives the same outcomes, whoever steps it and however often (rules 6 and 8). A key's state is the list
`[cells, cut, closed]`: its cells; the slices of label cells dropped by `max_rows` (`[first, last]` or None); and, with
`late: correct`, the windows that have gone out: `[slice, order, end, revision, weight, dirty]`. It rests packed by the
job's codec, and is opened to be changed or closed.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any

from samplejoin.core.cells import ROWS, SLICE, STREAM, Cell, WireCell, insert
from samplejoin.core.clock import Clock
from samplejoin.core.deadlines import Deadlines
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import Window, assign_labels, cell_fields, holder, windows_of
from samplejoin.core.messages import Block, Entry, Source, Tick
from samplejoin.core.outcomes import DeadSample, Outcomes, SideRow
from samplejoin.core.spec import Spec
from samplejoin.core.words import RAISED, said

KeyState = list[Any]
CELLS, CUT, CLOSED = range(3)
#: due keys that are taken at once
TAKEN_KEYS = 256


class Partition:
    """The join of one partition. `keys` maps a join key to its state, packed or not; the caller persists what `changed`
    names. `need` brings into `keys` the states of open keys that rest elsewhere, before they are looked at."""

    def __init__(
        self,
        spec: Spec,
        keys: dict[bytes, Any] | None = None,
        need: Callable[[Iterable[bytes]], None] | None = None,
    ) -> None:
        self.spec = spec
        self.keys: dict[bytes, Any] = {} if keys is None else keys
        self._need = need or (lambda keys: None)
        #: H of rule 7: highest covered offset per source
        self.covered: dict[Source, int] = {}
        self.clock = Clock(spec)
        self.deadlines = Deadlines()
        #: in the order in which they changed: their states were made one after the other, and lie so in memory
        self.changed: dict[bytes, None] = {}
        self.finisher = Finisher(spec)
        #: around a packed cell; by processing time its slice is still to be set
        self._lone = spec.codec.lone if spec.clock == "event" else None
        #: keys with a sample to correct; `_revising` from a tick until its sweep is done: one revision per tick
        self._revise: dict[bytes, None] = {}
        self._revising = False
        #: keys that have nothing open: all they hold is remembered for corrections. Only of keys closed here: after a
        #: restart a key counts as open until it is looked at
        self.remembered: set[bytes] = set()

    # ---- entries of the log -------------------------------------------------------------------------------------

    def apply(self, entry: Entry, log_offset: int, append_ms: int, out: Outcomes) -> None:
        """Steps one entry. The caller sweeps to the end before the next one."""
        self.clock.see_append_time(append_ms)
        if isinstance(entry, Block):
            self._block(entry, out)
        else:
            self._tick(entry, log_offset, out)

    def _block(self, block: Block, out: Outcomes) -> None:
        source, cells = block.source, block.cells
        covered = self.covered.get(source, -1)
        if block.upto <= covered:
            out.count("skipped_entries", source)
            return
        if block.after is not None and block.after > covered:
            out.count("gap_refused", source)
            return
        if block.after is None or block.after < covered:
            if any(cell[3] <= covered < cell[4] for cell in cells):
                out.count("straddle_refused", source)
                return
            cells = [cell for cell in cells if cell[3] > covered]
        self.covered[source] = block.upto
        self.clock.rows_taken(source)
        self._need(cell[0] for cell in cells)
        for cell in self._open_keys(cells):
            self._merge(cell, source, out)

    def _tick(self, tick: Tick, log_offset: int, out: Outcomes) -> None:
        clock = self.clock
        for topic, count in tick.partitions.items():
            clock.partitions[topic] = max(count, clock.partitions.get(topic, 0))
        for entry in tick.entries:
            covered = self.covered.get(entry.source, -1)
            if entry.upto > covered:
                if entry.after is not None and entry.after > covered:
                    out.count("gap_refused", entry.source)
                    continue
                self.covered[entry.source] = covered = entry.upto
                clock.rows_taken(entry.source)
            clock.tick(entry, covered, log_offset)
        clock.advance()
        self._revising = bool(self._revise)

    # ---- rows ---------------------------------------------------------------------------------------------------

    def _open_keys(self, cells: list[WireCell]) -> list[WireCell]:
        """Takes the packed cells that open a key, as they came; returns the others, to be merged after them.

        Cells of different keys have nothing to do with each other, and those of one key stay in order. If any is late
        nothing is taken: what becomes of a late one depends on what its key has before it.
        """
        spec, clock = self.spec, self.clock.slice
        if self._lone is None or not cells or type(cells[0][6]) is not bytes or min(c[2] for c in cells) < clock:
            return cells
        keys, anchors, (before, behind) = self.keys, self.finisher.anchors, self._lone
        window, orphaned = spec.window, spec.before + 1
        opened: dict[int, list[bytes]] = {}
        others = []
        for cell in cells:
            key, stream, slice_, _, _, _, packed = cell
            if key in keys:
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
        state = self.keys.get(key)
        cell = spec.codec.loads(partials) if type(partials) is bytes else [stream, slice_, rows, partials]
        if type(state) is bytes:
            state = self.keys[key] = spec.codec.loads(state)
        if spec.clock == "processing":
            slice_ = cell[SLICE] = clock
        if slice_ < clock:
            out.count("late_rows", plan.stream.name, rows)
            if not self._accept_late(key, cell, state, source, low, out):
                return
        if state is None:
            self.keys[key] = [[cell], None, []]
        elif not insert(spec.plans, state[CELLS], cell, spec.max_rows):
            cut = state[CUT]
            state[CUT] = [min(cut[0], slice_), max(cut[1], slice_)] if cut else [slice_, slice_]
            out.count("truncated_rows", plan.stream.name, rows)
        self.changed[key] = None
        if self.remembered:
            self.remembered.discard(key)
        if plan.anchor or spec.clock == "processing":
            self.deadlines.add(slice_ + spec.window, key)
        elif state is None or not any(spec.plans[c[STREAM]].anchor for c in state[CELLS]):
            self.deadlines.add(max(slice_ + spec.before + 1, clock + 1), key)
        else:
            self._watch_label(key, state, slice_)

    def _watch_label(self, key: bytes, state: KeyState, slice_: int) -> None:
        """A label beside anchors needs a deadline of its own only if none of them holds it yet."""
        spec, cells = self.spec, state[CELLS]
        lone_anchor = len(cells) == 2 and spec.plans[cells[0][STREAM]].anchor
        if lone_anchor and -spec.before <= slice_ - cells[0][SLICE] < spec.window:
            return
        window = holder(self.spec, windows_of(self.spec, state[CELLS]), slice_)
        if window is None:
            self.deadlines.add(slice_ + self.spec.before + 1, key)

    def _accept_late(
        self, key: bytes, cell: Cell, state: KeyState | None, source: Source, low: int, out: Outcomes
    ) -> bool:
        """Rule 5: whether a late cell is still taken into the key's state."""
        spec, clock = self.spec, self.clock.slice
        slice_ = cell[SLICE]
        windows = windows_of(spec, state[CELLS]) if state else []
        if spec.plans[cell[STREAM]].anchor:
            if spec.repeat == "merge" and any(w.slice <= slice_ < w.end and clock < w.end for w in windows):
                return True
            self._side("late", key, cell, out, [source, low])
            return False
        window = holder(spec, windows, slice_)
        if window is not None:
            if state is not None and window.end <= clock:
                self._mark_dirty(key, state, window, out)
            return True
        if slice_ + spec.before >= clock:
            return True
        remembered = spec.late == "correct" and slice_ + spec.correction >= clock
        self._side("orphan" if remembered else "late", key, cell, out, [source, low])
        return False

    def _mark_dirty(self, key: bytes, state: KeyState, window: Window, out: Outcomes) -> None:
        for record in state[CLOSED]:
            if record[0] == window.slice and tuple(record[1]) == tuple(window.first[0]):
                record[5] = True
                self._revise[key] = None
                out.count("late_corrections")

    def _side(self, kind: Any, key: bytes, cell: Cell, out: Outcomes, source: list[Any] | None = None) -> None:
        name = self.spec.streams[cell[STREAM]].name
        if kind == "orphan" and self.spec.is_beside_cut(cell[SLICE]):  # the other generation may have joined it
            out.count("cut_rows", name, cell[ROWS])
            return
        out.count(f"{kind}_dropped_rows", name, cell[ROWS])
        slice_ms = cell[SLICE] * self.spec.resolution_ms
        fields: dict[str, Any] = {}
        try:
            fields = cell_fields(self.spec, cell)
        except RAISED as error:  # a user's aggregate (rule 12)
            out.dead.append(DeadSample(key, "", slice_ms, "aggregate", said(error), traceback.format_exc(), {}))
        out.side_rows.append(SideRow(kind, key, name, slice_ms, cell[ROWS], source, fields))

    # ---- windows ------------------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether a sweep has anything to do."""
        return self._revising or self.deadlines.due(self.clock.slice)

    def sweep(self, out: Outcomes, limit: int | None = None) -> bool:
        """Closes windows that the clock has ended; at most `limit` keys are looked at. True if more are due (1, 15)."""
        left = TAKEN_KEYS if limit is None else limit
        while left > 0 and (key := self._next_revision()) is not None:
            self._close_due([key], out, revise=True)
            left -= 1 if limit is not None else 0
        while left > 0 and (keys := self.deadlines.take(self.clock.slice, min(left, TAKEN_KEYS))):
            self._close_due(keys, out)
            left -= len(keys) if limit is not None else 0
        self.finisher.count(out)
        return self.due()

    def _close_due(self, keys: list[bytes], out: Outcomes, revise: bool = False) -> None:
        """Looks at keys whose deadline has come. Most have one window and nothing else: they go a short way."""
        states, clock, loads = self.keys, self.clock.slice, self.spec.codec.loads
        finish_whole, changed = self.finisher.finish_whole, self.changed
        short = not self.clock.left_out
        self._need(keys)
        for key in keys:
            state = states.get(key)
            if state is None:
                continue
            if type(state) is bytes:
                state = loads(state)
            if short and not state[CUT] and finish_whole(key, state[CELLS], clock, out):
                changed[key] = None
                del states[key]
            else:
                self._close(key, state, clock, out, revise)

    def _next_revision(self) -> bytes | None:
        if not self._revising:
            return None
        key = next(iter(self._revise), None)
        if key is not None:
            del self._revise[key]
        self._revising = bool(self._revise)
        return key

    def _close(self, key: bytes, state: KeyState, clock: int, out: Outcomes, revise: bool) -> None:
        spec, cut = self.spec, state[CUT]
        windows = windows_of(spec, state[CELLS])
        pending = assign_labels(spec, windows, state[CELLS])
        kept: list[Cell] = []
        closed: list[Any] = []
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
                self._side("orphan", key, cell, out)
            else:
                self.deadlines.add(cell[SLICE] + spec.before + 1, key)
                kept.append(cell)
                is_open = True
        self.changed[key] = None
        if spec.correction:
            (self.remembered.add if closed and not is_open else self.remembered.discard)(key)
        if cut and not kept and cut[1] + spec.before >= clock:  # an anchor to come may hold what was dropped
            self.deadlines.add(cut[1] + spec.before + 1, key)
            self.keys[key] = [[], cut, []]
        elif kept:
            self.keys[key] = [kept, cut, closed]
        else:
            del self.keys[key]

    def _emit(self, key: bytes, state: KeyState, window: Window, out: Outcomes, revise: bool) -> list[Any]:
        """Sends the window's sample, its correction, or nothing if it has gone out unchanged; returns its record."""
        spec, cut = self.spec, state[CUT]
        if spec.clock == "processing" and not spec.plans[window.anchor[STREAM]].anchor:
            for cell in window.anchors:
                self._side("orphan", key, cell, out)
            return []
        truncated = bool(cut) and cut[0] < window.end and cut[1] >= window.slice - spec.before
        missing = self.clock.missing_streams() if self.clock.left_out else ()
        if not spec.correction:  # nothing is remembered of a window that has gone out
            self.finisher.finish(key, window, out, truncated=truncated, missing=missing)
            return []
        order = list(window.first[0])
        for record in state[CLOSED]:
            if record[0] == window.slice and list(record[1]) == order:
                if record[5] and revise:
                    out.revised = True
                    weight = self.finisher.finish(
                        key, window, out, revision=record[3] + 1, previous_weight=record[4],
                        truncated=truncated, missing=missing,
                    )  # fmt: skip
                    record[3:] = [record[3] + 1, weight or record[4], False]
                return list(record)
        weight = self.finisher.finish(key, window, out, truncated=truncated, missing=missing)
        self.deadlines.add(window.end + spec.correction, key)
        return [window.slice, order, window.end, 0, weight, False]

    # ---- state --------------------------------------------------------------------------------------------------

    def dump(self) -> list[Any]:
        """The partition's own state beside its keys and their deadlines, as plain data."""
        return [dict(self.covered), self.clock.dump(), self._revising, list(self._revise)]

    def load(self, data: list[Any] | None) -> None:
        """Restores `dump`'s data; deadlines come back by `deadlines.restore` or `watch`, then the caller sweeps."""
        if data is not None:
            self.covered = dict(data[0])
            self.clock.load(data[1])
            self._revising = data[2]
            self._revise = dict.fromkeys(data[3] if len(data) > 3 else ())

    def watch(self, key: bytes, state: KeyState) -> None:
        """Enters a key's deadlines, from its state alone: where they were not kept."""
        spec = self.spec
        for stream, slice_, *_ in state[CELLS]:
            anchor = spec.clock == "processing" or spec.plans[stream].anchor
            self.deadlines.add(slice_ + (spec.window if anchor else spec.before + 1), key)
        if not state[CELLS]:
            self.deadlines.add(state[CUT][1] + spec.before + 1, key)
        for record in state[CLOSED]:
            self.deadlines.add(record[2] + spec.correction, key)
            if record[5]:
                self._revise[key] = None

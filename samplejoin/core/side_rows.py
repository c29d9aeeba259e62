"""Rows that join no sample: orphans (rule 4), and late rows, which were behind the clock on arrival (rule 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from samplejoin.core import closed_windows
from samplejoin.core.cells import CELLS, CLOSED, MARK, ROWS, SLICE, STREAM, Cell, KeyState, unmarked
from samplejoin.core.fold import Window, cell_fields, holder, windows_of
from samplejoin.core.large_key import Large
from samplejoin.core.outcomes import DeadSample, Outcomes, SideRow
from samplejoin.core.spec import Spec
from samplejoin.core.user_errors import mistakes, not_for_memory, said, trace_of
from samplejoin.core.values import Fields

if TYPE_CHECKING:
    from samplejoin.core.partition import Partition

Known = Large | KeyState | None
"""The state of a key, small or large; None for a new key."""


def accept_late(
    partition: Partition, key: bytes, cell: Cell, known: Known, source: list[object], out: Outcomes
) -> bool:
    """Returns whether a late cell is accepted into the key's state. If not, it has been sent to its side topic.

    By rule 3 a label joins one of the windows that are still known. If none holds it, it waits as long as an
    anchor that would hold it can still arrive in time.
    """
    spec, clock, slice_ = partition.spec, partition.clock.slice, cell[SLICE]
    if spec.plans[cell[STREAM]].anchor:
        if spec.repeat == "merge" and _in_open_window(spec, known, slice_, clock):
            return True
        put(partition, "late", key, cell, out, source)
        return False
    if _in_known_window(partition, key, known, cell, out):
        return True
    remembered = spec.late == "correct" and slice_ + spec.correction >= clock
    if slice_ + spec.before >= clock:
        if not remembered:  # its sample may have gone out: if no anchor comes, the row is late and not an orphan
            cell.append(source)
        return True
    put(partition, "orphan" if remembered else "late", key, cell, out, source)
    return False


def add_to_large(partition: Partition, large: Large, cell: Cell, late: bool, out: Outcomes) -> None:
    """Adds a cell to a large key, if there is room. A late label triggers a revision of the sent windows that hold it,
    unless it was dropped and they were already marked as truncated."""
    spec, rows, sent = partition.spec, cell[ROWS], None
    if late and not spec.plans[cell[STREAM]].anchor:
        start = large.holder(cell[SLICE])
        sent = start if start is not None and start + spec.window <= partition.clock.slice else None
    cut = sent is not None and large.truncated(sent)
    added = large.add(cell)
    if not added:
        out.count("truncated_rows", spec.streams[cell[STREAM]].name, rows)
    if sent is not None and (added or not cut):
        large.correct(sent)
        partition.correct(large.key, rows, out)


def unheld(partition: Partition, key: bytes, cell: Cell, out: Outcomes) -> None:
    """Handles a label whose anchor did not come: an orphan (rule 4), or late if it was late on arrival."""
    if len(cell) > MARK:
        put(partition, "late", key, unmarked(cell), out, cell[MARK])
    else:
        put(partition, "orphan", key, cell, out)


def put(
    partition: Partition,
    kind: Literal["late", "orphan"],
    key: bytes,
    cell: Cell,
    out: Outcomes,
    source: list[object] | None = None,
) -> None:
    """Counts a cell that joins nothing and sends it to its side topic."""
    spec = partition.spec
    name = spec.streams[cell[STREAM]].name
    if kind == "orphan" and spec.is_beside_cut(cell[SLICE]):  # another generation may have joined it
        out.count("cut_rows", name, cell[ROWS])
        return
    out.count(f"{kind}_dropped_rows", name, cell[ROWS])
    slice_ms = cell[SLICE] * spec.resolution_ms
    fields: Fields = {}
    try:
        fields = cell_fields(spec, cell)
    except mistakes() as error:  # a user's aggregate (rule 12)
        not_for_memory(error, f"a row of stream {name}")
        out.dead.append(DeadSample(key, "", slice_ms, "aggregate", said(error), trace_of(error), {}))
    out.side_rows.append(SideRow(kind, key, name, slice_ms, cell[ROWS], source, fields))


def _in_open_window(spec: Spec, known: Known, slice_: int, clock: int) -> bool:
    """Whether an anchor of that slice is inside a window that has not ended; with `repeat: merge`."""
    if isinstance(known, Large):
        start = known.start_upto(slice_)
        return start is not None and max(slice_, clock) < start + spec.window
    windows = windows_of(spec, known[CELLS]) if known else []
    return any(w.slice <= slice_ < w.end and clock < w.end for w in windows)


def _in_known_window(partition: Partition, key: bytes, known: Known, cell: Cell, out: Outcomes) -> bool:
    """Returns whether a window holds a label; marks a sent one for a revision. For large keys `add_to_large` marks."""
    spec, slice_ = partition.spec, cell[SLICE]
    if isinstance(known, Large):
        return known.holder(slice_) is not None
    window = holder(spec, windows_of(spec, known[CELLS]), slice_) if known else None
    if window is not None and known is not None and window.end <= partition.clock.slice and _mark(known, window):
        partition.correct(key, cell[ROWS], out)
    return window is not None


def _mark(state: KeyState, window: Window) -> bool:
    known = closed_windows.find(state[CLOSED], window)
    if known is not None:
        known[closed_windows.DIRTY] = True
    return known is not None

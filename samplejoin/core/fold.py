"""A key's cells become windows, and windows become samples: a pure function of the set of rows (rules 1 to 3, 15)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from samplejoin.core.cells import PARTIALS, ROWS, SLICE, STREAM, Cell, merge_partials, of_field, order_of, unmarked
from samplejoin.core.keys import decode_key
from samplejoin.core.spec import Codec, Spec, StreamLayout
from samplejoin.core.user_errors import mistakes
from samplejoin.core.values import Fields, Partials

Merged = tuple[dict[int, list[object]], dict[int, int]]
"""Merged partials, and how many rows they are of, by stream index."""


@dataclass(slots=True)
class Window:
    """One anchor window: `slice` of its first anchor, `end` exclusive, the cells that belong to it."""

    slice: int
    end: int
    anchor: Cell
    anchors: list[Cell]
    labels: list[Cell] = field(default_factory=list)

    @property
    def first(self) -> Partials:
        """Returns the first anchor's partial `[order, payload, id]`."""
        first: Partials = self.anchor[PARTIALS][0]
        return first

    def merged(self, spec: Spec) -> Merged:
        """Returns the joined cells; of rows with the same id only the lowest in (event time, source) (rule 7)."""
        if len(self.anchors) == 1 and not self.labels:
            stream, _, rows, partials = self.anchors[0]
            return {stream: partials}, {stream: rows}
        return merged_cells(spec, unique(spec, self.anchors + self.labels))

    def rows_of(self, streams: set[int]) -> dict[int, int]:
        """Returns the number of rows of each given stream in the window, before rows with equal ids are folded."""
        rows = dict.fromkeys(streams, 0)
        for cell in self.anchors + self.labels:
            if cell[STREAM] in rows:
                rows[cell[STREAM]] += cell[ROWS]
        return rows


_slice = attrgetter("slice")


def windows_of(spec: Spec, cells: list[Cell]) -> list[Window]:
    """Returns the windows of a key in order of (slice, event time, source) of their first anchor, without labels."""
    plans, length = spec.plans, spec.window
    if len(cells) == 1 and plans[cells[0][STREAM]].anchor:  # most keys have one impression and nothing else
        slice_ = cells[0][SLICE]
        return [Window(slice_, slice_ + length, cells[0], [cells[0]])]
    processing = spec.clock == "processing"
    anchors = [c for c in cells if processing or plans[c[STREAM]].anchor]
    if len(anchors) > 1:
        anchors.sort(key=lambda c: (c[SLICE], order_of(c) if c[PARTIALS][0] else (), c[STREAM]))
    windows: list[Window] = []
    ids: dict[Any, Window] = {}
    for cell in anchors:
        slice_ = cell[SLICE]
        id_ = cell[PARTIALS][0][2] if cell[PARTIALS][0] else None
        if spec.repeat == "merge" or processing:
            if windows and slice_ < windows[-1].end:
                _join(windows[-1], cell, plans[cell[STREAM]].anchor, plans[windows[-1].anchor[STREAM]].anchor)
                continue
        elif id_ is not None:
            twin = ids.get((cell[STREAM], id_))
            if twin is not None and slice_ < twin.end:
                twin.anchors.append(cell)  # the same impression, sent again by its producer (rule 7)
                continue
        windows.append(Window(slice_, slice_ + length, cell, [cell]))
        ids[cell[STREAM], id_] = windows[-1]
    return windows


def _join(window: Window, cell: Cell, anchor: bool, has_anchor: bool) -> None:
    """Folds a further anchor into a window; by `clock: processing` a label may have opened it."""
    window.anchors.append(cell)
    if anchor and not has_anchor:
        window.anchor = cell


def holder(spec: Spec, windows: list[Window], slice_: int) -> Window | None:
    """Returns the window that a label of that slice belongs to (rule 3), None if no window holds it.

    All windows have one length, so if the latest that begins at or before the label does not hold it, no earlier does.
    """
    begin = bisect_right(windows, slice_, key=_slice)
    if spec.attribution == "first":
        at = bisect_right(windows, slice_ - spec.window, key=_slice)
        if at < begin:
            return windows[at]
    elif begin and slice_ < windows[begin - 1].end:
        return windows[begin - 1]
    if begin == len(windows) or windows[begin].slice - spec.before > slice_:
        return None
    if spec.attribution == "last":
        begin = bisect_right(windows, windows[begin].slice, key=_slice) - 1
    return windows[begin]


def whole_window(spec: Spec, cells: list[Cell]) -> tuple[Cell, int] | None:
    """Returns first anchor and end of a key's only window, if it has one window that holds all its cells.

    The short form of `windows_of` and `assign_labels`, for `clock: event` and streams without an id. None also where
    the long form is needed to tell.
    """
    plans, first = spec.plans, cells[0]
    if len(cells) == 1:
        return (first, first[SLICE] + spec.window) if plans[first[STREAM]].anchor else None
    anchors = [cell for cell in cells if plans[cell[STREAM]].anchor]
    if not anchors or (len(anchors) > 1 and spec.repeat != "merge"):
        return None
    first = anchors[0] if len(anchors) == 1 else min(anchors, key=lambda c: (c[SLICE], order_of(c), c[STREAM]))
    begin, end = first[SLICE] - spec.before, first[SLICE] + spec.window
    for cell in cells:
        if not begin <= cell[SLICE] < end:
            return None
    return first, end


def join_key(spec: Spec, cells: list[Cell]) -> tuple[list[Window], list[Cell]]:
    """Returns all windows of a key with labels, regardless of the clock, and the label cells outside all windows."""
    windows = windows_of(spec, cells)
    if len(cells) == 1 and windows:
        return windows, []
    return windows, assign_labels(spec, windows, cells)


def assign_labels(spec: Spec, windows: list[Window], cells: list[Cell]) -> list[Cell]:
    """Assigns every label cell to its window; returns those that no window holds."""
    if spec.clock == "processing":
        return []
    rest = []
    for cell in cells:
        if not spec.plans[cell[STREAM]].anchor:
            window = holder(spec, windows, cell[SLICE])
            if window is None:
                rest.append(cell)
            else:
                window.labels.append(unmarked(cell))
    return rest


def merged_cells(spec: Spec, cells: Iterable[Cell]) -> Merged:
    """Returns merged partials and row counts of the cells, by stream index."""
    merged: dict[int, Partials] = {}
    joined: dict[int, int] = {}
    for stream, _, rows, partials in cells:
        known = merged.get(stream)
        if known is None:
            merged[stream], joined[stream] = partials, rows
        else:
            merged[stream] = merge_partials(spec.plans[stream], known, partials)
            joined[stream] += rows
    return merged, joined


def read_sample(spec: Spec, key: bytes, merged: dict[int, Partials]) -> Fields:
    """The sample's fields: the key, then in the job's order what partials give, or what there is when no row joined.

    Raises TypeError or ValueError, naming the field, where a user's aggregate fails.
    """
    fields: Fields = {}
    for plan in spec.plans:
        partials = merged.get(plan.index)
        fields.update(plan.make_empty() if partials is None else read_fields(plan, spec.codec, partials))
    values: Fields = dict(zip(spec.key_names, decode_key(key), strict=True))
    return values | {field.name: fields[field.name] for field in spec.fields}


def unique(spec: Spec, cells: list[Cell]) -> list[Cell]:
    """Returns a window's cells; of rows with the same id only the lowest in (event time, source) (rule 7)."""
    if len(cells) == 1:
        return cells
    lowest: dict[tuple[int, Any], Cell] = {}
    kept = []
    for cell in cells:
        if spec.plans[cell[STREAM]].stream.id_field is None or cell[PARTIALS][0][2] is None:
            kept.append(cell)
            continue
        name = (cell[STREAM], cell[PARTIALS][0][2])
        known = lowest.get(name)
        if known is None or order_of(cell) < order_of(known):
            lowest[name] = cell
    return kept + list(lowest.values())


def cell_fields(spec: Spec, cell: Cell) -> Fields:
    """Returns the stream's fields of a single cell: the body of a late or orphan row."""
    return read_fields(spec.plans[cell[STREAM]], spec.codec, cell[PARTIALS])


def read_fields(plan: StreamLayout, codec: Codec, partials: Partials) -> Fields:
    """Returns a stream's sample fields, from its partials."""
    values: Fields = {}
    if plan.first_fields:
        values.update(zip([f.name for f in plan.first_fields], codec.loads(partials[0][1]), strict=True))
    if plan.last_fields:
        values.update(zip([f.name for f in plan.last_fields], codec.loads(partials[1][1]), strict=True))
    for (i, name, result), source in zip(plan.results, plan.aggregates, strict=True):
        try:
            values[name] = partials[i] if result is None else result(partials[i])
        except mistakes() as error:  # a user's aggregate
            raise of_field(source, error) from error
    return values

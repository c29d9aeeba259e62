"""Windows of a large key, folded while their cells are read: about one leaf of cells is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from samplejoin.core.cells import MARK, PARTIALS, ROWS, STREAM, Cell, merge_partials, order_of
from samplejoin.core.fold import Merged
from samplejoin.core.spec import Spec
from samplejoin.core.user_errors import mistakes

Name = tuple[int, object]
"""A stream, and an id of a row of it; None is not an id."""


Lowest = dict[Name, tuple[object, ...]]
"""Per id, the lowest (event time, source) of its rows."""

Place = tuple[tuple[object, ...], int]
"""Where a cell stands among those of its slice: (event time, source), and its stream."""


class Cells:
    """Cells that are read on each pass, without their marks."""

    def __init__(self, read: Callable[[], Iterable[Cell]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Cell]:
        for cell in self._read():
            yield cell[:MARK]


@dataclass(slots=True)
class LargeWindow:
    """As `Window`."""

    slice: int
    end: int
    anchor: Cell
    anchors: Iterable[Cell]
    labels: Iterable[Cell] = ()
    #: number of anchors that are not in `anchors` because they have the id of the first one
    repeats: int = 0
    #: number of its cells
    cells: int = 0
    _rows: dict[int, int] = field(default_factory=dict)
    _merged: Merged = field(default_factory=lambda: ({}, {}))
    _error: BaseException | None = None

    @property
    def first(self) -> list[object]:
        """The first anchor's `[order, payload, id]`."""
        first: list[object] = self.anchor[PARTIALS][0]
        return first

    def fold(self, spec: Spec) -> None:
        """Reads the cells. An error of merging them is kept for `merged`, since it concerns the sample only."""
        plans, (merged, joined) = spec.plans, self._merged
        self.cells = self.repeats
        for cell in self._unique(spec):
            stream, rows, partials = cell[STREAM], cell[ROWS], cell[PARTIALS]
            if stream not in merged:
                merged[stream], joined[stream] = partials, rows
                continue
            try:
                merged[stream] = merge_partials(plans[stream], merged[stream], partials)
            except mistakes() as error:
                self._error = error
                return
            joined[stream] += rows

    def merged(self, spec: Spec) -> Merged:
        """As of a `Window`, once it is folded."""
        error, self._error = self._error, None
        if error is None:
            return self._merged
        try:
            raise error
        finally:
            del error  # the error refers to this frame

    def rows_of(self, streams: set[int]) -> dict[int, int]:
        """As of a `Window`, of streams with ids, once it is folded."""
        rows = {stream: self._rows.get(stream, 0) for stream in streams}
        if self.repeats:
            rows[self.anchor[STREAM]] += self.repeats
        return rows

    def _unique(self, spec: Spec) -> Iterator[Cell]:
        """As `fold.unique`, in two passes: what is held between them is the ids, and the lowest place of each."""
        with_id = {plan.index for plan in spec.plans if plan.stream.id_field is not None}
        lowest: dict[Name, tuple[object, ...] | None] = {}
        for cell in self._all() if with_id else ():
            if cell[STREAM] not in with_id:
                continue
            self._rows[cell[STREAM]] = self._rows.get(cell[STREAM], 0) + cell[ROWS]
            name = name_of(cell)
            if name[1] is not None:
                order, known = order_of(cell), lowest.get(name)
                if known is None or order < known:
                    lowest[name] = order
        for cell in self._all():
            self.cells += 1
            if cell[STREAM] in with_id and (name := name_of(cell))[1] is not None:
                if lowest[name] != order_of(cell):
                    continue
                lowest[name] = None  # counted
            yield cell

    def _all(self) -> Iterator[Cell]:
        yield from self.anchors
        yield from self.labels


def name_of(cell: Cell) -> Name:
    """The stream of a row that is kept by itself, and its id."""
    return cell[STREAM], cell[PARTIALS][0][2]


def place_of(cell: Cell) -> Place:
    """One that tells nothing of its first row, as a label's can be, comes before all others."""
    return (order_of(cell) if cell[PARTIALS][0] else (), cell[STREAM])

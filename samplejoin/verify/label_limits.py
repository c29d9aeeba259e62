"""Finds where `limits` can have dropped label cells of a key (rule 11), by its rows: rather too many than too few."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from samplejoin.core.aggregates import Custom
from samplejoin.core.fold import Window
from samplejoin.core.spec import Spec
from samplejoin.verify.spill_rows import PARTIALS, SLICE, STREAM

#: upper bound of a cell's size without its partials
CELL_BYTES = 32


class Overfull:
    """The buckets (slices divided by `window`) of a key that may have more label cells or bytes than `limits` allow."""

    def __init__(self, spec: Spec, rows: Sequence[list[object]]) -> None:
        self._spec, self._buckets = spec, _overfull(spec, rows)

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def touches(self, window: Window) -> bool:
        """Returns whether a dropped cell can have belonged to the window."""
        length = self._spec.window
        at = bisect_left(self._buckets, (window.slice - self._spec.before) // length)
        return at < len(self._buckets) and self._buckets[at] * length < window.end


def _overfull(spec: Spec, rows: Sequence[list[Any]]) -> list[int]:
    cells: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    seen: set[tuple[int, int]] = set()
    for row in rows:
        stream, slice_ = row[STREAM], row[SLICE]
        plan = spec.plans[stream]
        if plan.anchor:
            continue
        # a row whose merging raises stays a cell of its own
        apart = plan.single or any(isinstance(f.aggregate, Custom) for f in plan.aggregates)
        if apart or (stream, slice_) not in seen:
            seen.add((stream, slice_))
            cells[slice_ // spec.window] += 1
        sizes[slice_ // spec.window] += CELL_BYTES + len(spec.codec.pack(row[PARTIALS]))
    over = {bucket for bucket, count in cells.items() if count > spec.max_rows}
    return sorted(over.union(bucket for bucket, size in sizes.items() if size > spec.max_bytes))

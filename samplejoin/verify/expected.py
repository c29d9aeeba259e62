"""Computes what a key's rows must become, with the pure functions of the offline pass: no row is late (rule 6)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from samplejoin.core.cells import Cell, WireCell, combine
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import Window, join_key
from samplejoin.core.outcomes import Outcomes, Sample
from samplejoin.core.spec import Spec
from samplejoin.job.compile import Job
from samplejoin.verify.spill_rows import OFFSET, OTHER_VERSION, PARTIALS, SLICE, SOURCE, STREAM

NO_OFFSET = -1
Row = list[Any]


@dataclass(slots=True)
class Made:
    """The result of a window: `outcome` is samples, filtered, down_sampled or dead; only the first has a sample."""

    window: Window
    outcome: str
    sample_id: str | None = None
    sample: Sample | None = None


@dataclass(slots=True)
class KeyMade:
    """All windows of a key, and the label cells that none of them holds: (stream number, slice, rows)."""

    windows: list[Made] = field(default_factory=list)
    orphans: list[tuple[int, int, int]] = field(default_factory=list)

    def samples(self) -> dict[str, Made]:
        """Returns the windows that become samples, by sample id."""
        return {made.sample.sample_id: made for made in self.windows if made.sample is not None}


class Expectation:
    """Folds and finishes keys of one job."""

    def __init__(self, job: Job) -> None:
        self.spec = job.spec
        self._finisher = Finisher(job.spec)
        self._samples: list[Sample] = []
        self._out = Outcomes(emit=self._samples.append)

    def of(self, key: bytes, rows: Sequence[Row]) -> KeyMade:
        """Returns what these rows of a key become."""
        spec, made = self.spec, KeyMade()
        cells = _cells(spec, key, rows)
        windows, orphans = join_key(spec, cells)
        made.orphans = [(cell[0], cell[1], cell[2]) for cell in orphans]
        made.windows = [self._finish(key, window) for window in windows]
        return made

    def _finish(self, key: bytes, window: Window) -> Made:
        out, samples = self._out, self._samples
        self._finisher.finish(key, window, out)
        if samples:
            sample = samples.pop()
            return Made(window, "samples", sample.sample_id, sample)
        if out.dead:
            return Made(window, "dead", out.dead.pop().sample_id)
        down_sampled = out.counts.pop(("samples", "down-sampled"), 0)
        out.counts.clear()
        return Made(window, "down_sampled" if down_sampled else "filtered")


def _cells(spec: Spec, key: bytes, rows: Sequence[Row]) -> list[Cell]:
    if len(rows) == 1:
        row = rows[0]
        return [[row[STREAM], row[SLICE], 1, row[PARTIALS]]]
    wire: list[WireCell] = [(key, row[STREAM], row[SLICE], row[OFFSET], row[OFFSET], 1, row[PARTIALS]) for row in rows]
    return [
        [stream, slice_, count, partials] for _, stream, slice_, _, _, count, partials in combine(spec, wire, NO_OFFSET)
    ]


def without(
    rows: Sequence[Row], late: Iterable[Row], numbers: dict[str, int], streams: dict[str, int], res_ms: int
) -> tuple[list[Row], list[Row], int]:
    """Returns (rows that the late topic does not name, rows that it names, number of named rows that do not exist).

    A record of the late topic can stand for several rows of one block: those of the same source, stream and slice,
    from an offset on.
    """
    gone: set[int] = set()
    unknown = 0
    cells: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        cells.setdefault((row[SOURCE], row[STREAM], row[SLICE] * res_ms), []).append((row[OFFSET], i))
    for of_cell in cells.values():
        of_cell.sort()
    for _, stream, slice_ms, count, source, _, flags in late:
        from_, offset = source or ("", 0)
        left = cells.get((numbers.get(from_, -1), streams.get(stream, -1), slice_ms), [])
        at = bisect_left(left, (offset, -1))
        matching = left[at : at + count]
        del left[at : at + count]
        gone.update(i for _, i in matching)
        unknown += 0 if flags & OTHER_VERSION else count - len(matching)
    return (
        [row for i, row in enumerate(rows) if i not in gone],
        [row for i, row in enumerate(rows) if i in gone],
        unknown,
    )

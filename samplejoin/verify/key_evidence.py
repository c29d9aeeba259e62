"""The evidence of one key: its rows, what they must become, and what was found in the output topics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from samplejoin.core.fold import Window
from samplejoin.core.identity import place, sample_id
from samplejoin.core.spec import Spec
from samplejoin.verify.expected import KeyMade, Made, Row
from samplejoin.verify.findings import Findings
from samplejoin.verify.label_limits import Overfull
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import LATE, LATE_IN_ORDER
from samplejoin.verify.spill_rows import DISORDERED, ID, OFFSET, SLICE, SOURCE, STREAM

SOURCES_SHOWN = 20


@dataclass
class Case:
    """The rows and findings of one key. `clock` is in slices, `names` are the source ids by their numbers in rows.

    `full`: the result of all rows. `base`: the result without the rows that the late topic names. Properties are
    cached, because a hot key has as many windows as rows.
    """

    spec: Spec
    names: Sequence[str]
    key: bytes
    rows: Sequence[Row]
    full: KeyMade
    base: KeyMade
    clock: int
    #: rows that the late topic names
    late: Sequence[Row] = ()
    replayed: Replayed | None = None
    #: the result of the rows that the job had merged at its last commit; None: it had merged all of them
    merged: KeyMade | None = None
    merged_rows: Sequence[Row] = ()
    found: dict[str, list[Row]] = field(default_factory=dict)
    #: ids that samples of another generation can have
    outside: set[str] = field(default_factory=set)
    #: ids that samples of another version of the job have
    others: set[str] = field(default_factory=set)
    #: dead letters found, by sample id
    letters: Counter[str] = field(default_factory=Counter)
    #: ids of samples that a former version of the job has left in the topic
    former: set[str] = field(default_factory=set)
    findings: Findings = field(default_factory=Findings)

    def add_found(self, samples: Sequence[Row]) -> None:
        """Adds SAMPLES rows to `found`, by sample id."""
        for row in samples:
            self.found.setdefault(row[ID], []).append(row)

    @cached_property
    def overfull(self) -> Overfull:
        """Returns the places where limits can have dropped labels."""
        return Overfull(self.spec, self.rows)

    @cached_property
    def log(self) -> Replayed | None:
        """Returns the replay of the key, or None if the log does not hold every row that the job has merged.

        A row that never reached the log is lost, so then the log explains nothing.
        """
        if self.replayed is None:
            return None
        merged = Counter((row[STREAM], row[SLICE]) for row in (self.rows if self.merged is None else self.merged_rows))
        return self.replayed if merged <= self.replayed.rows else None

    @cached_property
    def unmade(self) -> dict[str, Made]:
        """Returns, by id, the windows without a sample by all rows; without some of the rows they may have one."""
        spec, made = self.spec, {}
        for each in self.full.windows:
            if each.sample is None:
                window = each.window
                name = spec.streams[window.anchor[0]].name
                made[sample_id(spec.name, self.key, window.anchor[1], name, window.first)] = each
        return made

    @cached_property
    def windows_by_id(self) -> dict[str, Made]:
        """Returns all windows that the rows give, by the ids that their samples have or would have."""
        return self.full.samples() | self.unmade

    def settled(self, slice_: int) -> bool:
        """Returns whether all possible results of a row or window of that slice are sent."""
        spec = self.spec
        return self.merged is None and slice_ + spec.before + spec.window + spec.correction <= self.clock

    @cached_property
    def merged_orphans(self) -> Counter[tuple[int, int]] | None:
        """Returns the orphan rows of what the job had merged, None if it had merged everything."""
        return None if self.merged is None else orphan_rows(self.spec, self.merged)

    @cached_property
    def late_reason(self) -> str:
        """Returns the reason for this key's late rows: behind their own partition's watermark, or behind the clock."""
        if any(row[DISORDERED] for row in self.late):
            return LATE
        if self.replayed is not None:
            offsets: dict[tuple[str, int, int], list[int]] = {}
            for row in self._disordered:
                offsets.setdefault((self.names[row[SOURCE]], row[STREAM], row[SLICE]), []).append(row[OFFSET])
            for of_cell in offsets.values():
                of_cell.sort()
            for source, low, high, stream, slice_ in self.replayed.late:
                found = offsets.get((source, stream, slice_), [])
                at = bisect_left(found, low)
                if at < len(found) and found[at] <= high:
                    return LATE
        return LATE_IN_ORDER

    @cached_property
    def _disordered(self) -> list[Row]:
        return [row for row in self.rows if row[DISORDERED]]

    @cached_property
    def _disordered_slices(self) -> list[int]:
        return sorted(row[SLICE] for row in self._disordered)

    @cached_property
    def _disordered_anchors(self) -> set[tuple[str, int]]:
        plans = self.spec.plans
        return {(self.names[row[SOURCE]], row[OFFSET]) for row in self._disordered if plans[row[STREAM]].anchor}

    @property
    def disordered(self) -> bool:
        """Returns whether any row is behind its own partition's watermark."""
        return bool(self._disordered)

    def possibly_late(self, window: Window | None, lost: bool) -> bool:
        """Returns whether a row behind its own partition's watermark can be the reason that a window differs.

        If the sample is `lost`, the late row must be the first anchor, since without any other row there is a sample.
        With down-sampling, a label can decide too.
        """
        if window is None:
            return bool(self._disordered_anchors) or (self.disordered and self.spec.keep_negatives < 1)
        if lost:
            _, source, offset, _ = window.first[0]
            if (source, offset) in self._disordered_anchors:
                return True
            if self.spec.keep_negatives >= 1:
                return False
        at = bisect_left(self._disordered_slices, window.slice - self.spec.before)
        return at < len(self._disordered_slices) and self._disordered_slices[at] < window.end

    def sources(self, window: Window | None) -> list[str]:
        """Returns the window's input records, or all of the key, as `topic/partition/offset`, anchors first."""
        spec = self.spec
        rows = [row for row in self.rows if window is None or window.slice - spec.before <= row[SLICE] < window.end]
        rows.sort(key=lambda row: (not spec.plans[row[STREAM]].anchor, row[SLICE], row[OFFSET]))
        return [place(self.names[row[SOURCE]], row[OFFSET]) for row in rows[:SOURCES_SHOWN]]


def orphan_rows(spec: Spec, made: KeyMade) -> Counter[tuple[int, int]]:
    """Returns what must be in the orphan topic: (stream number, slice) -> rows."""
    rows: Counter[tuple[int, int]] = Counter()
    for stream, slice_, count in made.orphans:
        if not spec.is_beside_cut(slice_):
            rows[stream, slice_] += count
    return rows

"""One key's rows and what was found of it, with what both must be compared with."""

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
    """`full`: what all rows give. `base`: what they give without those that the late topic names. `clock` in slices.

    `names`: the source ids by their numbers in rows. What is asked of a key more than once is worked out once: a hot
    key has as many windows as rows.
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
    #: what the rows give that the job had merged when it was looked at; None: it had merged all of them
    merged: KeyMade | None = None
    merged_rows: Sequence[Row] = ()
    found: dict[str, list[Row]] = field(default_factory=dict)
    #: ids that samples of another generation can have
    outside: set[str] = field(default_factory=set)
    #: ids that samples of another version of the job have
    others: set[str] = field(default_factory=set)
    #: dead letters that are there, by sample id
    letters: Counter[str] = field(default_factory=Counter)
    #: ids of samples that a former version of the job has left in the topic
    former: set[str] = field(default_factory=set)
    findings: Findings = field(default_factory=Findings)

    def add_found(self, samples: Sequence[Row]) -> None:
        """Sorts samples by their id."""
        for row in samples:
            self.found.setdefault(row[ID], []).append(row)

    @cached_property
    def overfull(self) -> Overfull:
        """Where limits can have dropped labels."""
        return Overfull(self.spec, self.rows)

    @cached_property
    def log(self) -> Replayed | None:
        """What the log gives of the key, if all that the job has merged stands in it: a row that never got there is
        lost, whatever else happened."""
        if self.replayed is None:
            return None
        merged = Counter((row[STREAM], row[SLICE]) for row in (self.rows if self.merged is None else self.merged_rows))
        return self.replayed if merged <= self.replayed.rows else None

    @cached_property
    def unmade(self) -> dict[str, Made]:
        """By id, windows that all rows together make no sample of: without some of them they may."""
        spec, made = self.spec, {}
        for each in self.full.windows:
            if each.sample is None:
                window = each.window
                name = spec.streams[window.anchor[0]].name
                made[sample_id(spec.name, self.key, window.anchor[1], name, window.first)] = each
        return made

    @cached_property
    def windows_by_id(self) -> dict[str, Made]:
        """The windows that all rows together make, by the ids of their samples."""
        return self.full.samples() | self.unmade

    def settled(self, slice_: int) -> bool:
        """Whether everything that can become of a row or window of that slice has gone out."""
        spec = self.spec
        return self.merged is None and slice_ + spec.before + spec.window + spec.correction <= self.clock

    @cached_property
    def merged_orphans(self) -> Counter[tuple[int, int]] | None:
        """Orphan rows of what the job had merged; None: it had merged everything."""
        return None if self.merged is None else orphan_rows(self.spec, self.merged)

    @cached_property
    def late_reason(self) -> str:
        """What to call this key's late rows: behind their own partition's order, or by the log's clock alone."""
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
        """Whether any row lies behind its own partition's order."""
        return bool(self._disordered)

    def possibly_late(self, window: Window | None, lost: bool) -> bool:
        """Whether a row behind its own partition's order can be why a window differs.

        Where the sample is not there at all, that must be the first anchor, since any other leaves a sample; with
        down-sampling a label can decide too.
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
        """The input records of a window as `topic/partition/offset`, anchors first; without a window all of the key."""
        spec = self.spec
        rows = [
            row for row in self.rows if window is None or window.slice - spec.before <= row[SLICE] < window.end
        ]  # fmt: skip
        rows.sort(key=lambda row: (not spec.plans[row[STREAM]].anchor, row[SLICE], row[OFFSET]))
        return [place(self.names[row[SOURCE]], row[OFFSET]) for row in rows[:SOURCES_SHOWN]]


def orphan_rows(spec: Spec, made: KeyMade) -> Counter[tuple[int, int]]:
    """What belongs into the orphan topic: (stream number, slice) -> rows."""
    rows: Counter[tuple[int, int]] = Counter()
    for stream, slice_, count in made.orphans:
        if not spec.is_beside_cut(slice_):
            rows[stream, slice_] += count
    return rows

"""One key's rows and what was found of it, with what both must be compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from samplejoin.core.fold import Window
from samplejoin.core.spec import Spec
from samplejoin.verify.expected import KeyMade, Row
from samplejoin.verify.findings import Findings
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import LATE, LATE_IN_ORDER
from samplejoin.verify.rows import DISORDERED, ID, OFFSET, SLICE, SOURCE, STREAM

SOURCES_SHOWN = 20


@dataclass(slots=True)
class Case:
    """`full`: what all rows give. `base`: what they give without those that the late topic names. `clock` in slices."""

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
    findings: Findings = field(default_factory=Findings)

    def add_found(self, samples: Sequence[Row]) -> None:
        """Sorts samples by their id."""
        for row in samples:
            self.found.setdefault(row[ID], []).append(row)

    def late_reason(self, names: dict[str, int]) -> str:
        """What to call this key's late rows: behind their own partition's order, or by the log's clock alone."""
        if any(row[DISORDERED] for row in self.late):
            return LATE
        if self.replayed is not None:
            for source, low, high, stream, slice_ in self.replayed.late:
                number = names.get(source)
                for row in self.rows:
                    if (
                        row[DISORDERED] and (row[SOURCE], row[STREAM], row[SLICE]) == (number, stream, slice_)
                        and low <= row[OFFSET] <= high
                    ):  # fmt: skip
                        return LATE
        return LATE_IN_ORDER

    def log_excuses(self) -> Replayed | None:
        """What the log gives of the key, if rows were late there, and all that the job has merged stand in it: a row
        that never got there is lost, whatever else came late."""
        replayed = self.replayed
        if replayed is None or not replayed.late:
            return None
        merged = Counter((row[STREAM], row[SLICE]) for row in (self.rows if self.merged is None else self.merged_rows))
        return replayed if merged <= replayed.rows else None

    def possibly_late(self, spec: Spec, window: Window | None, lost: bool) -> bool:
        """Whether a row behind its own partition's order can be why a window differs.

        Where the sample is not there at all, that must be the first anchor, since any other leaves a sample; with
        down-sampling a label can decide too.
        """
        for row in self.rows:
            if not row[DISORDERED]:
                continue
            anchor = spec.plans[row[STREAM]].anchor
            if window is None or lost:
                if (anchor and (window is None or row[OFFSET] == window.first[0][2])) or (
                    not anchor and spec.keep_negatives < 1
                ):
                    return True
            elif window.slice - spec.before <= row[SLICE] < window.end:
                return True
        return False

    def sources(self, names: Sequence[str], spec: Spec, window: Window | None) -> list[str]:
        """The input records of a window as `topic/partition/offset`, anchors first; without a window all of the key."""
        rows = [
            row for row in self.rows if window is None or window.slice - spec.before <= row[SLICE] < window.end
        ]  # fmt: skip
        rows.sort(key=lambda row: (not spec.plans[row[STREAM]].anchor, row[SLICE], row[OFFSET]))
        return [place(names[row[SOURCE]], row[OFFSET]) for row in rows[:SOURCES_SHOWN]]


def place(source: str, offset: int) -> str:
    """A source id and an offset as `topic/partition/offset`."""
    topic, partition = source.split(" ")
    return f"{topic}/{int(partition)}/{offset}"


def orphan_rows(made: KeyMade) -> Counter[tuple[int, int]]:
    """(stream number, slice) -> rows."""
    rows: Counter[tuple[int, int]] = Counter()
    for stream, slice_, count in made.orphans:
        rows[stream, slice_] += count
    return rows

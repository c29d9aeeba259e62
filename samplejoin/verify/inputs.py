"""Cleans input records into rows on disk, and marks rows that are behind their own partition's watermark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.cells import WIRE_PARTIALS, WIRE_SLICE, WIRE_STREAM, WireCell
from samplejoin.core.identity import sample_id, source_id
from samplejoin.job.compile import Job
from samplejoin.verify.report import Report, StreamCounts
from samplejoin.verify.spill import Spill
from samplejoin.verify.spill_rows import DEAD, OUTSIDE, ROWS, Scope, letter_key

ANY_TIME = 1 << 60
"""A reader's clock so late that it makes no record `future`: of CreateTime records only their own timestamp counts."""
OVERHEAD_BYTES = 700
"""Approximate size of a row's Python objects, in addition to its payload."""
OUTCOMES = ("ok", "filtered", "junk_key", "before_start", "after_until")


class InputReader:
    """Cleans the records of all inputs, each partition in offset order.

    `future`: (topic, partition) -> offset -> the latest event time in ms that the job allowed a record which it refused
    as `future` (rule 9). It comes from the dead letter, because only the worker knew what its clock showed.
    """

    def __init__(
        self,
        job: Job,
        scope: Scope,
        report: Report,
        rows: Spill,
        letters: Spill,
        future: dict[tuple[str, int], dict[int, int]] | None = None,
    ) -> None:
        self.job, self.scope, self.report = job, scope, report
        self.rows, self.letters = rows, letters
        self.future = {} if future is None else future
        self.cleaner = Cleaner(job, start_ms=job.model.start_ms)
        self._unbounded = Cleaner(replace(job, model=job.model.model_copy(update={"until": None})))
        self.sources: dict[str, int] = {}
        #: highest event time of each source partition, by number
        self.highest: list[int | None] = []
        self._lateness_ms: list[int] = []
        for each in job.inputs:
            report.streams[each.plan.stream.name] = StreamCounts(each.plan.stream.role)

    def take(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Cleans records of one source partition, and keeps their rows."""
        source = source_id(topic, partition)
        number = self.sources.setdefault(source, len(self.sources))
        if number == len(self.highest):
            self.highest.append(None)
            self._lateness_ms.append(self.job.spec.lateness_ms(topic))
        future = self.future.get((topic, partition))
        plain = not future or not any(record.offset in future for record in records)
        if plain:
            cleaned = self.cleaner.clean(topic, partition, records, ANY_TIME)
            self._keep_outside(topic, partition, records, cleaned)
            if not self._may_be_late(number, cleaned):
                self._keep(number, cleaned)
                self._see(number, cleaned)
                return
        for record in records:
            latest_ms = future.get(record.offset) if future else None
            now_ms = ANY_TIME if latest_ms is None else latest_ms - self.job.model.max_skew_ms
            cleaned = self.cleaner.clean(topic, partition, [record], now_ms)
            if not plain:
                self._keep_outside(topic, partition, [record], cleaned, now_ms)
            self._keep(number, cleaned)
            self._see(number, cleaned)

    def watermark_ms(self, sources: Iterable[str]) -> int | None:
        """Returns the smallest watermark in ms of these sources, None if one of them has no event time yet."""
        marks = [self._watermark_ms(self.sources[s]) if s in self.sources else None for s in sources]
        known = [mark for mark in marks if mark is not None]
        return min(known) if known and len(known) == len(marks) else None

    def _watermark_ms(self, number: int) -> int | None:
        highest = self.highest[number]
        return None if highest is None else highest - self._lateness_ms[number]

    def _behind(self, number: int, highest: int) -> int:
        """Returns the slice below which rows are behind this source's watermark, given its highest event time in ms."""
        return (highest - self._lateness_ms[number]) // self.job.spec.resolution_ms

    def _may_be_late(self, number: int, cleaned: Cleaned) -> bool:
        """Returns whether any row can be behind the watermark, so that the records must be cleaned one by one."""
        if cleaned.row_time is None or not cleaned.cells:
            return False
        behind = self._behind(number, max(cleaned.row_time, self.highest[number] or 0))
        return any(cell[WIRE_SLICE] < behind for cells in cleaned.cells.values() for cell in cells)

    def _see(self, number: int, cleaned: Cleaned) -> None:
        highest = self.highest[number]
        if cleaned.row_time is not None and (highest is None or cleaned.row_time > highest):
            self.highest[number] = cleaned.row_time

    def _keep(self, number: int, cleaned: Cleaned) -> None:
        highest, add, looks_at = self.highest[number], self.rows.add, self.scope.looks_at
        behind = None if highest is None else self._behind(number, highest)
        size = OVERHEAD_BYTES + cleaned.bytes // max(1, sum(cleaned.rows))
        for cells in cleaned.cells.values():
            for key, stream, slice_, low, _, _, partials in cells:
                if looks_at(key):
                    late = behind is not None and slice_ < behind
                    add(ROWS, [key, number, stream, slice_, low, late, partials], size)
        self._count(cleaned)
        for letter in cleaned.dead:
            source = f"{letter.topic}/{letter.partition}/{letter.offset}"
            unsure = (
                letter.offset >= self.scope.committed.get((letter.topic, letter.partition), ANY_TIME)
                or letter.record.timestamp < self.scope.letters_from_ms
            )
            self.letters.add(DEAD, [letter_key(source, letter.stream), letter.reason, source, unsure], OVERHEAD_BYTES)

    def _keep_outside(
        self, topic: str, partition: int, records: Sequence[Any], cleaned: Cleaned, now_ms: int = ANY_TIME
    ) -> None:
        """Keeps the ids that samples of another generation can have: of anchors before `start` or from `until` on.

        That generation writes to the same topics.
        """
        if not any(outcome in ("before_start", "after_until") for _, outcome in cleaned.counts):
            return
        ours = {(cell[WIRE_STREAM], *cell[WIRE_PARTIALS][0][0]) for cell in _anchors(self.job, cleaned)}
        spec = self.job.spec
        for cell in _anchors(self.job, self._unbounded.clean(topic, partition, records, now_ms)):
            key, stream, slice_, _, _, _, partials = cell
            if (stream, *partials[0][0]) not in ours and self.scope.looks_at(key):
                id_ = sample_id(spec.name, key, slice_, spec.streams[stream].name, partials[0])
                self.rows.add(OUTSIDE, [key, id_], OVERHEAD_BYTES)

    def _count(self, cleaned: Cleaned) -> None:
        streams = self.report.streams
        for (name, outcome), count in cleaned.counts.items():
            stream = streams[name]
            if outcome in OUTCOMES:
                setattr(stream, outcome, getattr(stream, outcome) + count)
            else:
                reason = outcome.removeprefix("dead_")
                stream.dead[reason] = stream.dead.get(reason, 0) + count

    def count_records(self, topic: str, records: int) -> None:
        """Counts records of a topic for each of its streams, as every stream reads all of them."""
        for each in self.cleaner.by_topic[topic]:
            self.report.streams[each.plan.stream.name].records += records


def _anchors(job: Job, cleaned: Cleaned) -> Iterable[WireCell]:
    plans = job.spec.plans
    return (cell for cells in cleaned.cells.values() for cell in cells if plans[cell[WIRE_STREAM]].anchor)

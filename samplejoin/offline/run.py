"""The offline run: joins all records of a job's inputs, in any order, to samples. No row is late (rule 6).

It cleans, folds and finishes with the same functions as the worker, so its samples are the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from samplejoin.cleaning.cleaned import DeadRecord
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.cells import Cell, combine
from samplejoin.core.finish import Finisher
from samplejoin.core.fold import cell_fields, join_key
from samplejoin.core.outcomes import DeadSample, Outcomes, SideRow
from samplejoin.core.user_errors import mistakes, said
from samplejoin.core.values import Fields
from samplejoin.job.compile import Job

NO_OFFSET = -1


class InputRecord(NamedTuple):
    """A record of an input topic. `timestamp_type` is 1 where the topic uses LogAppendTime."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0


def run_offline(
    job: Job, records: Iterable[InputRecord], now_ms: int | None = None
) -> tuple[Outcomes, list[DeadRecord]]:
    """Returns outcomes (samples by key, orphans, dead samples and counts) and the records that are dead letters.

    `now_ms` is the reader's clock of rule 9; without it, the clock is at each record's timestamp. Raises ValueError for
    a job with `clock: processing`, whose samples depend on the order of arrival. All rows are held in memory.
    """
    if job.spec.clock == "processing":
        raise ValueError("clock: processing has no offline run: its samples depend on the order of arrival")
    cleaner, out = Cleaner(job, start_ms=job.model.start_ms), Outcomes()
    dead: list[DeadRecord] = []
    cells = []
    for record in records:
        read_ms = record.timestamp if now_ms is None else now_ms
        cleaned = cleaner.clean(record.topic, record.partition, [record], read_ms)
        cells += [cell for made in cleaned.cells.values() for cell in made]
        dead += cleaned.dead
        for (name, outcome), count in cleaned.counts.items():
            out.count(f"events {outcome}", name, count)
    keys: dict[bytes, list[Cell]] = {}
    for key, stream, slice_, _, _, rows, partials in combine(job.spec, cells, NO_OFFSET):
        keys.setdefault(key, []).append([stream, slice_, rows, partials])
    finisher = Finisher(job.spec)
    for key in sorted(keys):
        _join(job, finisher, key, keys[key], out)
    finisher.count(out)
    return out, dead


def _join(job: Job, finisher: Finisher, key: bytes, cells: list[Cell], out: Outcomes) -> None:
    """Finishes all windows of a key, and counts the labels that none of them holds as orphans."""
    windows, orphans = join_key(job.spec, cells)
    for cell in orphans:
        _orphan(job, key, cell, out)
    for window in windows:
        finisher.finish(key, window, out)


def _orphan(job: Job, key: bytes, cell: Cell, out: Outcomes) -> None:
    stream, slice_, rows, _ = cell
    name, slice_ms = job.spec.streams[stream].name, slice_ * job.spec.resolution_ms
    if job.spec.is_beside_cut(slice_):
        out.count("cut_rows", name, rows)
        return
    out.count("orphan_dropped_rows", name, rows)
    fields: Fields = {}
    try:
        fields = cell_fields(job.spec, cell)
    except mistakes() as error:  # a user's aggregate (rule 12)
        out.dead.append(DeadSample(key, "", slice_ms, "aggregate", said(error), "", {}))
    out.side_rows.append(SideRow("orphan", key, name, slice_ms, rows, None, fields))

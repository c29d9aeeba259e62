"""Compares the dead letters of records with those that cleaning the inputs gives (rules 9, 10, 12)."""

from __future__ import annotations

from collections.abc import Callable

from samplejoin.verify.report import Deviation, Report
from samplejoin.verify.spill import Spill
from samplejoin.verify.spill_rows import DEAD, LETTERS

REASON, PLACE, UNSURE = 1, 2, 3
"""Indexes in DEAD rows; LETTERS rows have the first two."""
LETTER_STREAM = 3


def compare_record_letters(letters: Spill, report: Report, was_read: Callable[[str, str], bool]) -> None:
    """Checks that each record that must be a dead letter has at least one, by source and stream, and no other has one.

    `was_read` takes a source (`topic/partition/offset`) and a stream, and returns whether the record was read.
    """
    counts = report.letters
    for _, kinds in letters.buckets():
        found = kinds[LETTERS]
        for key, rows in kinds[DEAD].items():
            there = found.pop(key, [])
            counts.found += len(there)
            counts.repeats += max(0, len(there) - 1)
            if rows[0][REASON] == "future":
                counts.future += 1
            if there or not rows[0][UNSURE]:
                counts.expected += 1
            if not there and rows[0][UNSURE]:
                counts.open += 1
            elif not there:
                counts.missing += 1
                report.blame(Deviation("letters_missing", fields=[rows[0][REASON]], sources=[rows[0][PLACE]]))
        for rows in found.values():
            if was_read(rows[0][PLACE], rows[0][LETTER_STREAM]):
                counts.found += len(rows)
                counts.unexpected += 1
                report.blame(Deviation("letters_unexpected", fields=[rows[0][REASON]], sources=[rows[0][PLACE]]))

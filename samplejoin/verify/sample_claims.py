"""Checks what a sample claims by its headers and its place against what is possible (rules 5, 6, 8, 11)."""

from __future__ import annotations

from samplejoin.core.fold import Window
from samplejoin.core.outcomes import Sample
from samplejoin.core.spec import Spec
from samplejoin.verify import spill_rows as r
from samplejoin.verify.expected import Made, Row
from samplejoin.verify.key_evidence import Case
from samplejoin.verify.report import INCOMPLETE, TRUNCATED


class Claims:
    """Judges the headers of one job's samples.

    `can_vanish`: whether a sample, or its revision, can be dropped for its content.
    """

    def __init__(self, spec: Spec, can_vanish: bool) -> None:
        self._spec, self._can_vanish = spec, can_vanish

    def reason(self, row: Row) -> str | None:
        """Returns why, by its headers, the sample may differ from what all rows give; None if it may not."""
        if row[r.FLAGS] & r.INCOMPLETE:
            return INCOMPLETE
        return TRUNCATED if row[r.FLAGS] & r.TRUNCATED else None

    def may_lack(self, case: Case, window: Window | None) -> bool:
        """Returns whether a window can have been sent without some of its labels, although no row was late."""
        return window is not None and (case.overfull.touches(window) or self._spec.max_wait_ms is not None)

    def wrong(self, case: Case, made: Made | None, row: Row, before: Row | None) -> list[str]:
        """Returns the names of the wrong headers. `before`: the revision found before this one."""
        flags, revision = row[r.FLAGS], row[r.REVISION]
        says = None if case.log is None else case.log.revisions.get(row[r.ID])
        wrong = set(row[r.WRONG])
        if flags & r.OTHER_VERSION:
            wrong.add("fingerprint")
        if flags & r.TRUNCATED and not (case.log or (made and case.overfull.touches(made.window))):
            wrong.add("truncated")
        if revision > 0 and not self._spec.correction:
            wrong.add("revision")
        elif revision > 0 and says is None:
            wrong |= self._unlike_before(case, row, before)
        case.findings.believed |= revision > 0 and case.log is None
        if says is not None:
            wrong |= _unlike_log(row, says.get(revision))
        return sorted(wrong)

    def _unlike_before(self, case: Case, row: Row, before: Row | None) -> set[str]:
        """Returns the headers of a revision that do not follow from the one before.

        Some revision numbers are rightly missing: those of dead letters, and of samples dropped for their content.
        """
        if before is not None and before[r.REVISION] < 0:
            return set()
        wrong = set()
        gone = row[r.REVISION] - (before[r.REVISION] + 1 if before is not None else 0)
        if not (self._can_vanish or row[r.ID] in case.others) and gone > case.letters[row[r.ID]]:
            wrong.add("revision")
        if row[r.PREVIOUS] is not None and row[r.PREVIOUS] != ("0.0" if before is None else before[r.WEIGHT]):
            wrong.add("previous_weight")
        return wrong


def _unlike_log(row: Row, says: Sample | None) -> set[str]:
    """Returns the headers of a revision that differ from what the log gives."""
    if says is None:
        return {"revision"}
    complete = "false:" + ",".join(says.missing) if says.missing else "true"
    unlike = {
        "truncated": says.truncated != bool(row[r.FLAGS] & r.TRUNCATED),
        "complete": complete != row[r.COMPLETE],
        "previous_weight": row[r.PREVIOUS] not in (None, repr(says.previous_weight)),
    }
    return {name for name, is_unlike in unlike.items() if is_unlike}

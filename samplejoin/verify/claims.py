"""What a sample says of itself, in its headers and by its place, against what can be (rules 5, 6, 8, 11)."""

from __future__ import annotations

from collections.abc import Iterable

from samplejoin.core.fold import Window
from samplejoin.core.spec import Spec
from samplejoin.verify import rows as r
from samplejoin.verify.case import Case
from samplejoin.verify.expected import Made, Row
from samplejoin.verify.report import INCOMPLETE, TRUNCATED


class Claims:
    """Judges the headers of samples of one job."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def reason(self, row: Row) -> str | None:
        """Why the sample says it need not be what all rows give."""
        if row[r.FLAGS] & r.INCOMPLETE:
            return INCOMPLETE
        return TRUNCATED if row[r.FLAGS] & r.TRUNCATED else None

    def may_lack(self, case: Case, window: Window | None) -> bool:
        """Whether a window can have gone out without some of its labels, although no row was late."""
        return window is not None and (case.overfull.touches(window) or self._spec.max_wait_ms is not None)

    def wrong(self, case: Case, made: Made | None, row: Row, found: Iterable[Row]) -> list[str]:
        """The headers that are wrong. `found`: all that was found under the sample's id."""
        flags, revision = row[r.FLAGS], row[r.REVISION]
        wrong = set(row[r.WRONG])
        if flags & r.OTHER_VERSION:
            wrong.add("fingerprint")
        if flags & r.TRUNCATED and not (case.log or (made and case.overfull.touches(made.window))):
            wrong.add("truncated")
        if revision > 0:
            if not self._spec.correction:
                wrong.add("revision")
            elif row[r.PREVIOUS] is not None and row[r.PREVIOUS] != _weight_before(revision, found):
                wrong.add("previous_weight")
            case.findings.believed |= case.log is None
        if case.log is not None and row[r.ID] in case.log.samples:
            says = case.log.revisions.get((row[r.ID], revision))
            if says is None:
                wrong.add("revision")
            else:
                wrong |= {"truncated"} if says.truncated != bool(flags & r.TRUNCATED) else set()
                complete = "false:" + ",".join(says.missing) if says.missing else "true"
                wrong |= {"complete"} if complete != row[r.COMPLETE] else set()
        return sorted(wrong)


def _weight_before(revision: int, found: Iterable[Row]) -> str:
    """The weight that stands in the topic before this revision; 0 if nothing went out before."""
    earlier = [(row[r.REVISION], row[r.WEIGHT]) for row in found if row[r.REVISION] < revision]
    return str(max(earlier)[1]) if earlier else "0.0"

"""The context that all comparisons of a job share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from samplejoin.core.fold import Window
from samplejoin.core.keys import decode_key, partition_of
from samplejoin.job.compile import Job
from samplejoin.verify.report import Report
from samplejoin.verify.spill_rows import Scope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ground:
    """The job, the scope, the report and the clocks.

    `sources`: source id -> its number in rows. `input_clock`: the slice that the inputs have passed.
    """

    def __init__(self, job: Job, scope: Scope, report: Report, sources: dict[str, int], input_clock: int) -> None:
        self.job, self.spec, self.scope, self.report = job, job.spec, scope, report
        self.numbers, self.names = sources, list(sources)
        self.streams = {s.name: i for i, s in enumerate(job.spec.streams)}
        self.exactly_once = job.model.guarantee == "exactly_once"
        self.input_clock = input_clock
        #: whether another generation may write to the same topics; its side rows and letters are not marked as its own
        self.shared = job.model.generation > 1 or job.model.start_ms is not None or job.model.until is not None

    def clock(self, key: bytes) -> int:
        """Returns the slice up to which a key's windows are sent, or `input_clock` if that is not known."""
        return self.scope.clocks.get(partition_of(key, self.scope.partitions), self.input_clock)

    def holds(self, slice_: int) -> bool:
        """Returns whether windows and orphans of that slice are to be compared."""
        return self.scope.from_ms <= slice_ * self.spec.resolution_ms < self.scope.to_ms

    def in_range(self, window: Window) -> bool:
        """Returns whether a window is to be compared."""
        return self.holds(window.slice)


def time_text(ms: int) -> str:
    """Returns a time as ISO 8601, or in milliseconds if it is outside the calendar."""
    try:
        return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return f"{ms} ms"


def key_of(key: bytes) -> object:
    """Returns the values of a join key, or its text if samplejoin did not encode it."""
    try:
        return decode_key(key)
    except Exception:  # a foreign key can hold anything
        return key.decode("utf-8", "backslashreplace")

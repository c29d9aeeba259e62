"""What all comparisons of a job share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from samplejoin.core.fold import Window
from samplejoin.core.keys import decode_key, partition_of
from samplejoin.job.compile import Job
from samplejoin.verify.report import Report
from samplejoin.verify.spill_rows import Scope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ground:
    """`sources`: source ids and their numbers, as the intake gave them; `input_clock`: the slice that the inputs have
    passed."""

    def __init__(self, job: Job, scope: Scope, report: Report, sources: dict[str, int], input_clock: int) -> None:
        self.job, self.spec, self.scope, self.report = job, job.spec, scope, report
        self.numbers, self.names = sources, list(sources)
        self.streams = {s.name: i for i, s in enumerate(job.spec.streams)}
        self.exactly_once = job.model.guarantee == "exactly_once"
        self.input_clock = input_clock
        #: another generation may write to the same topics; its side rows and letters do not say that they are its own
        self.shared = job.model.generation > 1 or job.model.start_ms is not None or job.model.until is not None

    def clock(self, key: bytes) -> int:
        """The slice up to which a key's windows have gone out; if that is not known, what the inputs have passed."""
        return self.scope.clocks.get(partition_of(key, self.scope.partitions), self.input_clock)

    def holds(self, slice_: int) -> bool:
        """Whether windows and orphans of that slice are to be compared."""
        return self.scope.from_ms <= slice_ * self.spec.resolution_ms < self.scope.to_ms

    def in_range(self, window: Window) -> bool:
        """Whether a window is to be compared."""
        return self.holds(window.slice)


def time_text(ms: int) -> str:
    """A time as ISO 8601; as milliseconds where no calendar reaches."""
    try:
        return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return f"{ms} ms"


def key_of(key: bytes) -> object:
    """The join key's values, or its text where it is none of ours."""
    try:
        return decode_key(key)
    except Exception:  # whatever a foreign key is made of
        return key.decode("utf-8", "backslashreplace")

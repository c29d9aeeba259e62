"""Verifies without Kafka: takes records, gives a report. Memory stays bounded, because rows are kept on disk by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from samplejoin.core.fingerprint import short
from samplejoin.core.identity import source_id
from samplejoin.core.user_errors import few
from samplejoin.job.compile import Job
from samplejoin.job.field_types import FUNCTION
from samplejoin.job.model import JobModel
from samplejoin.verify.inputs import InputReader
from samplejoin.verify.judge import Judge
from samplejoin.verify.outputs import OutputReader
from samplejoin.verify.record_dead_letters import compare_record_letters
from samplejoin.verify.replay import Replayed
from samplejoin.verify.report import LateRows, Orphans, Report, StreamCounts
from samplejoin.verify.spill import BUCKET_BYTES, BUFFER_BYTES, Spill, bucket_of
from samplejoin.verify.spill_rows import KEY_KINDS, NEVER, SOURCE_KINDS, Scope, place_of

MAX_REPLAYED = 100_000
"""Limit of keys to replay: with more, something is wrong that late rows do not explain."""


class Verification:
    """One verification. First feed `collector` the records of the output topics, then `intake` those of the inputs.

    Then call `compare`, and `settle` with a replay of the keys that `compare` returned.
    """

    def __init__(
        self,
        job: Job,
        scope: Scope,
        report: Report,
        folder: Path | None = None,
        buffer_bytes: int = BUFFER_BYTES,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.job, self.scope, self.report = job, scope, report
        self.rows = Spill(KEY_KINDS, folder, buffer_bytes, bucket_bytes)
        self.letters = Spill(SOURCE_KINDS, folder, buffer_bytes // 8, bucket_bytes)
        report.fingerprint = short(job.fingerprint)
        outputs = job.model.output_topics()
        report.orphans = Orphans() if "orphan" in outputs else None
        report.late = LateRows() if "late" in outputs else None
        report.corrections = 0 if job.model.late == "correct" else None
        self.collector = OutputReader(job, scope, report, self.rows, self.letters)
        self.intake = InputReader(job, scope, report, self.rows, self.letters, self.collector.future)
        #: (topic, partition) -> (first offset read, offset after the last)
        self.was_read: dict[tuple[str, int], tuple[int, int]] = {}
        self._judge: Judge | None = None

    def __enter__(self) -> Verification:
        return self

    def __exit__(self, *_: object) -> None:
        self.rows.close()
        self.letters.close()

    def compare(self, advance: Callable[[int], None] = lambda buckets: None) -> set[bytes]:
        """Judges all keys. Returns those whose errors late rows may explain, of which nothing is counted yet."""
        judge = self._judge = self._make_judge()
        suspects: set[bytes] = set()
        last = 0
        for bucket, kinds in self.rows.buckets():
            for key, rows in _keys(kinds):
                final = len(suspects) >= MAX_REPLAYED
                if judge.judge(key, rows, None, final):
                    suspects.add(key)
            advance(bucket - last)
            last = bucket
        compare_record_letters(self.letters, self.report, self._is_read)
        return suspects

    def settle(self, suspects: set[bytes], replayed: Mapping[bytes, Replayed]) -> None:
        """Judges these keys finally, with what the replay of the log gives for them."""
        judge = self._judge
        assert judge is not None
        for _, kinds in self.rows.buckets({bucket_of(key) for key in suspects}):
            for key, rows in _keys(kinds):
                if key in suspects:
                    judge.judge(key, rows, replayed.get(key), True)
        self.report.notes += _come_to_nothing(self.report.streams)
        if self.report.wrong and (names := _functions_of(self.job.model)):
            self.report.notes.append(
                f"the job's functions were run once more ({few(names)}): one that depends on more than its argument, "
                "on a global, the clock or a random number, makes such differences itself"
            )

    def _make_judge(self) -> Judge:
        watermark_ms = self.intake.watermark_ms(self._sources_read())
        resolution_ms = self.job.spec.resolution_ms
        clock = NEVER if watermark_ms is None else watermark_ms // resolution_ms
        return Judge(self.job, self.scope, self.report, self.intake.sources, clock)

    def _sources_read(self) -> list[str]:
        return [source_id(*tp) for tp, (low, high) in self.was_read.items() if high > low]

    def _is_read(self, place: str, stream: str) -> bool:
        found = place_of(place)
        if found is None:
            return True  # not a dead letter of this job
        topic, partition, offset = found
        low, high = self.was_read.get((topic, partition), (0, 0))
        return low <= offset < high


def _come_to_nothing(streams: Mapping[str, StreamCounts]) -> Iterator[str]:
    """Yields notes on streams of which no row joins a sample. That agrees with the inputs, but is seldom intended."""
    for name, stream in streams.items():
        if stream.records and stream.filtered == stream.records:
            yield f"stream {name} adds nothing to samples: each of its records was filtered. Is a `return` missing?"
        elif stream.records and stream.junk_key and not stream.rows:
            yield f"stream {name} adds nothing to samples: each of its rows has no key, or one of junk_keys"
        elif stream.role == "label" and stream.rows and stream.orphan == stream.rows:
            yield (
                f"stream {name} adds nothing to samples: no window holds any of its rows. Is its key the same as the "
                "impressions', of the same type (a number is not its text)?"
            )


def _functions_of(model: JobModel) -> list[str]:
    """Returns the names of users' functions in the job, each once."""
    named = [
        *(name for stream in model.streams.values() for name in (stream.decode, stream.clean)),
        *(field.agg for field in model.sample.values()),
        model.label,
        model.format,
    ]
    return list(dict.fromkeys(name for name in named if name and FUNCTION.fullmatch(name)))


def _keys(kinds: Sequence[dict[bytes, list[list[object]]]]) -> Iterator[tuple[bytes, list[list[list[object]]]]]:
    """Yields (key, its rows of each kind) for each key of a bucket."""
    keys = dict.fromkeys(key for kind in kinds for key in kind)
    for key in keys:
        yield key, [kind.get(key, []) for kind in kinds]

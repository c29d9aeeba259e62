"""Runs `samplejoin verify` on Kafka: reads outputs, then inputs, compares, and replays the log for doubtful keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from samplejoin.core.keys import partition_of
from samplejoin.engine.wire import FormatError, GarbageError, unpack_entry
from samplejoin.job.compile import Job
from samplejoin.verify.context import time_text
from samplejoin.verify.job_versions import refuse_foreign
from samplejoin.verify.kafka import TopicReader, VerifyError
from samplejoin.verify.read_plan import ReadPlan, Span, plan
from samplejoin.verify.replay import LogReplay, Replayed
from samplejoin.verify.report import Report
from samplejoin.verify.spill import BUCKETS
from samplejoin.verify.spill_rows import FOR_EVER, NEVER, Scope
from samplejoin.verify.verification import Verification

Shown = Callable[[str, int, int], None]
"""Called with the name of the step, how much of it is done, and its total."""


@dataclass(frozen=True)
class Options:
    """The options of a verification. Times are event times in ms. `one_in`: compare one key in this many."""

    from_ms: int | None = None
    to_ms: int | None = None
    one_in: int = 1
    examples: int = 5
    work_dir: Path | None = None


async def verify(job: Job, connection: Any, options: Options, shown: Shown) -> Report:
    """Reads a job's topics, compares them, and returns the report. Raises VerifyError if nothing can be verified."""
    model = job.model
    if job.spec.clock == "processing":
        raise VerifyError(
            "verify cannot work with clock: processing, where the order of arrival decides: the inputs do not tell it"
        )
    started = time.monotonic()
    scope = Scope(
        model.partitions,
        NEVER if options.from_ms is None else options.from_ms,
        FOR_EVER if options.to_ms is None else options.to_ms,
        options.one_in,
    )
    report = Report(model.name, model.generation, model.guarantee, options.examples, share=1 / options.one_in)
    topics = TopicReader(connection, model.limits.record_bytes)
    planned = await plan(job, topics, scope, report)
    with Verification(job, scope, report, options.work_dir) as verification:
        await _read_all(job, topics, planned, verification, shown)
        suspects = verification.compare(_Steps(shown, "comparing", BUCKETS))
        if suspects:
            verification.settle(suspects, await _replay(job, topics, planned.repartition, suspects, report, shown))
    report.skipped = topics.skipped
    report.from_ = None if scope.from_ms == NEVER else time_text(scope.from_ms)
    report.to = None if scope.to_ms == FOR_EVER else time_text(scope.to_ms)
    if not scope.replayable:
        report.notes.append(
            "the repartition log is not complete from offset 0 on, so no replay can tell which rows were late"
        )
    report.read["seconds"] = round(time.monotonic() - started, 2)
    return report


class _Steps:
    """Adds up the progress of one step, and shows it."""

    def __init__(self, shown: Shown, what: str, whole: int) -> None:
        self._shown, self._what, self._whole, self._done = shown, what, whole, 0

    def __call__(self, by: int) -> None:
        self._done += by
        self._shown(self._what, self._done, self._whole)


async def _read_all(job: Job, topics: TopicReader, planned: ReadPlan, verification: Verification, shown: Shown) -> None:
    collector, intake, read = verification.collector, verification.intake, verification.report.read
    takers = {
        "samples": collector.sample,
        "late": collector.late,
        "orphan": collector.orphan,
        "dead_letter": collector.letter,
    }
    steps = _Steps(shown, "reading", planned.inputs.records + sum(s.records for s in planned.outputs.values()))
    for name in ("dead_letter", "late", "orphan", "samples"):
        span, take = planned.outputs.get(name, Span()), takers[name]
        async for _, records in topics.read(span.begins, span.ends):
            for record in records:
                take(record)
            _count(read, records)
            steps(len(records))
    if not verification.scope.made_by:
        refuse_foreign(job.fingerprint, verification.report.versions)
    span = planned.inputs
    verification.was_read = {(tp.topic, tp.partition): (begin, span.ends[tp]) for tp, begin in span.begins.items()}
    async for tp, records in topics.read_inputs(span.begins, span.ends):
        intake.take(tp.topic, tp.partition, records)
        intake.count_records(tp.topic, len(records))
        _count(read, records)
        steps(len(records))


def _count(read: dict[str, float], records: list[ConsumerRecord]) -> None:
    read["records"] += len(records)
    read["bytes"] += sum(len(record.value or b"") for record in records)


async def _replay(
    job: Job, topics: TopicReader, span: Span, suspects: set[bytes], report: Report, shown: Shown
) -> dict[bytes, Replayed]:
    """Returns what the repartition log gives for these keys."""
    report.replay.used = report.replay.complete = True
    report.replay.keys = len(suspects)
    found: dict[bytes, Replayed] = {}
    steps = _Steps(shown, "replaying", span.records)
    for tp in sorted(span.begins):
        keys = {key for key in suspects if partition_of(key, job.model.partitions) == tp.partition}
        if not keys:
            continue
        log = LogReplay(job.spec, keys)
        async for _, records in topics.read({tp: span.begins[tp]}, {tp: span.ends[tp]}):
            for record in records:
                try:
                    log.step(unpack_entry(record.value), record.offset, record.timestamp)
                except GarbageError:  # the join skips it too
                    continue
                except FormatError as error:
                    raise VerifyError(f"topic {tp.topic}/{tp.partition} offset {record.offset}: {error}") from error
            report.replay.entries += len(records)
            steps(len(records))
        found |= log.found()
    return found

"""Plans what can be verified: where the job began, what retention has deleted, how far the job has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiokafka import TopicPartition

from samplejoin.core.identity import source_id
from samplejoin.core.user_errors import counted
from samplejoin.job.compile import Job
from samplejoin.job.model import JobModel
from samplejoin.verify.context import time_text
from samplejoin.verify.job_versions import refuse_edited
from samplejoin.verify.kafka import TopicReader, VerifyError, partition_list
from samplejoin.verify.progress import enter_clocks, first_offsets
from samplejoin.verify.report import Report
from samplejoin.verify.spill_rows import Scope


@dataclass
class Span:
    """Offsets to read, per partition: from `begins` up to, not including, `ends`."""

    begins: dict[TopicPartition, int] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Returns an upper bound of the number of records."""
        return sum(max(0, self.ends[tp] - begin) for tp, begin in self.begins.items())


@dataclass
class ReadPlan:
    """The offsets to read of each topic.

    The ends of outputs are looked up before those of inputs, so that the inputs read hold the cause of every output.
    """

    outputs: dict[str, Span]
    inputs: Span
    repartition: Span


async def plan(job: Job, topics: TopicReader, scope: Scope, report: Report) -> ReadPlan:
    """Plans the reading of all topics, and fills in `scope`. Raises VerifyError if nothing can be verified."""
    model, there = job.model, await topics.partitions()
    _refuse_missing(job, there)
    scope.sample_partitions = len(there[model.samples_topic])
    if f"{model.prefix}-skips" in there:
        await topics.read_skips(f"{model.prefix}-skips")
    await _see_job(job, topics, there, scope, report)
    refuse_edited(job.fingerprint, scope.made_by)
    outputs: dict[str, Span] = {}
    for name, topic in model.output_topics().items():
        if topic in there:
            outputs[name] = Span(*await topics.bounds(partition_list(topic, there[topic])))
        else:
            report.notes.append(f"topic {topic} ({name.replace('_', ' ')}s) does not exist: taken as empty")
    begins, ends = await topics.bounds(_inputs(job, there))
    inputs = Span(await _starts(model, topics, there, begins, ends, scope, report), ends)
    await _see_trimmed(model, topics, outputs, scope, report)
    log = f"{model.prefix}-repartition"
    repartition = Span(*await topics.bounds(partition_list(log, there.get(log, ()))))
    scope.replayable = bool(repartition.ends) and not any(repartition.begins.values())
    return ReadPlan(outputs, inputs, repartition)


def _inputs(job: Job, there: dict[str, set[int]]) -> list[object]:
    return [tp for topic in job.spec.topics() for tp in partition_list(topic, there[topic])]


def _refuse_missing(job: Job, there: dict[str, set[int]]) -> None:
    missing = [topic for topic in job.spec.topics() if topic not in there]
    if missing:
        raise VerifyError(f"input topics {', '.join(missing)} do not exist, or this user may not see them")
    samples = job.model.samples_topic
    if samples not in there:
        raise VerifyError(
            f"samples topic {samples} does not exist, or this user may not see it: has the job run with this job file?"
        )


async def _see_job(job: Job, topics: TopicReader, there: dict[str, set[int]], scope: Scope, report: Report) -> None:
    """Enters how far the job has come: its group's offsets, which are behind its commits, then those commits."""
    model = job.model
    changelog = f"{model.prefix}-changelog"
    if changelog not in there:
        report.notes.append(f"topic {changelog} does not exist: which windows are due is taken from the inputs alone")
        return
    if len(there[changelog]) != model.partitions:
        raise VerifyError(
            f"topic {changelog} has {counted(len(there[changelog]), 'partition')}, the job file says partitions: "
            f"{model.partitions}. Verify with the job file that the workers run"
        )
    scope.committed = await topics.committed(model.prefix, _inputs(job, there))
    await enter_clocks(topics, changelog, scope, model.resolution_ms)


async def _starts(
    model: JobModel,
    topics: TopicReader,
    there: dict[str, set[int]],
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
    scope: Scope,
    report: Report,
) -> dict[TopicPartition, int]:
    """Returns the offsets at which the job began to read, as far as known. Narrows the range to what is not deleted."""
    starts = dict(begins)
    if model.start_ms is not None:
        from_ms = max(0, model.start_ms - model.before_ms - model.resolution_ms - model.max_skew_ms)  # as workers do
        found = await topics.at_time(begins, from_ms)
        starts = {tp: ends[tp] if found.get(tp) is None else max(begins[tp], found[tp] or 0) for tp in begins}
    gone = {tp for tp, begin in begins.items() if begin and starts[tp] == begin}
    if not gone and model.start != "latest":
        return starts
    log = f"{model.prefix}-repartition"
    first = await first_offsets(topics, log, model.partitions) if log in there else None
    if first is not None:
        for tp in begins:
            offset = first.get(source_id(tp.topic, tp.partition))
            if offset is not None and offset >= begins[tp]:
                starts[tp] = max(starts[tp], offset)
                gone.discard(tp)
    elif model.start == "latest":
        report.notes.append(
            f"start: latest, and the beginning of {log} is deleted, so it is not known where the job began. Samples of "
            "everything in the inputs are expected; give --from a time after its start"
        )
    if gone:
        await _narrow(model, topics, gone, begins, ends, scope, report)
    return starts


async def _narrow(
    model: JobModel,
    topics: TopicReader,
    gone: set[TopicPartition],
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
    scope: Scope,
    report: Report,
) -> None:
    """Narrows the range to windows that no deleted row can touch, as inputs have lost their beginning."""
    first = await _first_timestamps(topics, {tp: begins[tp] for tp in gone}, ends)
    if len(first) < len(gone):
        empty = ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in gone if tp not in first))
        raise VerifyError(f"all records of {empty} were deleted by retention: there is nothing to verify against")
    scope.gone_to_ms = max(first.values()) + model.max_skew_ms
    from_ms = scope.gone_to_ms + model.window_ms + model.before_ms
    scope.from_ms = max(scope.from_ms, from_ms)
    named = ", ".join(sorted({tp.topic for tp in gone}))
    report.notes.append(
        f"retention has deleted the beginning of {named}: windows from {time_text(from_ms)} on can be verified, and "
        "samples without a window are counted as unverifiable"
    )


async def _see_trimmed(
    model: JobModel, topics: TopicReader, outputs: dict[str, Span], scope: Scope, report: Report
) -> None:
    """Enters which outputs have lost their beginning, so that deleted records do not count as missing."""
    for name, span in outputs.items():
        gone = {tp: begin for tp, begin in span.begins.items() if begin}
        if not gone:
            continue
        topic = model.output_topics()[name]
        first = await _first_timestamps(topics, gone, span.ends)
        latest_ms = max(first.values(), default=0) + model.max_skew_ms
        if name == "samples":
            if len(first) < len(gone):
                raise VerifyError(f"all samples in a partition of {topic} were deleted by retention: nothing to verify")
            scope.from_ms = max(scope.from_ms, latest_ms)
            report.notes.append(
                f"retention has deleted the beginning of {topic}: windows from {time_text(latest_ms)} on are verified"
            )
            continue
        if name == "dead_letter":
            scope.letters_from_ms, scope.letters_trimmed = latest_ms, True
        scope.orphans_trimmed |= name == "orphan"
        scope.late_trimmed |= name == "late"
        report.notes.append(f"retention has deleted the beginning of {topic}: deleted records do not count as missing")


async def _first_timestamps(
    topics: TopicReader, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Returns the Kafka timestamp of each partition's first record; partitions without records are left out."""
    first: dict[TopicPartition, int] = {}
    for tp, begin in begins.items():
        async for _, records in topics.read({tp: begin}, {tp: min(ends[tp], begin + 100)}):
            if records:
                first[tp] = records[0].timestamp
                break
    return first

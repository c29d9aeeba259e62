"""Builds the engine's settings from a job and its environment, without Faust, which would slow down small commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samplejoin.engine.config import EngineConfig, Start, Topics
from samplejoin.engine.memory_budget import Memory, available
from samplejoin.job.compile import Job
from samplejoin.job.model import JobModel
from samplejoin.worker.settings import WorkerSettings


def topics_of(model: JobModel) -> Topics:
    """Returns the topics that the job writes."""
    outputs = model.output_topics()
    return Topics(model.prefix, outputs["samples"], outputs.get("late"), outputs.get("orphan"), outputs["dead_letter"])


def _start(model: JobModel) -> Start:
    """Returns where reading begins: a Kafka timestamp in ms, "latest" or "earliest".

    It is early enough for every row from `start` on, because a record can be older than its event.
    """
    if model.start_ms is not None:
        return max(0, model.start_ms - model.before_ms - model.resolution_ms - model.max_skew_ms)
    return "latest" if model.start == "latest" else "earliest"


def engine_config(job: Job, settings: WorkerSettings, connection: Mapping[str, object]) -> EngineConfig:
    """Builds the engine's settings from the job and the environment."""
    model = job.model
    outputs = model.output_topics()
    compression = model.outputs.samples.compression
    return EngineConfig(
        spec=job.spec,
        fingerprint=job.fingerprint,
        topics=topics_of(model),
        partitions=model.partitions,
        state_dir=Path(model.state_dir).absolute(),  # a user's function may change the working directory
        connection=connection,
        exactly_once=model.guarantee == "exactly_once",
        combine=model.combine,
        output_partitions={
            output.topic or outputs[name]: output.partitions or model.partitions
            for name, output in model.outputs
            if output is not None and name in outputs
        },
        compression=None if compression == "none" else compression,
        max_record_bytes=model.limits.record_bytes,
        max_in_flight=model.max_in_flight,
        commit_interval_ms=model.commit_interval_ms,
        align_ms=model.align_ms,
        max_backlog=model.max_backlog,
        cache_keys=model.limits.cache_keys,
        memory=Memory(model.limits.memory_bytes or available()),
        start=_start(model),
        replication_factor=model.replication_factor,
        standby_replicas=model.standby_replicas,
        session_timeout_ms=settings.session_timeout_ms,
        instance_id=None if settings.drain else settings.instance_id,
    )

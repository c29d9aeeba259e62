"""Estimates the workers, partitions, brokers, storage and traffic that a load needs, from measured figures.

Two costs do not fall as workers are added. Each run of events becomes a block for every join partition, so blocks get
smaller. Every join partition also tracks the watermark of every source. Beyond some rate another worker costs as much
as it adds: the load then needs several jobs, each with a share of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from samplejoin.admin import capacity_figures as figures
from samplejoin.engine.config import WorkerError
from samplejoin.engine.memory_budget import Memory
from samplejoin.job.model import JobModel
from samplejoin.worker.retention import KEEP_MS

MOST_WORKERS = 128
"""Workers of one job: the largest group that was tested."""
PARTITIONS_PER_WORKER = 2
"""Allows the workers to double before the open keys must be migrated to more partitions."""
MOST_JOBS = 1000
BACKLOG_S = 10
"""Seconds of a join partition's log that `max_backlog` should hold: beyond `max_backlog` all inputs pause."""


@dataclass(frozen=True)
class Load:
    """A load: events per second of all inputs together, uncompressed bytes of an event, events per key and window, and
    the share of a core that a worker may use."""

    events_per_s: float
    event_bytes: int = figures.EVENT_BYTES
    events_per_key: float = figures.EVENTS_PER_KEY
    keep_busy: float = 0.7

    @property
    def scale(self) -> float:
        """The size of the load's events relative to the benchmark's."""
        return self.event_bytes / figures.EVENT_BYTES

    @property
    def changelog_rows_per_event(self) -> float:
        """One put for each event, and one delete for each key."""
        return 1 + 1 / self.events_per_key


@dataclass(frozen=True)
class CapacityPlan:
    """The resources that a load needs. A figure covers all jobs together unless its name says otherwise."""

    jobs: int
    workers_per_job: int
    join_partitions_per_job: int
    #: the minimum for each busy input topic
    input_partitions_per_job: int
    open_keys: int
    disk_bytes: int
    disk_bytes_per_worker: int
    memory_bytes_per_worker: int
    #: uncompressed
    input_bytes_per_s: int
    repartition_bytes_per_s: int
    changelog_bytes_per_s: int
    samples_bytes_per_s: int
    transactions_per_s: int
    #: time until a worker has recovered, on its former disk and on an empty one
    same_disk_s: float
    empty_disk_s: float
    #: time until a standby takes over from a worker that ended; None: the job has no standbys
    standby_s: float | None
    brokers: int
    broker_disk_bytes: int
    #: keys of the job file to change
    notes: tuple[str, ...]


def plan_capacity(model: JobModel, load: Load, session_timeout_ms: int) -> CapacityPlan:
    """Plans the fewest jobs that carry the load, with the fewest workers. Raises WorkerError if no number suffices."""
    jobs, job = _fewest(model, load)
    keys_per_worker = job.keys / job.workers
    disk_bytes = keys_per_worker * job.disk_bytes_per_key * (1 + model.standby_replicas)
    rows_per_worker = load.changelog_rows_per_event * job.events_per_s * job.open_s / job.workers
    return CapacityPlan(
        jobs=jobs,
        workers_per_job=job.workers,
        join_partitions_per_job=job.partitions,
        input_partitions_per_job=job.workers,
        open_keys=round(jobs * job.keys),
        disk_bytes=round(jobs * job.workers * disk_bytes),
        disk_bytes_per_worker=round(disk_bytes),
        memory_bytes_per_worker=round(figures.MEMORY_BYTES + job.keys_memory_bytes / job.workers),
        input_bytes_per_s=round(load.events_per_s * load.event_bytes),
        repartition_bytes_per_s=round(jobs * job.repartition_bytes_per_s),
        changelog_bytes_per_s=round(jobs * job.changelog_bytes_per_s),
        samples_bytes_per_s=round(jobs * job.samples_bytes_per_s),
        transactions_per_s=ceil(jobs * job.partitions * 1000 / model.commit_interval_ms),
        same_disk_s=figures.RESTART_S + keys_per_worker / figures.RESTART_KEYS_PER_S,
        empty_disk_s=figures.RESTART_S + rows_per_worker / figures.REPLAY_ROWS_PER_S,
        standby_s=session_timeout_ms / 1000 + figures.STANDBY_S if model.standby_replicas else None,
        brokers=_brokers(jobs, job),
        broker_disk_bytes=round(
            jobs
            * _replicas(model)
            * (job.repartition_bytes_per_s * KEEP_MS / 1000 + job.changelog_bytes_per_s * job.open_s)
        ),
        notes=tuple(_notes(job)),
    )


@dataclass(frozen=True)
class _Job:
    """One job: its share of the load, and the number of its workers."""

    model: JobModel
    load: Load
    events_per_s: float
    workers: int

    @property
    def partitions(self) -> int:
        """Join partitions: as the job file says, unless a worker would have none."""
        given = self.model.partitions
        return given if given >= self.workers else PARTITIONS_PER_WORKER * self.workers

    @property
    def topics(self) -> int:
        """Number of input topics; a pattern counts as one."""
        return sum(max(1, len(stream.topic_names)) for stream in self.model.streams.values())

    @property
    def busy(self) -> float:
        """The share of a core that the worker with the most join partitions uses."""
        most = ceil(self.partitions / self.workers)
        event_us = figures.CPU_US_PER_EVENT + figures.BLOCK_US * self.partitions / figures.RUN_RECORDS
        event_us += self.model.standby_replicas * self.load.changelog_rows_per_event / figures.REPLAY_ROWS_PER_S * 1e6
        if self.keys_per_partition > self.model.limits.cache_keys:
            event_us += figures.READ_US
        clocks_us = most * figures.CLOCK_US_PER_SOURCE_PAIR * (self.topics * self.workers) ** 2
        return (
            most / self.partitions * self.events_per_s * event_us + figures.TICK_US * self.partitions + clocks_us
        ) / 1e6

    @property
    def open_s(self) -> float:
        """Seconds that a key is open."""
        return (self.model.window_ms + self.model.largest_lateness_ms + self.model.correction_ms) / 1000

    @property
    def keys(self) -> float:
        return self.events_per_s / self.load.events_per_key * self.open_s

    @property
    def keys_per_partition(self) -> float:
        return self.keys / self.partitions

    @property
    def disk_bytes_per_key(self) -> float:
        return figures.DISK_BYTES_PER_KEY + figures.STATE_BYTES_PER_KEY * self.load.scale

    @property
    def keys_memory_bytes(self) -> float:
        """Memory of the deadlines of all open keys and of the cached states."""
        cached = min(self.keys, self.partitions * self.model.limits.cache_keys)
        state_bytes = figures.CACHED_BYTES_PER_KEY + figures.STATE_BYTES_PER_KEY * self.load.scale
        if self.model.limits.memory_bytes is not None:
            cached = min(cached, self.workers * Memory(self.model.limits.memory_bytes).cached / state_bytes)
        return self.keys * figures.DEADLINE_BYTES_PER_KEY + cached * state_bytes

    @property
    def repartition_bytes_per_s(self) -> float:
        blocks_per_s = self.events_per_s / figures.RUN_RECORDS * self.partitions
        ticks_per_s = self.workers * self.partitions
        rows_bytes_per_s = self.events_per_s * figures.REPARTITION_BYTES_PER_EVENT * self.load.scale
        return rows_bytes_per_s + blocks_per_s * figures.BLOCK_BYTES + ticks_per_s * figures.TICK_BYTES

    @property
    def changelog_bytes_per_s(self) -> float:
        return self.events_per_s * figures.CHANGELOG_BYTES_PER_EVENT * self.load.scale

    @property
    def samples_bytes_per_s(self) -> float:
        sample_bytes = figures.SAMPLE_BYTES[self.model.outputs.samples.compression] * self.load.scale
        return self.events_per_s / self.load.events_per_key * sample_bytes


def _fewest(model: JobModel, load: Load) -> tuple[int, _Job]:
    """Returns the number of jobs, and one of them. Raises WorkerError if no number suffices."""
    for jobs in range(1, MOST_JOBS + 1):
        for workers in range(1 + model.standby_replicas, MOST_WORKERS + 1):
            job = _Job(model, load, load.events_per_s / jobs, workers)
            if job.busy <= load.keep_busy:
                return jobs, job
    raise WorkerError(
        f"{load.events_per_s:,.0f} events/s from {job.topics} input topics: even with {MOST_JOBS} jobs the workers of "
        f"each would use more than --keep-busy {load.keep_busy:g} of a core. Allow them more, or use fewer input topics"
    )


def _replicas(model: JobModel) -> int:
    return model.replication_factor or figures.REPLICAS


def _brokers(jobs: int, job: _Job) -> int:
    """Returns the brokers that the bytes, the partitions or the replicas need, whichever is most."""
    replicas = _replicas(job.model)
    replicated_bytes_per_s = replicas * (
        job.repartition_bytes_per_s + job.changelog_bytes_per_s + job.samples_bytes_per_s
    )
    # repartition, changelog, samples, dead letters
    on_brokers = replicas * (4 * job.partitions + job.topics * job.workers)
    return max(
        replicas,
        ceil(jobs * replicated_bytes_per_s / figures.BROKER_BYTES_PER_S),
        ceil(jobs * on_brokers / figures.BROKER_PARTITIONS),
    )


def _notes(job: _Job) -> list[str]:
    """Returns a line for each key of the job file that does not suit the load."""
    model, notes = job.model, []
    if model.partitions < job.workers:
        notes.append(f"partitions: {job.partitions}, not {model.partitions}: no more workers than that share the join")
    if job.keys_per_partition > model.limits.cache_keys:
        notes.append(
            f"limits.cache_keys: {_rounded_up(job.keys_per_partition)} would keep all states in memory; past "
            f"{model.limits.cache_keys} they are read from RocksDB"
        )
    if model.correction_ms:
        open_ms = model.window_ms + model.largest_lateness_ms
        share = 100 * model.correction_ms / (open_ms + model.correction_ms)
        notes.append(f"correction: {share:.0f} % of the open keys only wait for corrections")
    log_records_per_s = job.workers + job.events_per_s / figures.RUN_RECORDS
    if log_records_per_s * BACKLOG_S > model.max_backlog:
        notes.append(
            f"max_backlog: {_rounded_up(log_records_per_s * BACKLOG_S)}, not {model.max_backlog}: all inputs pause "
            f"when a join partition is {model.max_backlog / log_records_per_s:.1f} s behind"
        )
    return notes


def _rounded_up(number: float) -> int:
    """Rounds up to two significant digits."""
    unit: int = 10 ** max(0, len(str(int(number))) - 2)
    return ceil(number / unit) * unit

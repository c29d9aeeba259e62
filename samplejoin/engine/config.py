"""The engine's view of a job: names, sizes, intervals and the connection to Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from samplejoin.core.fingerprint import differences, edited
from samplejoin.core.spec import Spec
from samplejoin.engine.memory_budget import Memory
from samplejoin.engine.record_format import RecordFormat
from samplejoin.errors import SamplejoinError

Start = Literal["earliest", "latest"] | int
"""Where reading begins. A number is an epoch time in ms, which is compared with the records' Kafka timestamps."""


class WorkerError(SamplejoinError):
    """An error that ends a worker, or a command that changes a job's topics or state."""


class EditedError(WorkerError):
    """The state was made by another version of the job file. `keys` are the edited keys, or `["name"]` if not known."""

    def __init__(self, message: str, keys: list[str]) -> None:
        super().__init__(message)
        self.keys = keys or ["name"]


@dataclass(frozen=True)
class Topics:
    """The topics that a job writes; None: not written. `prefix` is the job's name, with `-gN` from generation 2 on."""

    prefix: str
    samples: str
    late: str | None
    orphan: str | None
    dead_letter: str

    @property
    def repartition(self) -> str:
        """The repartition log: blocks and ticks, by join partition."""
        return f"{self.prefix}-repartition"

    @property
    def changelog(self) -> str:
        """Commit records: state changes with the position in the repartition log that they belong to."""
        return f"{self.prefix}-changelog"

    @property
    def progress(self) -> str:
        """Each worker's reports of its sources and lag: for alignment and back-pressure, never for correctness."""
        return f"{self.prefix}-progress"

    @property
    def skips(self) -> str:
        """The records to pass over, written by `samplejoin skip`; created by the first skip."""
        return f"{self.prefix}-skips"

    @property
    def internal(self) -> tuple[str, str, str]:
        """The job's own topics, without `skips`; a reset deletes them in this order."""
        return self.repartition, self.changelog, self.progress

    @property
    def outputs(self) -> tuple[str, ...]:
        """The topics that are written for other readers."""
        return tuple(name for name in (self.samples, self.late, self.orphan, self.dead_letter) if name is not None)

    @property
    def written(self) -> tuple[str, ...]:
        """All topics that a worker writes."""
        return self.internal + self.outputs


@dataclass(frozen=True)
class EngineConfig:
    """Settings of a running job. Times in milliseconds, sizes in bytes."""

    spec: Spec
    fingerprint: str
    topics: Topics
    partitions: int
    state_dir: Path
    #: aiokafka's connection arguments: bootstrap_servers, security_protocol, ssl_context, sasl_…
    connection: Mapping[str, object] = field(repr=False)
    exactly_once: bool = True
    combine: bool = True
    #: partition counts of output topics that must be created; those that exist keep their own
    output_partitions: Mapping[str, int] = field(default_factory=dict)
    compression: str | None = None
    max_record_bytes: int = 8 << 20
    max_in_flight: int = 50_000
    commit_interval_ms: int = 500
    tick_interval_ms: int = 1000
    align_ms: int = 30_000
    max_backlog: int = 2_000
    cache_keys: int = 2_000_000
    #: the memory that a worker may use, divided into shares: `worker/engine_config.py` takes it from the machine
    memory: Memory = field(default_factory=lambda: Memory(4 << 30))
    start: Start = "earliest"
    #: for topics that the job creates; None: the brokers' default
    replication_factor: int | None = None
    #: how many standbys keep a copy of each join partition's state
    standby_replicas: int = 0
    session_timeout_ms: int = 10_000
    instance_id: str | None = None
    #: the format that the group has agreed on; the only field that changes
    record_format: RecordFormat = field(default_factory=RecordFormat, compare=False)

    @property
    def generation(self) -> int:
        """The job's generation, from 1 on."""
        suffix = self.topics.prefix.removeprefix(self.spec.name)
        return int(suffix.removeprefix("-g")) if suffix else 1

    @property
    def group(self) -> str:
        """The consumer group: the job's name, with a generation from 2 on."""
        return self.topics.prefix

    def transactional_id(self, partition: int) -> str:
        """Returns the id of a join partition's producer: a new owner fences a paused one by it."""
        return f"{self.topics.prefix}-join-{partition}"


def refuse_edited(config: EngineConfig, partition: int, fingerprint: str) -> None:
    """Raises EditedError if a state's fingerprint is not that of the job as it is now."""
    what = edited(fingerprint, config.fingerprint)
    if what is not None:
        raise EditedError(
            f"join partition {partition}: the state of job {config.topics.prefix!r} was made by another version of "
            f"it: {what} since. Set that back; or give the old job `until: TIME` and start this one next to it with "
            "another `generation` and `start: TIME`; or throw the state away by `samplejoin reset`",
            differences(fingerprint, config.fingerprint) or [],
        )

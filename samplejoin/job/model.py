"""The job file as one model: every key, its type, its default and what it means. Times are ms, sizes bytes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from samplejoin.core.field_paths import shown
from samplejoin.errors import RefusedError
from samplejoin.formats import FORMATS
from samplejoin.job import validation
from samplejoin.job.errors import ConflictError, Places
from samplejoin.job.event_times import read_iso
from samplejoin.job.field_types import FUNCTION, Brokers, FieldPaths, Name, plain_job_name
from samplejoin.job.sections import Limits, Outputs, SampleField, Section, Security, StreamSection
from samplejoin.job.units import Duration, PositiveDuration

ALONE = {"alone": True}
"""As the context of a validation: what must hold between the parts is not asked."""
GENERATION = re.compile(r"-g[0-9]+$")
"""What `JobModel.prefix` appends to a job's name."""


def job_name(value: str) -> str:
    """A name that topics and groups can be made of. Raises RefusedError otherwise."""
    plain_job_name(value)
    if GENERATION.search(value):
        raise RefusedError(
            f"{value!r} ends like a generation", "say generation: 2 next to the name, or end it otherwise"
        )
    return value


def _until(value: str) -> str:
    try:
        read_iso(value)
    except ValueError as error:
        raise RefusedError(str(error), "a time such as 2026-01-31T12:00:00Z") from error
    return value


def _start(value: str) -> str:
    if value not in ("earliest", "latest"):
        try:
            read_iso(value)
        except ValueError as error:
            raise RefusedError(str(error), "earliest, latest, or a time such as 2026-01-31T12:00:00Z") from error
    return value


def _format(value: str) -> str:
    if value not in FORMATS and not FUNCTION.fullmatch(value):
        raise RefusedError(f"{value!r} is not a valid format", f"{', '.join(FORMATS)} or module:function")
    return value


def _junk_key(value: object) -> str | int:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RefusedError("must be text or a whole number", 'quote it: "true"')


JunkKey = Annotated[str | int, PlainValidator(_junk_key, json_schema_input_type=str | int)]
"""A key value that means nobody."""

FieldOrSource = Annotated[
    SampleField,
    BeforeValidator(
        lambda value: {"from": value} if isinstance(value, str) else value, json_schema_input_type=SampleField | str
    ),
]
"""A sample field, or where it comes from as a plain string."""


class JobModel(Section):
    """A join: which streams, by which key and window, what a sample carries, and where it goes."""

    name: Annotated[str, AfterValidator(job_name)] = Field(
        description="Name of the job: part of every sample's id and of its internal topics and consumer groups. "
        "Another name is another job."
    )
    generation: int = Field(
        1, ge=1, le=9999,
        description="A new one starts the job from the beginning next to the old one, with topics, group and state of "
        "its own, called `NAME-gN` from 2 on. Sample ids and output topics stay.",
    )  # fmt: skip
    brokers: Brokers = Field(("localhost:9092",), description="Kafka's bootstrap servers: `host:port`, or a list.")
    security: Security = Field(default=Security(), description="How to reach the brokers.")
    streams: dict[Name, StreamSection] = Field(
        description="The inputs by name: at least one anchor and one label stream."
    )
    key: Annotated[FieldPaths, Field(min_length=1, max_length=16)] = Field(
        description="The row fields that make up the join key, in order; every stream's rows have them. A sample has "
        "them by the same names, dots included. The key is at most `1KiB`, as a JSON array."
    )
    junk_keys: Annotated[tuple[JunkKey, ...], Field(strict=False)] = Field(
        ("", "0"),
        description="Texts and whole numbers that are no key: rows with one of them are counted and dropped. "
        '`"0"` is the text, `0` the number.',
    )
    window_ms: PositiveDuration = Field(
        alias="window", description="How long after its anchor a label still joins; the end is exclusive."
    )
    before_ms: Duration = Field(0, alias="before", description="How long before its anchor a label may lie.")
    lateness_ms: Duration = Field(
        30_000,
        alias="lateness",
        description="How much the events of one partition may be out of order; a stream can have its own.",
    )
    resolution_ms: PositiveDuration = Field(
        1000,
        alias="resolution",
        description="The step of event time; `window`, `before` and `correction` are multiples of it.",
    )
    repeat: Literal["merge", "each"] = Field(
        "merge", description="Further anchors of a key inside its window: folded into one sample, or a sample each."
    )
    attribution: Literal["last", "first"] = Field(
        "last", description="With `repeat: each`: the anchor that gets a label, of those whose windows hold it."
    )
    late: Literal["count", "topic", "correct"] = Field(
        "count",
        description="Labels that come after their sample: counted; sent to `outputs.late`; or a new revision of the "
        "sample within `correction`. For labels only: a late impression never opens a window, nor makes a revision.",
    )
    correction_ms: Duration = Field(
        0, alias="correction", description="With `late: correct`: how long after its end a window can be corrected."
    )
    clock: Literal["event", "processing"] = Field(
        "event", description="`event`: event times decide. `processing`: the time of arrival does."
    )
    sample: dict[Name, FieldOrSource] = Field(description="The sample's fields, besides the key, `label` and `weight`.")
    label: str | None = Field(
        None,
        min_length=1,
        description="An expression over the sample's fields, such as `clicks > 0`, or `module:function`, called with "
        "the sample. Without it: 1 if any label row joined, else 0.",
    )
    keep_negatives: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of negative samples that is kept; then every sample carries `weight`. With `late: correct` "
        "and a label that a late row can lower, leave it at 1: a correction to a negative that is not kept is not "
        "sent.",
    )
    format: Annotated[str, AfterValidator(_format)] = Field(
        "json",
        description="`json`; `csv` (no header; key, sample fields, label, weight); or `module:function`, called with "
        "the sample; it returns a dict, text, bytes, or None to drop it.",
    )
    outputs: Outputs = Field(default=Outputs(), description="Topics of samples, late and orphan rows, dead letters.")
    partitions: int = Field(
        4, ge=1, le=1024,
        description="Partitions of the join: the most workers that can share it. Fixed for a generation; "
        "`samplejoin migrate` takes the state to another.",
    )  # fmt: skip
    standby_replicas: int = Field(
        0,
        ge=0,
        le=8,
        description="Further workers that keep a copy of each join partition's state: one of them takes "
        "over within seconds, however large it is.",
    )
    combine: bool = Field(True, description="Whether rows of a key are aggregated before they are sent to its home.")
    start: Annotated[str, AfterValidator(_start)] = Field(
        "earliest", description="Where a new job starts to read: `earliest`, `latest`, or a time (ISO 8601)."
    )
    until: Annotated[str, AfterValidator(_until)] | None = Field(
        None,
        description="A time (ISO 8601) from which on anchors are left to another generation: they are counted and "
        "dropped, and label rows from `until` + `window` on with them.",
    )
    idle_after_ms: PositiveDuration = Field(
        5000,
        alias="idle_after",
        description="Silence after which a stream with `idle: advance` no longer holds; "
        "after a pause of all workers the clock catches up with a silence step by step.",
    )
    max_wait_ms: PositiveDuration | None = Field(
        None,
        alias="max_wait",
        description="How long a source that stands still is waited for; then samples say `complete: false`. "
        "`null`: for ever.",
    )
    max_skew_ms: PositiveDuration = Field(
        60_000, alias="max_skew", description="How far an event time may lie ahead; beyond, it is a dead letter."
    )
    align_ms: PositiveDuration = Field(
        30_000, alias="align", description="How far a source may be read ahead of the slowest, in event time."
    )
    max_backlog: int = Field(
        2000, ge=1, description="Blocks waiting in a join partition's log at which reading of the inputs pauses."
    )
    commit_interval_ms: PositiveDuration = Field(
        500, alias="commit_interval", description="How often a join partition commits, samples included."
    )
    max_in_flight: int = Field(
        50_000, ge=1, le=10_000_000, description="Records of a source partition sent on but not yet committed."
    )
    limits: Limits = Field(default=Limits(), description="Bounds on rows, samples and state.")
    error_rate: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of dead letters, among a stream's records or closed windows, past which the worker warns.",
    )
    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once", description="`at_least_once` only for brokers without transactions."
    )
    state_dir: str = Field(
        "state", min_length=1, description="Directory of the local state; relative to where the worker starts."
    )
    replication_factor: int | None = Field(
        None, ge=1, le=100, description="Of topics the worker creates; `null`: the broker's default."
    )
    web_port: int = Field(6066, ge=1, le=65535, description="Port of `/metrics`, `/livez`, `/readyz`, `/status.json`.")
    _places: Places = PrivateAttr(default_factory=Places)

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> JobModel:
        issues = [] if info.context == ALONE else validation.issues_of(self)
        if issues:
            raise ConflictError(issues)
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of a sample that goes out, in their order."""
        weight = ("weight",) if self.keep_negatives < 1 else ()
        return (*self.key_names, *self.sample, "label", *weight)

    @property
    def key_names(self) -> tuple[str, ...]:
        """What a sample calls its key fields."""
        return tuple(map(shown, self.key))

    @property
    def places(self) -> Places:
        """Where each value was written; empty if the job never was a file."""
        return self._places

    @property
    def start_ms(self) -> int | None:
        """`start` as epoch ms if it is a time."""
        return None if self.start in ("earliest", "latest") else read_iso(self.start)

    @property
    def until_ms(self) -> int | None:
        """`until` as epoch ms."""
        return None if self.until is None else read_iso(self.until)

    def lateness_of(self, stream: StreamSection) -> int:
        """The stream's own `lateness`, or the job's, in ms."""
        return self.lateness_ms if stream.lateness_ms is None else stream.lateness_ms

    @property
    def largest_lateness_ms(self) -> int:
        """Of all streams: how far the clock is behind when all are read up to the same event time."""
        return max(map(self.lateness_of, self.streams.values()))

    @property
    def prefix(self) -> str:
        """What the names of group, internal topics, transactional ids and state directory begin with."""
        return self.name if self.generation == 1 else f"{self.name}-g{self.generation}"

    @property
    def samples_topic(self) -> str:
        """The topic of finished samples."""
        return self.outputs.samples.topic or f"{self.name}-samples"

    @property
    def dead_letter_topic(self) -> str:
        """The topic of what could not be processed."""
        return self.outputs.dead_letter.topic or f"{self.name}-dead-letter"

    def output_topics(self) -> dict[str, str]:
        """Output name -> topic, for those that the job writes."""
        topics = {"samples": self.samples_topic, "dead_letter": self.dead_letter_topic}
        for name, output in (("late", self.outputs.late), ("orphan", self.outputs.orphan)):
            if output is not None and output.topic is not None:
                topics[name] = output.topic
        return topics

"""The model of the job file: every key with its type, default and meaning. Times are in ms, sizes in bytes."""

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
"""The context of a validation that skips the checks between the parts of a job."""
GENERATION = re.compile(r"-g[0-9]+$")
"""What `JobModel.prefix` appends to a job's name."""


def job_name(value: str) -> str:
    """Returns the value if it is a valid job name. Raises RefusedError otherwise."""
    plain_job_name(value)
    if GENERATION.search(value):
        raise RefusedError(
            f"{value!r} ends like the name of a generation", "set generation: 2, or choose another ending than -gN"
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
"""A key value that does not identify anybody."""

FieldOrSource = Annotated[
    SampleField,
    BeforeValidator(
        lambda value: {"from": value} if isinstance(value, str) else value, json_schema_input_type=SampleField | str
    ),
]
"""A sample field, or only its `from` as a plain string."""


class JobModel(Section):
    """A join: its streams, key and window, the fields of a sample, and the output topics."""

    name: Annotated[str, AfterValidator(job_name)] = Field(
        description="Name of the job: part of every sample's id and of its internal topics and consumer groups. "
        "Another name is another job."
    )
    generation: int = Field(
        1,
        ge=1,
        le=9999,
        description="A new generation runs the job from the beginning next to the old one, with its own internal "
        "topics, group and state, named `NAME-gN` from 2 on. Sample ids and output topics stay the same.",
    )
    brokers: Brokers = Field(("localhost:9092",), description="Kafka's bootstrap servers: `host:port`, or a list.")
    security: Security = Field(default=Security(), description="How to reach the brokers.")
    streams: dict[Name, StreamSection] = Field(
        description="The inputs by name: at least one anchor and one label stream."
    )
    key: Annotated[FieldPaths, Field(min_length=1, max_length=16)] = Field(
        description="The row fields that make up the join key, in order; the rows of every stream have them. A sample "
        "has them under the same names, dots included. As a JSON array the key has at most `1KiB`."
    )
    junk_keys: Annotated[tuple[JunkKey, ...], Field(strict=False)] = Field(
        ("", "0"),
        description="Texts and whole numbers that are not valid keys: rows with one of them are counted and dropped. "
        '`"0"` is the text, `0` the number.',
    )
    window_ms: PositiveDuration = Field(
        alias="window", description="How long after its anchor a label still joins; the end is exclusive."
    )
    before_ms: Duration = Field(0, alias="before", description="How long before its anchor a label may be.")
    lateness_ms: Duration = Field(
        30_000,
        alias="lateness",
        description="How much the events of one partition may be out of order; a stream can have its own.",
    )
    resolution_ms: PositiveDuration = Field(
        1000,
        alias="resolution",
        description="The length of a slice of event time; `window`, `before` and `correction` are multiples of it.",
    )
    repeat: Literal["merge", "each"] = Field(
        "merge",
        description="Further anchors of a key inside its window: `merge` folds them into one sample, `each` makes a "
        "sample of each.",
    )
    attribution: Literal["last", "first"] = Field(
        "last", description="With `repeat: each`: which anchor gets a label, if the windows of several hold it."
    )
    late: Literal["count", "topic", "correct"] = Field(
        "count",
        description="What happens to labels that come after their sample: `count` counts them, `topic` sends them to "
        "`outputs.late`, `correct` makes a new revision of the sample within `correction`. A late impression never "
        "opens a window, nor makes a revision.",
    )
    correction_ms: Duration = Field(
        0, alias="correction", description="With `late: correct`: how long after its end a window can be corrected."
    )
    clock: Literal["event", "processing"] = Field(
        "event", description="`event`: rows join by their event time. `processing`: by their time of arrival."
    )
    sample: dict[Name, FieldOrSource] = Field(description="The sample's fields, besides the key, `label` and `weight`.")
    label: str | None = Field(
        None,
        min_length=1,
        description="An expression over the sample's fields, such as `clicks > 0`, or `module:function`, called with "
        "the sample. Default: 1 if any label row joined, else 0.",
    )
    keep_negatives: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of negative samples that is kept; below 1, every sample has a `weight`. With `late: "
        "correct` and a label that a late row can lower, leave it at 1: a correction to a negative that is not kept is "
        "not sent.",
    )
    format: Annotated[str, AfterValidator(_format)] = Field(
        "json",
        description="`json`; `csv` (no header; key, sample fields, label, weight); or `module:function`, called with "
        "the sample, which returns a dict, text, bytes, or None to drop it.",
    )
    outputs: Outputs = Field(default=Outputs(), description="Topics of samples, late rows, orphans and dead letters.")
    partitions: int = Field(
        4,
        ge=1,
        le=1024,
        description="Partitions of the join, and so the largest number of workers that can share it. Fixed for a "
        "generation; `samplejoin migrate` moves the state to another number.",
    )
    standby_replicas: int = Field(
        0,
        ge=0,
        le=8,
        description="Number of further workers that keep a copy of each join partition's state; one of them takes "
        "over within seconds, however large the state is.",
    )
    combine: bool = Field(True, description="Whether rows of a key are combined before they are sent to the join.")
    start: Annotated[str, AfterValidator(_start)] = Field(
        "earliest", description="Where a new job starts to read: `earliest`, `latest`, or a time (ISO 8601)."
    )
    until: Annotated[str, AfterValidator(_until)] | None = Field(
        None,
        description="A time (ISO 8601) from which anchors are left to another generation. They are counted and "
        "dropped, as are label rows from `until` + `window`.",
    )
    idle_after_ms: PositiveDuration = Field(
        5000,
        alias="idle_after",
        description="Silence after which a stream with `idle: advance` no longer holds back the clock. "
        "After a pause of all workers the clock catches up with a silence step by step.",
    )
    max_wait_ms: PositiveDuration | None = Field(
        None,
        alias="max_wait",
        description="How long the clock waits for a source that stands still; then samples say `complete: false`. "
        "`null`: forever.",
    )
    max_skew_ms: PositiveDuration = Field(
        60_000,
        alias="max_skew",
        description="How far an event time may be in the future; a record beyond it is a dead letter.",
    )
    align_ms: PositiveDuration = Field(
        30_000, alias="align", description="How far, in event time, a source may be read ahead of the slowest one."
    )
    max_backlog: int = Field(
        2000, ge=1, description="Blocks waiting in a join partition's log at which reading of the inputs pauses."
    )
    commit_interval_ms: PositiveDuration = Field(
        500, alias="commit_interval", description="How often a join partition commits, samples included."
    )
    max_in_flight: int = Field(
        50_000, ge=1, le=10_000_000, description="Most records of a source that may be sent on but not yet committed."
    )
    limits: Limits = Field(default=Limits(), description="Bounds on rows, samples and state.")
    error_rate: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of dead letters, of a stream's records or of closed windows, above which the worker warns.",
    )
    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once", description="Use `at_least_once` only for brokers without transactions."
    )
    state_dir: str = Field(
        "state", min_length=1, description="Directory of the local state, relative to where the worker starts."
    )
    replication_factor: int | None = Field(
        None, ge=1, le=100, description="For topics that the worker creates; `null`: the broker's default."
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
        """The names of a sample's fields as it is sent, in order."""
        weight = ("weight",) if self.keep_negatives < 1 else ()
        return (*self.key_names, *self.sample, "label", *weight)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key fields in a sample."""
        return tuple(map(shown, self.key))

    @property
    def places(self) -> Places:
        """The places where values were written; empty if the job was not read from a file."""
        return self._places

    @property
    def start_ms(self) -> int | None:
        """`start` as epoch ms; None if it is not a time."""
        return None if self.start in ("earliest", "latest") else read_iso(self.start)

    @property
    def until_ms(self) -> int | None:
        """`until` as epoch ms; None without it."""
        return None if self.until is None else read_iso(self.until)

    def lateness_of(self, stream: StreamSection) -> int:
        """Returns the stream's own `lateness`, or else the job's, in ms."""
        return self.lateness_ms if stream.lateness_ms is None else stream.lateness_ms

    @property
    def largest_lateness_ms(self) -> int:
        """The largest lateness of all streams: how far the clock is behind if all are read up to one event time."""
        return max(map(self.lateness_of, self.streams.values()))

    @property
    def prefix(self) -> str:
        """The beginning of the names of group, internal topics, transactional ids and state directory."""
        return self.name if self.generation == 1 else f"{self.name}-g{self.generation}"

    @property
    def samples_topic(self) -> str:
        """The name of the topic of finished samples."""
        return self.outputs.samples.topic or f"{self.name}-samples"

    @property
    def dead_letter_topic(self) -> str:
        """The name of the topic of records and samples that could not be processed."""
        return self.outputs.dead_letter.topic or f"{self.name}-dead-letter"

    def output_topics(self) -> dict[str, str]:
        """Returns the topics that the job writes, by the name of the output."""
        topics = {"samples": self.samples_topic, "dead_letter": self.dead_letter_topic}
        for name, output in (("late", self.outputs.late), ("orphan", self.outputs.orphan)):
            if output is not None and output.topic is not None:
                topics[name] = output.topic
        return topics

"""The models of a job file's sections: streams, sample fields, outputs, security, limits. `model.py` combines them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from samplejoin.job.field_types import (
    AggregateName,
    Columns,
    DecoderName,
    Delimiter,
    FieldPath,
    FunctionName,
    KeySize,
    Mechanism,
    RecordSize,
    RowSize,
    SampleSize,
    TimePath,
    TopicName,
    TopicPattern,
    Topics,
    WorkerMemory,
)
from samplejoin.job.units import Duration


class Section(BaseModel):
    """The base of all sections of the job file: exact types, no unknown keys, no change after loading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class StreamSection(Section):
    """A named input: its topics, and how its records become rows."""

    role: Literal["anchor", "label"] = Field(
        description="`anchor`: each row opens a window and becomes a sample (impressions). `label`: rows that join a "
        "window (clicks, likes)."
    )
    topic: TopicName | None = Field(None, description="The topic. Exactly one of `topic`, `topics`, `pattern`.")
    topics: Topics | None = Field(None, description="Several topics, read as one stream.")
    pattern: TopicPattern | None = Field(
        None, description="A regular expression; reads all topics whose whole name matches it when the worker starts."
    )
    decode: DecoderName = Field(
        "json",
        description="How a record becomes a dict: `json`; `csv` (needs `columns`); `raw` "
        "(`key`, `value`, `timestamp`, `headers`); or `module:function`, called with the record.",
    )
    columns: Columns | None = Field(
        None,
        description="For `decode: csv`: the names of the columns, `[uid, item]`, whose values are text; or names with "
        "types, `{uid: str, item: int, dwell: float, liked: bool}`. A record with text of another type is a dead "
        "letter; empty text is null, except for `str`. A `bool` is `1`, `0`, `true` or `false`, in any case.",
    )
    delimiter: Delimiter = Field(
        ",", description='The character between the columns, for `decode: csv`; `"\\t"` for tabs.'
    )
    clean: FunctionName | None = Field(
        None,
        description="`module:function`, called with the decoded record; returns a dict, a list of dicts or None. "
        "Without it the record itself is the row.",
    )
    time: TimePath | None = Field(
        None,
        description="The field of the decoded record with the event time; `@timestamp` is the Kafka record's "
        "timestamp, `\\@timestamp` a field of that name. Required, except with `clock: processing`.",
    )
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = Field(
        "ms",
        description="Unit of that time since 1970: `s`, `ms`, `us`, `ns` (numbers, or numbers written as text), or "
        "`iso` for text like `2026-01-31T12:00:00Z` (without an offset: UTC).",
    )
    id: FieldPath | None = Field(
        None,
        description="A row field that names the event, for producers that retry: rows with the same id count once.",
    )
    lateness_ms: Duration | None = Field(
        None,
        alias="lateness",
        description="How much the events of one of its partitions may be out of order; default: the job's. If "
        "streams share a topic, the largest of their values applies, to all topics that they read.",
    )
    idle: Literal["advance", "hold"] = Field(
        "advance",
        description="When the whole stream is silent: `advance` lets windows close after `idle_after`; `hold` stops "
        "the clock, for a stream that is never silent while others have records.",
    )
    _resolved: tuple[str, ...] | None = PrivateAttr(None)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The names of the stream's topics; empty while a `pattern` has not been resolved."""
        if self.topic is not None:
            return (self.topic,)
        return self.topics or self._resolved or ()

    @property
    def time_field(self) -> str:
        """The dotted path of the event time, or `@timestamp`."""
        return self.time or "@timestamp"


class SampleField(Section):
    """A field of the sample. A plain string is short for `{from: string}`."""

    source: str = Field(
        alias="from",
        description="`stream.field` for a field of the stream's rows; `stream` for the rows themselves (with `agg: "
        "count`, `any` or your own).",
    )
    agg: AggregateName | None = Field(
        None,
        description="`count`, `sum`, `mean`, `min`, `max`, `first`, `last`, `any`, `all`, `distinct`, `list(n)`, "
        "`top(n)`, or `module:Class`. Default `first` for anchor streams; required for label streams.",
    )

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.source.partition(".")[0]

    @property
    def source_field(self) -> str | None:
        """The path of the row's field; None for the rows themselves."""
        return self.source.partition(".")[2] or None


class Output(Section):
    """An output topic. A plain string is short for `{topic: string}`."""

    topic: TopicName | None = Field(
        None,
        description="The topic; by default the job's name with `-samples` or `-dead-letter`. "
        "Required for `late` and `orphan`.",
    )
    compression: Literal["none", "gzip", "lz4", "zstd"] = Field(
        "zstd",
        description="Compression of batches; for `samples` only. Late and orphan rows are compressed alike.",
    )
    partitions: int | None = Field(
        None, ge=1, le=1024, description="Partitions, if the worker creates the topic; default: the job's `partitions`."
    )


OutputOrTopic = Annotated[
    Output,
    BeforeValidator(
        lambda value: {"topic": value} if isinstance(value, str) else value, json_schema_input_type=Output | str
    ),
]
"""An output, or only its topic as a plain string."""


class Outputs(Section):
    """The topics of samples, late rows, orphans and dead letters."""

    samples: OutputOrTopic = Field(default=Output(), description="Finished samples.")
    late: OutputOrTopic | None = Field(
        None, description="Rows that came too late, with `late: topic` or `late: correct`."
    )
    orphan: OutputOrTopic | None = Field(None, description="Label rows that no window held.")
    dead_letter: OutputOrTopic = Field(
        default=Output(), description="Records and samples that could not be processed, with the reason."
    )


class Security(Section):
    """How to connect to the brokers. The password must be a reference, or be set in the environment."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="As in Kafka's own configuration."
    )
    mechanism: Mechanism | None = Field(None, description="For SASL protocols.")
    username: str | None = Field(None, repr=False, description="For SASL protocols.")
    password: SecretStr | None = Field(None, description="For SASL protocols; `${env:NAME}` or `${file:/path}` only.")
    ca_file: str | None = Field(None, description="PEM file of the trusted authorities, relative to the job file.")
    cert_file: str | None = Field(None, description="PEM file of the client's certificate, relative to the job file.")
    key_file: str | None = Field(None, description="PEM file of the client's key, relative to the job file.")


class Limits(Section):
    """Limits that keep one bad key or record from harming the others."""

    rows: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Label cells, one per stream and slice, kept per key within the length of a window (event time "
        "divided by `window`); beyond it labels are dropped and the sample says `truncated`.",
    )
    key_bytes: KeySize = Field(
        16 << 20,
        alias="key",
        description="Bytes of label cells kept per key within the length of a window, `4MiB` or more; beyond it as "
        "for `rows`.",
    )
    record_bytes: RecordSize = Field(
        8 << 20,
        alias="record",
        description="Largest record of an input topic, expanded, `64KiB` to `64MiB`; a larger one is a dead letter.",
    )
    row_bytes: RowSize = Field(
        512 << 10,
        alias="row",
        description="Largest row, at most `1MiB`; a larger one, or a record whose rows together are over four times "
        "this size, is a dead letter. Where an aggregate keeps lists or objects, each element and name in them counts "
        "as at least 64 bytes, which is what it takes in memory.",
    )
    sample_bytes: SampleSize = Field(
        512 << 10,
        alias="sample",
        description="Largest formatted sample, at most `1000KiB`; a larger one is a dead letter.",
    )
    cache_keys: int = Field(
        200_000, ge=1000, description="Open keys that one join partition keeps in memory; the rest are in RocksDB."
    )
    memory_bytes: WorkerMemory | None = Field(
        None,
        alias="memory",
        description="What one worker may use, from `512MiB`; `null`: 80 % of its container's limit, or a quarter of "
        "the machine's memory. See [operations](operations.md#memory).",
    )

"""The parts of a job file: streams, sample fields, outputs, security, limits. `model.py` puts them together."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
)

from samplejoin.core.field_paths import names_of
from samplejoin.decoding.csv_columns import ColumnType, columns_of
from samplejoin.errors import RefusedError, did_you_mean
from samplejoin.job.units import Duration, Size, format_size

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_AGGREGATE = re.compile(r"([a-z]+)(?:\(\s*(\d{1,6})\s*\))?", re.ASCII)
PLAIN_AGGREGATES = ("count", "sum", "mean", "min", "max", "first", "last", "any", "all", "distinct")
LIMITED_AGGREGATES = ("list", "top")
MAX_MESSAGE_BYTES = 1 << 20
MAX_SAMPLE_BYTES = 1000 << 10
MIN_RECORD_BYTES, MAX_RECORD_BYTES = 64 << 10, 64 << 20
MIN_MEMORY_BYTES = 512 << 20


class Part(BaseModel):
    """What all parts of the job file have in common: exact types, no unknown keys, no change after loading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def function_name(value: str) -> str:
    """A name like `module:function`. Raises RefusedError otherwise."""
    if not FUNCTION.fullmatch(value):
        raise RefusedError(f"{value!r} names no function", "write module:function, e.g. functions:clean_click")
    return value


def topic_name(value: str) -> str:
    """A name that Kafka allows for a topic. Raises RefusedError otherwise."""
    return _kafka_name(value, "topic", 249)


def _kafka_name(value: str, what: str, most: int) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{most}}}", value) or value in (".", ".."):
        hint = f"letters, digits, '.', '_' and '-', at most {most} of them"
        raise RefusedError(f"{value!r} is not a valid {what} name", hint)
    return value


def plain_job_name(value: str) -> str:
    """A name that topics and groups can be made of. Raises RefusedError otherwise."""
    return _kafka_name(value, "job", 100)


def field_name(value: str) -> str:
    """A name that can stand in a label expression and in `from: stream.field`. Raises RefusedError otherwise."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise RefusedError(f"{value!r} is not a valid name", "a letter or '_', then letters, digits and '_'")
    return value


def split_aggregate(value: str) -> tuple[str, int | None]:
    """`list(20)` as `("list", 20)`, `count` as `("count", None)`. Raises RefusedError for what is not an aggregate."""
    match = _AGGREGATE.fullmatch(value)
    name = match[1] if match else value
    if match and match[2] is None and name in PLAIN_AGGREGATES:
        return name, None
    if name in LIMITED_AGGREGATES:
        limit = int(match[2]) if match and match[2] else 0
        if not 1 <= limit <= 10_000:
            raise RefusedError(f"{name} needs how many values to keep, 1 to 10000", f"write {name}(20)")
        return name, limit
    known = ", ".join((*PLAIN_AGGREGATES, *(f"{n}(20)" for n in LIMITED_AGGREGATES)))
    near = did_you_mean(name, (*PLAIN_AGGREGATES, *LIMITED_AGGREGATES))
    raise RefusedError(f"{value!r} is not an aggregate", near or f"one of {known}, or module:Class")


def _aggregate(value: str) -> str:
    if ":" in value:
        return function_name(value)
    split_aggregate(value)
    return value


def field_path(value: str) -> str:
    """A field of a row, with dots into nested objects. Raises RefusedError otherwise."""
    try:
        names_of(value)
    except ValueError as error:
        raise RefusedError(
            f"{value!r} is not a field: {error}", r"ts, meta.ts for a nested one, or a\.b for a name with a dot"
        ) from None
    return value


def _time_path(value: str) -> str:
    if value.startswith("@") and value != "@timestamp":
        hint = rf"'@timestamp' is the Kafka record's own time; the field of that name is '\{value}'"
        raise RefusedError(f"{value!r} is not a field", hint)
    return field_path(value)


def _delimiter(value: str) -> str:
    if len(value) != 1 or value in '"\r\n' or ord(value) > 0x7F:
        raise RefusedError(f"{value!r} is not a delimiter", r'one character: "\t" for tabs, ";" or "|"')
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise RefusedError(f"{value!r} is not a valid regular expression: {error}") from error
    return value


def _decode(value: str) -> str:
    if value not in ("json", "csv", "raw") and not FUNCTION.fullmatch(value):
        near = did_you_mean(value, ("json", "csv", "raw"))
        raise RefusedError(f"{value!r} is not a way to decode", near or "json, csv, raw or module:function")
    return value


def _fits_a_message(value: int) -> int:
    if value > MAX_MESSAGE_BYTES:
        raise RefusedError(
            f"{format_size(value)} is over {format_size(MAX_MESSAGE_BYTES)}", "it must fit a message with others"
        )
    return value


def _leaves_room(value: int) -> int:
    if value > MAX_SAMPLE_BYTES:
        raise RefusedError(
            f"{format_size(value)} is over {format_size(MAX_SAMPLE_BYTES)}",
            "with its key and headers it must fit Kafka's default max.message.bytes, 1MiB",
        )
    return value


def _fits_memory(value: int) -> int:
    if not MIN_RECORD_BYTES <= value <= MAX_RECORD_BYTES:
        raise RefusedError(
            f"{format_size(value)} is not between {format_size(MIN_RECORD_BYTES)} and {format_size(MAX_RECORD_BYTES)}",
            "a worker holds several such records at once",
        )
    return value


def _enough_memory(value: int) -> int:
    if value < MIN_MEMORY_BYTES:
        raise RefusedError(f"{format_size(value)} is less than {format_size(MIN_MEMORY_BYTES)}", "a worker needs that")
    return value


Name = Annotated[str, AfterValidator(field_name)]
TopicName = Annotated[str, AfterValidator(topic_name)]
FunctionName = Annotated[str, AfterValidator(function_name)]
FieldPath = Annotated[str, AfterValidator(field_path)]
FieldPaths = Annotated[tuple[FieldPath, ...], Field(strict=False)]
Columns = Annotated[
    tuple[str, ...] | dict[str, ColumnType],
    PlainValidator(columns_of, json_schema_input_type=list[str] | dict[str, ColumnType]),
]
Topics = Annotated[tuple[TopicName, ...], Field(strict=False, min_length=1)]


class Stream(Part):
    """A named input: where its records come from and how they become rows."""

    role: Literal["anchor", "label"] = Field(
        description="`anchor`: each row opens a window and becomes a sample (impressions). `label`: rows that join a "
        "window (clicks, likes)."
    )
    topic: TopicName | None = Field(None, description="The topic. Exactly one of `topic`, `topics`, `pattern`.")
    topics: Topics | None = Field(None, description="Several topics, read as one stream.")
    pattern: Annotated[str, AfterValidator(_pattern)] | None = Field(
        None, description="A regular expression; every topic whose whole name matches it when the worker starts."
    )
    decode: Annotated[str, AfterValidator(_decode)] = Field(
        "json",
        description="How a record becomes a dict: `json`; `csv` (needs `columns`); `raw` "
        "(`key`, `value`, `timestamp`, `headers`); or `module:function`, called with the record.",
    )
    columns: Columns | None = Field(
        None,
        description="For `decode: csv`: the names of the columns, `[uid, item]`, whose values are text; or names with "
        "types, `{uid: str, item: int, dwell: float, liked: bool}`. Text that is not of its type is a dead letter; "
        "empty text is null, except for `str`. A `bool` is `1`, `0`, `true` or `false`, in any case.",
    )
    delimiter: Annotated[str, AfterValidator(_delimiter)] = Field(
        ",", description='What stands between the columns, for `decode: csv`; `"\\t"` for tabs.'
    )
    clean: FunctionName | None = Field(
        None,
        description="`module:function`, called with the decoded record; returns a dict, a list of dicts or None. "
        "Without it the record itself is the row.",
    )
    time: Annotated[str, AfterValidator(_time_path)] | None = Field(
        None,
        description="The field of the decoded record that holds the event time; `@timestamp` is the Kafka record's "
        "own, `\\@timestamp` a field of that name. Required, except with `clock: processing`.",
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
        description="How much the events of one of its partitions may be out of order; default: the job's. Of streams "
        "that share a topic the largest holds, for all their topics.",
    )
    idle: Literal["advance", "hold"] = Field(
        "advance",
        description="When the whole stream is silent: `advance` lets windows close after `idle_after`; `hold` stops "
        "the clock, for a stream that must never be silent while others flow.",
    )
    _resolved: tuple[str, ...] | None = PrivateAttr(None)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The stream's topics; empty while a `pattern` has not been resolved."""
        if self.topic is not None:
            return (self.topic,)
        return self.topics or self._resolved or ()

    @property
    def time_field(self) -> str:
        """The dotted path of the event time, or `@timestamp`."""
        return self.time or "@timestamp"


class SampleField(Part):
    """A field of the sample. A plain string is short for `{from: string}`."""

    source: str = Field(
        alias="from",
        description="`stream.field` for a field of its rows; `stream` alone for the rows themselves (`agg: count`, "
        "`any` or your own).",
    )
    agg: Annotated[str, AfterValidator(_aggregate)] | None = Field(
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
        """The path of the row's field, None for the rows themselves."""
        return self.source.partition(".")[2] or None


class Output(Part):
    """An output topic. A plain string is short for `{topic: string}`."""

    topic: TopicName | None = Field(
        None, description="The topic; by default the job's name with `-samples` or `-dead-letter`. "
        "Required for `late` and `orphan`."
    )  # fmt: skip
    compression: Literal["none", "gzip", "lz4", "zstd"] = Field(
        "zstd",
        description="How batches are compressed; for `samples` only. Late and orphan rows are sent with them.",
    )
    partitions: int | None = Field(
        None, ge=1, le=1024, description="Partitions if the worker creates the topic; default: the job's `partitions`."
    )


OutputOrTopic = Annotated[
    Output,
    BeforeValidator(
        lambda value: {"topic": value} if isinstance(value, str) else value, json_schema_input_type=Output | str
    ),
]
"""An output, or its topic as a plain string."""


class Outputs(Part):
    """Where samples and side outputs go."""

    samples: OutputOrTopic = Field(default=Output(), description="Finished samples.")
    late: OutputOrTopic | None = Field(
        None, description="Rows that came too late, with `late: topic` or `late: correct`."
    )
    orphan: OutputOrTopic | None = Field(None, description="Label rows that no window held.")
    dead_letter: OutputOrTopic = Field(
        default=Output(), description="Records and samples that could not be processed, with the reason."
    )


#: logins that this version does not have, for people
LOGINS = {"OAUTHBEARER": "OAuth", "GSSAPI": "Kerberos", "AWS_MSK_IAM": "IAM of Amazon MSK"}


def _mechanism(value: Any) -> Any:
    """Raises RefusedError for a login that Kafka knows and this version does not."""
    if isinstance(value, str) and value in LOGINS:
        raise RefusedError(
            f"{value} ({LOGINS[value]}) is not supported yet",
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or protocol: SSL with cert_file",
        )
    return value


class Security(Part):
    """How to reach the brokers. Secrets are given as `${env:NAME}` or `${file:/path}` only."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="As in Kafka's own configuration."
    )
    mechanism: Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, BeforeValidator(_mechanism)] = (
        Field(None, description="For SASL protocols.")
    )
    username: str | None = Field(None, repr=False, description="For SASL protocols.")
    password: SecretStr | None = Field(None, description="For SASL protocols; `${env:NAME}` or `${file:/path}` only.")
    ca_file: str | None = Field(None, description="PEM file of the authorities to trust; relative to the job file.")
    cert_file: str | None = Field(None, description="PEM file of the client's certificate; relative to the job file.")
    key_file: str | None = Field(None, description="PEM file of the client's key; relative to the job file.")


def _holds_rows(size: int) -> int:
    if size < 4 << 20:
        raise RefusedError("is below 4MiB, which a few of the largest rows have", "16MiB")
    return size


class Limits(Part):
    """Bounds that keep one bad key or record from hurting the rest."""

    rows: int = Field(
        10_000, ge=1, le=10_000_000,
        description="Label cells, one per stream and slice, kept per key within the length of a window (event time "
        "divided by `window`); past it labels are dropped, the sample says `truncated`.",
    )  # fmt: skip
    key_bytes: Annotated[Size, AfterValidator(_holds_rows)] = Field(
        16 << 20,
        alias="key",
        description="Bytes of label cells kept per key within the length of a window, `4MiB` or more; past it as past "
        "`rows`.",
    )
    record_bytes: Annotated[Size, AfterValidator(_fits_memory)] = Field(
        8 << 20,
        alias="record",
        description="Largest record of an input topic, expanded, `64KiB` to `64MiB`; a larger one is a dead letter.",
    )
    row_bytes: Annotated[Size, AfterValidator(_fits_a_message)] = Field(
        512 << 10,
        alias="row",
        description="Largest row, at most `1MiB`; a larger one, or a record whose rows together are over four times "
        "as large, is a dead letter. Where an aggregate keeps lists or objects, each element and name in them counts "
        "as at least 64 bytes: that is what it takes in memory.",
    )
    sample_bytes: Annotated[Size, AfterValidator(_leaves_room)] = Field(
        512 << 10,
        alias="sample",
        description="Largest formatted sample, at most `1000KiB`; a larger one is a dead letter.",
    )
    cache_keys: int = Field(
        200_000, ge=1000, description="Open keys that one join partition keeps in memory; the rest waits in RocksDB."
    )
    memory_bytes: Annotated[Size, AfterValidator(_enough_memory)] | None = Field(
        None,
        alias="memory",
        description="What one worker may take, from `512MiB`; `null`: 80 % of its container's limit, or a quarter of "
        "the machine's memory. See [operations](operations.md#memory).",
    )


def brokers_of(value: Any) -> Any:
    """`a:9092,b:9092` or a list as the list of its brokers. Raises RefusedError for what is not `host:port`."""
    brokers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(brokers, list | tuple) or not all(isinstance(b, str) for b in brokers) or not brokers:
        raise RefusedError("must be text or a list of text", "localhost:9092, or [kafka-1:9092, kafka-2:9092]")
    for broker in brokers:
        host, colon, port = broker.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
            raise RefusedError(f"{broker!r} is not a valid broker", "host:port, e.g. localhost:9092")
    return tuple(brokers)


Brokers = Annotated[tuple[str, ...], BeforeValidator(brokers_of, json_schema_input_type=str | list[str])]

"""Types of the job file's values (names, paths, functions, sizes) with the checks of each."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from samplejoin.core.field_paths import names_of
from samplejoin.decoding.csv_columns import ColumnType, columns_of
from samplejoin.errors import RefusedError, did_you_mean
from samplejoin.job.units import Size, format_size

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_AGGREGATE = re.compile(r"([a-z]+)(?:\(\s*(\d{1,6})\s*\))?", re.ASCII)
PLAIN_AGGREGATES = ("count", "sum", "mean", "min", "max", "first", "last", "any", "all", "distinct")
LIMITED_AGGREGATES = ("list", "top")
MAX_MESSAGE_BYTES = 1 << 20
MAX_SAMPLE_BYTES = 1000 << 10
MIN_RECORD_BYTES, MAX_RECORD_BYTES = 64 << 10, 64 << 20
MIN_MEMORY_BYTES = 512 << 20


def function_name(value: str) -> str:
    """Returns the value if it is of the form `module:function`. Raises RefusedError otherwise."""
    if not FUNCTION.fullmatch(value):
        raise RefusedError(f"{value!r} is not a valid function name", "module:function, e.g. functions:clean_click")
    return value


def topic_name(value: str) -> str:
    """Returns the value if Kafka allows it as a topic name. Raises RefusedError otherwise."""
    return _kafka_name(value, "topic", 249)


def _kafka_name(value: str, what: str, most: int) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{most}}}", value) or value in (".", ".."):
        hint = f"letters, digits, '.', '_' and '-', at most {most} of them"
        raise RefusedError(f"{value!r} is not a valid {what} name", hint)
    return value


def plain_job_name(value: str) -> str:
    """Returns the value if names of topics and groups can begin with it. Raises RefusedError otherwise."""
    return _kafka_name(value, "job", 100)


def field_name(value: str) -> str:
    """Returns a name that label expressions and `from: stream.field` can use. Raises RefusedError otherwise."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise RefusedError(f"{value!r} is not a valid name", "a letter or '_', then letters, digits and '_'")
    return value


def split_aggregate(value: str) -> tuple[str, int | None]:
    """Splits `list(20)` into `("list", 20)`, `count` into `("count", None)`. Raises RefusedError for other text."""
    match = _AGGREGATE.fullmatch(value)
    name = match[1] if match else value
    if match and match[2] is None and name in PLAIN_AGGREGATES:
        return name, None
    if name in LIMITED_AGGREGATES:
        limit = int(match[2]) if match and match[2] else 0
        if not 1 <= limit <= 10_000:
            raise RefusedError(f"{name} needs the number of values to keep, 1 to 10000", f"write {name}(20)")
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
    """Returns the path of a row's field, with dots into nested objects. Raises RefusedError if it is not valid."""
    try:
        names_of(value)
    except ValueError as error:
        raise RefusedError(
            f"{value!r} is not a field: {error}", r"ts, meta.ts for a nested one, or a\.b for a name with a dot"
        ) from None
    return value


def _time_path(value: str) -> str:
    if value.startswith("@") and value != "@timestamp":
        hint = rf"'@timestamp' is the Kafka record's timestamp; write the field of that name as '\{value}'"
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
        raise RefusedError(f"{value!r} is not a valid decoder", near or "json, csv, raw or module:function")
    return value


def _fits_a_message(value: int) -> int:
    if value > MAX_MESSAGE_BYTES:
        raise RefusedError(
            f"{format_size(value)} is over {format_size(MAX_MESSAGE_BYTES)}", "one message must hold it and others"
        )
    return value


def _leaves_room(value: int) -> int:
    if value > MAX_SAMPLE_BYTES:
        raise RefusedError(
            f"{format_size(value)} is over {format_size(MAX_SAMPLE_BYTES)}",
            "with its key and headers it must fit into Kafka's default max.message.bytes, 1MiB",
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
        raise RefusedError(f"{format_size(value)} is less than {format_size(MIN_MEMORY_BYTES)}", "a worker needs it")
    return value


def _holds_rows(size: int) -> int:
    if size < 4 << 20:
        raise RefusedError("is less than 4MiB, the size of a few of the largest rows", "e.g. 16MiB")
    return size


#: SASL mechanisms that this version does not support, with the names people use
LOGINS = {"OAUTHBEARER": "OAuth", "GSSAPI": "Kerberos", "AWS_MSK_IAM": "IAM of Amazon MSK"}


def _mechanism(value: object) -> object:
    """Raises RefusedError for a SASL mechanism that Kafka has and this version does not support."""
    if isinstance(value, str) and value in LOGINS:
        raise RefusedError(
            f"{value} ({LOGINS[value]}) is not supported yet",
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or protocol: SSL with cert_file",
        )
    return value


def brokers_of(value: object) -> object:
    """Returns a list or text (`a:9092,b:9092`) as a tuple of brokers. Raises RefusedError if one is not `host:port`."""
    brokers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(brokers, list | tuple) or not all(isinstance(b, str) for b in brokers) or not brokers:
        raise RefusedError("must be text or a list of text", "localhost:9092, or [kafka-1:9092, kafka-2:9092]")
    for broker in brokers:
        host, colon, port = broker.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
            raise RefusedError(f"{broker!r} is not a valid broker", "host:port, e.g. localhost:9092")
    return tuple(brokers)


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
AggregateName = Annotated[str, AfterValidator(_aggregate)]
DecoderName = Annotated[str, AfterValidator(_decode)]
Delimiter = Annotated[str, AfterValidator(_delimiter)]
TimePath = Annotated[str, AfterValidator(_time_path)]
TopicPattern = Annotated[str, AfterValidator(_pattern)]
KeySize = Annotated[Size, AfterValidator(_holds_rows)]
RecordSize = Annotated[Size, AfterValidator(_fits_memory)]
RowSize = Annotated[Size, AfterValidator(_fits_a_message)]
SampleSize = Annotated[Size, AfterValidator(_leaves_room)]
WorkerMemory = Annotated[Size, AfterValidator(_enough_memory)]
Mechanism = Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_mechanism)]
Brokers = Annotated[tuple[str, ...], BeforeValidator(brokers_of, json_schema_input_type=str | list[str])]

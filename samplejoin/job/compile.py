"""Compiles a job model to the core's spec, and to the functions that turn the records of each stream into rows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samplejoin.core import spec as core
from samplejoin.core.aggregates import LIMITED, PLAIN, Aggregate, Custom
from samplejoin.core.json_values import SCALARS, bounded
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.user_errors import mistakes, said
from samplejoin.core.values import Fields
from samplejoin.decoding import decoders
from samplejoin.errors import RefusedError
from samplejoin.formats import FORMATS, json
from samplejoin.formats.payload import CODEC
from samplejoin.formats.payload import dumps as codec_dumps
from samplejoin.job import labels, user_functions
from samplejoin.job.errors import Issue, JobError
from samplejoin.job.errors import Path as JobPath
from samplejoin.job.event_times import time_reader
from samplejoin.job.expression import compile_expression, names_in
from samplejoin.job.field_types import FUNCTION, split_aggregate
from samplejoin.job.fingerprint import fingerprint_of
from samplejoin.job.model import JobModel
from samplejoin.job.sections import SampleField, StreamSection
from samplejoin.job.validation import internal_topics, shared_topics


@dataclass(frozen=True)
class Input:
    """One stream, as the clean agent uses it."""

    plan: core.StreamLayout
    #: record -> dict, or None to filter it; raises ValueError if it cannot (a user's decoder may raise anything)
    decode: Callable[[KafkaRecord], Any]
    #: the user's cleaning function, or one that returns the record itself
    clean: Callable[[dict[str, object]], Any]
    #: name of the cleaning function, for counts and dead letters
    clean_name: str
    #: path of the event time in the decoded record, or `@timestamp` for the record's timestamp
    time_field: str
    time_unit: str
    #: value -> epoch ms; raises ValueError if the value is not a time
    read_time: Callable[[object], int]
    #: names of the user's functions that its records go through, for messages
    functions: str

    @property
    def takes_record_time(self) -> bool:
        """Whether the Kafka record's timestamp is the event time."""
        return self.time_field == "@timestamp"


@dataclass(frozen=True)
class Job:
    """A job that can run. `fingerprint` changes when the join's meaning changes, not when its tuning does."""

    model: JobModel
    spec: core.Spec
    inputs: tuple[Input, ...]
    fingerprint: str


class _Problems:
    """Collects the issues of a compilation, so that all are shown at once."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def trying(self, path: JobPath, make: Callable[[], object], instead: object = None) -> object:
        """Returns what `make` returns; if it refuses, adds an issue and returns `instead`."""
        try:
            return make()
        except RefusedError as error:
            self.issues.append(Issue(path, str(error), error.hint))
            return instead


class _Parts(NamedTuple):
    """The functions and fields that the names in the job file refer to."""

    fields: tuple[core.Field, ...]
    label: object
    format: object
    #: stream -> (decode, clean, name of clean)
    functions: dict[str, tuple[Any, Any, str]]


def compile_job(model: JobModel, base_dir: Path | str) -> Job:
    """Imports the job's functions, relative to `base_dir`, and compiles it. Raises JobError with all problems."""
    problems = _Problems()
    for name, stream in model.streams.items():
        if not stream.topic_names:
            problems.issues.append(Issue(("streams", name, "pattern"), "has not been resolved to topics"))
    parts = _parts(problems, model, Path(base_dir))
    if not any(i.path[0] == "label" for i in problems.issues):
        problems.trying(("label",), lambda: _try_label(model, parts.fields, parts.label))
    if problems.issues:
        raise JobError(map(model.places.problem, problems.issues))
    spec = _spec(model, parts.fields, parts.label, parts.format)
    inputs = tuple(
        Input(
            plan,
            *parts.functions[plan.stream.name],
            stream.time_field,
            stream.time_unit,
            time_reader(stream.time_unit),
            _functions_in_words(stream),
        )
        for plan, stream in zip(spec.plans, model.streams.values(), strict=True)
    )
    return Job(model, spec, inputs, fingerprint_of(model))


def compile_issues(rest: JobModel, base_dir: Path | str) -> list[Issue]:
    """Returns the issues of functions and label of a job that has other mistakes too (`JobError.rest`)."""
    problems = _Problems()
    _parts(problems, rest, Path(base_dir))
    return problems.issues


def _parts(problems: _Problems, model: JobModel, base_dir: Path) -> _Parts:
    fields = tuple(
        core.Field(name, f.stream, f.source_field, _aggregate(problems, model, name, f, base_dir))
        for name, f in model.sample.items()
    )
    return _Parts(
        fields,
        problems.trying(("label",), lambda: _label(model, fields, base_dir)),
        problems.trying(("format",), lambda: _format(model, base_dir), json.dumps),
        {name: _functions_of(problems, name, stream, base_dir) for name, stream in model.streams.items()},
    )


def resolve_topics(model: JobModel, existing_topics: Iterable[str]) -> JobModel:
    """Returns the model with every `pattern` resolved to the topics that match it now.

    The job's own topics, of every generation, and those that start with `__` never match. Raises JobError if a pattern
    matches no topic, or if streams then share a topic but read it differently.
    """
    hidden = set(model.output_topics().values())
    own = internal_topics(model)
    topics = sorted(t for t in set(existing_topics) if t not in hidden and not own.fullmatch(t))
    issues: list[Issue] = []
    streams: dict[str, StreamSection] = {}
    for name, stream in model.streams.items():
        if stream.pattern is not None:
            matching = tuple(t for t in topics if re.fullmatch(stream.pattern, t))
            if not matching:
                seen = ", ".join(topics[:10]) or "none"
                issues.append(
                    Issue(("streams", name, "pattern"), f"no topic matches {stream.pattern!r}", f"topics: {seen}")
                )
            stream = stream.model_copy()
            stream._resolved = matching
        streams[name] = stream
    resolved = model.model_copy(update={"streams": streams})
    issues += shared_topics(resolved)
    if issues:
        raise JobError(map(model.places.problem, issues))
    return resolved


def assume_topics(model: JobModel) -> JobModel:
    """Returns the model with every `pattern` taken as the name of one topic, to check a job without a broker."""
    streams = {}
    for name, stream in model.streams.items():
        pattern = stream.pattern
        if pattern is not None:
            stream = stream.model_copy()
            stream._resolved = (pattern,)
        streams[name] = stream
    return model.model_copy(update={"streams": streams})


def _spec(model: JobModel, fields: tuple[core.Field, ...], label: Any, format_: Any) -> core.Spec:
    streams = tuple(
        core.Stream(name, s.role, s.topic_names, id_field=s.id, idle=s.idle, lateness_ms=model.lateness_of(s))
        for name, s in model.streams.items()
    )
    return core.Spec(
        name=model.name,
        streams=streams,
        key_fields=model.key,
        fields=fields,
        window_ms=model.window_ms,
        before_ms=model.before_ms,
        resolution_ms=model.resolution_ms,
        repeat=model.repeat,
        attribution=model.attribution,
        late=model.late,
        correction_ms=model.correction_ms,
        clock=model.clock,
        idle_after_ms=model.idle_after_ms,
        max_wait_ms=model.max_wait_ms,
        max_rows=model.limits.rows,
        max_bytes=model.limits.key_bytes,
        max_sample_bytes=model.limits.sample_bytes,
        start_ms=model.start_ms,
        until_ms=model.until_ms,
        keep_negatives=float(model.keep_negatives),
        junk_keys=frozenset(model.junk_keys),
        label=label,
        format=format_,
        codec=CODEC,
    )


# ---- aggregates ---------------------------------------------------------------------------------------------------


def _aggregate(problems: _Problems, model: JobModel, name: str, field: SampleField, base_dir: Path) -> Aggregate:
    agg = field.agg or "first"
    if ":" in agg:
        made = problems.trying(("sample", name, "agg"), lambda: _custom(agg, base_dir), PLAIN["count"]())
        assert isinstance(made, Aggregate)
        return made
    plain, limit = split_aggregate(agg)
    return PLAIN[plain]() if limit is None else LIMITED[plain](limit)


def _custom(name: str, base_dir: Path) -> Aggregate:
    found = user_functions.find(name, base_dir)
    user: Any
    try:
        user = found() if inspect.isclass(found) else found
    except mistakes() as error:
        raise RefusedError(f"{name}() raises {said(error)}") from error
    missing = [m for m in ("zero", "add", "merge", "result") if not callable(getattr(user, m, None))]
    if missing:
        raise RefusedError(
            f"{name} is not an aggregate: it has no {', '.join(missing)}", "see samplejoin.udf.Aggregate"
        )
    try:
        codec_dumps(user.zero())
    except mistakes() as error:
        raise RefusedError(f"{name}: zero() does not return JSON data: {said(error)}") from error
    return Custom(name, user)


# ---- streams ------------------------------------------------------------------------------------------------------


def _functions_of(problems: _Problems, name: str, stream: StreamSection, base_dir: Path) -> tuple[object, object, str]:
    """Returns (decode, clean, name of clean) of a stream."""
    path = ("streams", name)
    decode = problems.trying((*path, "decode"), lambda: _decode(stream, base_dir))
    if stream.clean is None:
        return decode, _itself, "none"
    clean_name = stream.clean
    clean = problems.trying((*path, "clean"), lambda: _callable_with_one(clean_name, base_dir))
    return decode, clean, clean_name


def _functions_in_words(stream: StreamSection) -> str:
    names = [name for name in (stream.decode, stream.clean) if name and FUNCTION.fullmatch(name)]
    return " or ".join(names) or f"decoding of {stream.decode}"


def _decode(stream: StreamSection, base_dir: Path) -> decoders.Decode:
    if stream.decode == "json":
        return decoders.decode_json
    if stream.decode == "raw":
        return decoders.decode_raw
    if stream.decode == "csv":
        return decoders.csv_decoder(stream.columns or (), stream.delimiter)
    return decoders.user_decoder(stream.decode, _callable_with_one(stream.decode, base_dir))


def _itself(record: dict[str, object]) -> dict[str, object]:
    return record


def _callable_with_one(name: str, base_dir: Path) -> Any:
    """Finds a user's function. Raises RefusedError if it cannot be called with one argument, or is async."""
    function = user_functions.find_function(name, base_dir)
    if inspect.iscoroutinefunction(function):
        raise RefusedError(f"{name} is async; it must be a plain function", "write def, not async def")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        hint = f"it is {name}{inspect.signature(function)}"
        raise RefusedError(f"{name} cannot be called with one argument", hint) from None
    except ValueError:
        pass  # a builtin without a signature
    return function


# ---- label and format ---------------------------------------------------------------------------------------------


def _label(
    model: JobModel, fields: tuple[core.Field, ...], base_dir: Path
) -> Callable[[dict[str, object]], object] | None:
    name = model.label
    if name is None:
        return None
    if FUNCTION.fullmatch(name):
        label = labels.of_function(name, _callable_with_one(name, base_dir))
    else:
        label = compile_expression(name, (*model.key_names, *(f.name for f in fields)))
    return label if model.keep_negatives == 1 else labels.sampled(name, label)


def _try_label(model: JobModel, fields: tuple[core.Field, ...], label: Any) -> None:
    """Evaluates an expression for a sample that no label row joined, where `max`, `last` and so on are null.

    Raises RefusedError if it fails."""
    if model.label is None or FUNCTION.fullmatch(model.label):
        return
    labels = {name for name, s in model.streams.items() if s.role == "label"}
    empty = {f.name: f.aggregate.result(f.aggregate.zero()) for f in fields if f.stream in labels}
    used = names_in(model.label)
    if not used <= set(empty):
        return
    try:
        label(empty)
    except mistakes() as error:
        null = next((n for n in sorted(used) if empty[n] is None), None)
        hint = f"{null} is null then: write `{null} is not None and ...`" if null else None
        raise RefusedError(f"fails for a sample without label rows: {said(error)}", hint) from error


def _format(model: JobModel, base_dir: Path) -> Callable[[Fields], bytes | None]:
    if model.format in FORMATS:
        return FORMATS[model.format].encoder(model.columns)
    return user_format(model.format, _callable_with_one(model.format, base_dir))


def user_format(name: str, function: Callable[[dict[str, object]], Any]) -> Callable[[Fields], bytes | None]:
    """Wraps the user's formatting function to return bytes: a dict as JSON (NaN becomes null), text as UTF-8."""
    dumps, all_scalar = json.dumps, SCALARS.issuperset

    def format_sample(sample: Fields) -> bytes | None:
        result = function(sample)
        if type(result) is bytes or result is None:
            return result
        kind = type(result)
        if issubclass(kind, dict):
            if not all_scalar(map(type, dict.values(result))):
                bounded(result)
            return dumps(result)
        if issubclass(kind, str):
            return str.encode(result)
        if issubclass(kind, bytes):
            return bytes.__getitem__(result, slice(None))
        raise TypeError(f"{name} returned {type(result).__name__}, expected a dict, bytes, str or None")

    return format_sample

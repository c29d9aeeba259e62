"""What a job file may contain, and which values conflict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from samplejoin.job.compile import assume_topics, compile_issues
from samplejoin.job.errors import JobError
from samplejoin.job.load import model_of
from samplejoin.job.model import JobModel
from tests.job.helpers import job_data, model, problems_of


def test_the_small_job_is_right():
    job = model()
    assert job.window_ms == 1_200_000
    assert job.lateness_ms == 30_000
    assert job.limits.row_bytes == 512 << 10
    assert job.output_topics() == {"samples": "feed-samples", "dead_letter": "feed-dead-letter"}
    assert job.streams["impression"].topic_names == ("imp",)


def test_a_stream_has_its_own_lateness_or_the_jobs():
    job = model(lateness="1m", streams__impression__lateness="500ms")
    assert [job.lateness_of(s) for s in job.streams.values()] == [500, 60_000]
    assert job.largest_lateness_ms == 60_000
    assert model(lateness="1s", streams__impression__lateness="5s").largest_lateness_ms == 5000
    assert model(streams__impression__lateness="0s", streams__click__lateness="0s").largest_lateness_ms == 0


def test_by_processing_time_a_stream_may_say_a_lateness_as_the_job_may():
    assert model(clock="processing", lateness="1m", streams__click__lateness="1s").streams["click"].lateness_ms == 1000


def test_a_written_model_reads_back():
    job = model(streams__click__lateness="1s", max_wait="30s", outputs={"late": "l"}, late="topic")
    again = JobModel.model_validate(job.model_dump(mode="json", by_alias=True) | {"brokers": "localhost:9092"})
    assert again == job


def test_without_a_loader_errors_are_pydantics():
    with pytest.raises(ValidationError, match="not a multiple of resolution"):
        JobModel.model_validate(job_data(window="1500ms"))


def test_it_cannot_be_changed():
    with pytest.raises(ValidationError):
        model().name = "other"


@pytest.mark.parametrize(
    ("value", "ms"), [("earliest", None), ("latest", None), ("2026-01-31T12:00:00Z", 1_769_860_800_000)]
)
def test_start(value, ms):
    assert model(start=value).start_ms == ms


def test_until():
    assert model().until_ms is None
    assert model(until="2026-01-31T12:00:00Z").until_ms == 1_769_860_800_000


@pytest.mark.parametrize(("generation", "prefix"), [(1, "feed"), (2, "feed-g2"), (17, "feed-g17")])
def test_generations(generation, prefix):
    assert model(generation=generation).prefix == prefix
    assert model(generation=generation).samples_topic == "feed-samples"


@pytest.mark.parametrize("value", ["a:1", "a:1, b:2", ["a:1", "b:2"]])
def test_brokers(value):
    assert model(brokers=value).brokers[0] == "a:1"


def test_the_password_is_not_shown():
    job = JobModel.model_validate(
        job_data(security={"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "alice", "password": "s3cret"})
    )
    for shown in (repr(job), str(job), job.model_dump_json(), str(job.model_dump())):
        assert "s3cret" not in shown
    assert "alice" not in repr(job.security)


CSV = {"streams__click__decode": "csv"}
COLUMNS: dict[str, Any] = {"streams__click__decode": "csv", "streams__click__columns": ["uid", "mid", "ts", "a.b"]}

#: (changes, path, part of the message, part of the hint)
WRONG = [
    # types and unknown keys
    ({"windo": "5m"}, "windo", "unknown key", "did you mean 'window'"),
    ({"streams__click__time_unti": "s"}, "streams.click.time_unti", "unknown key", "'time_unit'"),
    ({"limits__rowz": 5}, "limits.rowz", "unknown key", "'row"),
    ({"zzz": 5}, "zzz", "unknown key", "samplejoin schema"),
    ({"security__zzz": 5}, "security.zzz", "unknown key", "known: protocol"),
    ({"name": None}, "name", "is missing", ""),
    ({"name": "feed-g2"}, "name", "ends like the name of a generation", "generation: 2"),
    ({"generation": 0}, "generation", "", ""),
    ({"until": "soon"}, "until", "'soon' is not a time", "2026-01-31T12:00:00Z"),
    ({"until": "2026-01-31", "start": "2026-01-31T00:00:00Z"}, "until", "is not after start", "no anchor"),
    ({"until": "2026-01-31", "clock": "processing"}, "until", "not possible with clock: processing", "arrival"),
    ({"window": None}, "window", "is missing", ""),
    ({"streams__click__role": None}, "streams.click.role", "is missing", ""),
    ({"name": 5}, "name", "must be text, not a number", "quote it"),
    (
        {"label": 0},
        "label",
        "must be text, not a number",
        'such as clicks > 0; "0" in quotes gives every sample that label',
    ),
    ({"partitions": "four"}, "partitions", "must be a whole number, not text", "e.g. 4"),
    ({"keep_negatives": "half"}, "keep_negatives", "must be a number, not text", "e.g. 0.5"),
    ({"partitions": "4"}, "partitions", "must be a whole number, not text", "write it without quotes"),
    ({"partitions": "4"}, "partitions", "must be a whole number, not text", "without quotes"),
    ({"partitions": 4.5}, "partitions", "must be a whole number", ""),
    ({"partitions": 4.0}, "partitions", "must be a whole number, not a decimal number", "write 4"),
    ({"partitions": True}, "partitions", "must be a whole number, not true or false", ""),
    ({"combine": "yes"}, "combine", "must be true or false, not text", "yes, no"),
    ({"key": "uid"}, "key", "must be a list, not text", "[a, b]"),
    ({"streams": []}, "streams", "must be a mapping, not a list", ""),
    ({"streams__click": 3}, "streams.click", "must be a mapping, not a number", ""),
    ({"late": "corect"}, "late", "must be 'count', 'topic' or 'correct'", "'correct'"),
    ({"window": 20}, "window", "20 has no unit", "20m"),
    ({"window": "1w"}, "window", "is not a valid duration", "20m"),
    ({"limits__row": "1MB"}, "limits.row", "is not a valid size", "MiB"),
    # ranges
    ({"partitions": 0}, "partitions", "at least 1", ""),
    ({"partitions": 1025}, "partitions", "at most 1024", ""),
    ({"keep_negatives": 0}, "keep_negatives", "more than 0", ""),
    ({"keep_negatives": 1.1}, "keep_negatives", "at most 1", ""),
    ({"keep_negatives": float("nan")}, "keep_negatives", "must be at most 1", ""),
    ({"error_rate": 0}, "error_rate", "more than 0", ""),
    ({"limits__rows": 0}, "limits.rows", "at least 1", ""),
    ({"web_port": 70_000}, "web_port", "at most 65535", ""),
    ({"key": []}, "key", "must not be empty", ""),
    ({"label": ""}, "label", "must not be empty", ""),
    # names
    ({"name": "my job"}, "name", "not a valid", "letters"),
    ({"name": "x" * 101}, "name", "not a valid job name", "at most 100"),
    ({"streams__click__topic": "a/b"}, "streams.click.topic", "not a valid", "letters"),
    ({"streams__a-b": {"role": "label", "topic": "t", "time": "ts"}}, "streams.a-b", "is not a valid name", "letter"),
    ({"sample__a b": "impression.pos"}, "sample.a b", "is not a valid name", "letter"),
    ({"brokers": "localhost"}, "brokers", "is not a valid broker", "host:port"),
    ({"brokers": "kafka://a:1"}, "brokers", "is not a valid broker", "host:port"),
    ({"brokers": []}, "brokers", "must be text or a list", "localhost:9092"),
    ({"brokers": 9092}, "brokers", "must be text or a list", "localhost:9092"),
    ({"start": "yesterday"}, "start", "ISO 8601", "earliest"),
    ({"format": "parquet"}, "format", "is not a valid format", "module:function"),
    ({"streams__click__clean": "clean"}, "streams.click.clean", "is not a valid function name", "module:function"),
    ({"streams__click__decode": "jsno"}, "streams.click.decode", "is not a valid decoder", "'json'"),
    ({"streams__click__time": "@timestam"}, "streams.click.time", "is not a field", "'@timestamp' is"),
    ({"limits__sample": "64MiB"}, "limits.sample", "64MiB is over 1000KiB", "max.message.bytes"),
    ({"streams__click__time": "a..b"}, "streams.click.time", "is not a field", "meta.ts"),
    (
        {**COLUMNS, "streams__click__time": "when"},
        "streams.click.time",
        "when is not a column of click",
        "uid, mid, ts, a",
    ),
    (
        {**COLUMNS, "streams__click__time": "tss"},
        "streams.click.time",
        "tss is not a column of click",
        "did you mean 'ts'",
    ),
    ({**COLUMNS, "key": ["uid", "item"]}, "key.1", "item is not a column of click", "uid, mid, ts"),
    ({**COLUMNS, "streams__click__id": "event"}, "streams.click.id", "event is not a column of click", ""),
    (
        {**COLUMNS, "sample__n": {"from": "click.a.b", "agg": "count"}},
        "sample.n.from",
        "a.b is not a column of click",
        r"did you mean 'a\\.b'",
    ),
    ({"streams__click__id": "a."}, "streams.click.id", "is not a field", "meta.ts"),
    ({"key": ["uid", "a\\b"]}, "key.1", "a backslash stands before", r"a\.b"),
    ({"key": ["a.b", r"a\.b"]}, "key", "names a field twice", ""),
    ({"sample__x": "impression.a..b"}, "sample.x.from", "is not a field", "meta.ts"),
    ({"streams__click__delimiter": "\t"}, "streams.click.delimiter", "has no effect with decode: json", "csv"),
    (
        {"streams__click__decode": "csv", "streams__click__columns": ["a"], "streams__click__delimiter": "\t\t"},
        "streams.click.delimiter",
        "is not a delimiter",
        "one character",
    ),
    # streams
    ({"streams__click__lateness": 1}, "streams.click.lateness", "1 has no unit", "1s"),
    ({"streams__click__lateness": "soon"}, "streams.click.lateness", "is not a valid duration", "20m"),
    ({"streams__click__latenes": "1s"}, "streams.click.latenes", "unknown key", "'lateness'"),
    ({"streams__click__role": "anchor", "sample": {}}, "streams", "no stream has role: label", "clicks"),
    ({"streams__impression": None, "sample": {}}, "streams", "no stream has role: anchor", "impressions"),
    ({"streams__click__topic": None}, "streams.click", "has no topic", ""),
    ({"streams__click__topics": ["a"]}, "streams.click", "has topic and topics", ""),
    ({"streams__click__topics": [], "streams__click__topic": None}, "streams.click.topics", "not be empty", ""),
    ({"streams__click__topics": ["a", "a"], "streams__click__topic": None}, "streams.click.topics", "twice", ""),
    ({"streams__click__pattern": "(", "streams__click__topic": None}, "streams.click.pattern", "regular exp", ""),
    ({"streams__click__time": None}, "streams.click", "time is missing", "@timestamp"),
    (
        {"streams__click__time": "@timestamp", "streams__click__time_unit": "s"},
        "streams.click.time_unit",
        "ms",
        r"\@timestamp",
    ),
    ({"streams__click__decode": "csv"}, "streams.click.decode", "csv needs columns", "columns:"),
    (CSV | {"streams__click__columns": {"a": "integer"}}, "streams.click.columns", "'integer' is not a type of", "int"),
    (CSV | {"streams__click__columns": {"a": "text"}}, "streams.click.columns", "column a", "one of str, int, float"),
    (CSV | {"streams__click__columns": []}, "streams.click.columns", "must be a list of names, or a mapping", "item"),
    (CSV | {"streams__click__columns": {1: "int"}}, "streams.click.columns", "must be a list of names, or a", "item"),
    (CSV | {"streams__click__columns": ["a", "a"]}, "streams.click.columns", "name a column twice", ""),
    ({"streams__click__columns": ["a"]}, "streams.click.columns", "have no effect with decode: json", ""),
    ({"streams__click__topic": "imp", "streams__click__time": "t2"}, "streams.click.time", "same topic", "once"),
    # windows
    ({"window": "0s"}, "window", "longer than 0s", ""),
    ({"window": "1500ms"}, "window", "1s500ms is not a multiple of resolution 1s", "write 1s or 2s"),
    ({"window": "5s", "resolution": "10s"}, "window", "5s is not a multiple of resolution 10s", "write 10s"),
    ({"before": "1ms"}, "before", "not a multiple", "write 1s"),
    ({"late": "correct", "correction": "1ms"}, "correction", "not a multiple", ""),
    ({"resolution": "0s"}, "resolution", "longer than 0s", ""),
    ({"late": "correct"}, "late", "needs a correction", "1h"),
    ({"correction": "1h"}, "correction", "has no effect with late: count", "late: correct"),
    ({"late": "topic"}, "late", "needs outputs.late", "feed-late"),
    ({"outputs": {"late": "l"}}, "outputs.late", "receives nothing with late: count", "late: topic"),
    ({"attribution": "first"}, "attribution", "has no effect with repeat: merge", "repeat: each"),
    ({"clock": "processing", "late": "correct", "correction": "1h"}, "late", "not possible with clock", ""),
    ({"clock": "processing", "before": "1s"}, "before", "not possible with clock", ""),
    ({"clock": "processing", "repeat": "each"}, "repeat", "not possible with clock", ""),
    ({"clock": "processing", "max_wait": "5s"}, "max_wait", "has no effect with clock", ""),
    # sample fields
    ({"sample__uid": "impression.uid"}, "sample.uid", "is a key field", "remove it"),
    ({"sample__label": "impression.x"}, "sample.label", "is a reserved name of samples", "rename"),
    ({"sample__weight": "impression.x"}, "sample.weight", "is a reserved name of samples", "rename"),
    ({"key": ["label"]}, "key.0", "is a reserved name of samples", ""),
    ({"key": ["a", "a"]}, "key", "names a field twice", ""),
    ({"sample__x": "clik.y"}, "sample.x.from", "no stream is called 'clik'", "'click'"),
    ({"sample__x": "zzz.y"}, "sample.x.from", "no stream is called 'zzz'", "impression, click"),
    ({"sample__x": "click.y"}, "sample.x", "agg is missing", "agg:"),
    ({"sample__x": {"from": "impression"}}, "sample.x.from", "first needs a field", "impression.item"),
    ({"sample__x": {"from": "click", "agg": "sum"}}, "sample.x.from", "sum needs a field", "click.item"),
    ({"sample__x": {"from": "click.", "agg": "sum"}}, "sample.x.from", "no field after the dot", ""),
    ({"sample__x": {"from": "click.y", "agg": "cuont"}}, "sample.x.agg", "is not an aggregate", "'count'"),
    (
        {"sample__x": {"from": "click.y", "agg": "list"}},
        "sample.x.agg",
        "needs the number of values to keep",
        "list(20)",
    ),
    (
        {"sample__x": {"from": "click.y", "agg": "top(0)"}},
        "sample.x.agg",
        "needs the number of values to keep",
        "top(20)",
    ),
    ({"sample__x": {"from": "click.y", "agg": "sum(3)"}}, "sample.x.agg", "is not an aggregate", ""),
    ({"sample__x": {"from": "click.y", "agg": "a:b:c"}}, "sample.x.agg", "is not a valid function name", ""),
    # outputs and security
    ({"outputs": {"samples": "feed-repartition"}}, "outputs.samples", "feed-repartition, an internal topic", "another"),
    ({"outputs": {"orphan": "feed-g2-progress"}}, "outputs.orphan", "feed-g2-progress, an internal topic", ""),
    ({"streams__click__topic": "feed-changelog"}, "streams.click", "reads feed-changelog, an internal topic", ""),
    ({"streams__click__topic": "__consumer_offsets"}, "streams.click", "an internal topic", "producer"),
    ({"outputs__dead_letter": {"compression": "lz4"}}, "outputs.dead_letter.compression", "for samples only", "remove"),
    ({"outputs__orphan": {"topic": "o", "compression": "none"}}, "outputs.orphan.compression", "samples only", ""),
    ({"outputs": {"samples": "imp"}}, "outputs.samples", "which stream impression reads", "own output"),
    ({"outputs": {"samples": "x", "orphan": "x"}}, "outputs.orphan", "as samples does", "own topic"),
    ({"outputs": {"orphan": {"compression": "lz4"}}}, "outputs.orphan", "topic is missing", "feed-orphan"),
    ({"streams__click__pattern": "feed-.*", "streams__click__topic": None}, "outputs.samples", "click reads", "own"),
    ({"security__mechanism": "PLAIN"}, "security.mechanism", "has no effect with protocol: PLAINTEXT", "SASL"),
    ({"security__ca_file": "ca.pem"}, "security.ca_file", "has no effect", "SSL"),
    ({"security__protocol": "SASL_SSL"}, "security", "mechanism is missing", ""),
    ({"security__mechanism": "OAUTHBEARER"}, "security.mechanism", "OAUTHBEARER (OAuth) is not supported yet", "SCRAM"),
    ({"security__mechanism": "GSSAPI"}, "security.mechanism", "GSSAPI (Kerberos) is not supported yet", "PLAIN"),
    ({"security__mechanism": "AWS_MSK_IAM"}, "security.mechanism", "(IAM of Amazon MSK) is not supported yet", "SSL"),
    ({"security": {"protocol": "SSL", "cert_file": "c"}}, "security", "must be set together", ""),
]


@pytest.mark.parametrize(("changes", "path", "message", "hint"), WRONG, ids=lambda v: str(v)[:50])
def test_what_is_wrong(changes, path, message, hint):
    found = [p for p in problems_of(**changes) if p.path == path and message in p.message]
    assert found, [str(p) for p in problems_of(**changes)]
    assert hint in (found[0].hint or "")


def test_a_mistake_is_said_once_and_with_words():
    assert [p.path for p in problems_of(key=[1])] == ["key.0"]
    assert not any("the streams are )" in str(p) for p in problems_of(streams={}))


def test_all_problems_are_shown_at_once():
    assert len(problems_of(window=20, partitions=0, windo="x")) == 3


def test_columns_are_asked_for_where_no_function_makes_the_rows():
    assert model(**COLUMNS, sample__n={"from": r"click.a\.b", "agg": "count"})
    assert model(**COLUMNS, streams__click__clean="functions:clean", sample__n={"from": "click.n", "agg": "sum"})
    (problem,) = problems_of(**COLUMNS, streams__click__clean="functions:clean", streams__click__time="when")
    assert problem.path == "streams.click.time"


@pytest.mark.rule(10)
def test_the_key_is_a_list_of_fields_and_junk_is_configurable():
    job = model(key=["a", "b", "c"], junk_keys=["-"])
    assert (job.key, job.junk_keys) == (("a", "b", "c"), ("-",))
    assert model(junk_keys=["", 0]).junk_keys == ("", 0)
    for wrong in (True, 1.0, None):
        (problem,) = problems_of(junk_keys=["-", wrong])
        assert (problem.path, problem.message) == ("junk_keys.1", "must be text or a whole number")


# ---- whatever is wrong ----------------------------------------------------------------------------------------------

PLACES = [
    ("name",), ("streams",), ("streams", "impression"), ("streams", "click"), ("key",), ("window",), ("sample",),
    ("label",), ("format",), ("lateness",), ("outputs",), ("limits",), ("limits", "rows"), ("keep_negatives",),
    ("partitions",), ("repeat",), ("late",), ("before",), ("resolution",), ("sample", "pos"), ("sample", "clicks"),
    *(("streams", name, key) for name in ("impression", "click")
      for key in ("role", "topic", "time", "id", "columns", "decode", "clean", "pattern", "delimiter", "time_unit")),
]  # fmt: skip
REMOVED = object()
ANYTHING = st.one_of(
    st.just(REMOVED), st.none(), st.booleans(), st.integers(-2, 1 << 70), st.floats(), st.text(max_size=8),
    st.sampled_from(["10m", "anchor", "label", "csv", "uid", "impression.pos", "click.x", "no:module", "x +"]),
    st.lists(st.sampled_from(["uid", "mid", 1, None, []]), max_size=3),
    st.dictionaries(st.sampled_from(["from", "agg", "role", "topic", "x"]), st.sampled_from(["click", 1, None, {}])),
)  # fmt: skip


@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), max_size=4))
def test_whatever_is_wrong_has_its_place_and_message(changes):
    """Parts of a job file that are missing, or anything else: problems are said, nothing else is raised."""
    data: Any = job_data()
    for path, value in changes:
        data = changed(data, path, value)
    rest: JobModel | None
    try:
        rest = assume_topics(model_of(data, environ={}))
    except JobError as error:
        problems, rest = error.problems, error.rest
        assert problems
        assert all(map(str, problems))
    if rest is not None:
        assert all(issue.message for issue in compile_issues(rest, Path()))


def changed(data: Any, path: tuple[str, ...], value: Any) -> Any:
    """The data with another value at a path; as it was, if nothing can be there."""
    if not path:
        return {} if value is REMOVED else value
    if not isinstance(data, dict):
        return data
    if len(path) == 1 and value is REMOVED:
        return {key: each for key, each in data.items() if key != path[0]}
    return {**data, path[0]: changed(data.get(path[0], {}), path[1:], value)}


def test_a_state_directory_with_a_null_character_is_a_problem():
    with pytest.raises(JobError, match="state_dir: contains a null character"):
        model_of(job_data(state_dir="a\0b"), environ={})

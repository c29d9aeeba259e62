"""From a model to what runs."""

from __future__ import annotations

import sys
from enum import IntEnum
from types import SimpleNamespace

import orjson
import pytest

from samplejoin.core.aggregates import Custom
from samplejoin.core.fingerprint import differences, edited
from samplejoin.core.keys import key_values
from samplejoin.job.compile import assume_topics, compile_job, resolve_topics
from samplejoin.job.errors import JobError
from tests.job.helpers import model

FUNCTIONS = """
class Product:
    def zero(self): return 1
    def add(self, partial, value): return partial * value
    def merge(self, a, b): return a * b
    def result(self, partial): return partial

class NoMerge:
    def zero(self): return 1
    def add(self, partial, value): return partial
    def result(self, partial): return partial

class BadZero(Product):
    def zero(self): return {1, 2}

class NeedsMore(Product):
    def __init__(self, x): pass

product = Product()

def clean(record): return {**record, "cleaned": True}
def two(a, b): return a
async def later(record): return record
def label(sample): return sample["clicks"]
def no_label(sample): return sample.get("nothing")
def nan_label(sample): return float("nan")
def decode(record): return {"v": record.value}
def decode_badly(record): return [1]
def give(sample): return sample["give"]
"""


class Odd(float):
    """A float that is none by exact type, as numpy's are."""


class Kind(IntEnum):
    """An int that is none by exact type."""

    A = 1


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def compiled(folder, **changes):
    return compile_job(model(**changes), folder)


def problems(folder, **changes):
    with pytest.raises(JobError) as caught:
        compiled(folder, **changes)
    return caught.value.problems


def record(value, **other):
    return SimpleNamespace(**{"key": None, "value": value, "timestamp": 5, "headers": (), **other})


def test_the_spec(folder):
    changes = {"late": "correct", "correction": "1h", "repeat": "each", "attribution": "first", "max_wait": "30s"}
    job = compiled(folder, before="2s", limits__rows=7, keep_negatives=0.5, streams__click__id="cid", **changes)
    spec = job.spec
    assert (spec.name, spec.key_fields, spec.window_ms, spec.before_ms) == ("feed", ("uid", "mid"), 1_200_000, 2000)
    assert (spec.late, spec.correction_ms, spec.repeat, spec.attribution) == ("correct", 3_600_000, "each", "first")
    assert (spec.max_rows, spec.keep_negatives, spec.max_wait_ms) == (7, 0.5, 30_000)
    assert [(s.name, s.role, s.topics, s.id_field) for s in spec.streams] == [
        ("impression", "anchor", ("imp",), None),
        ("click", "label", ("clk",), "cid"),
    ]
    assert [(f.name, f.stream, f.source_field, f.aggregate.name) for f in spec.fields] == [
        ("pos", "impression", "pos", "first"),
        ("clicks", "click", None, "count"),
    ]
    assert spec.label is None
    assert [i.plan.stream.name for i in job.inputs] == ["impression", "click"]


@pytest.mark.rule(8)
def test_the_lateness_of_streams_and_topics(folder):
    spec = compiled(folder, lateness="1m", streams__impression__lateness="1s").spec
    assert [s.lateness_ms for s in spec.streams] == [1000, 60_000]
    assert [spec.lateness_ms(topic) for topic in ("imp", "clk")] == [1000, 60_000]
    assert [s.lateness_ms for s in compiled(folder).spec.streams] == [30_000, 30_000]


def test_the_inputs(folder):
    job = compiled(
        folder, streams__click__clean="functions:clean", streams__click__time="meta.ts", streams__click__time_unit="s"
    )
    impression, click = job.inputs
    assert (impression.clean_name, click.clean_name) == ("none", "functions:clean")
    assert impression.clean({"a": 1}) == {"a": 1}
    assert click.clean({"a": 1}) == {"a": 1, "cleaned": True}
    assert (click.time_field, click.read_time(5), impression.read_time(5)) == ("meta.ts", 5000, 5)
    assert click.decode(record(b'{"a": 1}')) == {"a": 1}


def test_a_decoder_of_ones_own(folder):
    job = compiled(folder, streams__click__decode="functions:decode")
    assert job.inputs[1].decode(record(b"x")) == {"v": b"x"}
    job = compiled(folder, streams__click__decode="functions:decode_badly")
    with pytest.raises(ValueError, match="functions:decode_badly returned list, expected a dict"):
        job.inputs[1].decode(record(b"x"))


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"streams__click__clean": "functions:two"}, "streams.click.clean", "cannot be called with one argument"),
        ({"streams__click__clean": "functions:later"}, "streams.click.clean", "is async"),
        ({"streams__click__clean": "functions:gone"}, "streams.click.clean", "has no 'gone'"),
        ({"streams__click__decode": "nothing:f"}, "streams.click.decode", "there is no module 'nothing'"),
        ({"format": "functions:two"}, "format", "cannot be called with one argument"),
        ({"label": "functions:gone"}, "label", "has no 'gone'"),
        ({"label": "clics > 0"}, "label", "there is no field 'clics'"),
        ({"label": "clicks >"}, "label", "is not a valid expression"),
        ({"label": "clicks.x"}, "label", "is not allowed"),
        ({"sample__x": {"from": "click.y", "agg": "functions:NoMerge"}}, "sample.x.agg", "it has no merge"),
        ({"sample__x": {"from": "click.y", "agg": "functions:BadZero"}}, "sample.x.agg", "zero() gives no JSON data"),
        ({"sample__x": {"from": "click.y", "agg": "functions:NeedsMore"}}, "sample.x.agg", "raises TypeError"),
        ({"sample__x": {"from": "click.y", "agg": "functions:gone"}}, "sample.x.agg", "has no 'gone'"),
        ({"streams__click__topic": None, "streams__click__pattern": "c.*"}, "streams.click.pattern", "been resolved"),
    ],
)
def test_what_is_wrong(folder, changes, path, message):
    (problem,) = problems(folder, **changes)
    assert problem.path == path
    assert message in problem.message


def test_all_problems_at_once(folder):
    assert len(problems(folder, format="functions:a", label="functions:b", streams__click__clean="functions:c")) == 3


def test_aggregates(folder):
    fields = {
        "a": {"from": "click.x", "agg": "list(2)"},
        "b": {"from": "click.x", "agg": "top( 3 )"},
        "c": {"from": "click.x", "agg": "functions:Product"},
        "d": {"from": "click", "agg": "functions:product"},
        "e": {"from": "impression.x", "agg": "last"},
    }
    made = [f.aggregate for f in compiled(folder, sample=fields).spec.fields]
    assert [m.name for m in made] == ["list", "top", "functions:Product", "functions:product", "last"]
    assert (made[0].limit, made[1].limit) == (2, 3)
    assert isinstance(made[2], Custom)
    assert made[2].result(made[2].add(made[2].zero(), 3, (0, "", 0, 0))) == 3


# ---- labels and formats ---------------------------------------------------------------------------------------------


def test_labels(folder):
    label = compiled(folder, label="clicks > 1 and pos == 3").spec.label
    assert label is not None
    assert label({"uid": 1, "clicks": 2, "pos": 3}) == 1
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    assert label({"clicks": 5}) == 5


@pytest.mark.rule(12)
@pytest.mark.parametrize("name", ["no_label", "nan_label"])
def test_a_label_function_that_returns_nonsense_raises(folder, name):
    label = compiled(folder, label=f"functions:{name}").spec.label
    assert label is not None
    with pytest.raises(ValueError, match=f"functions:{name} returned"):
        label({})


@pytest.mark.rule(14)
@pytest.mark.parametrize("value", [1, 0, True, 0.5, False])
def test_a_label_that_can_be_sampled(folder, value):
    label = compiled(folder, label="functions:label", keep_negatives=0.5).spec.label
    assert label is not None
    assert label({"clicks": value}) is value


@pytest.mark.rule(14)
@pytest.mark.parametrize("value", ["no", "", -1, -0.5, [1], {}])
def test_a_label_that_cannot_be_sampled_is_an_error_at_the_sample(folder, value):
    label = compiled(folder, label="functions:label", keep_negatives=0.5).spec.label
    assert label is not None
    with pytest.raises(ValueError, match="with keep_negatives a label must be a boolean or a number of at least 0"):
        label({"clicks": value})
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    assert label({"clicks": value}) is value


@pytest.mark.rule(14)
@pytest.mark.parametrize(
    "label",
    [
        "1 if clicks else -1",
        "'yes' if clicks > 0 else 'no'",
        "clicks and 'yes'",
        "pos or -0.5",
        "[clicks]",
        "clicks - 1",
    ],
)
def test_an_expression_that_can_give_no_negative_is_a_problem(folder, label):
    """As far as it can be seen: by its constants, and by the sample that no label row joined."""
    (problem,) = problems(folder, label=label, keep_negatives=0.5)
    assert problem.path == "label"
    assert "with keep_negatives a label must be" in problem.message
    compiled(folder, label=label)


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", [Odd(1.5), Odd("nan"), [Odd(2)], Kind.A, {1, 2}, b"x", "\ud83d", {1: 2}, object()])
def test_a_label_function_is_held_to_exact_types(folder, value):
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    with pytest.raises((TypeError, ValueError), match=r"not a label"):
        label({"clicks": value})


def test_an_expression_must_hold_without_label_rows(folder):
    dwell = {"from": "click.dwell", "agg": "max"}
    (problem,) = problems(folder, sample__dwell=dwell, label="dwell > 30")
    assert "fails for a sample without label rows: TypeError" in problem.message
    assert problem.hint == "dwell is null then: write `dwell is not None and ...`"
    compiled(folder, sample__dwell=dwell, label="dwell is not None and dwell > 30")
    compiled(folder, sample__dwell=dwell, label="pos > 3 and dwell > 30")  # pos is not known beforehand


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": 1.5, "b": [None, True]}, b'{"a":1.5,"b":[null,true]}'),
        ({"a": float("nan")}, b'{"a":null}'),
        ("é", "é".encode()),
        (b"\xff", b"\xff"),
        (None, None),
    ],
)
@pytest.mark.rule(13)
def test_formats_of_ones_own(folder, given, expected):
    assert compiled(folder, format="functions:give").spec.format({"give": given}) == expected


@pytest.mark.rule(12)
@pytest.mark.parametrize("given", [5, [1], True, object(), bytearray(b"x"), {1: 2}, {"a": {1, 2}}, {"a": [object()]}])
def test_a_format_that_returns_nonsense_raises(folder, given):
    with pytest.raises(TypeError) as caught:
        compiled(folder, format="functions:give").spec.format({"give": given})
    if not isinstance(given, dict):
        assert f"functions:give returned {type(given).__name__}" in str(caught.value)


def test_built_in_formats(folder):
    sample = {"clicks": 2, "uid": "u", "mid": 7, "pos": None, "label": 1, "weight": 2.0}
    assert orjson.loads(compiled(folder).spec.format(sample) or b"") == sample
    assert compiled(folder, format="csv").spec.format(sample) == b"u,7,,2,1"
    assert compiled(folder, format="csv", keep_negatives=0.5).spec.format(sample) == b"u,7,,2,1,2.0"


@pytest.mark.rule(10)
def test_junk_keys_reach_the_core(folder):
    spec = compiled(folder, junk_keys=["-"]).spec
    assert key_values({"uid": "-", "mid": 1}, spec.key_fields, spec.junk_keys) is None
    assert key_values({"uid": "0", "mid": 1}, spec.key_fields, spec.junk_keys) == ["0", 1]
    numbers = compiled(folder, junk_keys=[0]).spec.junk_keys
    assert key_values({"uid": 0}, ["uid"], numbers) is None
    for different in ("0", False, -1):
        assert key_values({"uid": different}, ["uid"], numbers) == [different]
    default = compiled(folder).spec
    for junk in ("", "0", None):
        assert key_values({"uid": junk, "mid": 1}, default.key_fields, default.junk_keys) is None


# ---- patterns and fingerprints --------------------------------------------------------------------------------------

PATTERN = {"streams__click__topic": None, "streams__click__pattern": "cl.*"}


def test_patterns(folder):
    job = model(**PATTERN)
    resolved = resolve_topics(job, ["clk", "click-2", "imp", "xcl", "__cl"])
    assert resolved.streams["click"].topic_names == ("click-2", "clk")
    assert job.streams["click"].topic_names == ()
    assert compile_job(resolved, folder).spec.streams[1].topics == ("click-2", "clk")
    again = resolve_topics(resolved, ["clk", "clk-3"])
    assert again.streams["click"].topic_names == ("clk", "clk-3")
    assert compile_job(assume_topics(job), folder).spec.streams[1].topics == ("cl.*",)


def test_a_pattern_that_matches_nothing():
    with pytest.raises(JobError, match=r"streams.click.pattern: no topic matches 'cl.\*' \(hint: topics: imp\)"):
        resolve_topics(model(**PATTERN), ["imp"])


def test_a_pattern_that_shares_a_topic():
    job = model(streams__click__topic=None, streams__click__pattern="i.*", streams__click__time="other")
    with pytest.raises(JobError, match="reads the same topic imp"):
        resolve_topics(job, ["imp"])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"key": ["mid", "uid"]},
        {"window": "21m"},
        {"before": "1s"},
        {"resolution": "2s"},
        {"repeat": "each"},
        {"keep_negatives": 0.5},
        {"label": "clicks > 1"},
        {"format": "csv"},
        {"partitions": 5},
        {"streams__click__topic": "c2"},
        {"streams__click__time": "t2"},
        {"streams__click__time_unit": "s"},
        {"streams__click__id": "i"},
        {"sample__x": "impression.x"},
        {"sample__pos": {"from": "impression.pos", "agg": "last"}},
        {"limits__rows": 5},
    ],
)
def test_the_fingerprint_changes_with_the_meaning(folder, changes):
    assert compiled(folder, **changes).fingerprint != compiled(folder).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"brokers": "other:1"},
        {"outputs": {"samples": {"topic": "s", "compression": "lz4"}}},
        {"commit_interval": "1s"},
        {"combine": False},
        {"web_port": 1},
        {"state_dir": "x"},
        {"limits__cache_keys": 5000},
        {"start": "latest"},
        {"sample__pos": {"from": "impression.pos", "agg": "first"}},
        {"idle_after": "9s"},
        {"max_skew": "9s"},
        {"lateness": "9s"},
        {"streams__impression__lateness": "1s"},
    ],
)
def test_the_fingerprint_does_not_change_with_tuning(folder, changes):
    assert compiled(folder, **changes).fingerprint == compiled(folder).fingerprint


def test_the_fingerprint_is_stable(folder):
    assert compiled(folder).fingerprint == (
        "d05c3eafacc4b68a attribution=d785 before=8236 clock=4264 correction=8236 format=33ee junk_keys=4a0e "
        "keep_negatives=7eb8 key=4a11 label=c52d late=5f0d limits.key=75eb limits.rows=c3d6 name=283d partitions=88ed "
        "repeat=d6d5 resolution=8e31 sample=f47c streams=b588 streams.click=f1a1 "
        "streams.impression=37e0 window=6bc1"
    )


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, []),
        ({"window": "21m"}, ["window"]),
        ({"window": "21m", "before": "1m", "label": "clicks > 1"}, ["before", "label", "window"]),
        ({"sample__x": "impression.x"}, ["sample"]),
        ({"limits__rows": 5}, ["limits.rows"]),
        ({"partitions": 5}, ["partitions"]),
        ({"name": "other"}, ["name"]),
        ({"streams__click__id": "id"}, ["streams.click"]),
        ({"lateness": "1m", "generation": 3}, []),
    ],
)
def test_the_fingerprint_tells_what_was_edited(folder, changes, keys):
    old, new = compiled(folder).fingerprint, compiled(folder, **changes).fingerprint
    assert differences(old, new) == differences(new, old) == keys
    assert len(new) < 400


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a x=1 y=2", "a x=1 y=2", None),
        ("a x=1 y=2", "b x=1 y=3", "y was edited"),
        ("a x=1 y=2", "b x=2 y=3", "x and y were edited"),
        ("a x=1 y=2", "b x=2 y=3 z=1", "x, y and z were edited"),
        ("a", "a x=1", None),  # the form before, of the same job
        ("a", "b x=1", "its streams, key, window, fields, label or partitions were edited"),
        ("a x=1", "b x=1", "its streams, key, window, fields, label or partitions were edited"),
    ],
)
def test_what_is_said_of_an_edited_job(old, new, said):
    assert edited(old, new) == said


def test_the_jobs_own_topics_of_any_generation_match_no_pattern():
    own = [f"feed{g}-{each}" for g in ("", "-g2", "-g10") for each in ("repartition", "changelog", "progress")]
    job = model(streams__click__topic=None, streams__click__pattern="feed-.*(l|n|g|x)")
    resolved = resolve_topics(job, [*own, "feed-g2-x"])
    assert resolved.streams["click"].topic_names == ("feed-g2-x",)

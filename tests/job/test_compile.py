"""The job file becomes the core's spec: streams, functions, aggregates, formats."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from samplejoin.core.aggregates import Custom
from tests.job.compiling import compiled, problems


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
        (
            {"sample__x": {"from": "click.y", "agg": "functions:BadZero"}},
            "sample.x.agg",
            "zero() does not return JSON data",
        ),
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

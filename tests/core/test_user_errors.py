"""Functions that raise, filters, down-sampling (rules 12 to 14)."""

from __future__ import annotations

import asyncio
import json

import pytest

from samplejoin.core import keys
from samplejoin.core.aggregates import Custom
from samplejoin.core.cells import combine
from samplejoin.core.identity import keep
from samplejoin.core.spec import Field
from samplejoin.core.user_errors import said, why_away
from tests.core.harness import wire_cells
from tests.core.oracle import Row
from tests.core.play import KEY, Play, spec_of


def raising(values):
    raise KeyError("no such field")


class Mute(Exception):
    """Raises when it is asked what it is."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
@pytest.mark.parametrize("kind", [Mute, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_whatever_a_function_raises_costs_its_sample_only(function, kind):
    def ending(values):
        raise kind

    play = Play(spec_of(**{function: ending})).show(5, pos=7).clock(15)
    assert [(dead.function, dead.error) for dead in play.out.dead] == [(function, kind.__name__)]


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
def test_ctrl_c_is_no_mistake_of_a_function(function):
    def interrupted(values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Play(spec_of(**{function: interrupted})).show(5, pos=7).clock(15)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (ValueError("ValueError: x"), "ValueError: x"),
        (ValueError("x" * 5000), f"ValueError: {'x' * 988}"),
        (Mute(), "Mute"),
    ],
)
def test_words_for_errors(error, text):
    assert said(error) == text


def test_words_for_brokers_that_are_away_name_no_addresses_as_python_does():
    assert why_away(OSError("Unable to bootstrap from [('a', 1, <x>)]")).endswith("(OSError: Unable to bootstrap)")
    assert why_away(TimeoutError()).endswith("SASL? (TimeoutError)")


@pytest.mark.rule(12)
@pytest.mark.parametrize("function", ["label", "format"])
def test_a_function_that_raises_costs_its_sample(function):
    play = Play(spec_of(**{function: raising})).show(5, pos=7).clock(15)
    (dead,) = play.out.dead
    assert (dead.function, dead.error, dead.fields["pos"]) == (function, "KeyError: 'no such field'", 7)
    assert "raising" in dead.traceback
    assert play.out.counts["samples", "dead"] == 1
    assert play.samples == []
    assert not play.partition.keys


class Bad:
    """A user's aggregate whose merge or result raises."""

    def __init__(self, what: str) -> None:
        self.what = what

    def zero(self):
        return 0

    def add(self, partial, value):
        return partial + 1

    def merge(self, a, b):
        return a + b if self.what != "merge" else raising(a)

    def result(self, partial):
        return partial if self.what != "result" else raising(partial)


@pytest.mark.rule(12)
@pytest.mark.parametrize("what", ["merge", "result"])
def test_an_aggregate_that_raises_never_stops_the_partition(what):
    field = Field("bad", "click", "where", Custom("bad", Bad(what)))
    spec = spec_of(fields=(field,))
    play = Play(spec).show(5).click(6, where=1).click(6, where=1).clock(15)
    assert [dead.function for dead in play.out.dead] == ["aggregate"]
    play = Play(spec).click(6, where=1).clock(15)
    assert play.sides("orphan") == [("click", 6)]
    assert len(play.out.dead) == (what == "result")
    cells = [c for o in range(2) for c in wire_cells(spec, Row("click", KEY, 0, ("clicks", 0, o, 0), {"where": 1}))]
    assert len(combine(spec, cells, -1)) == (2 if what == "merge" else 1)


@pytest.mark.rule(13)
def test_a_format_of_none_filters_the_sample():
    play = Play(spec_of(format=lambda values: None)).show(5).clock(15)
    assert (play.samples, play.out.dead, play.out.counts["samples", "filtered"]) == ([], [], 1)
    assert not play.partition.keys


@pytest.mark.rule(13, 14)
def test_the_label_is_final_before_anything_is_dropped():
    spec = spec_of(keep_negatives=1e-12, label=lambda values: int(values["pos"] == 1))
    assert Play(spec).show(5, pos=1).clock(15).labels == [1]
    play = Play(spec).show(5, pos=2).click(6).clock(15)
    assert (play.labels, play.out.counts["samples", "down-sampled"]) == ([], 1)


@pytest.mark.rule(14)
def test_negatives_are_kept_by_their_id_with_their_weight():
    play = Play(spec_of(keep_negatives=0.25))
    names = [keys.encode_key([f"u{i}"]) for i in range(400)]
    for name in names:
        play.row("show", 5, key=name)
    play.click(6).clock(15)
    kept = {s.key for s in play.out.samples}
    assert 60 < len(kept) < 140
    assert {(s.weight, json.loads(s.payload)["weight"]) for s in play.out.samples} == {(4.0, 4.0)}
    assert all(keep(s.sample_id, 0.25) and keep(s.sample_id, 0.5) for s in play.out.samples)
    again = Play(spec_of(keep_negatives=0.25))
    for name in reversed(names):
        again.row("show", 5, key=name)
    assert len(again.clock(15).samples) == pytest.approx(len(kept), abs=40)


@pytest.mark.rule(14)
def test_positives_always_stay():
    play = Play(spec_of(keep_negatives=1e-12)).show(5).click(6).clock(15)
    assert [(s["label"], s["weight"]) for s in play.samples] == [(1, 1.0)]

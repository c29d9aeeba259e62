"""Keys, their partitions, and bounds per key (rules 10 and 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samplejoin.core import keys
from samplejoin.core.cells import combine
from tests.core.harness import restarted, wire_cells
from tests.core.oracle import Row
from tests.core.play import KEY, Play, spec_of


@pytest.mark.rule(10)
def test_keys_are_unambiguous():
    parts: list[list[Any]] = [
        ["a|b", "c"],
        ["a", "b|c"],
        ["a", "b", "c"],
        ['a","b', "c"],
        ["a\\", "b"],
        ["1", 1],
        [1, "1"],
        [True, 1],
    ]
    encoded = [keys.encode_key(values) for values in parts]
    assert len(set(encoded)) == len(parts)
    assert [keys.decode_key(key) for key in encoded] == parts


@pytest.mark.rule(10)
@pytest.mark.parametrize("value", [1.5, None, [1], {"a": 1}, b"x"])
def test_a_key_is_of_scalars(value):
    with pytest.raises(TypeError, match="key field"):
        keys.encode_key([value])


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("row", "values"),
    [
        ({"u": "x", "i": 1}, ["x", 1]),
        ({"u": "x"}, None),
        ({"u": None, "i": 1}, None),
        ({"u": "", "i": 1}, None),
        ({"u": "0", "i": 1}, None),
        ({"u": "x", "i": -1}, None),
        ({"u": "x", "i": 0}, ["x", 0]),
        ({"u": True, "i": 1}, [True, 1]),
    ],
)
def test_junk_keys_are_no_keys(row, values):
    assert keys.key_values(row, ("u", "i"), frozenset(("", "0", -1))) == values


@pytest.mark.rule(10)
def test_partitions_of_keys_are_for_ever():
    vectors = {b'["u1"]': 3, b'["u1",42]': 12, b'["a|b","c"]': 8, '["ü"]'.encode(): 6}
    assert {key: keys.partition_of(key, 16) for key in vectors} == vectors


@pytest.mark.rule(11)
def test_a_hot_key_is_one_cell_per_stream_and_slice():
    spec = spec_of()
    cells = [
        c for o in range(1000) for c in wire_cells(spec, Row("click", KEY, 5000 + o % 900, ("clicks", 0, o, 0), {}))
    ]
    (cell,) = combine(spec, cells, -1)
    assert cell[2:6] == (5, 0, 999, 1000)
    assert len(combine(spec, cells, 9)) == 11


@pytest.mark.rule(11)
def test_past_max_rows_labels_are_dropped_and_the_sample_says_so():
    play = Play(spec_of(max_rows=3)).show(5)
    for second in (6, 7, 8, 8, 9, 9, 6):
        play.click(second)
    play.show(9).clock(40)
    (sample,) = play.out.samples
    body = json.loads(sample.payload)
    assert (sample.truncated, body["clicks"], body["shows"]) == (True, 5, 2)
    assert play.out.counts["truncated_rows", "click"] == 2


@pytest.mark.rule(11, 16)
def test_what_was_dropped_is_not_forgotten_before_its_anchor_comes():
    play = Play(spec_of(max_rows=1, before_ms=10_000)).click(5).click(7).clock(16)
    play.partition = restarted(play.partition)
    play.show(17).clock(40)
    assert [s.truncated for s in play.out.samples] == [True]
    play = Play(spec_of(max_rows=1, before_ms=10_000)).click(5).click(7).clock(18)
    assert not play.partition.keys

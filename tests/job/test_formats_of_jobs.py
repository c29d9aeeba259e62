"""Formats, built in and of one's own."""

from __future__ import annotations

import orjson
import pytest

from samplejoin.core.keys import key_values
from tests.job.compiling import compiled


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

"""Decoders, the codec of payloads, and sample encoders."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import math
from contextlib import suppress
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.decoding.csv_columns import ColumnType
from samplejoin.decoding.decoders import csv_decoder, decode_json, decode_raw
from samplejoin.formats.csv import encoder
from samplejoin.formats.json import dumps, loads
from samplejoin.formats.payload import CODEC


def record(value, **other):
    return SimpleNamespace(**{"key": None, "value": value, "timestamp": 5, "headers": (), **other})


# ---- decoders -------------------------------------------------------------------------------------------------------


def test_json():
    assert decode_json(record(b'{"a": [1, null]}')) == {"a": [1, None]}


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "empty record"),
        (b"{", "unexpected end"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"\xff", "."),
        (b"[1]", "a JSON list, not an object"),
        (b"null", "a JSON NoneType, not an object"),
        (b'"x"', "a JSON str, not an object"),
        (b"[" * 100_000, "."),
    ],
)
def test_what_is_no_json_object(value, message):
    with pytest.raises(ValueError, match=message):
        decode_json(record(value))


def test_raw():
    given = record(b"\xff", key=b"k", timestamp=7, headers=(("a", b"1"), ("b", b"2"), ("a", b"3")))
    assert decode_raw(given) == {"key": b"k", "value": b"\xff", "timestamp": 7, "headers": {"a": b"3", "b": b"2"}}
    assert decode_raw(record(None, headers=None))["value"] is None


def test_csv():
    decode = csv_decoder(["a", "b", "c"])
    assert decode(record('1,"x, ""y""\nz",é'.encode())) == {"a": "1", "b": 'x, "y"\nz', "c": "é"}
    assert decode(record(b",,\r\n")) == {"a": "", "b": "", "c": ""}


TYPED: dict[str, ColumnType] = {"uid": "str", "item": "int", "dwell": "float", "liked": "bool"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"7,7,7,1", ("7", 7, 7.0, True)),
        (b" x, -3 , 1e3 ,FALSE", (" x", -3, 1000.0, False)),
        (b",,,", ("", None, None, None)),
        (b"0,18446744073709551617,-0.5,true", ("0", 2**64 + 1, -0.5, True)),
    ],
)
def test_csv_columns_have_types(line, expected):
    row = csv_decoder(TYPED)(record(line))
    assert row is not None
    assert tuple(row.values()) == expected
    assert [*map(type, row.values())] == [*map(type, expected)]


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("line", "column"),
    [(b"u,1.5,1,1", "item"), (b"u,x,1,1", "item"), (b"u,1_0,1,1", "item"), (b"u,1,1_0,1", "dwell"),
     (b"u,1,fast,1", "dwell"), (b"u,1,1,yes", "liked"), (b"u,1,1,2", "liked"), (b"u,1,1, ", "liked")],
)  # fmt: skip
def test_a_csv_value_of_another_type_names_its_column(line, column):
    taken = ": 1, 0, true or false, in any case" if column == "liked" else ""
    with pytest.raises(ValueError, match=rf"^column {column}: '.*' is not of type {TYPED[column]}{taken}$"):
        csv_decoder(TYPED)(record(line))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "empty record"),
        (b"1,2", "2 columns, expected 3: a, b, c"),
        (b"1,2,3,4", "4 columns"),
        (b"1,2,3\n4,5,6", "2 lines"),
        (b'1,2,"3', "not CSV"),
        (b"\xff,2,3", "utf-8"),
    ],
)
def test_what_is_no_csv(value, message):
    with pytest.raises(ValueError, match=message):
        csv_decoder(["a", "b", "c"])(record(value))


@given(st.binary())
def test_anything_is_decoded_or_a_value_error(value):
    for decode in (decode_json, csv_decoder(["a", "b"])):
        with suppress(ValueError):
            assert isinstance(decode(record(value)), dict)


@pytest.mark.rule(13)
def test_a_tombstone_is_filtered():
    assert decode_json(record(None)) is None
    assert csv_decoder(["a"])(record(None)) is None


def test_csv_with_a_byte_order_mark_and_long_columns():
    decode = csv_decoder(["a", "b"])
    assert decode(record(b"\xef\xbb\xbfu1,7")) == {"a": "u1", "b": "7"}
    assert decode(record(b"u1," + b"x" * 500_000)) == {"a": "u1", "b": "x" * 500_000}


def test_csv_with_another_delimiter():
    assert csv_decoder(["a", "b"], "\t")(record(b'x,y\t"1\t2"')) == {"a": "x,y", "b": "1\t2"}
    with pytest.raises(
        ValueError, match=r'1 column, expected 3: a, b, c; the line has tabs between them: delimiter: "\\t"'
    ):
        csv_decoder(["a", "b", "c"])(record(b"1\t2\t3"))
    with pytest.raises(ValueError, match="1 column, expected 2: a, b; the line has ';' between them"):
        csv_decoder(["a", "b"], "\t")(record(b"1;2"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b'\0\0\0\0\7{"a": 1}', "it starts with the magic byte of a schema registry (schema 7)"),
        (gzip.compress(b"{}", mtime=0), "the value is compressed by gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "the value is compressed by zstd"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": [1, -Infinity]}', "-Infinity is not a JSON number"),
        (b'{"a": "cut \\ud83d"}', "\\ud83d is half of a character"),
        (b'{"a": "\\ud83d\\ude00 \\ude00"}', "\\ude00 is half of a character"),
        (b'{"a": 1}\n{"a": 2}', "it contains 2 documents"),
        (b"u1\t7\t5", "it is text with tabs; use decode: csv with delimiter"),
        (b'\xef\xbb\xbf{"a": 1}', "it starts with a byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "it is UTF-16 text"),
        ('{"a": 1}'.encode("utf-16-le"), "it is UTF-16 text"),
        ('{"a": 1}'.encode("utf-16-be"), "it is UTF-16 text"),
        (b'{"a": tru}', "invalid literal"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_the_cause_is_named_where_it_is_known(value, says):
    with pytest.raises(ValueError, match=r"^not JSON: ") as caught:
        decode_json(record(value))
    assert says in str(caught.value)


def test_csv_names_causes_too():
    with pytest.raises(ValueError, match="not CSV: it is UTF-16 text"):
        csv_decoder(["a", "b"])(record("1,2".encode("utf-16")))
    with pytest.raises(ValueError, match="not CSV: the value is compressed by gzip"):
        csv_decoder(["a", "b"])(record(gzip.compress(b"1,2")))


# ---- codec ----------------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text("aé☃\0")
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def same(a, b):
    """Equal, and of the same types all the way down: 1, 1.0 and True differ."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b and (a != 0 or math.copysign(1, a) == math.copysign(1, b))


@given(VALUES)
def test_the_codec_gives_back_what_it_was_given(value):
    assert same(CODEC.loads(CODEC.dumps(value)), value)


def test_the_codec_keeps_nan():
    assert math.isnan(CODEC.loads(CODEC.dumps([float("nan")]))[0])


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "set is not JSON data"),
        (b"x", "bytes is not JSON data"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "datetime is not JSON data"),
        (object(), "object is not JSON data"),
        (1j, "complex is not JSON data"),
        ({1: 2}, "a key of an object must be a string, got int 1"),
        (2**64, "an integer does not fit into 64 bits"),
        (-(2**63) - 1, "an integer does not fit into 64 bits"),
        ("\ud800", "holds half a character"),
    ],
)
def test_the_codec_takes_nothing_else(value, message):
    for form in (value, [value], [[value]], {"a": value}, ["ok", {"a": [value]}]):
        with pytest.raises((TypeError, ValueError), match=message):
            CODEC.dumps(form)


def test_the_codec_refuses_depth():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        CODEC.dumps(deep)


# ---- samples --------------------------------------------------------------------------------------------------------


def test_json_samples():
    assert dumps({"a": "é", "b": float("inf"), "c": [1]}) == '{"a":"é","b":null,"c":[1]}'.encode()
    wrong: Any
    for wrong in ({"ok": 1, 2: 3}, {"ok": 1, 2: {1}}, {"2": 1 << 64, "ok": {1}}, {"ok": 1, "2": [Enum("E", "A")]}):
        with pytest.raises(TypeError, match=r"(field 2: |not JSON data)"):
            dumps(wrong)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**300, [1.5, {"a": 2**100}]])
def test_json_keeps_integers_of_any_size(value):
    assert loads(dumps({"a": value})) == {"a": value} == json.loads(dumps({"a": value}))
    assert dumps({"a": [2**64, float("nan")]}) == b'{"a":[18446744073709551616,null]}'


@pytest.mark.parametrize("text", [b"{", b"nothing", b"", b'"\\ud800"', b"1" * 5000, b"[" * 5000])
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", '""'),
        ("x", "x"),
        ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'),
        ("two\nlines", '"two\nlines"'),
        (" x", '" x"'),
        ("=1+1", "=1+1"),
        (True, "1"),
        (False, "0"),
        (5, "5"),
        (0.1, "0.1"),
        (float("nan"), "nan"),
        ([1, "a"], '"[1,""a""]"'),
        ({}, "{}"),
    ],
)
def test_csv_cells(value, text):
    assert encoder(["a"])({"a": value}) == text.encode()


def test_csv_order_and_missing_fields():
    assert encoder(["b", "a"])({"a": 1, "b": 2, "c": 3}) == b"2,1"
    with pytest.raises(KeyError):
        encoder(["x"])({"a": 1})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2))
def test_csv_is_read_back_by_csv(values):
    line = encoder([str(i) for i in range(len(values))])({str(i): v for i, v in enumerate(values)})
    assert list(csv.reader(io.StringIO(line.decode(), newline=""), strict=True)) == [values]


@pytest.mark.rule(12)
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_how_deep_a_record_may_be_depends_on_no_caller(opening):
    """The parser and its callers share one limit of Python; a worker's stack is deeper than a command's."""
    closing = "]" if opening == "[" else "}"

    def read(levels, callers):
        if callers:
            return read(levels, callers - 1)
        inner = "" if opening == "[" else "1"
        try:
            loads((opening * levels + inner + closing * levels).encode())
        except ValueError:
            return False
        return True

    levels = range(800, 1030)
    shallow = [n for n in levels if read(n, 0)]
    assert shallow == [n for n in levels if read(n, 100)] == list(range(800, shallow[-1] + 1))
    assert shallow[-1] > 950

"""The cleaner's fast path agrees with the plain way on every input, and is the one in use."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.engine.wire import pack_cell
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from tests.cleaning.cleaners import FUNCTIONS, NOW, Record
from tests.job.helpers import job_data

pytestmark = pytest.mark.rule(9, 10, 12)

KEYS = st.one_of(
    st.text(max_size=3), st.integers(-2, 2), st.integers(1 << 62, 1 << 70), st.booleans(), st.none(), st.floats(),
    st.just("0"), st.lists(st.integers(), max_size=1),
)  # fmt: skip
TIMES = st.one_of(
    st.integers(NOW - 5000, NOW + 120_000), st.just(str(NOW)), st.none(), st.booleans(), st.floats(), st.just(-1)
)
DOS = st.sampled_from([
    "record", "None", "[]", "[record, record]", "[record, 5]", "42", "throw(ValueError())", "sys.exit()",
    "throw(GeneratorExit())", "throw(Mute())", "throw(Abort())", "NoLength([record])", "NoClass()", "Rows([record])",
    "NoFields(record)", "{**record, 'ts': record['ts']}", "{**record, 'ts': record['ts'] + 1}",
    "{k: v for k, v in record.items() if k != 'ts'}", "{**record, 'pos': 'x' * 9000}",
    "[{**record, 'pos': 'x' * 7000}] * 9",
    "{**record, 'most': {1, 2}}", "{**record, 'sum': Odd(1.5)}",
    "record.update(uid='other') or record", "record.pop('ts') and record",
])  # fmt: skip
NUMBERS = st.one_of(st.integers(), st.integers(1 << 62, 1 << 70), st.floats())
FIELDS = st.one_of(st.none(), NUMBERS, st.text(max_size=2), st.booleans())
ROWS = st.fixed_dictionaries(
    {"uid": KEYS, "mid": KEYS, "ts": TIMES, "do": DOS},
    optional={
        "pos": FIELDS,
        "most": FIELDS,
        "id": FIELDS,
        "sum": FIELDS,
        "a.b": KEYS,
        "in": FIELDS | st.fixed_dictionaries({"ts": TIMES}, optional={"uid": KEYS, "id": FIELDS, "sum": FIELDS}),
    },
)
VALUES = st.one_of(
    ROWS.map(lambda row: json.dumps(row).encode()),
    st.sampled_from([None, b"", b"[]", b"5", b"{", b'{"ts": 1e400}', b'{"uid": "\\ud800"}']),
)
RECORDS = st.lists(
    st.builds(
        Record,
        VALUES,
        timestamp=st.integers(NOW - 1000, NOW + 1000) | st.sampled_from([-1, 0]),
        timestamp_type=st.sampled_from([0, 1]),
    ),
    max_size=12,
)


PATHS = {
    "key": ["in.uid", r"a\.b"], "streams__click__id": "in.id", "streams__click__time": "in.ts",
    "sample": {"x": {"from": "click.in.sum", "agg": "sum"}, "y": {"from": "click.in.pos", "agg": "last"}},
}  # fmt: skip
DECODED = {"streams__click__decode": "functions:decode_or_none"}


def cleaner(folder: Any, **changes: Any) -> Cleaner:
    changes = {
        "streams__click__clean": "functions:clean", "limits": {"row": "8KiB"},
        "sample": {
            "pos": "impression.pos", "clicks": {"from": "click", "agg": "count"},
            "most": {"from": "click.most", "agg": "max"}, "sum": {"from": "click.sum", "agg": "sum"},
            "first": {"from": "click.pos", "agg": "first"}, "last": {"from": "click.pos", "agg": "last"},
        },
        **changes,
    }  # fmt: skip
    pack = changes.pop("pack", None)
    return Cleaner(compile_job(model_of(job_data(**changes), environ={}), folder), pack=pack)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """(fast, plain) cleaners: with an id per row, and without; whose cells are packed."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions.py").write_text(FUNCTIONS)
    found = []
    for changes in ({}, {"streams__click__id": "id"}, PATHS, DECODED, {"pack": pack_cell}):
        fast, plain = cleaner(folder, **changes), cleaner(folder, **changes)
        plain.fast.clear()
        found.append((fast, plain))
    return found


def as_data(out: Cleaned) -> dict[str, Any]:
    """All of it; NaN, which equals nothing, as text, and dead letters without their tracebacks."""
    data = {f.name: getattr(out, f.name) for f in dataclasses.fields(out)}
    data["dead"] = [dataclasses.replace(letter, traceback="") for letter in out.dead]
    return {name: repr(value) for name, value in data.items()}


@given(records=RECORDS, max_bytes=st.one_of(st.none(), st.integers(0, 2000)))
def test_both_ways_agree(pairs, records, max_bytes):
    for offset, record in enumerate(records):
        record.offset = offset
    for fast, plain in pairs:
        cleaned = fast.clean("clk", 0, records, NOW, max_bytes)
        assert as_data(cleaned) == as_data(plain.clean("clk", 0, records, NOW, max_bytes))
        kind = bytes if fast is pairs[-1][0] else list
        assert all(type(cell[6]) is kind for cells in cleaned.cells.values() for cell in cells)


def test_what_cannot_be_packed_is_a_dead_letter(pairs):
    """And not the end of the worker."""
    for each in pairs[-1]:
        record = {"uid": "u", "mid": "m", "ts": NOW, "do": "{**record, 'sum': Odd(1.5)}"}
        out = each.clean("clk", 0, [Record(orjson.dumps(record), offset=0)], NOW)
        assert (out.counts, out.cells) == ({("click", "dead_row"): 1}, {})
        assert "Odd" in out.dead[0].error


def test_ordinary_records_take_the_fast_way(pairs, monkeypatch):
    """Otherwise the fast path would be as slow as the plain way without anybody noticing."""
    fast, _ = pairs[0]
    assert set(fast.fast) == {"imp", "clk"}
    monkeypatch.setattr(fast, "_row", None)
    records = [Record(orjson.dumps({"uid": "u", "mid": n, "ts": NOW, "do": "record"}), offset=n) for n in range(9)]
    out = fast.clean("clk", 0, records, NOW)
    assert out.counts == {("click", "ok"): 9}


@pytest.mark.parametrize(
    "changes",
    [{"streams__click__time": "@timestamp"}, {"streams__click__topic": "imp"}, {"until": "2030-01-01T00:00:00Z"}],
)
def test_what_is_out_of_the_ordinary_takes_the_plain_way(pairs, tmp_path, changes):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    assert "clk" not in cleaner(tmp_path, **changes).fast

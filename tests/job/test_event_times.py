"""Reading event times."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.job.event_times import MAX_MS, read_iso, time_reader

pytestmark = pytest.mark.rule(9)


@pytest.mark.parametrize(
    ("unit", "value", "ms"),
    [
        ("ms", 1_700_000_000_123, 1_700_000_000_123),
        ("ms", 1_700_000_000_123.9, 1_700_000_000_123),
        ("ms", "1700000000123", 1_700_000_000_123),
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("s", 1_700_000_000.123, 1_700_000_000_123),
        ("s", 0.29, 290),  # 0.29 * 1000 is 289.99… in binary
        ("s", "1700000000.1239", 1_700_000_000_123),
        ("us", 1_700_000_000_123_999, 1_700_000_000_123),
        ("ns", 1_700_000_000_123_999_999, 1_700_000_000_123),
        ("ms", 0, 0),
        ("ms", MAX_MS, MAX_MS),
        ("ns", MAX_MS * 1_000_000, MAX_MS),
        ("iso", "1970-01-01T00:00:00Z", 0),
        ("iso", "2026-01-31T12:00:00", 1_769_860_800_000),
        ("iso", "2026-01-31T14:00:00.123456+02:00", 1_769_860_800_123),
        ("iso", "2026-01-31", 1_769_817_600_000),
        ("iso", "9999-12-31T23:59:59.999Z", MAX_MS),
    ],
)
def test_times(unit, value, ms):
    result = time_reader(unit)(value)
    assert (result, type(result)) == (ms, int)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
@pytest.mark.parametrize(
    "value",
    [
        *(True, False, None, [], {}, [1], b"1", -1, -0.5, 1e300, 10**30, 10**5000),
        *(float("nan"), float("inf"), float("-inf")),
        *("", "x", "nan", "inf", "-5", "1_000", "1e400", "1e999999999", "2026-13-01", "0001-01-01T00:00:00+14:00"),
    ],
    ids=lambda v: repr(v)[:20] if not isinstance(v, int) or v < 10**40 else "huge",
)
def test_no_times(unit, value):
    with pytest.raises(ValueError, match=r"."):
        time_reader(unit)(value)


@given(st.integers(0, MAX_MS))
def test_units_agree(ms):
    assert time_reader("us")(ms * 1000) == time_reader("ns")(ms * 1_000_000) == time_reader("ms")(ms) == ms
    assert time_reader("ms")(str(ms)) == ms
    assert time_reader("s")(f"{ms // 1000}.{ms % 1000:03}") == ms


@given(st.datetimes(datetime.fromisoformat("1970-01-01")))
def test_iso_reads_what_python_writes(moment):
    assert 0 <= read_iso(moment.isoformat()) <= MAX_MS


@given(st.one_of(st.text(), st.floats(), st.integers(), st.binary()))
def test_anything_is_a_time_or_a_value_error(value):
    for unit in ("s", "ms", "us", "ns", "iso"):
        with suppress(ValueError):
            assert 0 <= time_reader(unit)(value) <= MAX_MS


@pytest.mark.rule(9)
@pytest.mark.parametrize(
    ("value", "unit", "meant"), [(1_735_689_600_000, "s", "ms"), (1_735_689_600 * 10**9, "ms", "ns")]
)
def test_another_unit_is_named_where_it_would_fit(value, unit, meant):
    with pytest.raises(ValueError, match=f"did you mean time_unit: {meant}"):
        time_reader(unit)(value)

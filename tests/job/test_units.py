"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.user_errors import counted
from samplejoin.errors import RefusedError
from samplejoin.job.units import MAX_DURATION_MS, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "ms"),
    [("500ms", 500), ("20m", 1_200_000), ("1h30m", 5_400_000), ("0s", 0), ("2d", 172_800_000), ("1m500ms", 60_500)],
)
def test_durations(text, ms):
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (20, "20 has no unit", "20m"),
        (1.5, "1.5 is not a valid duration", "whole numbers"),
        (-1, "-1 is not a valid duration", "whole numbers"),
        (True, "not true or false", "20m"),
        (None, "not null", "20m"),
        ("20", "is not a valid duration", "20m"),
        ("", "is not a valid duration", "20m"),
        ("m", "is not a valid duration", "20m"),
        ("30m1h", "is not a valid duration", "longest first"),
        ("1.5h", "is not a valid duration", "whole numbers"),
        ("-5s", "is not a valid duration", "whole numbers"),
        ("\u0661s", "is not a valid duration", "whole numbers"),
        ("9999d", "too long", "ten years"),
    ],
)
def test_no_durations(value, message, hint):
    with pytest.raises(RefusedError, match=message) as caught:
        parse_duration(value)
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@given(st.integers(0, MAX_DURATION_MS))
def test_a_written_duration_reads_back(ms):
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(("text", "size"), [("512KiB", 524_288), ("64MiB", 67_108_864), ("1GiB", 1 << 30), ("7B", 7)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("value", [512, True, None, "512", "64MB", "0B", "1.5MiB", "99999999999GiB", [1]])
def test_no_sizes(value):
    with pytest.raises(RefusedError):
        parse_size(value)


@given(st.integers(1, 1 << 50))
def test_a_written_size_reads_back(size):
    assert parse_size(format_size(size)) == size


def test_a_refused_value_shows_its_hint_in_a_traceback():
    with pytest.raises(RefusedError) as caught:
        parse_duration(20)
    assert caught.value.__notes__ == ["hint: write 20s, 20m or 20ms"]


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234, "1,234 rows")])
def test_counts_agree_with_their_noun(count, text):
    assert counted(count, "row") == text
    assert counted(count, "entry", "entries") == text.replace("rows", "entries").replace("row", "entry")

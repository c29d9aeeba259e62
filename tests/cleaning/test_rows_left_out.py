"""Rows that other generations take, and keys (rules 3, 7, 10)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.core.keys import partition_of
from samplejoin.job.event_times import MAX_MS
from tests.cleaning.cleaners import GOOD, NOW, cleaned, cleaner, click, lands_as


def test_rows_from_before_the_start_are_counted_and_dropped(folder):
    late = cleaner(folder, start_ms=NOW, before="1m", streams__impression__clean="functions:clean")
    assert cleaned(late, click(ts=NOW - 60_000), click(ts=NOW - 60_001)).counts == {
        ("click", "ok"): 1,
        ("click", "before_start"): 1,
    }
    assert cleaned(late, click(ts=NOW), click(ts=NOW - 1), topic="imp").counts == {
        ("impression", "ok"): 1,
        ("impression", "before_start"): 1,
    }


def bounds(folder: Path, start: int | None, until: int, **changes: Any) -> Cleaner:
    moment = datetime.fromtimestamp(until / 1000, UTC).isoformat(timespec="milliseconds")
    changes = {"streams__impression__clean": "functions:clean", "window": "1m", "until": moment, **changes}
    return cleaner(folder, start_ms=start, **changes)


def outcomes(each: Cleaner, stream: str, *times: int) -> list[str]:
    topic = {"click": "clk", "impression": "imp"}[stream]
    return [next(iter(cleaned(each, click(ts=ts), topic=topic).counts))[1] for ts in times]


@pytest.mark.rule(15)
def test_rows_after_the_end_are_counted_and_dropped(folder):
    """Anchors at `until` and later; labels that only those could hold."""
    each = bounds(folder, None, NOW)
    assert outcomes(each, "impression", 0, NOW - 1, NOW, NOW + 1) == ["ok", "ok", "after_until", "after_until"]
    window = NOW + 60_000
    assert outcomes(each, "click", 0, NOW, window - 1, window) == ["ok", "ok", "ok", "after_until"]


@pytest.mark.rule(15)
@pytest.mark.parametrize("off", [0, 1, 500, 999])
@pytest.mark.parametrize("before_ms", [0, 3000])
def test_two_generations_share_the_anchors_and_lack_no_label(folder, off, before_ms):
    """Every anchor is in exactly one; the labels that the fold gives it are in the same one, at every edge."""
    cut = NOW - 120_000 + off
    changes = {"before": f"{before_ms}ms"}
    old, new = bounds(folder, None, cut, **changes), bounds(folder, cut, MAX_MS, **changes)
    near = [cut + d for d in (-1001, -1000, -999, -501, -500, -1, 0, 1, 500, 999, 1000)]
    labels = sorted({anchor + d for anchor in near for d in (-before_ms - 999, -before_ms, 0, 59_000, 59_999, 60_000)})
    held = {stream: dict(zip(labels, outcomes(each, "click", *labels), strict=True))
            for stream, each in (("old", old), ("new", new))}  # fmt: skip
    for anchor in near:
        taken = [name for name, each in (("old", old), ("new", new)) if outcomes(each, "impression", anchor) == ["ok"]]
        assert taken == ["old" if anchor < cut else "new"]
        first = anchor // 1000 * 1000
        joins = [label for label in labels if first - before_ms <= label // 1000 * 1000 < first + 60_000]
        assert all(held[taken[0]][label] == "ok" for label in joins)


def test_the_end_costs_nothing_where_there_is_none(folder):
    assert cleaner(folder)._bounds == [None, None]


@pytest.mark.rule(10)
@pytest.mark.parametrize("values", [{"uid": None}, {"uid": ""}, {"uid": "0"}, {"mid": None}, {"do": "{'uid': 'u'}"}])
def test_missing_null_and_junk_keys_are_counted(folder, values):
    lands_as(cleaned(cleaner(folder), click(**values), GOOD), "junk_key")


@pytest.mark.rule(10)
def test_numbers_can_be_junk_too(folder):
    junk = cleaner(folder, junk_keys=[0, -1])
    out = cleaned(junk, *(click(uid=uid) for uid in (0, -1, "0", "", False, 1)))
    assert out.counts == {("click", "junk_key"): 2, ("click", "ok"): 4}


@pytest.mark.rule(10)
@pytest.mark.parametrize("uid", [1.5, [], {}])
def test_a_key_that_is_no_scalar_is_a_dead_letter(folder, uid):
    lands_as(cleaned(cleaner(folder), click(uid=uid), GOOD), "dead_row")


@pytest.mark.rule(10)
def test_rows_go_to_their_keys_partition(folder):
    out = cleaned(cleaner(folder, partitions=7), *(click(uid=f"u{i}") for i in range(50)))
    assert len(out.cells) == 7
    assert all(partition_of(cell[0], 7) == target for target, cells in out.cells.items() for cell in cells)
